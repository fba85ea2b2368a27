#include "engine/engine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/mem.h"
#include "engine/base/utf8.h"
#include "engine/cores.h"
#include "engine/engine_state.h"
#include "engine/image.h"
#include "engine/label_list.h"
#include "engine/pool.h"

const struct engine_image_options engine_image_default_options = {
    .max_bytes = 64 << 20, .max_pixels = 50 * 1000 * 1000, .max_jpeg_scans = 100};

/* ---- Model ---- */

static struct engine_tower engine_describe_tower(const struct clip_model_tower *tower)
{
    return (struct engine_tower){.width = tower->width,
                                 .heads = tower->heads,
                                 .blocks = tower->blocks,
                                 .mlp_width = tower->mlp_width};
}

static struct engine_preprocessing
engine_describe_preprocessing(const struct preprocess *preprocess)
{
    struct engine_preprocessing described = {.shortest_edge = preprocess->shortest_edge,
                                             .crop_size = preprocess->crop_size};
    memcpy(described.mean, preprocess->mean, sizeof described.mean);
    memcpy(described.deviation, preprocess->deviation, sizeof described.deviation);
    return described;
}

static void engine_describe(struct engine *engine, const char *model_dir)
{
    const struct clip_model_geometry *geometry = &engine->model->geometry;
    size_t length = strlen(model_dir);
    while (length > 1 && model_dir[length - 1] == '/')
        length--;
    size_t start = length;
    while (start > 0 && model_dir[start - 1] != '/')
        start--;
    snprintf(engine->name, sizeof engine->name, "%.*s",
             (int)utf8_cut(model_dir + start, length - start, sizeof engine->name - 1),
             model_dir + start);
    utf8_clean(engine->name);
    char library[64];
    snprintf(engine->backend, sizeof engine->backend, "%s, %s kernels",
             gemm_backend(library, sizeof library), engine->vision.kernels->name);
    engine->info = (struct engine_info){
        .name = engine->name,
        .layout = clip_model_layout_name(geometry->layout),
        .activation = clip_model_activation_name(geometry->activation),
        .backend = engine->backend,
        .fingerprint = engine->model->fingerprint,
        .image_size = geometry->image_size,
        .patch_size = geometry->patch_size,
        .patches = geometry->patches,
        .joint_width = geometry->joint_width,
        .context = geometry->context,
        .vocabulary = geometry->vocabulary,
        .parameters = engine->model->parameters,
        .vision = engine_describe_tower(&geometry->vision),
        .text = engine_describe_tower(&geometry->text),
        .preprocessing = engine_describe_preprocessing(&engine->preprocess),
        .logit_scale = geometry->logit_scale,
    };
}

static enum status engine_choose_activation(const char *name, int *out, struct fail *why)
{
    *out = -1;
    if (!name)
        return STATUS_OK;
    for (int i = CLIP_MODEL_QUICK_GELU; i <= CLIP_MODEL_GELU; i++)
        if (strcmp(name, clip_model_activation_name((enum clip_model_activation)i)) == 0)
            *out = i;
    if (*out < 0)
        return status_fail(why, STATUS_INVALID, "activation \"%s\" is neither quick_gelu nor gelu",
                           name);
    return STATUS_OK;
}

static enum status engine_load(struct engine *engine, const char *model_dir,
                               const struct engine_options *options, struct fail *why)
{
    struct clip_model_options model_options;
    enum status status =
        engine_choose_activation(options->activation, &model_options.activation, why);
    if (!status)
        status = clip_model_load(model_dir, &model_options, &engine->model, why);
    if (!status)
        status = tokenizer_load(model_dir, &engine->tokenizer, why);
    if (!status && tokenizer_vocabulary(engine->tokenizer) > engine->model->geometry.vocabulary)
        status = status_fail(why, STATUS_INVALID,
                             "%s: the tokenizer has ids up to %zu but the model embeds %zu tokens",
                             model_dir, tokenizer_vocabulary(engine->tokenizer) - 1,
                             engine->model->geometry.vocabulary);
    if (!status)
        status = preprocess_load(model_dir, (uint32_t)engine->model->geometry.image_size,
                                 &engine->preprocess, why);
    if (!status)
        status = parallel_create(options->helpers, &engine->team, why);
    return status;
}

static void engine_set_towers(struct engine *engine)
{
    const struct clip_model_geometry *geometry = &engine->model->geometry;
    struct block_setting common = {.team = engine->team,
                                   .ways = cores_available(),
                                   .kernels = kernels_best(),
                                   .activation = geometry->activation,
                                   .epsilon = geometry->layer_norm_epsilon};
    engine->vision = engine->text = common;
    engine->vision.tower = &geometry->vision;
    engine->text.tower = &geometry->text;
    engine->text.causal = true;
}

/* Features are small and worth a whole pass; the rows that lead to them are large and worth a part
 * of one. */
