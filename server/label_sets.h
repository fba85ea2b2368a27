/*
 * Label sets by name, each an immutable snapshot with a version. Whoever has acquired one keeps it,
 * whatever happens to the name meanwhile. Any thread; the lock is held to look up and to swap
 * pointers, never while labels are compiled.
 */
#ifndef SERVER_LABEL_SETS_H
#define SERVER_LABEL_SETS_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/engine.h"

enum { LABEL_SETS_MAX_NAME = 64 };

struct label_set {
    atomic_size_t references;
    char name[LABEL_SETS_MAX_NAME + 1];
    char pool[LABEL_SETS_MAX_NAME + 1]; /* empty: the server's */
    uint64_t version;                   /* 1, 2, ... of the name; set by publish */
    uint64_t serial; /* no two snapshots of the process have the same; set by publish */
    uint64_t compile_us;
    size_t bytes; /* of the labels */
    struct engine_labels *labels;
};

/* Takes over the reference to labels. name: letters, digits, dot, underscore and hyphen. NULL if
 * there is no memory, and labels is released. */
struct label_set *label_sets_make(const char *name, const char *pool, struct engine_labels *labels,
                                  uint64_t compile_us);
struct label_set *label_sets_acquire(struct label_set *set);
void label_sets_release(struct label_set *set); /* NULL is allowed */

/* STATUS_INVALID says what a name must be. */
enum status label_sets_check_name(const char *name, struct fail *why);

struct label_sets;

struct label_sets_limits {
    size_t max_sets;
    size_t max_bytes; /* of all sets' labels together, shared chunks counted once for each */
};

enum status label_sets_create(const struct label_sets_limits *limits, struct label_sets **out,
                              struct fail *why);
void label_sets_destroy(struct label_sets *sets); /* NULL is allowed */

/* Acquired; NULL if there is none of that name. */
struct label_set *label_sets_find(struct label_sets *sets, const char *name);

/* Makes set what its name stands for, if the name still stands for `expected` (NULL: for nothing),
 * and sets its version and serial. STATUS_CANCELLED if it stands for something else by now,
 * STATUS_LIMIT for too many sets or bytes. The caller keeps its reference in any case. */
enum status label_sets_publish(struct label_sets *sets, struct label_set *set,
                               const struct label_set *expected, struct fail *why);

/* Makes the name stand for nothing, if it stands for `expected` (NULL: whatever it stands for).
 * STATUS_NOT_FOUND, STATUS_CANCELLED. */
enum status label_sets_remove(struct label_sets *sets, const char *name,
                              const struct label_set *expected, struct fail *why);

/* Every set, in order of name, acquired: array of *out_count, free(). NULL if there is no memory.
 */
struct label_set **label_sets_list(struct label_sets *sets, size_t *out_count);

#endif
