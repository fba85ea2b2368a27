#include "engine/pool.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/mem.h"
#include "engine/engine.h"
#include "engine/retrieve.h"

enum {
    POOL_ROWS_A_STEP = 256,
    POOL_MAX_TABLE_BYTES = 1 << 30,
    POOL_MAX_SIMILARITIES = 1 << 20, /* of the clusters of one layer: scratch for every picture */
    POOL_SHORTEST_TEXT = 3           /* start of text, a token, end of text */
};

/* ---- Whether it fits the model ---- */

static enum status pool_check_sizes(const struct pool_file *file,
                                    const struct clip_model_geometry *geometry, struct fail *why)
{
    bool joint = file->query_space == POOL_QUERY_JOINT;
    const struct {
        const char *what, *model;
        size_t found, expected;
    } pairs[] = {
        {"the last dimension of pool.values", "width of the text tower", file->width,
         geometry->text.width},
        {"the first dimension of query_mean", "number of text blocks", file->blocks,
         geometry->text.blocks},
        {"the last dimension of pool.keys", joint ? "joint width" : "width of the vision tower",
         file->query_width, joint ? geometry->joint_width : geometry->vision.width},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
        if (pairs[i].found != pairs[i].expected)
            return status_fail(why, STATUS_INVALID, "%s is %zu, but the model's %s is %zu",
                               pairs[i].what, pairs[i].found, pairs[i].model, pairs[i].expected);
    if (file->clusters > geometry->patches)
        return status_fail(why, STATUS_INVALID,
                           "metadata \"clusters\" is %zu, but the model cuts pictures into %zu "
                           "patches",
                           file->clusters, geometry->patches);
    return STATUS_OK;
}

static enum status pool_check_room(const struct pool_file *file,
                                   const struct clip_model_geometry *geometry, struct fail *why)
{
    size_t slots, table;
    if (!mem_multiply(file->clusters * file->per_cluster, file->tokens, &slots) ||
        slots + POOL_SHORTEST_TEXT > geometry->context)
        return status_fail(why, STATUS_INVALID,
                           "clusters times per_cluster times tokens is %zu, which leaves no room "
                           "for a text in the model's context of %zu tokens",
                           slots, geometry->context);
    if (file->groups * file->prompts > POOL_MAX_TABLE_BYTES / sizeof(double) / file->query_width)
        return status_fail(why, STATUS_LIMIT,
                           "the keys of %zu groups of %zu prompts, of width %zu, take more than %d "
                           "bytes",
                           file->groups, file->prompts, file->query_width, POOL_MAX_TABLE_BYTES);
    if (file->clusters > POOL_MAX_SIMILARITIES / file->prompts)
        return status_fail(why, STATUS_LIMIT,
                           "metadata \"clusters\" times the %zu prompts of a group is more than %d",
                           file->prompts, POOL_MAX_SIMILARITIES);
    if (!mem_multiply(file->prompts * file->tokens, file->depth * 2 * file->width, &table) ||
        table > POOL_MAX_TABLE_BYTES / sizeof(float))
        return status_fail(why, STATUS_LIMIT,
                           "the keys and values of %zu prompts of %zu tokens in %zu blocks take "
                           "more than %d bytes",
                           file->prompts, file->tokens, file->depth, POOL_MAX_TABLE_BYTES);
    return STATUS_OK;
}

static enum status pool_check(const struct pool_file *file, const struct clip_model *model,
                              bool any_fingerprint, struct fail *why)
{
    const char *fingerprint = pool_file_metadata(file, "model_fingerprint");
    enum status status = pool_check_sizes(file, &model->geometry, why);
    if (!status)
        status = pool_check_room(file, &model->geometry, why);
    if (!status && fingerprint && !any_fingerprint && strcmp(fingerprint, model->fingerprint) != 0)
        status = status_fail(why, STATUS_INVALID,
                             "metadata \"model_fingerprint\" is %.12s..., but the model's is "
                             "%.12s...: the pool was trained with other weights",
                             fingerprint, model->fingerprint);
    return status;
}

/* ---- What is computed once ---- */

void pool_refresh_keys(struct engine_pool *pool)
{
    const struct pool_file *file = &pool->file;
    size_t width = file->query_width, keys = file->groups * file->prompts;
    for (size_t i = 0; i < keys; i++) {
        double *key = pool->unit_keys + i * width;
        for (size_t d = 0; d < width; d++)
            key[d] = (double)file->keys[i * width + d];
        double length = sqrt(retrieve_dot(key, key, width));
        for (size_t d = 0; d < width; d++)
            key[d] /= length;
    }
}

static enum status pool_make_unit_keys(struct engine_pool *pool, struct fail *why)
{
    size_t keys = pool->file.groups * pool->file.prompts;
    pool->unit_keys = mem_aligned(keys * pool->file.query_width, sizeof *pool->unit_keys);
    if (!pool->unit_keys)
        return status_fail(why, STATUS_NO_MEMORY, "no memory for %zu keys", keys);
    pool_refresh_keys(pool);
    return STATUS_OK;
}

/* Keys and values of rows [count, width] before a block, into out [count, 2, width]. scratch:
 * [count, 4 width]. */
static void pool_project(const struct block_setting *text, const struct clip_model_block *block,
                         const float *rows, size_t count, float *scratch, float *out)
{
    size_t width = text->tower->width;
    float *normed = scratch, *qkv = scratch + count * width;
    block_layer_norm(text, &block->norm1, rows, count, normed);
    block_linear_part(text, block->qkv, width, 2 * width, normed, width, count, qkv, 3 * width);
    for (size_t row = 0; row < count; row++)
        memcpy(out + row * 2 * width, qkv + row * 3 * width + width, 2 * width * sizeof(float));
}

/* Finite prompts can still overflow on their way through a norm. keys_values [count, 2, width] of
 * tokens from `row` on. */
static enum status pool_check_finite(const struct pool_file *file, const float *keys_values,
                                     size_t block, size_t row, size_t count, struct fail *why)
{
    size_t floats = count * 2 * file->width;
    for (size_t i = 0; i < floats; i++)
        if (!isfinite(keys_values[i]))
            return status_fail(why, STATUS_INVALID,
                               "tensor pool.values: prompt %zu overflows in text block %zu",
                               (row + i / (2 * file->width)) / file->tokens, block + 1);
    return STATUS_OK;
}

/* The first block's are computed to be looked at only: positions may be added to them. */
static enum status pool_make_table(struct engine_pool *pool, const struct block_setting *text,
                                   const struct clip_model *model, struct fail *why)
{
    const struct pool_file *file = &pool->file;
    size_t width = file->width, rows = file->prompts * file->tokens;
    pool->layer_floats = rows * 2 * width;
    if (file->depth > 1)
        pool->keys_values = mem_aligned((file->depth - 1) * pool->layer_floats, sizeof(float));
    float *scratch = mem_aligned(POOL_ROWS_A_STEP * 6 * width, sizeof(float));
    enum status status = STATUS_OK;
    if (!scratch || (file->depth > 1 && !pool->keys_values))
        status = status_fail(why, STATUS_NO_MEMORY,
                             "no memory for the keys and values of %zu prompts", file->prompts);
    for (size_t block = 0; block < file->depth && !status; block++)
        for (size_t row = 0; row < rows && !status; row += POOL_ROWS_A_STEP) {
            size_t count = rows - row < POOL_ROWS_A_STEP ? rows - row : POOL_ROWS_A_STEP;
            float *out =
                block ? pool->keys_values + (block - 1) * pool->layer_floats + row * 2 * width
                      : scratch + POOL_ROWS_A_STEP * 4 * width;
            pool_project(text, &model->text_blocks[block], pool_value(pool, block, 0) + row * width,
                         count, scratch, out);
            status = pool_check_finite(file, out, block, row, count, why);
        }
    free(scratch);
    return status;
}

/* text NULL: without a table. */
static enum status pool_make(const struct block_setting *text, const struct clip_model *model,
                             struct pool_file *file, const char *name, bool any_fingerprint,
                             uint64_t id, struct engine_pool **out, struct fail *why)
{
    struct engine_pool *pool = mem_zeroed(1, sizeof *pool);
    if (!pool) {
        pool_file_finish(file);
        return status_fail(why, STATUS_NO_MEMORY, "no memory for a pool");
    }
    pool->file = *file;
    *file = (struct pool_file){0};
    file = &pool->file;
    atomic_init(&pool->references, 1);
    pool->id = id;
    const char *own = pool_file_metadata(file, "name");
    pool->name = mem_copy_text(own ? own : name, strlen(own ? own : name));
    enum status status = pool->name ? pool_check(file, model, any_fingerprint, why)
                                    : status_fail(why, STATUS_NO_MEMORY, "no memory for a pool");
    if (!status) {
        pool->chosen = file->clusters * file->per_cluster;
        pool->slots = pool->chosen * file->tokens;
        pool->patches = model->geometry.patches;
        pool->context = model->geometry.context;
        status = pool_make_unit_keys(pool, why);
    }
    if (!status && text)
        status = pool_make_table(pool, text, model, why);
    if (status) {
        engine_pool_release(pool);
        return status;
    }
    pool_file_describe(file, &pool->info);
    pool->info.name = pool->name;
    if (!file->has_logit_scale)
        pool->info.logit_scale = model->geometry.logit_scale;
    *out = pool;
    return STATUS_OK;
}

enum status pool_create(const struct block_setting *text, const struct clip_model *model,
                        struct pool_file *file, const char *name, bool any_fingerprint, uint64_t id,
                        struct engine_pool **out, struct fail *why)
{
    return pool_make(text, model, file, name, any_fingerprint, id, out, why);
}

enum status pool_create_trainable(const struct clip_model *model, struct pool_file *file,
                                  const char *name, struct engine_pool **out, struct fail *why)
{
    return pool_make(NULL, model, file, name, false, 0, out, why);
}

/* ---- Look-ups ---- */

static size_t pool_index(const struct engine_pool *pool, size_t block, size_t prompt)
{
    return (pool->file.groups == 1 ? 0 : block) * pool->file.prompts + prompt;
}

const float *pool_value(const struct engine_pool *pool, size_t block, size_t prompt)
{
    return pool->file.values +
           pool_index(pool, block, prompt) * pool->file.tokens * pool->file.width;
}

const double *pool_unit_key(const struct engine_pool *pool, size_t block, size_t prompt)
{
    return pool->unit_keys + pool_index(pool, block, prompt) * pool->file.query_width;
}

const float *pool_key_value(const struct engine_pool *pool, size_t block, size_t prompt,
                            size_t token)
{
    return pool->keys_values + (block - 1) * pool->layer_floats +
           (prompt * pool->file.tokens + token) * 2 * pool->file.width;
}

struct engine_pool *engine_pool_acquire(struct engine_pool *pool)
{
    atomic_fetch_add_explicit(&pool->references, 1, memory_order_relaxed);
    return pool;
}

void engine_pool_release(struct engine_pool *pool)
{
    if (!pool || atomic_fetch_sub_explicit(&pool->references, 1, memory_order_acq_rel) != 1)
        return;
    pool_file_finish(&pool->file);
    free(pool->name);
    free(pool->unit_keys);
    free(pool->keys_values);
    free(pool);
}

const struct engine_pool_info *engine_pool_info(const struct engine_pool *pool)
{
    return &pool->info;
}

size_t engine_pool_bytes(const struct engine_pool *pool)
{
    const struct pool_file *file = &pool->file;
    size_t floats =
        file->groups * file->prompts * (file->tokens * file->width + file->query_width) +
        file->blocks * file->query_width;
    if (file->depth)
        floats += (file->depth - 1) * pool->layer_floats;
    return sizeof *pool + floats * sizeof(float) +
           file->groups * file->prompts * file->query_width * sizeof(double);
}
