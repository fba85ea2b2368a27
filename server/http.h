/*
 * The HTTP side of the server: a libmicrohttpd daemon without threads, driven from outside. It
 * receives requests, finds their handlers, holds them while a job is under way, keeps their
 * deadlines, and answers.
 *
 * Nothing here blocks. Loop thread only.
 */
#ifndef SERVER_HTTP_H
#define SERVER_HTTP_H

#include <stdbool.h>
#include <stdint.h>

#include "server/completions.h"
#include "server/router.h"
#include "server/service.h"

struct http;

/* Takes over listen_fd. All that service points to must outlive it. */
enum status http_create(struct service *service, const struct router *router, int listen_fd,
                        struct completions *completions, struct http **out, struct fail *why);

/* No job may be under way. */
void http_destroy(struct http *http);

/* Readable whenever http_run has something to do. */
int http_poll_fd(const struct http *http);

/* Collects finished jobs, answers what is past its deadline, moves bytes. */
void http_run(struct http *http, uint64_t now_us);

/* When http_run must be called at the latest; UINT64_MAX: when http_poll_fd says so. */
uint64_t http_next_run_us(const struct http *http, uint64_t now_us);

/* Looks through the pool folder as soon as may be, at files too that failed before. */
void http_scan_pools(struct http *http);

/* Says that the server is not ready any more, and goes on. */
void http_leave(struct http *http);

/* Closes the listening socket. What has begun goes on, what is new is answered 503. */
void http_drain(struct http *http);

/* Answers everything under way with 503, and drops what is still arriving. */
void http_abort(struct http *http);

/* Writes what the access log holds back. */
void http_flush_log(struct http *http);

/* Requests that are not answered in full, and jobs that workers still hold. */
bool http_has_requests(const struct http *http);
bool http_has_jobs(const struct http *http);

#endif
