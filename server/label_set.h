/*
 * A version of a label set that requests can name. Its classes are what answers tell of; a class
 * has one text or several (a name and its aliases), and of those the one that fits a picture best
 * counts. Immutable; any thread.
 */
#ifndef SERVER_LABEL_SET_H
#define SERVER_LABEL_SET_H

#include <stddef.h>
#include <stdint.h>

#include "engine/engine.h"
#include "server/snapshot.h"

struct registry;

struct label_set {
    struct snapshot snapshot;         /* first, so that one is the other */
    char pool[SNAPSHOT_MAX_NAME + 1]; /* empty: the server's */
    uint64_t compile_us;
    struct engine_labels *labels; /* names and aliases */
    size_t classes;
    uint32_t *class_of; /* [labels]; NULL: no label is an alias */
    uint32_t *name_of;  /* [classes]: the label that names it; NULL with class_of */
};

struct label_set_parts {
    const char *name, *pool;
    struct engine_labels *labels;
    uint32_t *class_of; /* as above; classes in the order of their names, each before its aliases */
    uint64_t compile_us;
};

/* Takes over labels and class_of, also on failure: NULL, no memory. */
struct label_set *label_set_create(const struct label_set_parts *parts);
void label_set_release(struct label_set *set); /* NULL is allowed */

/* Acquired; NULL if there is none. */
struct label_set *label_set_find(struct registry *registry, const char *name);
struct label_set *label_set_find_default(struct registry *registry);

const char *label_set_class_name(const struct label_set *set, size_t index);

/* cosines [rows, labels] -> the best of each class [rows, classes], at the beginning of the same
 * memory. */
void label_set_reduce(const struct label_set *set, float *cosines, size_t rows);

#endif