static enum status engine_start_composing(struct engine *engine, size_t cache_bytes,
                                          struct fail *why)
{
    size_t rows = cache_bytes / 4;
    enum status status = memo_create(rows, &engine->row_memo, why);
    if (!status)
        status = memo_create(cache_bytes - rows, &engine->feature_memo, why);
    if (!status)
        status = compose_init(&engine->compose, &engine->text, engine->model, engine->row_memo,
                              tokenizer_start_of_text(engine->tokenizer), why);
    return status;
}

enum status engine_open(const char *model_dir, const struct engine_options *options,
                        struct engine **out, struct fail *why)
{
    struct engine *engine = mem_zeroed(1, sizeof *engine);
    if (!engine)
        return status_fail(why, STATUS_NO_MEMORY, "no memory for an engine");
    gemm_start();
    engine->folder = mem_copy_text(model_dir, strlen(model_dir));
    enum status status = engine->folder
                             ? engine_load(engine, model_dir, options, why)
                             : status_fail(why, STATUS_NO_MEMORY, "no memory for an engine");
    if (!status) {
        engine_set_towers(engine);
        status = engine_start_composing(engine, options->composition_cache_bytes, why);
    }
    if (status) {
        engine_close(engine);
        return status;
    }
    engine_describe(engine, model_dir);
    *out = engine;
    return STATUS_OK;
}

void engine_close(struct engine *engine)
{
    if (!engine)
        return;
    parallel_destroy(engine->team);
    compose_finish(&engine->compose);
    memo_destroy(engine->row_memo);
    memo_destroy(engine->feature_memo);
    tokenizer_destroy(engine->tokenizer);
    clip_model_destroy(engine->model);
    free(engine->folder);
    free(engine);
}

const struct engine_info *engine_info(const struct engine *engine)
{
    return &engine->info;
}

void engine_team_serve(struct engine *engine, bool (*done)(void *), void *argument,
                       uint64_t wake_us)
{
    parallel_serve(engine->team, done, argument, wake_us);
}

void engine_team_notify(struct engine *engine)
{
    parallel_notify(engine->team);
}

size_t engine_cores(void)
{
    size_t cores = cores_available();
    return cores < ENGINE_MAX_THREADS ? cores : ENGINE_MAX_THREADS;
}

/* ---- Pictures and texts ---- */

enum status engine_decode(const struct engine *engine, const uint8_t *bytes, size_t size,
                          const struct engine_image_options *options, float *out_pixels,
                          struct engine_image_info *out_info, struct fail *why)
{
    struct image image;
    const struct image_options image_options = {
        .max_bytes = options->max_bytes,
        .max_pixels = options->max_pixels,
        .max_jpeg_scans = options->max_jpeg_scans,
        .jpeg_edge = options->scaled_jpeg ? preprocess_enough(&engine->preprocess) : 0};
    enum status status = image_decode(bytes, size, &image_options, &image, why);
    if (status)
        return status;
    status = preprocess_apply(&engine->preprocess, &image, out_pixels, why);
    if (!status && out_info)
        *out_info = (struct engine_image_info){
            .format = image.format, .width = image.width, .height = image.height};
    image_finish(&image);
    return status;
}

enum status engine_tokenize(const struct engine *engine, const char *text, int32_t *out_ids,
                            size_t *out_count, bool *out_cut, struct fail *why)
{
    return tokenizer_encode(engine->tokenizer, text, strlen(text), engine->model->geometry.context,
                            out_ids, out_count, out_cut, why);
}

enum status engine_default_labels(const struct engine *engine, struct engine_label_list *out,
                                  struct fail *why)
{
    return label_list_load(engine->folder, out, why);
}

/* ---- Pools ---- */

enum status engine_pool_load(struct engine *engine, const char *path,
                             const struct engine_pool_options *options, struct engine_pool **out,
                             struct fail *why)
{
    struct pool_file file;
    enum status status = pool_file_load(path, &file, why);
    if (status)
        return status;
    char *name = pool_file_name(path);
    if (!name) {
        pool_file_finish(&file);
        return status_fail(why, STATUS_NO_MEMORY, "no memory for a pool");
    }
    status = pool_create(&engine->text, engine->model, &file, name, options->any_fingerprint,
                         atomic_fetch_add(&engine->last_id, 1) + 1, out, why);
    free(name);
    return status ? status_context(why, status, "%s", path) : STATUS_OK;
}

void engine_composition_cache_figures(const struct engine *engine,
                                      struct engine_composition_cache_figures *out)
{
    struct memo_figures features, rows;
    memo_figures(engine->feature_memo, &features);
    memo_figures(engine->row_memo, &rows);
    *out = (struct engine_composition_cache_figures){
        .entries = features.entries + rows.entries,
        .bytes = features.bytes + rows.bytes,
        .max_bytes = features.max_bytes + rows.max_bytes,
        .hits = features.hits,
        .misses = features.misses,
        .resumed = rows.hits,
        .evictions = features.evictions + rows.evictions,
    };
}
