/* The models and references of tests/golden/make_towers.py. */
#ifndef TESTS_UNIT_REFERENCE_H
#define TESTS_UNIT_REFERENCE_H

#include "tests/unit/unit.h"

#include "engine/engine.h"
#include "engine/safetensors.h"

#define REFERENCE_MODELS "tests/golden/towers/"

enum { REFERENCE_MOST_TEXTS = 8 };

/* Of features. Largest error seen: 5.6e-7. */
static const double reference_tolerance = 5e-6;

static inline struct safetensors *reference_open(const char *folder)
{
    struct fail why;
    struct safetensors *file;
    char path[256];
    snprintf(path, sizeof path, REFERENCE_MODELS "%s/reference.safetensors", folder);
    unit_assert_ok(safetensors_open(path, &file, &why), why);
    return file;
}

/* free(). out_rows, the first dimension, may be NULL. */
static inline float *reference_tensor(const struct safetensors *file, const char *name,
                                      size_t *out_rows)
{
    struct fail why;
    const struct safetensors_tensor *tensor = safetensors_find(file, name);
    assert_non_null(tensor);
    float *values = calloc(tensor->count, sizeof *values);
    unit_assert_ok(safetensors_to_f32(tensor, values, &why), why);
    if (out_rows)
        *out_rows = tensor->shape[0];
    return values;
}

/* Returns how many there are; they live as long as the file is open. */
static inline size_t reference_texts(const struct safetensors *file, const char **out_texts)
{
    size_t count = 0;
    for (char key[16]; count < REFERENCE_MOST_TEXTS; count++) {
        snprintf(key, sizeof key, "text.%zu", count);
        out_texts[count] = safetensors_metadata(file, key);
        if (!out_texts[count])
            break;
    }
    return count;
}

static inline double reference_error(const float *found, const float *expected, size_t count)
{
    double largest = 0;
    for (size_t i = 0; i < count; i++)
        largest = unit_worse(largest, fabs((double)found[i] - (double)expected[i]));
    return largest;
}

static inline struct engine *reference_engine(const char *folder, const char *activation,
                                              size_t helpers)
{
    struct fail why;
    struct engine *engine;
    char path[256];
    snprintf(path, sizeof path, REFERENCE_MODELS "%s", folder);
    const struct engine_options options = {.activation = activation, .helpers = helpers};
    unit_assert_ok(engine_open(path, &options, &engine, &why), why);
    return engine;
}

#endif
