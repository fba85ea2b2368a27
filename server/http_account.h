/*
 * What becomes of requests, for the metrics and the access log; also of those that libmicrohttpd
 * answers by itself, of which only its messages tell. Loop thread.
 */
#ifndef SERVER_HTTP_ACCOUNT_H
#define SERVER_HTTP_ACCOUNT_H

#include <stdarg.h>
#include <stdint.h>

struct http;
struct request;

/* How a request ended: the library has sent an answer in full; or has given up, perhaps after an
 * answer of its own; or the client has, or was too slow. */
enum http_account_end { HTTP_ACCOUNT_COMPLETED, HTTP_ACCOUNT_FAILED, HTTP_ACCOUNT_CUT };

/* A request that is over. */
void http_account_request(struct http *http, const struct request *request,
                          enum http_account_end end, uint64_t now_us);

/* Reads a message of the library. */
void http_account_message(struct http *http, const char *format, va_list arguments);

/* Call after the library has run. */
void http_account_run(struct http *http);

#endif
