/*
 * The open connections, and since when each has been between requests: libmicrohttpd closes one
 * that is silent, but a client that sends a byte of its request's head now and then would keep it
 * for ever. Loop thread only.
 */
#ifndef SERVER_HTTP_CONNECTIONS_H
#define SERVER_HTTP_CONNECTIONS_H

#include <stdbool.h>
#include <stdint.h>

struct MHD_Connection;
struct http_connection;

struct http_connections {
    struct http_connection *first;
    uint64_t most_idle_us; /* how long a connection may be between two requests' heads */
};

/* NULL if there is no memory. */
struct http_connection *http_connections_add(struct http_connections *connections,
                                             struct MHD_Connection *connection, uint64_t now_us);
void http_connections_remove(struct http_connections *connections,
                             struct http_connection *connection);

/* Whether the head of any request has come. NULL: not known, so no. */
bool http_connections_had_request(const struct http_connection *connection);

/* A request's head is here, or its answer is out. Either may be called with NULL. */
void http_connections_begin_request(struct http_connection *connection);
void http_connections_end_request(struct http_connection *connection, uint64_t now_us);

/* Ends those that have waited too long. Returns when to call again; UINT64_MAX: when there are new
 * connections. */
uint64_t http_connections_expire(struct http_connections *connections, uint64_t now_us);

#endif
