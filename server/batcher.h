/*
 * Which work comes next: the line of jobs that wait for a worker, and how they share passes through
 * the model. Pure policy: no threads, no clock (the time is an argument, which never goes back from
 * call to call), no memory of its own.
 *
 * Jobs wait to be prepared, then, ready, for a pass through the model, then to be answered. The
 * promises:
 *
 * Batches. Prepared jobs collect until those that stood in line before the first of them was ready
 * are prepared too, or a batch is full; then they go through the model together. So a lone request
 * never waits for company, and under load the batches fill up by themselves. A job is never split
 * between batches; one with more rows than a batch holds makes a batch of its own.
 *
 * Delay. With a batch_delay_us, ready jobs that do not fill a batch are held back until the first
 * of them has been ready for so long. Until then all that wait are prepared, also those that came
 * later.
 *
 * Nobody starves. Once a job has been ready for batch_delay_us, none that comes later is begun
 * before it has gone through the model, whatever the class of either: no stream of new jobs can
 * hold it back.
 *
 * Answers. Jobs that have been through the model are answered before anything else is begun: an
 * answer may take as long as a pass (prompted text features), and must not hold up the others of
 * its batch.
 *
 * Two classes. In each of the three lines normal jobs go before those of low priority, and within a
 * class those that came first. But a low one that has stood in its line for BATCHER_LOW_PATIENCE_US
 * goes before the normal ones, at most every second turn, so that neither class can keep the other
 * waiting for ever. A batch may mix both.
 *
 * Bounds. A new job is refused when max_rows rows wait or are ready (half of that for one of low
 * priority, so that these leave room for others), or when its body and theirs would be more than
 * max_bytes; but one that finds none of them there is always let in.
 *
 * Holds the jobs that are waiting, ready or to be answered, see job.h. While it holds a job, rows,
 * buffered_bytes and low_priority of the job must not change. The caller serialises the calls.
 */
#ifndef SERVER_BATCHER_H
#define SERVER_BATCHER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "server/histogram.h"
#include "server/job.h"

enum { BATCHER_LOW_PATIENCE_US = 1000000 };

/* Why a batch was begun: it was full, its delay was over, or nobody was in line before it. */
enum batcher_reason { BATCHER_FULL, BATCHER_DELAYED, BATCHER_GREEDY, BATCHER_REASONS };

struct batcher_figures {
    uint64_t batches[BATCHER_REASONS];
    struct histogram rows; /* of batches, by histogram_rows */
};

struct batcher_limits {
    size_t max_rows;  /* 1 or more */
    size_t max_bytes; /* of bodies */
    size_t max_batch_rows;
    uint64_t batch_delay_us;
};

struct batcher_list {
    struct job *first, *last;
    size_t jobs;
    size_t rows; /* a job that is not prepared yet counts as one */
    size_t bytes;
};

struct batcher_line {
    struct batcher_list normal, low;
    bool low_had_turn; /* the last that was taken is of low priority */
};

struct batcher {
    struct batcher_limits limits;
    struct batcher_line waiting;
    struct batcher_line ready;
    struct batcher_line to_answer;
    double busy_us, done_rows; /* of late, the older the less: what a row costs */
    struct batcher_figures figures;
};

enum batcher_action { BATCHER_IDLE, BATCHER_PREPARE, BATCHER_RUN, BATCHER_ANSWER };

void batcher_init(struct batcher *batcher, const struct batcher_limits *limits);

/* STATUS_LIMIT if there is no row left for a new job of that class. */
enum status batcher_check_room(const struct batcher *batcher, bool low_priority, struct fail *why);

/* A new job. STATUS_LIMIT names the bound that it would exceed; the job stays the caller's then. */
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

/* Rows that wait to be prepared or to go through the model. */
size_t batcher_queue_rows(const struct batcher *batcher);

/* Whether batcher_next would give something now. */
bool batcher_has_work(const struct batcher *batcher, uint64_t now_us);

/* When the ready jobs are no longer held back: from then on batcher_next gives something although
 * nothing was added. UINT64_MAX if there are none, they fill a batch, or there is no delay. */
uint64_t batcher_wake_us(const struct batcher *batcher);

#endif
