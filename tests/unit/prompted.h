/* The models, pools and references of tests/golden/make_prompted.py. */
#ifndef TESTS_UNIT_PROMPTED_H
#define TESTS_UNIT_PROMPTED_H

#include "tests/unit/unit.h"

#include "engine/engine.h"
#include "engine/safetensors.h"

#define PROMPTED "tests/golden/prompted/"

enum { PROMPTED_MOST_LABELS = 16, PROMPTED_MOST_BATCH = 32 };

struct prompted_case {
    const char *model, *variant;
};

static const struct prompted_case prompted_cases[] = {
    {"deep_vision", "plain"},
    {"deep_vision", "layers"},
    {"deep_vision", "first"},
    {"deep_vision", "singletons"},
    {"deep_vision", "pooled"},
    {"deep_text", "plain"},
    {"deep_text", "middle"},
    {"deep_text", "singletons"},
    {"deep_text", "raw_queries"},
    {"deep_text", "all"},
    {"even", "plain"},
    {"even", "bare"},
    {"even", "layers"},
    {"even", "singletons"},
    {"even", "no_mean"},
};

/* A model with its pictures and labels, and one pool. */
struct prompted {
    struct engine *engine;
    struct engine_session *session;
    struct engine_pool *pool;
    struct engine_labels *labels; /* in the pool's sentence */
    float logit_scale;
    size_t pictures, label_count, joint;
    float *pixels;                            /* [pictures, 3, size, size] */
    float *features;                          /* [pictures, joint], of the last prompted_look */
    struct engine_composition **compositions; /* [pictures], of the same */
    struct safetensors *pictures_file, *reference;
    const char *names[PROMPTED_MOST_LABELS];
};

static inline struct safetensors *prompted_file(const char *model, const char *name)
{
    struct fail why;
    struct safetensors *file;
    char path[256];
    snprintf(path, sizeof path, PROMPTED "%s/%s.safetensors", model, name);
    unit_assert_ok(safetensors_open(path, &file, &why), why);
    return file;
}

/* free(). out_shape may be NULL. */
static inline float *prompted_tensor(const struct safetensors *file, const char *name,
                                     const size_t **out_shape)
{
    struct fail why;
    const struct safetensors_tensor *tensor = safetensors_find(file, name);
    assert_non_null(tensor);
    float *values = calloc(tensor->count, sizeof *values);
    unit_assert_ok(safetensors_to_f32(tensor, values, &why), why);
    if (out_shape)
        *out_shape = tensor->shape;
    return values;
}

static inline struct engine_pool *prompted_pool(struct engine *engine, const char *model,
                                                const char *variant)
{
    struct fail why;
    struct engine_pool *pool;
    char path[256];
    const struct engine_pool_options options = {.any_fingerprint = false};
    snprintf(path, sizeof path, PROMPTED "%s/%s.pool.safetensors", model, variant);
    unit_assert_ok(engine_pool_load(engine, path, &options, &pool, &why), why);
    return pool;
}

static inline struct engine_labels *prompted_labels(const struct prompted *prompted)
{
    struct fail why;
    struct engine_labels *labels;
    unit_assert_ok(engine_labels_compile(prompted->session, prompted->names, prompted->label_count,
                                         &engine_pool_info(prompted->pool)->sentence, 1, &labels,
                                         &why),
                   why);
    unit_assert_ok(engine_labels_check_pool(labels, prompted->pool, &why), why);
    return labels;
}

static inline void prompted_open(struct prompted *prompted, const struct prompted_case *of,
                                 size_t helpers, size_t cache_bytes)
{
    struct fail why;
    char path[256];
    const size_t *shape;
    const struct engine_options options = {.helpers = helpers,
                                           .composition_cache_bytes = cache_bytes};
    snprintf(path, sizeof path, PROMPTED "%s", of->model);
    *prompted = (struct prompted){0};
    unit_assert_ok(engine_open(path, &options, &prompted->engine, &why), why);
    unit_assert_ok(
        engine_session_create(prompted->engine, PROMPTED_MOST_BATCH, &prompted->session, &why),
        why);
    prompted->pool = prompted_pool(prompted->engine, of->model, of->variant);
    prompted->logit_scale = engine_pool_info(prompted->pool)->logit_scale;
    prompted->joint = engine_info(prompted->engine)->joint_width;
    prompted->pictures_file = prompted_file(of->model, "pictures");
    snprintf(path, sizeof path, "%s.reference", of->variant);
    prompted->reference = prompted_file(of->model, path);
    prompted->pixels = prompted_tensor(prompted->pictures_file, "pixels", &shape);
    prompted->pictures = shape[0];
    for (char key[16]; prompted->label_count < PROMPTED_MOST_LABELS; prompted->label_count++) {
        snprintf(key, sizeof key, "label.%zu", prompted->label_count);
        const char *name = safetensors_metadata(prompted->pictures_file, key);
        if (!name)
            break;
        prompted->names[prompted->label_count] = name;
    }
    prompted->labels = prompted_labels(prompted);
    prompted->features = calloc(prompted->pictures * prompted->joint, sizeof(float));
    prompted->compositions = calloc(prompted->pictures, sizeof *prompted->compositions);
    for (size_t i = 0; i < prompted->pictures; i++)
        unit_assert_ok(engine_composition_create(prompted->pool, &prompted->compositions[i], &why),
                       why);
}

static inline void prompted_close(struct prompted *prompted)
{
    for (size_t i = 0; i < prompted->pictures; i++)
        engine_composition_destroy(prompted->compositions[i]);
    free(prompted->compositions);
    free(prompted->features);
    free(prompted->pixels);
    safetensors_close(prompted->pictures_file);
    safetensors_close(prompted->reference);
    engine_labels_release(prompted->labels);
    engine_pool_release(prompted->pool);
    engine_session_destroy(prompted->session);
    engine_close(prompted->engine);
}

/* Fills features and compositions, batch pictures at a time. */
static inline void prompted_look(struct prompted *prompted, size_t batch)
{
    struct fail why;
    const struct engine_info *info = engine_info(prompted->engine);
    size_t floats = 3 * info->image_size * info->image_size;
    for (size_t first = 0; first < prompted->pictures; first += batch) {
        size_t left = prompted->pictures - first, count = left < batch ? left : batch;
        unit_assert_ok(engine_compose_images(prompted->session, prompted->pixels + first * floats,
                                             count, prompted->compositions + first,
                                             prompted->features + first * prompted->joint, &why),
                       why);
    }
}

/* Cosines [pictures, labels] of the last look; free(). */
static inline float *prompted_score(struct prompted *prompted, const struct engine_labels *labels,
                                    size_t shortlist)
{
    struct fail why;
    float *cosines = calloc(prompted->pictures * engine_labels_count(labels), sizeof *cosines);
    const struct engine_scoring scoring = {
        .labels = labels,
        .count = prompted->pictures,
        .image_features = prompted->features,
        .compositions = (const struct engine_composition *const *)prompted->compositions,
        .shortlist = shortlist};
    unit_assert_ok(engine_score(prompted->session, &scoring, cosines, &why), why);
    return cosines;
}

#endif
