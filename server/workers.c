#include "server/workers.h"

#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "engine/base/mem.h"
#include "server/clock.h"
#include "server/test_hook.h"

enum { WORKERS_MOST_RETRY_AFTER_S = 60, WORKERS_BACKGROUND_NICENESS = 5 };

/* A queue and what its threads share. */
struct workers_lane {
    pthread_mutex_t lock;   /* of the batcher; never held while computing */
    pthread_cond_t changed; /* of the background lane, whose threads do not help the team */
    struct batcher batcher;
    /* What the batcher said last. Read without the lock by workers_must_look, which the team calls
     * under a lock of its own. */
    atomic_bool work;
    _Atomic uint64_t wake_us;
};

struct worker {
    struct workers *workers;
    struct workers_lane *lane;
    struct engine_session *session;
    float *pixels;                            /* [max_batch_rows, 3, image_size, image_size] */
    float *features;                          /* [max_batch_rows, joint_width] */
    struct engine_composition **compositions; /* [max_batch_rows], of the jobs */
    uint64_t wake_us;                         /* of the lane, when this worker last looked */
    _Atomic uint64_t sign_us;                 /* of life, see stall.h */
    const struct job *job;                    /* that the session works for */
    pthread_t thread;
    bool started;
};

struct workers {
    struct engine *engine;
    struct completions *completions;
    size_t max_batch_rows, max_background_jobs;
    size_t pixels_per_row, joint_width;

    struct workers_lane pictures, background;
    atomic_bool stopping;

    size_t picture_threads;
    size_t count; /* WORKERS_BACKGROUND more */
    struct worker workers[];
};

/* ---- Lanes ---- */

static void workers_lane_init(struct workers_lane *lane, const struct batcher_limits *limits)
{
    pthread_mutex_init(&lane->lock, NULL);
    pthread_cond_init(&lane->changed, NULL);
    batcher_init(&lane->batcher, limits);
    atomic_store(&lane->wake_us, UINT64_MAX);
}

static void workers_lane_finish(struct workers_lane *lane)
{
    pthread_cond_destroy(&lane->changed);
    pthread_mutex_destroy(&lane->lock);
}

/* Under the lane's lock, after every change of its batcher. True: workers that sleep must be told,
 * or they sleep past the end of a delay. */
static bool workers_note_change(struct workers_lane *lane, uint64_t now_us)
{
    uint64_t wake_us = batcher_wake_us(&lane->batcher);
    bool earlier = wake_us < atomic_load(&lane->wake_us);
    atomic_store(&lane->work, batcher_has_work(&lane->batcher, now_us));
    atomic_store(&lane->wake_us, wake_us);
    return earlier;
}

/* Whether a worker that sleeps must look at its lane again: there is work, or it would wake at a
 * time that is no longer right. */
static bool workers_must_look(void *argument)
{
    const struct worker *worker = argument;
    const struct workers_lane *lane = worker->lane;
    return atomic_load(&lane->work) || atomic_load(&lane->wake_us) != worker->wake_us ||
           atomic_load(&worker->workers->stopping);
}

static void workers_wake(struct workers *workers, struct workers_lane *lane)
{
    if (lane == &workers->pictures)
        engine_team_notify(workers->engine);
    else
        pthread_cond_broadcast(&lane->changed);
}

/* A thread of less weight that took a part of a pass would hold up the whole, so those of the
 * background sleep by themselves. */
static void workers_sleep(struct worker *worker)
{
    struct workers *workers = worker->workers;
    struct workers_lane *lane = worker->lane;
    if (lane == &workers->pictures) {
        engine_team_serve(workers->engine, workers_must_look, worker, worker->wake_us);
        return;
    }
    pthread_mutex_lock(&lane->lock);
    while (!workers_must_look(worker))
        pthread_cond_wait(&lane->changed, &lane->lock);
    pthread_mutex_unlock(&lane->lock);
}

/* ---- What a worker does ---- */

static void workers_answer_failure(struct job *job, const struct fail *why)
{
    reply_set_problem(&job->reply, 500, "internal", why->message, job->request_id);
}

