#include "server/batcher.h"

static size_t batcher_weight(const struct job *job)
{
    return job->rows ? job->rows : 1;
}

static struct batcher_list *batcher_list_of(struct batcher_line *line, const struct job *job)
{
    return job->low_priority ? &line->low : &line->normal;
}

static size_t batcher_rows(const struct batcher_line *line)
{
    return line->normal.rows + line->low.rows;
}

size_t batcher_queue_rows(const struct batcher *batcher)
{
    return batcher_rows(&batcher->waiting) + batcher_rows(&batcher->ready);
}

static size_t batcher_bytes(const struct batcher_line *line)
{
    return line->normal.bytes + line->low.bytes;
}

static bool batcher_is_empty(const struct batcher_line *line)
{
    return !line->normal.first && !line->low.first;
}

static void batcher_append(struct batcher_line *queue, struct job *job, enum job_line line,
                           uint64_t now_us)
{
    struct batcher_list *list = batcher_list_of(queue, job);
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
    list->bytes += job->buffered_bytes;
}

static void batcher_unlink(struct batcher_line *line, struct job *job)
{
    struct batcher_list *list = batcher_list_of(line, job);
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
    list->bytes -= job->buffered_bytes;
}

/* Whose turn it is; NULL if the line is empty. */
static struct job *batcher_first(const struct batcher_line *line, uint64_t now_us)
{
    struct job *normal = line->normal.first, *low = line->low.first;
    if (!normal || !low)
        return normal ? normal : low;
    bool impatient = now_us - low->waiting_since_us >= BATCHER_LOW_PATIENCE_US;
    return impatient && !line->low_had_turn ? low : normal;
}

/* NULL if the line is empty. */
static const struct job *batcher_oldest(const struct batcher_line *line)
{
    const struct job *normal = line->normal.first, *low = line->low.first;
    if (!normal || !low)
        return normal ? normal : low;
    return normal->waiting_since_us <= low->waiting_since_us ? normal : low;
}

static struct job *batcher_take(struct batcher_line *line, struct job *job, uint64_t now_us)
{
    batcher_unlink(line, job);
    line->low_had_turn = job->low_priority;
    job->timings.queue_us += now_us - job->waiting_since_us;
    return job;
}

void batcher_init(struct batcher *batcher, const struct batcher_limits *limits)
{
    *batcher = (struct batcher){.limits = *limits};
}

enum status batcher_check_room(const struct batcher *batcher, bool low_priority, struct fail *why)
{
    size_t most = batcher->limits.max_rows;
    if (low_priority)
        most = (most + 1) / 2;
    if (batcher_queue_rows(batcher) < most)
        return STATUS_OK;
    return status_fail(why, STATUS_LIMIT, "the queue is full (%zu pictures%s)", most,
                       low_priority ? " for low priority" : "");
}

enum status batcher_push(struct batcher *batcher, struct job *job, uint64_t now_us,
                         struct fail *why)
{
    const struct batcher_limits *limits = &batcher->limits;
    size_t bytes = batcher_bytes(&batcher->waiting) + batcher_bytes(&batcher->ready);
    bool alone = batcher_is_empty(&batcher->waiting) && batcher_is_empty(&batcher->ready);
    if (batcher_check_room(batcher, job->low_priority, why))
        return STATUS_LIMIT;
    if (!alone && (bytes > limits->max_bytes || job->buffered_bytes > limits->max_bytes - bytes))
        return status_fail(why, STATUS_LIMIT, "the queue is full (%zu bytes of bodies)",
                           limits->max_bytes);
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

static bool batcher_fills_batch(const struct batcher *batcher)
{
    return batcher_rows(&batcher->ready) >= batcher->limits.max_batch_rows;
}

/* Whether there are ready jobs that wait for company. */
static bool batcher_holds_back(const struct batcher *batcher, uint64_t now_us)
{
    const struct job *oldest = batcher_oldest(&batcher->ready);
    return oldest && !batcher_fills_batch(batcher) &&
           now_us - oldest->waiting_since_us < batcher->limits.batch_delay_us;
}

/* The job to prepare now, or NULL. A ready job that is not held back waits only for those that
 * stood in line before it was ready: jobs that come to nothing would keep it for ever. */
static struct job *batcher_to_prepare(const struct batcher *batcher, uint64_t now_us)
{
    struct job *waiting = batcher_first(&batcher->waiting, now_us);
    const struct job *ready = batcher_oldest(&batcher->ready);
    if (!waiting || batcher_fills_batch(batcher))
        return NULL;
    bool stood_before = !ready || waiting->waiting_since_us <= ready->waiting_since_us;
    return stood_before || batcher_holds_back(batcher, now_us) ? waiting : NULL;
}

static struct job *batcher_take_batch(struct batcher *batcher, uint64_t now_us, size_t *out_rows)
{
    struct batcher_line *ready = &batcher->ready;
    struct job *first = batcher_take(ready, batcher_first(ready, now_us), now_us);
    struct job *last = first, *next;
    size_t rows = first->rows;
    while ((next = batcher_first(ready, now_us)) &&
           rows + next->rows <= batcher->limits.max_batch_rows) {
        last->next = batcher_take(ready, next, now_us);
        last = next;
        rows += last->rows;
    }
    *out_rows = rows;
    return first;
}

enum batcher_action batcher_next(struct batcher *batcher, uint64_t now_us, struct job **out_jobs,
                                 size_t *out_rows)
{
    *out_rows = 0;
    struct job *job = batcher_first(&batcher->to_answer, now_us);
    if (job) {
        *out_jobs = batcher_take(&batcher->to_answer, job, now_us);
        return BATCHER_ANSWER;
    }
    job = batcher_to_prepare(batcher, now_us);
    if (job) {
        *out_jobs = batcher_take(&batcher->waiting, job, now_us);
        return BATCHER_PREPARE;
    }
    if (batcher_is_empty(&batcher->ready) || batcher_holds_back(batcher, now_us))
        return BATCHER_IDLE;
    enum batcher_reason reason = batcher_fills_batch(batcher)     ? BATCHER_FULL
                                 : batcher->limits.batch_delay_us ? BATCHER_DELAYED
                                                                  : BATCHER_GREEDY;
    *out_jobs = batcher_take_batch(batcher, now_us, out_rows);
    batcher->figures.batches[reason]++;
    histogram_add(&batcher->figures.rows, &histogram_rows, *out_rows);
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
    size_t rows = batcher_queue_rows(batcher) + batcher_rows(&batcher->to_answer);
    return (uint64_t)((double)rows * batcher->busy_us / batcher->done_rows / (double)workers);
}

bool batcher_has_work(const struct batcher *batcher, uint64_t now_us)
{
    return !batcher_is_empty(&batcher->to_answer) || !batcher_is_empty(&batcher->waiting) ||
           (!batcher_is_empty(&batcher->ready) && !batcher_holds_back(batcher, now_us));
}

uint64_t batcher_wake_us(const struct batcher *batcher)
{
    const struct job *oldest = batcher_oldest(&batcher->ready);
    if (!oldest || !batcher->limits.batch_delay_us || batcher_fills_batch(batcher))
        return UINT64_MAX;
    return oldest->waiting_since_us + batcher->limits.batch_delay_us;
}
