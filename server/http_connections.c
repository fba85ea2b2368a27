#include "server/http_connections.h"

#include <microhttpd.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "engine/base/mem.h"

struct http_connection {
    struct http_connection *previous, *next;
    int fd;
    bool had_request;
    uint64_t idle_since_us; /* UINT64_MAX: in a request, or ended */
};

struct http_connection *http_connections_add(struct http_connections *connections,
                                             struct MHD_Connection *connection, uint64_t now_us)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    struct http_connection *added = mem_zeroed(1, sizeof *added);
    if (!added)
        return NULL;
    added->fd = info ? info->connect_fd : -1;
    added->idle_since_us = now_us;
    added->next = connections->first;
    if (connections->first)
        connections->first->previous = added;
    connections->first = added;
    return added;
}

void http_connections_remove(struct http_connections *connections,
                             struct http_connection *connection)
{
    if (!connection)
        return;
    if (connection->previous)
        connection->previous->next = connection->next;
    else
        connections->first = connection->next;
    if (connection->next)
        connection->next->previous = connection->previous;
    free(connection);
}

void http_connections_begin_request(struct http_connection *connection)
{
    if (!connection)
        return;
    connection->had_request = true;
    connection->idle_since_us = UINT64_MAX;
}

bool http_connections_had_request(const struct http_connection *connection)
{
    return connection && connection->had_request;
}

void http_connections_end_request(struct http_connection *connection, uint64_t now_us)
{
    if (connection)
        connection->idle_since_us = now_us;
}

uint64_t http_connections_expire(struct http_connections *connections, uint64_t now_us)
{
    uint64_t next_us = UINT64_MAX;
    for (struct http_connection *it = connections->first; it; it = it->next) {
        if (it->idle_since_us == UINT64_MAX)
            continue;
        uint64_t end_us = it->idle_since_us + connections->most_idle_us;
        if (end_us <= now_us) {
            it->idle_since_us = UINT64_MAX;
            if (it->fd >= 0)
                shutdown(it->fd, SHUT_RDWR);
        } else if (end_us < next_us) {
            next_us = end_us;
        }
    }
    return next_us;
}