static struct job_tools workers_tools(struct worker *worker)
{
    return (struct job_tools){
        .engine = worker->workers->engine,
        .session = worker->session,
        .completions = worker->workers->completions,
        .sign_us = &worker->sign_us,
    };
}

static void workers_show_life(struct worker *worker)
{
    atomic_store_explicit(&worker->sign_us, clock_now_us(), memory_order_relaxed);
}

static bool workers_job_is_cancelled(void *argument)
{
    struct worker *worker = argument;
    workers_show_life(worker);
    return atomic_load(&worker->job->cancelled);
}

/* What follows is for this job, and stops with it. NULL: for none. */
static void workers_set_job(struct worker *worker, const struct job *job)
{
    worker->job = job;
    engine_session_set_stop(worker->session, job ? workers_job_is_cancelled : NULL, worker);
}

static void workers_prepare(struct worker *worker, struct job *job)
{
    struct workers *workers = worker->workers;
    const struct job_tools tools = workers_tools(worker);
    uint64_t started_us = clock_now_us();
    workers_set_job(worker, job);
    job->kind->prepare(job, &tools);
    workers_set_job(worker, NULL);
    if (!job->reply.status && job->rows) {
        job->features = mem_aligned(job->rows, workers->joint_width * sizeof(float));
        if (!job->features)
            workers_answer_failure(job, &(struct fail){.message = "no memory for the features"});
    }
    job->timings.decode_us += clock_now_us() - started_us - job->timings.text_us;
    if (job->reply.status || !job->rows) {
        completions_push(workers->completions, job);
        return;
    }
    struct workers_lane *lane = worker->lane;
    pthread_mutex_lock(&lane->lock);
    uint64_t now_us = clock_now_us();
    batcher_push_ready(&lane->batcher, job, now_us);
    workers_note_change(lane, now_us);
    pthread_mutex_unlock(&lane->lock);
    workers_wake(workers, lane);
}

/* One job, straight from its own memory; in passes if it has more rows than one holds. */
static enum status workers_embed_job(struct worker *worker, struct job *job, struct fail *why)
{
    const struct workers *workers = worker->workers;
    for (size_t row = 0; row < job->rows; row += workers->max_batch_rows) {
        if (atomic_load(&job->cancelled))
            return status_fail(why, STATUS_CANCELLED, "cancelled");
        workers_show_life(worker);
        size_t left = job->rows - row;
        size_t count = left < workers->max_batch_rows ? left : workers->max_batch_rows;
        enum status status =
            engine_compose_images(worker->session, job->pixels + row * workers->pixels_per_row,
                                  count, job->compositions ? job->compositions + row : NULL,
                                  job->features + row * workers->joint_width, why);
        if (status)
            return status;
        job->timings.retrieve_us += engine_session_retrieve_us(worker->session);
    }
    return STATUS_OK;
}

/* Several jobs that fit one pass together. */
static enum status workers_embed_batch(struct worker *worker, struct job *jobs, size_t rows,
                                       struct fail *why)
{
    const struct workers *workers = worker->workers;
    float *pixels = worker->pixels;
    size_t row = 0;
    for (const struct job *job = jobs; job; job = job->next) {
        size_t floats = job->rows * workers->pixels_per_row;
        memcpy(pixels, job->pixels, floats * sizeof *pixels);
        pixels += floats;
        for (size_t i = 0; i < job->rows; i++)
            worker->compositions[row++] = job->compositions ? job->compositions[i] : NULL;
    }
    enum status status = engine_compose_images(worker->session, worker->pixels, rows,
                                               worker->compositions, worker->features, why);
    if (status)
        return status;
    const float *features = worker->features;
    for (struct job *job = jobs; job; job = job->next) {
        size_t floats = job->rows * workers->joint_width;
        memcpy(job->features, features, floats * sizeof *features);
        features += floats;
        job->timings.retrieve_us = engine_session_retrieve_us(worker->session);
    }
    return STATUS_OK;
}

