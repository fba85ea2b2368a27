/*
 * A request as it comes in, piece by piece, until it has its handler's answer or its job. The three
 * steps are false if the connection must be closed. Loop thread.
 */
#ifndef SERVER_HTTP_RECEIVE_H
#define SERVER_HTTP_RECEIVE_H

#include <stdbool.h>
#include <stddef.h>

struct request;

/* The head is here. */
bool http_receive_head(struct request *request, const char *method, const char *path,
                       const char *version);
/* A piece of the body. */
bool http_receive_body(struct request *request, const char *data, size_t size);
/* All is here; called again after a connection was resumed. */
bool http_receive_end(struct request *request);

/* Sets an answer and lets go of what has arrived. */
void http_receive_refuse(struct request *request, int status, const char *code, const char *detail);

#endif
