/*
 * The inside of struct request, for http.c (which receives) and request.c (which answers) only.
 * Loop thread.
 */
#ifndef SERVER_REQUEST_INTERNAL_H
#define SERVER_REQUEST_INTERNAL_H

#include <stdbool.h>
#include <stdint.h>

#include "server/job.h"
#include "server/metrics.h"
#include "server/reply.h"
#include "server/router.h"
#include "server/spool_file.h"
#include "server/trace_context.h"

struct MHD_Connection;
struct http;

enum { REQUEST_PARAMETER_BYTES = 128, REQUEST_METHOD_BYTES = 16, REQUEST_PATH_BYTES = 112 };

enum request_state {
    REQUEST_RECEIVING, /* the body arrives; it is dropped if there is an answer already */
    REQUEST_WORKING,   /* suspended, a job is under way */
    REQUEST_ANSWERED,  /* there is an answer, not given to the library yet */
    REQUEST_SENDING,   /* the library has the answer */
    REQUEST_LINGERING, /* answered past the library; what still arrives is dropped */
};

struct request {
    struct http *http;
    struct MHD_Connection *connection;
    const struct router_route *route; /* NULL if it has been refused */
    struct request *previous, *next;  /* all requests of the server */

    enum request_state state;
    uint64_t started_us;
    uint64_t deadline_us; /* while receiving, sending and lingering; the job has its own */
    char id[JOB_REQUEST_ID_BYTES];
    char method[REQUEST_METHOD_BYTES], path[REQUEST_PATH_BYTES]; /* cut, for the log */
    char trace_id[TRACE_CONTEXT_ID_BYTES];                       /* "": none */
    char parameter[REQUEST_PARAMETER_BYTES];

    bool close_after; /* what follows on the connection cannot be trusted */
    struct buf body;
    struct spool_file upload; /* the body, of a route that wants a file */
    size_t uploads;           /* 1 if it counts as one of http's */
    uint64_t received_bytes;
    uint64_t probed_bytes; /* of received_bytes, at the last probe */
    bool stalled;          /* then nothing had come of what lay on the socket */
    size_t buffered_bytes; /* this request's share of http's account */

    struct job *job; /* in REQUEST_WORKING */
    struct reply reply;
    struct job_timings timings; /* of the job that answered */
    struct job_used used;
    int sent_status;
    size_t sent_bytes;    /* of the body */
    uint64_t answered_us; /* past the library; else 0 */
    enum metrics_rejection rejection;
};

/* Takes a sane id from the client or makes a new one from the seed, which it moves on. */
void request_set_id(struct request *request, uint64_t *seed);

/* From the client's traceparent header. */
void request_set_trace(struct request *request);

/* Gives the answer to the library. False: the connection must be closed. */
bool request_send(struct request *request, bool close_after);

/* Writes the answer straight to the socket and ends our side of it: the library takes no answer
 * while a body is arriving. */
void request_send_past_library(struct request *request);

/* Whether the client has reset the connection, which the library does not look for while it is
 * suspended. One that has only stopped sending may still read. */
bool request_client_is_gone(const struct request *request);

/* Whether something lies on the socket that the library has not read. */
bool request_has_unread(const struct request *request);

/* Makes the library notice that this connection is over. */
void request_hang_up(const struct request *request);

/* Lets go of the job under way: it is taken back, or destroyed when it returns. */
void request_abandon_job(struct request *request);

void request_destroy(struct request *request);

#endif
