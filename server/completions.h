/*
 * The way back: jobs that have their answer, on the way from the workers to the loop thread.
 */
#ifndef SERVER_COMPLETIONS_H
#define SERVER_COMPLETIONS_H

#include <pthread.h>
#include <stdatomic.h>

#include "server/job.h"

struct completions {
    pthread_mutex_t lock;
    struct job *first, *last;
    atomic_bool deadlines_moved;  /* by job_set_deadline; the loop takes it back */
    void (*wake)(void *argument); /* called from any thread when there is something to collect */
    void *argument;
};

void completions_init(struct completions *completions, void (*wake)(void *), void *argument);
/* The list must be empty. */
void completions_finish(struct completions *completions);

/* Hands over an answered job. Any thread. */
void completions_push(struct completions *completions, struct job *job);

/* All that are there, oldest first, linked by `next`; NULL if none. Loop thread. */
struct job *completions_take(struct completions *completions);

#endif
