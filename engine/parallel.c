#include "engine/parallel.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "engine/base/mem.h"

/* Lives on the stack of the thread that opened it, which leaves only when no helper is inside. */
struct parallel_region {
    void (*chunk)(void *, size_t);
    void *argument;
    size_t chunks;
    atomic_size_t next_chunk;
    atomic_size_t helpers_inside; /* changed under the team's lock */
    struct parallel_region *next;
};

struct parallel_team {
    pthread_mutex_t lock;
    pthread_cond_t changed;  /* a region opened, a done() may have changed, or the end; of
                              * CLOCK_MONOTONIC */
    pthread_cond_t finished; /* a helper left a region */
    struct parallel_region *open;
    atomic_uint opened; /* regions ever opened, so that a helper can look without the lock */
    size_t idle;        /* threads waiting on `changed` */
    bool stopping;
    pthread_t *helpers;
    size_t helper_count;
};

/* The regions of one call follow each other closely, and waking a thread costs more than many of
 * them. So a thread that has just worked looks this often before it sleeps, for about 10
 * microseconds. */
enum { PARALLEL_LOOKS = 400 };

static void parallel_pause(void)
{
#ifdef __x86_64__
    __builtin_ia32_pause();
#endif
}

static void parallel_run_chunks(struct parallel_region *region)
{
    size_t index;
    while ((index = atomic_fetch_add_explicit(&region->next_chunk, 1, memory_order_relaxed)) <
           region->chunks)
        region->chunk(region->argument, index);
}

static bool parallel_has_chunks(struct parallel_region *region)
{
    return atomic_load_explicit(&region->next_chunk, memory_order_relaxed) < region->chunks;
}

/* Under the lock. Helps one open region, if any has chunks left. */
static bool parallel_help(struct parallel_team *team)
{
    struct parallel_region *region = team->open;
    while (region && !parallel_has_chunks(region))
        region = region->next;
    if (!region)
        return false;
    atomic_fetch_add(&region->helpers_inside, 1);
    pthread_mutex_unlock(&team->lock);
    parallel_run_chunks(region);
    pthread_mutex_lock(&team->lock);
    if (atomic_fetch_sub(&region->helpers_inside, 1) == 1)
        pthread_cond_broadcast(&team->finished);
    return true;
}

static void parallel_look_for_more(struct parallel_team *team, unsigned seen)
{
    for (int look = 0; look < PARALLEL_LOOKS; look++) {
        if (atomic_load_explicit(&team->opened, memory_order_acquire) != seen)
            return;
        parallel_pause();
    }
}

static bool parallel_is_time(uint64_t wake_us)
{
    if (wake_us == UINT64_MAX)
        return false;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000 >= wake_us;
}

/* Under the lock. */
static void parallel_sleep(struct parallel_team *team, uint64_t wake_us)
{
    const struct timespec wake = {.tv_sec = (time_t)(wake_us / 1000000),
                                  .tv_nsec = (long)(wake_us % 1000000 * 1000)};
    team->idle++;
    if (wake_us == UINT64_MAX)
        pthread_cond_wait(&team->changed, &team->lock);
    else
        pthread_cond_timedwait(&team->changed, &team->lock, &wake);
    team->idle--;
}

void parallel_serve(struct parallel_team *team, bool (*done)(void *), void *argument,
                    uint64_t wake_us)
{
    bool worked = false;
    pthread_mutex_lock(&team->lock);
    while (!done(argument) && !parallel_is_time(wake_us)) {
        if (parallel_help(team)) {
            worked = true;
        } else if (worked) {
            unsigned seen = atomic_load(&team->opened);
            pthread_mutex_unlock(&team->lock);
            parallel_look_for_more(team, seen);
            pthread_mutex_lock(&team->lock);
            worked = false;
        } else {
            parallel_sleep(team, wake_us);
        }
    }
    pthread_mutex_unlock(&team->lock);
}

static bool parallel_is_stopping(void *argument)
{
    return ((struct parallel_team *)argument)->stopping;
}

static void *parallel_helper(void *argument)
{
    parallel_serve(argument, parallel_is_stopping, argument, UINT64_MAX);
    return NULL;
}

void parallel_notify(struct parallel_team *team)
{
    pthread_mutex_lock(&team->lock);
    pthread_cond_broadcast(&team->changed);
    pthread_mutex_unlock(&team->lock);
}

static void parallel_open(struct parallel_team *team, struct parallel_region *region)
{
    pthread_mutex_lock(&team->lock);
    region->next = team->open;
    team->open = region;
    atomic_fetch_add_explicit(&team->opened, 1, memory_order_release);
    size_t wanted = region->chunks - 1 < team->idle ? region->chunks - 1 : team->idle;
    for (size_t i = 0; i < wanted; i++)
        pthread_cond_signal(&team->changed);
    pthread_mutex_unlock(&team->lock);
}

static void parallel_wait_for_helpers(struct parallel_team *team, struct parallel_region *region)
{
    for (int look = 0; look < PARALLEL_LOOKS && atomic_load(&region->helpers_inside); look++)
        parallel_pause();
    pthread_mutex_lock(&team->lock);
    struct parallel_region **link = &team->open;
    while (*link != region)
        link = &(*link)->next;
    *link = region->next;
    while (atomic_load(&region->helpers_inside))
        pthread_cond_wait(&team->finished, &team->lock);
    pthread_mutex_unlock(&team->lock);
}

void parallel_for(struct parallel_team *team, size_t chunks, void (*chunk)(void *, size_t),
                  void *argument)
{
    struct parallel_region region = {.chunk = chunk, .argument = argument, .chunks = chunks};
    if (chunks < 2) {
        parallel_run_chunks(&region);
        return;
    }
    parallel_open(team, &region);
    parallel_run_chunks(&region);
    parallel_wait_for_helpers(team, &region);
}

enum status parallel_create(size_t helpers, struct parallel_team **out, struct fail *why)
{
    struct parallel_team *team = mem_zeroed(1, sizeof *team);
    if (!team)
        return status_fail(why, STATUS_NO_MEMORY, "no memory for a compute team");
    pthread_mutex_init(&team->lock, NULL);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&team->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    pthread_cond_init(&team->finished, NULL);
    team->helpers = mem_zeroed(helpers, sizeof *team->helpers);
    if (!team->helpers) {
        parallel_destroy(team);
        return status_fail(why, STATUS_NO_MEMORY, "no memory for %zu compute threads", helpers);
    }
    for (; team->helper_count < helpers; team->helper_count++) {
        pthread_t *helper = &team->helpers[team->helper_count];
        int error = pthread_create(helper, NULL, parallel_helper, team);
        if (error) {
            status_fail(why, STATUS_IO, "cannot start compute thread %zu of %zu: %s",
                        team->helper_count + 1, helpers, strerror(error));
            parallel_destroy(team);
            return STATUS_IO;
        }
    }
    *out = team;
    return STATUS_OK;
}

void parallel_destroy(struct parallel_team *team)
{
    if (!team)
        return;
    pthread_mutex_lock(&team->lock);
    team->stopping = true;
    pthread_cond_broadcast(&team->changed);
    pthread_mutex_unlock(&team->lock);
    for (size_t i = 0; i < team->helper_count; i++)
        pthread_join(team->helpers[i], NULL);
    pthread_cond_destroy(&team->changed);
    pthread_cond_destroy(&team->finished);
    pthread_mutex_destroy(&team->lock);
    free(team->helpers);
    free(team);
}
