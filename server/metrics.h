/*
 * What the server counts. Nothing is formatted before somebody asks. Labels are routes of the
 * router and the closed sets below, never text of a client, so the number of series is bounded.
 *
 * Loop thread, but for what says any thread; that is kept in relaxed atomics.
 */
#ifndef SERVER_METRICS_H
#define SERVER_METRICS_H

#include <stddef.h>
#include <stdint.h>

#include "server/exposition.h"
#include "server/job.h"
#include "server/router.h"

/* Why a request was turned away before its work began. */
enum metrics_rejection {
    METRICS_NOT_REJECTED,
    METRICS_QUEUE_FULL,     /* too much waits, or it would not be done in time */
    METRICS_MEMORY_FULL,    /* the bodies in memory have reached their limit */
    METRICS_UPLOADS_FULL,   /* as many uploads are under way as there may be */
    METRICS_DRAINING,       /* the server is about to end */
    METRICS_BODY_TOO_LARGE, /* over the limit for bodies */
    METRICS_BODY_TOO_SLOW,  /* not here in time */
    METRICS_HEAD_TOO_LARGE, /* over what a connection may take for its head */
    METRICS_MALFORMED,      /* HTTP that is wrong, or can be read in two ways */
    METRICS_INCOMPLETE,     /* the connection ended in the middle of the body */
    METRICS_REJECTIONS
};

struct metrics;

/* Counts for every path of the router, which must outlive it. */
enum status metrics_create(const struct router *router, struct metrics **out, struct fail *why);
void metrics_destroy(struct metrics *metrics); /* NULL is allowed */

struct metrics_request {
    const struct router_route *route; /* of the router; NULL: no route took it */
    const char *method;
    int status; /* that went out in full; 499: the client was gone before */
    enum metrics_rejection rejection;
    uint64_t duration_us; /* from its head to the end of the answer */
};

/* A request that is over. */
void metrics_count_request(struct metrics *metrics, const struct metrics_request *request);
/* One that the HTTP library answered by itself: no route, no method, no duration. */
void metrics_count_library_answer(struct metrics *metrics, int status);
/* A connection that has ended. */
void metrics_count_connection(struct metrics *metrics, bool had_request);

/* What a job for pictures spent its time on. */
void metrics_count_stages(struct metrics *metrics, const struct job_timings *timings);
/* Work that was given up because the client has gone, its time was over, or the server ends. */
void metrics_count_cancelled(struct metrics *metrics);

/* What came of a picture: 0 or why it could not be decoded. Any thread. */
void metrics_count_image(struct metrics *metrics, enum image_format format, enum status status);

/* What came of loading a pool. Any thread. */
void metrics_count_pool_load(struct metrics *metrics, enum status status);

/* The prompts that a picture got. Any thread. */
void metrics_note_composition(struct metrics *metrics,
                              const struct engine_composition *composition);

/* All of the above. */
void metrics_write(const struct metrics *metrics, struct exposition *exposition);

#endif