/* Of a batch that went through the model: each to the line of those to be answered. */
static void workers_hand_on(struct workers *workers, struct job *jobs)
{
    struct workers_lane *lane = &workers->pictures;
    pthread_mutex_lock(&lane->lock);
    uint64_t now_us = clock_now_us();
    for (struct job *job = jobs, *next; job; job = next) {
        next = job->next;
        batcher_push_to_answer(&lane->batcher, job, now_us);
    }
    workers_note_change(lane, now_us);
    pthread_mutex_unlock(&lane->lock);
    workers_wake(workers, lane);
}

static void workers_answer(struct worker *worker, struct job *job)
{
    const struct job_tools tools = workers_tools(worker);
    workers_set_job(worker, job);
    if (!atomic_load(&job->cancelled))
        job->kind->answer(job, &tools);
    workers_set_job(worker, NULL);
    completions_push(worker->workers->completions, job);
}

static void workers_run(struct worker *worker, struct job *jobs, size_t rows)
{
    struct workers *workers = worker->workers;
    struct fail why = {.message = ""};
    uint64_t started_us = clock_now_us();
    enum status status = jobs->next ? workers_embed_batch(worker, jobs, rows, &why)
                                    : workers_embed_job(worker, jobs, &why);
    uint64_t image_us = clock_now_us() - started_us;
    for (struct job *job = jobs; job; job = job->next)
        job->timings.image_us = image_us - job->timings.retrieve_us;
    if (!status && !jobs->next) {
        workers_answer(worker, jobs);
        return;
    }
    if (!status) {
        workers_hand_on(workers, jobs);
        return;
    }
    for (struct job *job = jobs, *next; job; job = next) {
        next = job->next;
        workers_answer_failure(job, &why);
        completions_push(workers->completions, job);
    }
}

static void workers_do(struct worker *worker, enum batcher_action action, struct job *jobs,
                       size_t rows)
{
    struct workers_lane *lane = worker->lane;
    uint64_t started_us = clock_now_us();
    atomic_store_explicit(&worker->sign_us, started_us, memory_order_relaxed);
    test_hook_hold_worker();
    if (action == BATCHER_PREPARE)
        workers_prepare(worker, jobs);
    else if (action == BATCHER_RUN)
        workers_run(worker, jobs, rows);
    else
        workers_answer(worker, jobs);
    pthread_mutex_lock(&lane->lock);
    size_t done = lane == &worker->workers->background ? 1 : action == BATCHER_RUN ? rows : 0;
    batcher_note_work(&lane->batcher, clock_now_us() - started_us, done);
    pthread_mutex_unlock(&lane->lock);
    atomic_store_explicit(&worker->sign_us, 0, memory_order_relaxed);
}

static void *workers_main(void *argument)
{
    struct worker *worker = argument;
    struct workers *workers = worker->workers;
    struct workers_lane *lane = worker->lane;
    if (lane == &workers->background) /* of this thread alone, on Linux */
        setpriority(PRIO_PROCESS, (id_t)gettid(), WORKERS_BACKGROUND_NICENESS);
    while (!atomic_load(&workers->stopping)) {
        struct job *jobs = NULL;
        size_t rows = 0;
        pthread_mutex_lock(&lane->lock);
        uint64_t now_us = clock_now_us();
        enum batcher_action action = batcher_next(&lane->batcher, now_us, &jobs, &rows);
        bool earlier = workers_note_change(lane, now_us);
        worker->wake_us = atomic_load(&lane->wake_us);
        pthread_mutex_unlock(&lane->lock);
        if (earlier)
            workers_wake(workers, lane);
        if (action != BATCHER_IDLE)
            workers_do(worker, action, jobs, rows);
        else
            workers_sleep(worker);
    }
    return NULL;
}

/* ---- The outside ---- */

