/*
 * The work of one request that is more than a look-up: pictures to decode, a pass through the
 * model, an answer to write.
 *
 * A job has exactly one owner at a time, and only the owner touches it:
 *
 *   state      owner            who hands it on, and to whom
 *   ---------  ---------------  -------------------------------------------------------------
 *   new        handler (loop)   request_submit -> batcher
 *   waiting    batcher          a worker takes it to prepare; the loop may take it back
 *   preparing  one worker       -> batcher (it has rows) or completions (it has its answer)
 *   ready      batcher          a worker takes it into a batch; the loop may take it back
 *   running    one worker       -> batcher (it has features) or completions (the pass failed)
 *   to answer  batcher          a worker takes it; the loop may take it back
 *   answering  one worker       -> completions, with its answer
 *   done       completions      the loop collects it, answers the request and destroys it
 *
 * Three things stand outside that rule. `request` belongs to the loop thread in every state: it
 * becomes NULL when the request ended without the job (deadline, shutdown, connection closed), and
 * then the job is destroyed when it comes back. `cancelled` and `deadline_us` are atomic: the loop
 * sets the first and a worker reads it to stop early; a worker may set the second, once it has read
 * a time-out in the body, and the loop reads it. `line` is the batcher's alone.
 */
#ifndef SERVER_JOB_H
#define SERVER_JOB_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/engine.h"
#include "server/reply.h"

enum job_line { JOB_IN_NO_LINE, JOB_WAITING, JOB_READY, JOB_TO_ANSWER };

struct completions;
struct job;
struct request;

/* What a worker lends to the functions of a job. */
struct job_tools {
    struct engine *engine;
    struct engine_session *session;
    struct completions *completions;
    _Atomic uint64_t *sign_us; /* of life, see stall.h */
};

/* What the kinds of work differ in. All but destroy run on a worker. */
struct job_kind {
    /* Has threads of its own, and no rows: what may take long and must not hold up pictures. */
    bool background;
    /* Reads the request and decodes its pictures into `pixels` and `rows`, and makes `compositions`
     * for them if they are to have any; or sets `reply`, and the
     * job is done. Should stop early, with neither, when it finds the job cancelled. */
    void (*prepare)(struct job *job, const struct job_tools *tools);
    /* Sets `reply` from `features` and `compositions`. */
    void (*answer)(struct job *job, const struct job_tools *tools);
    /* Frees the job and all it owns, calling job_finish for this struct. */
    void (*destroy)(struct job *job);
};

struct job_timings {
    uint64_t queue_us;    /* waiting, in all */
    uint64_t decode_us;   /* reading the body, decoding and resizing pictures: what `prepare` took
                           * but for the text_us that it set itself */
    uint64_t image_us;    /* the pass that this job's pictures were in, but for retrieve_us */
    uint64_t retrieve_us; /* of that pass, choosing prompts */
    uint64_t text_us;     /* compiling labels, scores */
};

enum { JOB_REQUEST_ID_BYTES = 65, JOB_NAME_BYTES = 65 };

/* Which label set and pool the work was done with; "": none that has a name. */
struct job_used {
    char label_set[JOB_NAME_BYTES], pool[JOB_NAME_BYTES];
    uint64_t label_set_version, pool_version;
};

struct job {
    const struct job_kind *kind;
    struct request *request;
    atomic_bool cancelled;
    _Atomic uint64_t deadline_us; /* of clock_now_us */

    bool low_priority; /* waits for those that are not, within bounds: see batcher.h */
    enum job_line line;
    struct job *previous, *next; /* in whatever list its owner keeps */
    char request_id[JOB_REQUEST_ID_BYTES];
    uint64_t created_us;
    uint64_t waiting_since_us;
    size_t buffered_bytes; /* of the body, in the loop's account of memory */
    struct job_timings timings;
    struct job_used used; /* for the log; set by prepare */

    size_t rows;     /* pictures; 0 until prepared */
    float *pixels;   /* [rows, 3, image_size, image_size]; aligned, owned */
    float *features; /* [rows, joint_width]; aligned, owned, allocated by the worker */
    /* [rows], each owned, made by prepare for the worker to fill; NULL: nobody asks for any. */
    struct engine_composition **compositions;

    struct reply reply;
};

void job_init(struct job *job, const struct job_kind *kind);
void job_finish(struct job *job);

/* Moves the deadline of a job that a worker holds, and lets the loop know. */
void job_set_deadline(struct job *job, uint64_t deadline_us, const struct job_tools *tools);

/* For work that takes long without passes through the model. */
void job_show_life(const struct job_tools *tools);

#endif
