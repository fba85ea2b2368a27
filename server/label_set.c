#include "server/label_set.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/mem.h"
#include "server/registry.h"

static void label_set_destroy(struct snapshot *snapshot)
{
    struct label_set *set = (struct label_set *)snapshot;
    engine_labels_release(set->labels);
    free(set->class_of);
    free(set->name_of);
    free(set);
}

static bool label_set_name_classes(struct label_set *set)
{
    size_t labels = engine_labels_count(set->labels);
    set->classes = labels;
    if (!set->class_of)
        return true;
    set->name_of = mem_zeroed(labels, sizeof *set->name_of);
    if (!set->name_of)
        return false;
    set->classes = 0;
    for (size_t i = 0; i < labels; i++)
        if (set->class_of[i] == set->classes)
            set->name_of[set->classes++] = (uint32_t)i;
    return true;
}

struct label_set *label_set_create(const struct label_set_parts *parts)
{
    struct label_set *set = mem_zeroed(1, sizeof *set);
    if (!set) {
        engine_labels_release(parts->labels);
        free(parts->class_of);
        return NULL;
    }
    size_t bytes = sizeof *set + engine_labels_bytes(parts->labels);
    if (parts->class_of)
        bytes += 2 * engine_labels_count(parts->labels) * sizeof *parts->class_of;
    snapshot_init(&set->snapshot, parts->name, bytes, NULL, label_set_destroy);
    snprintf(set->pool, sizeof set->pool, "%s", parts->pool);
    set->compile_us = parts->compile_us;
    set->labels = parts->labels;
    set->class_of = parts->class_of;
    if (label_set_name_classes(set))
        return set;
    label_set_release(set);
    return NULL;
}

void label_set_release(struct label_set *set)
{
    snapshot_release((struct snapshot *)set);
}

struct label_set *label_set_find(struct registry *registry, const char *name)
{
    return (struct label_set *)registry_find(registry, name);
}

struct label_set *label_set_find_default(struct registry *registry)
{
    return (struct label_set *)registry_find_default(registry);
}

const char *label_set_class_name(const struct label_set *set, size_t index)
{
    return engine_labels_name(set->labels, set->name_of ? set->name_of[index] : index);
}

/* A class is never behind its first label, so writing stays behind reading. */
void label_set_reduce(const struct label_set *set, float *cosines, size_t rows)
{
    size_t labels = engine_labels_count(set->labels);
    if (!set->class_of)
        return;
    for (size_t row = 0; row < rows; row++) {
        const float *from = cosines + row * labels;
        float *to = cosines + row * set->classes;
        size_t classes = 0;
        for (size_t i = 0; i < labels; i++) {
            float cosine = from[i];
            if (set->class_of[i] == classes)
                to[classes++] = cosine;
            else
                to[set->class_of[i]] = fmaxf(to[set->class_of[i]], cosine);
        }
    }
}
