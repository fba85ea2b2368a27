/*
 * The threads that compute. Each has a session of the engine; one with nothing to do lends itself
 * to the engine's team, so that a lone request uses every core.
 *
 * Background jobs (compiling label sets, loading pools) have a queue and a few threads of their
 * own, which the system runs with less weight: however long they take, pictures go on.
 */
#ifndef SERVER_WORKERS_H
#define SERVER_WORKERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "server/batcher.h"
#include "server/completions.h"
#include "server/job.h"
#include "server/stall.h"

struct workers;

enum { WORKERS_BACKGROUND = 2 };

struct workers_options {
    size_t threads;
    size_t max_queue_rows;  /* of jobs for pictures */
    size_t max_queue_bytes; /* the same; of their bodies */
    size_t max_batch_rows;
    uint64_t batch_delay_us;    /* see batcher.h */
    size_t max_background_jobs; /* that may wait */
};

/* engine and completions must outlive the workers. */
enum status workers_create(struct engine *engine, struct completions *completions,
                           const struct workers_options *options, struct workers **out,
                           struct fail *why);

/* Ends the threads as soon as each has finished what it is doing. No job may be left. */
void workers_destroy(struct workers *workers);

/* Hands a new job over. STATUS_LIMIT when its queue is full, or so long that the job would hardly
 * be done by its deadline: the job stays the caller's. Loop thread. */
enum status workers_submit(struct workers *workers, struct job *job, struct fail *why);

/* STATUS_LIMIT while the queue of pictures takes no job of any priority. Loop thread. */
enum status workers_check_room(struct workers *workers, struct fail *why);

/* What to tell a client whose job was refused: how many seconds the work that waits will take, from
 * 1 to 60. Loop thread. */
unsigned workers_retry_after_s(struct workers *workers, bool background);

/* use(argument, session) for the session of each worker for pictures, until one fails. Before the
 * first job. */
typedef enum status workers_use_session(void *argument, struct engine_session *session,
                                        struct fail *why);
enum status workers_each_session(const struct workers *workers, workers_use_session *use,
                                 void *argument, struct fail *why);

/* Whether a worker for pictures hangs. Those of the background are left out: they hold up no
 * picture, and loading a pool shows no sign of life. Never waits. Any thread. */
struct stall_report workers_check_stall(const struct workers *workers, uint64_t now_us,
                                        uint64_t limit_us);

struct workers_figures {
    size_t queue_rows; /* of jobs for pictures */
    struct batcher_figures batches;
};

void workers_figures(struct workers *workers, struct workers_figures *out);

/* Gives up on a job. True: it was still waiting and is the caller's again. False: a worker has it,
 * and it comes back through completions. Loop thread. */
bool workers_cancel(struct workers *workers, struct job *job);

#endif
