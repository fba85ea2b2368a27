#include "api/cli/load_connection.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { LOAD_CONNECTION_KEPT_BYTES = 2048 }; /* of an answer: a refusal says why */

void load_connection_init(struct load_connection *connection, uint32_t number)
{
    *connection = (struct load_connection){.fd = -1, .number = number};
    response_init(&connection->response, LOAD_CONNECTION_KEPT_BYTES);
}

void load_connection_finish(struct load_connection *connection)
{
    load_connection_close(connection);
    response_finish(&connection->response);
}

void load_connection_close(struct load_connection *connection)
{
    if (connection->fd >= 0)
        close(connection->fd);
    connection->fd = -1;
    connection->state = LOAD_CONNECTION_CLOSED;
}

static enum load_connection_outcome load_connection_fail(struct load_connection *connection,
                                                         enum load_connection_outcome outcome)
{
    load_connection_close(connection);
    return outcome;
}

static bool load_connection_watch(struct load_connection *connection,
                                  const struct load_connection_shared *shared, int operation,
                                  uint32_t events)
{
    struct epoll_event event = {.events = events, .data.u32 = connection->number};
    connection->watched = events;
    return epoll_ctl(shared->epoll, operation, connection->fd, &event) == 0;
}

enum load_connection_outcome load_connection_open(struct load_connection *connection,
                                                  struct load_connection_shared *shared,
                                                  const struct address *address, uint64_t now_us)
{
    connection->begun_us = now_us;
    connection->fd = address_begin_connect(address);
    if (connection->fd < 0 ||
        !load_connection_watch(connection, shared, EPOLL_CTL_ADD, EPOLLIN | EPOLLOUT))
        return load_connection_fail(connection, LOAD_CONNECTION_UNOPENED);
    connection->state = LOAD_CONNECTION_OPENING;
    return LOAD_CONNECTION_GOES_ON;
}

static enum load_connection_outcome load_connection_opened(struct load_connection *connection,
                                                           struct load_connection_shared *shared)
{
    if (address_connect_error(connection->fd) ||
        !load_connection_watch(connection, shared, EPOLL_CTL_MOD, EPOLLIN))
        return load_connection_fail(connection, LOAD_CONNECTION_UNOPENED);
    connection->state = LOAD_CONNECTION_IDLE;
    return LOAD_CONNECTION_GOES_ON;
}

/* As much as the socket takes. An error is left to receiving: there may be an answer before it. */
static void load_connection_send(struct load_connection *connection,
                                 struct load_connection_shared *shared)
{
    const struct load_plan_request *request = connection->request;
    while (connection->sent < request->size && !connection->cannot_send) {
        ssize_t step = send(connection->fd, request->bytes + connection->sent,
                            request->size - connection->sent, MSG_NOSIGNAL);
        if (step >= 0) {
            connection->sent += (size_t)step;
            shared->sent_bytes += (uint64_t)step;
        } else if (errno == EAGAIN) {
            break;
        } else if (errno != EINTR) {
            connection->cannot_send = true;
        }
    }
    bool more = connection->sent < request->size && !connection->cannot_send;
    uint32_t wanted = more ? EPOLLIN | EPOLLOUT : EPOLLIN;
    if (wanted != connection->watched &&
        !load_connection_watch(connection, shared, EPOLL_CTL_MOD, wanted))
        connection->cannot_send = true;
}

void load_connection_begin(struct load_connection *connection,
                           struct load_connection_shared *shared,
                           const struct load_plan_request *request, uint64_t due_us,
                           uint64_t now_us)
{
    connection->request = request;
    connection->sent = 0;
    connection->cannot_send = false;
    connection->due_us = due_us;
    connection->begun_us = now_us;
    connection->state = LOAD_CONNECTION_BUSY;
    response_start(&connection->response);
    load_connection_send(connection, shared);
}

static enum load_connection_outcome load_connection_complete(struct load_connection *connection)
{
    bool whole = connection->sent == connection->request->size && !connection->cannot_send;
    if (whole && connection->response.keeps_alive)
        connection->state = LOAD_CONNECTION_IDLE;
    else
        load_connection_close(connection);
    return LOAD_CONNECTION_ANSWERED;
}

static enum load_connection_outcome load_connection_take(struct load_connection *connection,
                                                         const char *bytes, size_t size)
{
    size_t used;
    if (response_feed(&connection->response, bytes, size, &used, NULL) || used < size)
        return load_connection_fail(connection, LOAD_CONNECTION_MALFORMED);
    return response_is_complete(&connection->response) ? load_connection_complete(connection)
                                                       : LOAD_CONNECTION_GOES_ON;
}

static enum load_connection_outcome load_connection_receive(struct load_connection *connection,
                                                            struct load_connection_shared *shared)
{
    ssize_t size = recv(connection->fd, shared->buffer, sizeof shared->buffer, 0);
    if (size < 0 && (errno == EAGAIN || errno == EINTR))
        return LOAD_CONNECTION_GOES_ON;
    if (connection->state == LOAD_CONNECTION_IDLE)
        return load_connection_fail(connection,
                                    size > 0 ? LOAD_CONNECTION_MALFORMED : LOAD_CONNECTION_GOES_ON);
    if (size < 0)
        return load_connection_fail(connection, LOAD_CONNECTION_RESET);
    shared->received_bytes += (uint64_t)size;
    if (size > 0)
        return load_connection_take(connection, shared->buffer, (size_t)size);
    return response_end(&connection->response, NULL)
               ? load_connection_fail(connection, LOAD_CONNECTION_CUT)
               : load_connection_complete(connection);
}

enum load_connection_outcome load_connection_step(struct load_connection *connection,
                                                  struct load_connection_shared *shared,
                                                  uint32_t events)
{
    if (connection->state == LOAD_CONNECTION_OPENING)
        return load_connection_opened(connection, shared);
    if (connection->state == LOAD_CONNECTION_BUSY && (events & EPOLLOUT))
        load_connection_send(connection, shared);
    return events & ~(uint32_t)EPOLLOUT ? load_connection_receive(connection, shared)
                                        : LOAD_CONNECTION_GOES_ON;
}
