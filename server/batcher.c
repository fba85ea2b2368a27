#include "server/batcher.h"

static size_t batcher_weight(const struct job *job)
{
    return job->rows ? job->rows : 1;
}

static void batcher_append(struct batcher_list *list, struct job *job, enum job_line line,
                           uint64_t now_us)
{
    job->line = line;
    job->waiting_since_us = now_us;
    job->next = NULL;
    job->previous = list->last;
    if (list->last)
        list->last->next = job;
    else
        list->first = job;
    list->last = job;
    list->jobs++;
    list->rows += batcher_weight(job);
}

static void batcher_unlink(struct batcher_list *list, struct job *job)
{
    if (job->previous)
        job->previous->next = job->next;
    else
        list->first = job->next;
    if (job->next)
        job->next->previous = job->previous;
    else
        list->last = job->previous;
    job->previous = job->next = NULL;
    job->line = JOB_IN_NO_LINE;
    list->jobs--;
    list->rows -= batcher_weight(job);
}

static struct job *batcher_take_first(struct batcher_list *list, uint64_t now_us)
{
    struct job *job = list->first;
    batcher_unlink(list, job);
    job->timings.queue_us += now_us - job->waiting_since_us;
    return job;
}

void batcher_init(struct batcher *batcher, size_t max_rows, size_t max_batch_rows)
{
    *batcher = (struct batcher){.max_rows = max_rows, .max_batch_rows = max_batch_rows};
}

enum status batcher_push(struct batcher *batcher, struct job *job, uint64_t now_us,
                         struct fail *why)
{
    if (batcher->waiting.rows + batcher->ready.rows >= batcher->max_rows)
        return status_fail(why, STATUS_LIMIT, "the queue is full (%zu pictures)",
                           batcher->max_rows);
    batcher_append(&batcher->waiting, job, JOB_WAITING, now_us);
    return STATUS_OK;
}

void batcher_push_ready(struct batcher *batcher, struct job *job, uint64_t now_us)
{
    batcher_append(&batcher->ready, job, JOB_READY, now_us);
}

void batcher_push_to_answer(struct batcher *batcher, struct job *job, uint64_t now_us)
{
    batcher_append(&batcher->to_answer, job, JOB_TO_ANSWER, now_us);
}

/* A ready job waits only for those that stood in line before it was ready: jobs that come to
 * nothing would keep it for ever. */
static bool batcher_prepares_next(const struct batcher *batcher)
{
    const struct job *waiting = batcher->waiting.first, *ready = batcher->ready.first;
    return waiting && batcher->ready.rows < batcher->max_batch_rows &&
           (!ready || waiting->waiting_since_us <= ready->waiting_since_us);
}

enum batcher_action batcher_next(struct batcher *batcher, uint64_t now_us, struct job **out_jobs,
                                 size_t *out_rows)
{
    if (batcher->to_answer.first) {
        *out_jobs = batcher_take_first(&batcher->to_answer, now_us);
        *out_rows = 0;
        return BATCHER_ANSWER;
    }
    if (batcher_prepares_next(batcher)) {
        *out_jobs = batcher_take_first(&batcher->waiting, now_us);
        *out_rows = 0;
        return BATCHER_PREPARE;
    }
    if (!batcher->ready.first)
        return BATCHER_IDLE;
    struct job *first = batcher_take_first(&batcher->ready, now_us);
    struct job *last = first;
    size_t rows = first->rows;
    while (batcher->ready.first && rows + batcher->ready.first->rows <= batcher->max_batch_rows) {
        last->next = batcher_take_first(&batcher->ready, now_us);
        last = last->next;
        rows += last->rows;
    }
    *out_jobs = first;
    *out_rows = rows;
    return BATCHER_RUN;
}

bool batcher_remove(struct batcher *batcher, struct job *job)
{
    if (job->line == JOB_IN_NO_LINE)
        return false;
    batcher_unlink(job->line == JOB_WAITING ? &batcher->waiting
                   : job->line == JOB_READY ? &batcher->ready
                                            : &batcher->to_answer,
                   job);
    return true;
}

/* So that about the last ten batches count. */
static const double batcher_fading = 0.9;

void batcher_note_work(struct batcher *batcher, uint64_t busy_us, size_t rows)
{
    batcher->busy_us += (double)busy_us;
    if (!rows)
        return;
    batcher->busy_us *= batcher_fading;
    batcher->done_rows = batcher_fading * (batcher->done_rows + (double)rows);
}

uint64_t batcher_backlog_us(const struct batcher *batcher, size_t workers)
{
    if (!(batcher->done_rows > 0))
        return 0;
    size_t rows = batcher->waiting.rows + batcher->ready.rows + batcher->to_answer.rows;
    return (uint64_t)((double)rows * batcher->busy_us / batcher->done_rows / (double)workers);
}

bool batcher_has_work(const struct batcher *batcher)
{
    return batcher->waiting.first || batcher->ready.first || batcher->to_answer.first;
}
