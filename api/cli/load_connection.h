/*
 * One keep-alive connection of a load: it is opened, sends one request at a time and reads the
 * answer, told by epoll when it can go on. One thread at a time.
 */
#ifndef API_CLI_LOAD_CONNECTION_H
#define API_CLI_LOAD_CONNECTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "api/cli/address.h"
#include "api/cli/load_plan.h"
#include "api/cli/response.h"

enum { LOAD_CONNECTION_BUFFER_BYTES = 65536 };

enum load_connection_state {
    LOAD_CONNECTION_CLOSED,
    LOAD_CONNECTION_OPENING,
    LOAD_CONNECTION_IDLE,
    LOAD_CONNECTION_BUSY, /* from the begin of a request to the end of its answer */
    LOAD_CONNECTION_STATES
};

/* What a step came to. After a failure the connection is closed. */
enum load_connection_outcome {
    LOAD_CONNECTION_GOES_ON,
    LOAD_CONNECTION_ANSWERED,  /* `response` has the answer; the state is IDLE, or CLOSED if the
                                  connection cannot be used again */
    LOAD_CONNECTION_UNOPENED,  /* could not be opened */
    LOAD_CONNECTION_RESET,     /* reset, or another error of a socket, in a request */
    LOAD_CONNECTION_CUT,       /* closed before the answer was complete */
    LOAD_CONNECTION_TIMED_OUT, /* the answer was not complete in time */
    LOAD_CONNECTION_MALFORMED, /* no HTTP, or more bytes than the answer had */
    LOAD_CONNECTION_OUTCOMES
};

/* What all connections of a load share. */
struct load_connection_shared {
    int epoll;
    uint64_t sent_bytes, received_bytes; /* so far */
    char buffer[LOAD_CONNECTION_BUFFER_BYTES];
};

struct load_connection {
    enum load_connection_state state;
    struct response response;
    uint64_t due_us;   /* when the request should have been sent */
    uint64_t begun_us; /* when it was, or when opening began */

    /* For load_connection.c. */
    int fd;
    uint32_t number;  /* in the events of epoll: data.u32 */
    uint32_t watched; /* events */
    const struct load_plan_request *request;
    size_t sent;
    bool cannot_send; /* the other side has closed; an answer may still be there */
};

void load_connection_init(struct load_connection *connection, uint32_t number);
void load_connection_finish(struct load_connection *connection);

/* CLOSED -> OPENING; LOAD_CONNECTION_UNOPENED if it fails at once. */
enum load_connection_outcome load_connection_open(struct load_connection *connection,
                                                  struct load_connection_shared *shared,
                                                  const struct address *address, uint64_t now_us);

/* -> CLOSED, from any state. */
void load_connection_close(struct load_connection *connection);

/* IDLE -> BUSY. A failure shows in a later step. */
void load_connection_begin(struct load_connection *connection,
                           struct load_connection_shared *shared,
                           const struct load_plan_request *request, uint64_t due_us,
                           uint64_t now_us);

/* Goes on after these events of epoll. An idle connection that the server closes is closed without
 * a failure. */
enum load_connection_outcome load_connection_step(struct load_connection *connection,
                                                  struct load_connection_shared *shared,
                                                  uint32_t events);

#endif
