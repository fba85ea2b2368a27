/*
 * Which work comes next: the line of jobs that wait for a worker, and how they share passes through
 * the model. Pure policy: no threads, no clock (the time is an argument), no memory of its own.
 *
 * Jobs are prepared in the order in which they came. Prepared jobs collect until those that stood
 * in line before the first of them was ready are prepared too, or a batch is full; then they go
 * through the model together. So a lone request never waits for company, under load the batches
 * fill up by themselves, and no stream of new jobs can hold a ready one back. A job is never split
 * between batches; one with more rows than a batch holds makes a batch of its own.
 *
 * Jobs that have been through the model wait to be answered, before anything else is begun: an
 * answer may take as long as a pass (prompted text features), and must not hold up the others of
 * its batch.
 *
 * Holds the jobs that are waiting, ready or to be answered, see job.h. The caller serialises the
 * calls.
 */
#ifndef SERVER_BATCHER_H
#define SERVER_BATCHER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "server/job.h"

struct batcher_list {
    struct job *first, *last;
    size_t jobs;
    size_t rows; /* a job that is not prepared yet counts as one */
};

struct batcher {
    size_t max_rows;
    size_t max_batch_rows;
    struct batcher_list waiting;
    struct batcher_list ready;
    struct batcher_list to_answer;
    double busy_us, done_rows; /* of late, the older the less: what a row costs */
};

enum batcher_action { BATCHER_IDLE, BATCHER_PREPARE, BATCHER_RUN, BATCHER_ANSWER };

void batcher_init(struct batcher *batcher, size_t max_rows, size_t max_batch_rows);

/* A new job. STATUS_LIMIT when max_rows wait already; the job stays the caller's then. */
enum status batcher_push(struct batcher *batcher, struct job *job, uint64_t now_us,
                         struct fail *why);

/* A prepared job, with its rows. Never refused: it was let in before. */
void batcher_push_ready(struct batcher *batcher, struct job *job, uint64_t now_us);

/* A job with its features. Never refused. */
void batcher_push_to_answer(struct batcher *batcher, struct job *job, uint64_t now_us);

/* What a worker should do next. BATCHER_PREPARE and BATCHER_ANSWER give one job, BATCHER_RUN a list
 * linked by `next` with *out_rows rows in all. */
enum batcher_action batcher_next(struct batcher *batcher, uint64_t now_us, struct job **out_jobs,
                                 size_t *out_rows);

/* Takes a job back; false if it is not here (any more). */
bool batcher_remove(struct batcher *batcher, struct job *job);

/* A worker was busy for so long, which finished rows rows (0: none yet). */
void batcher_note_work(struct batcher *batcher, uint64_t busy_us, size_t rows);

/* How long so many workers will take for all that is here, as far as can be told; 0 before anything
 * was finished. */
uint64_t batcher_backlog_us(const struct batcher *batcher, size_t workers);

/* Whether batcher_next would give something. */
bool batcher_has_work(const struct batcher *batcher);

#endif
