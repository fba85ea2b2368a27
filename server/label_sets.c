#include "server/label_sets.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/mem.h"

struct label_sets {
    pthread_mutex_t lock;
    struct label_sets_limits limits;
    struct label_set **sets; /* [count], in order of name; room for max_sets */
    size_t count, bytes;
    uint64_t last_serial;
};

/* ---- Snapshots ---- */

struct label_set *label_sets_make(const char *name, const char *pool, struct engine_labels *labels,
                                  uint64_t compile_us)
{
    struct label_set *set = mem_zeroed(1, sizeof *set);
    if (!set) {
        engine_labels_release(labels);
        return NULL;
    }
    atomic_init(&set->references, 1);
    snprintf(set->name, sizeof set->name, "%s", name);
    snprintf(set->pool, sizeof set->pool, "%s", pool);
    set->labels = labels;
    set->bytes = engine_labels_bytes(labels);
    set->compile_us = compile_us;
    return set;
}

struct label_set *label_sets_acquire(struct label_set *set)
{
    atomic_fetch_add_explicit(&set->references, 1, memory_order_relaxed);
    return set;
}

void label_sets_release(struct label_set *set)
{
    if (!set || atomic_fetch_sub_explicit(&set->references, 1, memory_order_acq_rel) != 1)
        return;
    engine_labels_release(set->labels);
    free(set);
}

enum status label_sets_check_name(const char *name, struct fail *why)
{
    size_t length = strlen(name);
    bool dots = !strcmp(name, ".") || !strcmp(name, ".."); /* which clients take out of a path */
    if (!length || length > LABEL_SETS_MAX_NAME || dots ||
        strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-") != length)
        return status_fail(why, STATUS_INVALID,
                           "the name \"%.80s\" must be 1 to %d letters, digits, dots, underscores "
                           "and hyphens, and not . or ..",
                           name, LABEL_SETS_MAX_NAME);
    return STATUS_OK;
}

/* ---- The registry ---- */

enum status label_sets_create(const struct label_sets_limits *limits, struct label_sets **out,
                              struct fail *why)
{
    struct label_sets *sets = mem_zeroed(1, sizeof *sets);
    struct label_set **array = mem_zeroed(limits->max_sets, sizeof *array);
    if (!sets || !array) {
        free(sets);
        free(array);
        return status_fail(why, STATUS_NO_MEMORY, "no memory for %zu label sets", limits->max_sets);
    }
    pthread_mutex_init(&sets->lock, NULL);
    sets->limits = *limits;
    sets->sets = array;
    *out = sets;
    return STATUS_OK;
}

void label_sets_destroy(struct label_sets *sets)
{
    if (!sets)
        return;
    for (size_t i = 0; i < sets->count; i++)
        label_sets_release(sets->sets[i]);
    pthread_mutex_destroy(&sets->lock);
    free(sets->sets);
    free(sets);
}

/* Under the lock: where the name is, or belongs. */
static size_t label_sets_place(const struct label_sets *sets, const char *name)
{
    size_t low = 0, high = sets->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (strcmp(sets->sets[middle]->name, name) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Under the lock; NULL if there is none. */
static struct label_set *label_sets_look_up(const struct label_sets *sets, const char *name)
{
    size_t place = label_sets_place(sets, name);
    return place < sets->count && !strcmp(sets->sets[place]->name, name) ? sets->sets[place] : NULL;
}

struct label_set *label_sets_find(struct label_sets *sets, const char *name)
{
    pthread_mutex_lock(&sets->lock);
    struct label_set *set = label_sets_look_up(sets, name);
    if (set)
        label_sets_acquire(set);
    pthread_mutex_unlock(&sets->lock);
    return set;
}

static enum status label_sets_check_limits(const struct label_sets *sets,
                                           const struct label_set *set,
                                           const struct label_set *before, struct fail *why)
{
    size_t bytes = sets->bytes - (before ? before->bytes : 0);
    if (!before && sets->count == sets->limits.max_sets)
        return status_fail(why, STATUS_LIMIT,
                           "there are %zu label sets already, the most there "
                           "may be",
                           sets->limits.max_sets);
    if (set->bytes > sets->limits.max_bytes - bytes)
        return status_fail(why, STATUS_LIMIT,
                           "the label set takes %zu bytes, and all label sets together may take "
                           "%zu, of which %zu are in use",
                           set->bytes, sets->limits.max_bytes, bytes);
    return STATUS_OK;
}

/* Under the lock. */
static enum status label_sets_swap(struct label_sets *sets, struct label_set *set,
                                   const struct label_set *expected, struct fail *why)
{
    size_t place = label_sets_place(sets, set->name);
    struct label_set *before = label_sets_look_up(sets, set->name);
    if (before != expected)
        return status_fail(why, STATUS_CANCELLED, "the label set was changed meanwhile");
    enum status status = label_sets_check_limits(sets, set, before, why);
    if (status)
        return status;
    if (!before) {
        memmove(sets->sets + place + 1, sets->sets + place,
                (sets->count - place) * sizeof *sets->sets);
        sets->count++;
    }
    sets->bytes += set->bytes - (before ? before->bytes : 0);
    set->version = before ? before->version + 1 : 1;
    set->serial = ++sets->last_serial;
    sets->sets[place] = label_sets_acquire(set);
    label_sets_release(before);
    return STATUS_OK;
}

enum status label_sets_publish(struct label_sets *sets, struct label_set *set,
                               const struct label_set *expected, struct fail *why)
{
    pthread_mutex_lock(&sets->lock);
    enum status status = label_sets_swap(sets, set, expected, why);
    pthread_mutex_unlock(&sets->lock);
    return status;
}

enum status label_sets_remove(struct label_sets *sets, const char *name,
                              const struct label_set *expected, struct fail *why)
{
    pthread_mutex_lock(&sets->lock);
    struct label_set *set = label_sets_look_up(sets, name);
    enum status status = STATUS_OK;
    if (!set)
        status = status_fail(why, STATUS_NOT_FOUND, "there is no label set \"%s\"", name);
    else if (expected && set != expected)
        status = status_fail(why, STATUS_CANCELLED, "the label set was changed meanwhile");
    if (!status) {
        size_t place = label_sets_place(sets, name);
        memmove(sets->sets + place, sets->sets + place + 1,
                (--sets->count - place) * sizeof *sets->sets);
        sets->bytes -= set->bytes;
    }
    pthread_mutex_unlock(&sets->lock);
    if (!status)
        label_sets_release(set);
    return status;
}

struct label_set **label_sets_list(struct label_sets *sets, size_t *out_count)
{
    pthread_mutex_lock(&sets->lock);
    struct label_set **list = mem_zeroed(sets->count, sizeof(struct label_set *));
    *out_count = list ? sets->count : 0;
    for (size_t i = 0; i < *out_count; i++)
        list[i] = label_sets_acquire(sets->sets[i]);
    pthread_mutex_unlock(&sets->lock);
    return list;
}