/* Of a worker for pictures: a whole batch. */
static enum status workers_allocate(struct worker *worker, struct fail *why)
{
    const struct workers *workers = worker->workers;
    worker->pixels = mem_aligned(workers->max_batch_rows, workers->pixels_per_row * sizeof(float));
    worker->features = mem_aligned(workers->max_batch_rows, workers->joint_width * sizeof(float));
    worker->compositions = mem_zeroed(workers->max_batch_rows, sizeof *worker->compositions);
    if (!worker->pixels || !worker->features || !worker->compositions)
        return status_fail(why, STATUS_NO_MEMORY, "no memory for a batch of %zu pictures",
                           workers->max_batch_rows);
    return STATUS_OK;
}

static enum status workers_start(struct workers *workers, struct worker *worker,
                                 struct workers_lane *lane, struct fail *why)
{
    bool pictures = lane == &workers->pictures;
    worker->workers = workers;
    worker->lane = lane;
    enum status status = engine_session_create(
        workers->engine, pictures ? workers->max_batch_rows : 1, &worker->session, why);
    if (!status && pictures)
        status = workers_allocate(worker, why);
    if (status)
        return status;
    /* Signals are for the loop thread. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&worker->thread, NULL, workers_main, worker);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error)
        return status_fail(why, STATUS_IO, "cannot start a thread: %s", strerror(error));
    worker->started = true;
    return STATUS_OK;
}

enum status workers_create(struct engine *engine, struct completions *completions,
                           const struct workers_options *options, struct workers **out,
                           struct fail *why)
{
    size_t count = options->threads + WORKERS_BACKGROUND;
    struct workers *workers = mem_zeroed(1, sizeof *workers + count * sizeof workers->workers[0]);
    if (!workers)
        return status_fail(why, STATUS_NO_MEMORY, "no memory for %zu workers", options->threads);
    const struct engine_info *info = engine_info(engine);
    workers->engine = engine;
    workers->completions = completions;
    workers->max_batch_rows = options->max_batch_rows;
    workers->max_background_jobs = options->max_background_jobs;
    workers->pixels_per_row = 3 * info->image_size * info->image_size;
    workers->joint_width = info->joint_width;
    workers_lane_init(&workers->pictures,
                      &(struct batcher_limits){.max_rows = options->max_queue_rows,
                                               .max_bytes = options->max_queue_bytes,
                                               .max_batch_rows = options->max_batch_rows,
                                               .batch_delay_us = options->batch_delay_us});
    workers_lane_init(&workers->background,
                      &(struct batcher_limits){.max_rows = options->max_background_jobs,
                                               .max_bytes = SIZE_MAX,
                                               .max_batch_rows = 1});
    workers->picture_threads = options->threads;
    workers->count = count;
    for (size_t i = 0; i < count; i++) {
        struct workers_lane *lane =
            i < options->threads ? &workers->pictures : &workers->background;
        enum status status = workers_start(workers, &workers->workers[i], lane, why);
        if (status) {
            workers_destroy(workers);
            return status;
        }
    }
    *out = workers;
    return STATUS_OK;
}

void workers_destroy(struct workers *workers)
{
    if (!workers)
        return;
    pthread_mutex_lock(&workers->background.lock);
    atomic_store(&workers->stopping, true);
    pthread_mutex_unlock(&workers->background.lock);
    workers_wake(workers, &workers->pictures);
    workers_wake(workers, &workers->background);
    for (size_t i = 0; i < workers->count; i++)
        if (workers->workers[i].started)
            pthread_join(workers->workers[i].thread, NULL);
    for (size_t i = 0; i < workers->count; i++) {
        engine_session_destroy(workers->workers[i].session);
        free(workers->workers[i].pixels);
        free(workers->workers[i].features);
        free(workers->workers[i].compositions);
    }
    workers_lane_finish(&workers->pictures);
    workers_lane_finish(&workers->background);
    free(workers);
}

static struct workers_lane *workers_lane_of(struct workers *workers, const struct job *job)
{
    return job->kind->background ? &workers->background : &workers->pictures;
}

/* Under the lane's lock. Work that is thrown away at its deadline takes the place of work that
 * would be done. Half as much again as the backlog is for the passes under way, and for being
 * wrong. */
static enum status workers_check_time(const struct workers *workers, const struct job *job,
                                      uint64_t now_us, struct fail *why)
{
    if (job->kind->background)
        return STATUS_OK;
    uint64_t deadline_us = atomic_load(&job->deadline_us);
    uint64_t backlog_us = batcher_backlog_us(&workers->pictures.batcher, workers->picture_threads);
    if (!backlog_us || now_us + backlog_us * 3 / 2 < deadline_us)
        return STATUS_OK;
    uint64_t left_us = deadline_us > now_us ? deadline_us - now_us : 0;
    return status_fail(why, STATUS_LIMIT,
                       "the pictures that wait will take %" PRIu64
                       " ms, and the request has %" PRIu64,
                       backlog_us / 1000, left_us / 1000);
}

enum status workers_submit(struct workers *workers, struct job *job, struct fail *why)
{
    struct workers_lane *lane = workers_lane_of(workers, job);
    pthread_mutex_lock(&lane->lock);
    uint64_t now_us = clock_now_us();
    enum status status = workers_check_time(workers, job, now_us, why);
    if (!status)
        status = batcher_push(&lane->batcher, job, now_us, why);
    workers_note_change(lane, now_us);
    pthread_mutex_unlock(&lane->lock);
    if (!status)
        workers_wake(workers, lane);
    else if (job->kind->background)
        status_fail(why, STATUS_LIMIT, "%zu changes of label sets and pools wait already",
                    workers->max_background_jobs);
    return status;
}

enum status workers_check_room(struct workers *workers, struct fail *why)
{
    struct workers_lane *lane = &workers->pictures;
    pthread_mutex_lock(&lane->lock);
    enum status status = batcher_check_room(&lane->batcher, false, why);
    pthread_mutex_unlock(&lane->lock);
    return status;
}

bool workers_cancel(struct workers *workers, struct job *job)
{
    struct workers_lane *lane = workers_lane_of(workers, job);
    atomic_store(&job->cancelled, true);
    pthread_mutex_lock(&lane->lock);
    bool removed = batcher_remove(&lane->batcher, job);
    bool earlier = workers_note_change(lane, clock_now_us());
    pthread_mutex_unlock(&lane->lock);
    if (earlier)
        workers_wake(workers, lane);
    return removed;
}

unsigned workers_retry_after_s(struct workers *workers, bool background)
{
    struct workers_lane *lane = background ? &workers->background : &workers->pictures;
    size_t threads = background ? WORKERS_BACKGROUND : workers->picture_threads;
    pthread_mutex_lock(&lane->lock);
    uint64_t backlog_us = batcher_backlog_us(&lane->batcher, threads);
    pthread_mutex_unlock(&lane->lock);
    uint64_t seconds = (backlog_us + 999999) / 1000000;
    return seconds < 1                            ? 1
           : seconds > WORKERS_MOST_RETRY_AFTER_S ? WORKERS_MOST_RETRY_AFTER_S
                                                  : (unsigned)seconds;
}

enum status workers_each_session(const struct workers *workers, workers_use_session *use,
                                 void *argument, struct fail *why)
{
    enum status status = STATUS_OK;
    for (size_t i = 0; i < workers->picture_threads && !status; i++)
        status = use(argument, workers->workers[i].session, why);
    return status;
}

struct stall_report workers_check_stall(const struct workers *workers, uint64_t now_us,
                                        uint64_t limit_us)
{
    uint64_t signs_us[ENGINE_MAX_THREADS];
    for (size_t i = 0; i < workers->picture_threads; i++)
        signs_us[i] = atomic_load_explicit(&workers->workers[i].sign_us, memory_order_relaxed);
    return stall_judge(signs_us, workers->picture_threads, now_us, limit_us);
}

void workers_figures(struct workers *workers, struct workers_figures *out)
{
    struct workers_lane *lane = &workers->pictures;
    pthread_mutex_lock(&lane->lock);
    out->queue_rows = batcher_queue_rows(&lane->batcher);
    out->batches = lane->batcher.figures;
    pthread_mutex_unlock(&lane->lock);
}
