#include "engine/compose_back.h"

#include <math.h>
#include <string.h>

#include "engine/block_back.h"

/* ---- Scratch ---- */

static size_t compose_back_lanes(const struct clip_model *model, size_t pictures)
{
    return pictures * model->geometry.text.heads * model->geometry.context;
}

size_t compose_back_scratch_bytes(const struct clip_model *model, size_t nodes, size_t leaves,
                                  size_t slots, size_t pictures)
{
    const struct clip_model_tower *tower = &model->geometry.text;
    size_t rows = (nodes + slots) * pictures, ends = leaves * pictures;
    size_t lanes = compose_back_lanes(model, pictures);
    return compose_pass_scratch_bytes(model, nodes, slots, pictures) +
           arena_floats_bytes(tower->blocks * rows * tower->width) +
           arena_floats_bytes(ends * tower->width) +
           2 * arena_floats_bytes(ends * model->geometry.joint_width) +
           3 * arena_floats_bytes(rows * tower->width) +
           arena_floats_bytes(rows * 3 * tower->width) +
           arena_floats_bytes(rows * tower->mlp_width) +
           4 * arena_floats_bytes(arena_floats_for(lanes, sizeof(float *))) +
           arena_floats_bytes(arena_floats_for(lanes, sizeof(size_t))) +
           arena_floats_bytes(2 * lanes);
}

static void *compose_back_take(struct arena *arena, size_t count, size_t bytes)
{
    return arena_floats(arena, arena_floats_for(count, bytes));
}

static void compose_back_begin(struct compose_back *back, struct arena *arena)
{
    const struct clip_model *model = back->pass.compose->model;
    const struct clip_model_tower *tower = &model->geometry.text;
    size_t rows = back->pass.rows, ends = back->pass.trie->leaves * back->pass.pictures;
    size_t lanes = compose_back_lanes(model, back->pass.pictures);
    back->inputs = arena_floats(arena, tower->blocks * rows * tower->width);
    back->ends = arena_floats(arena, ends * tower->width);
    back->leaves = arena_floats(arena, ends * model->geometry.joint_width);
    back->dleaves = arena_floats(arena, ends * model->geometry.joint_width);
    back->dx = arena_floats(arena, rows * tower->width);
    back->dnormed = arena_floats(arena, rows * tower->width);
    back->middle = arena_floats(arena, rows * tower->width);
    back->dqkv = arena_floats(arena, rows * 3 * tower->width);
    back->dhidden = arena_floats(arena, rows * tower->mlp_width);
    back->keys = compose_back_take(arena, lanes, sizeof(float *));
    back->values = compose_back_take(arena, lanes, sizeof(float *));
    back->dkeys = compose_back_take(arena, lanes, sizeof(float *));
    back->dvalues = compose_back_take(arena, lanes, sizeof(float *));
    back->attended = compose_back_take(arena, lanes, sizeof(size_t));
    back->weights = arena_floats(arena, 2 * lanes);
}

/* ---- Forward ---- */

static size_t compose_back_leaf(const struct compose_back *back, size_t picture, size_t text)
{
    return back->pass.trie->leaf_of_text[text] * back->pass.pictures + picture;
}

static void compose_back_read_leaves(struct compose_back *back, float *out_features)
{
    const struct compose_pass *pass = &back->pass;
    const struct block_setting *setting = pass->compose->setting;
    const struct clip_model *model = pass->compose->model;
    size_t width = setting->tower->width, joint = model->geometry.joint_width;
    size_t ends = pass->trie->leaves * pass->pictures, texts = pass->trie->texts;
    memcpy(back->ends, pass->x + compose_pass_leaves(pass) * width, ends * width * sizeof(float));
    block_layer_norm(setting, &model->text_final_norm, back->ends, ends, pass->scratch.normed);
    block_linear(setting, model->text_projection, false, pass->scratch.normed, width, ends,
                 back->leaves, joint);
    for (size_t i = 0; i < pass->pictures * texts; i++) {
        float *feature = out_features + i * joint;
        memcpy(feature, back->leaves + compose_back_leaf(back, i / texts, i % texts) * joint,
               joint * sizeof(float));
        kernels_make_unit(setting->kernels, feature, joint);
    }
}

void compose_back_forward(struct compose_back *back, const struct compose *compose,
                          const struct trie *trie, const struct engine_pool *pool,
                          const uint16_t *prompts, size_t pictures, struct arena *arena,
                          float *out_features)
{
    struct compose_pass *pass = &back->pass;
    compose_pass_begin(pass, compose, trie, pool, prompts, pictures, arena);
    compose_back_begin(back, arena);
    size_t floats = pass->rows * compose->model->geometry.text.width;
    compose_pass_embed_nodes(pass);
    for (size_t block = 0; block < compose->model->geometry.text.blocks; block++) {
        compose_pass_enter(pass, block);
        memcpy(back->inputs + block * floats, pass->x, floats * sizeof(float));
        compose_pass_run(pass, block);
    }
    compose_back_read_leaves(back, out_features);
}

/* ---- From features to leaves ---- */

/* Of t / |t|, from d: (d - t (t d) / |t|²) / |t|. Texts of the same tokens add up. */
static void compose_back_leaves(struct compose_back *back, const float *dfeatures)
{
    const struct compose_pass *pass = &back->pass;
    const struct kernels *kernels = pass->compose->setting->kernels;
    size_t joint = pass->compose->model->geometry.joint_width, texts = pass->trie->texts;
    size_t ends = pass->trie->leaves * pass->pictures;
    memset(back->dleaves, 0, ends * joint * sizeof(float));
    for (size_t i = 0; i < pass->pictures * texts; i++)
        kernels->accumulate(back->dleaves + compose_back_leaf(back, i / texts, i % texts) * joint,
                            dfeatures + i * joint, joint);
    for (size_t leaf = 0; leaf < ends; leaf++) {
        const float *t = back->leaves + leaf * joint;
        float *d = back->dleaves + leaf * joint;
        float squares = kernels->dot(t, t, joint);
        float along = squares > 0 ? kernels->dot(t, d, joint) / squares : 0;
        float scale = squares > 0 ? 1.0f / sqrtf(squares) : 0;
        for (size_t k = 0; k < joint; k++)
            d[k] = (d[k] - along * t[k]) * scale;
    }
}

static void compose_back_from_leaves(struct compose_back *back, const float *dfeatures)
{
    const struct compose_pass *pass = &back->pass;
    const struct clip_model *model = pass->compose->model;
    size_t width = model->geometry.text.width, joint = model->geometry.joint_width;
    size_t ends = pass->trie->leaves * pass->pictures, first = compose_pass_leaves(pass);
    const struct block_back_part projection = {.weight = model->text_projection, .count = joint};
    compose_back_leaves(back, dfeatures);
    block_back_linear(pass->compose->setting, &projection, back->dleaves, joint, ends,
                      back->dnormed, width);
    memset(back->dx, 0, pass->rows * width * sizeof(float));
    block_back_layer_norm(pass->compose->setting, &model->text_final_norm, back->ends,
                          back->dnormed, ends, back->dx + first * width);
}

/* ---- Attention ---- */

struct compose_back_attention {
    struct compose_back *back;
    size_t block, out_first;
};

/* One head of one picture: nobody else adds to its columns of its rows. */
static void compose_back_attend_chunk(void *argument, size_t chunk)
{
    const struct compose_back_attention *job = argument;
    struct compose_back *back = job->back;
    const struct compose_pass *pass = &back->pass;
    const struct block_setting *setting = pass->compose->setting;
    size_t heads = setting->tower->heads, width = setting->tower->width;
    size_t head_width = width / heads, first = chunk % heads * head_width;
    size_t lane = chunk * pass->longest;
    size_t *attended = back->attended + lane;
    for (size_t row = job->out_first + chunk / heads; row < pass->rows; row += pass->pictures) {
        size_t count = compose_pass_attended(pass, job->block, row, back->keys + lane,
                                             back->values + lane, attended);
        for (size_t j = 0; j < count; j++) {
            float *key =
                attended[j] == SIZE_MAX ? NULL : back->dqkv + attended[j] * 3 * width + width;
            back->dkeys[lane + j] = key;
            back->dvalues[lane + j] = key ? key + width : NULL;
        }
        setting->kernels->attend_back(pass->scratch.qkv + row * 3 * width, back->keys + lane,
                                      back->values + lane, count, first, head_width,
                                      1.0f / sqrtf((float)head_width), back->dnormed + row * width,
                                      back->weights + 2 * lane, back->dqkv + row * 3 * width,
                                      back->dkeys + lane, back->dvalues + lane);
    }
}

static void compose_back_attend(struct compose_back *back, size_t block,
                                struct compose_pass_rows rows)
{
    const struct compose_pass *pass = &back->pass;
    const struct block_setting *setting = pass->compose->setting;
    struct compose_back_attention job = {back, block, rows.out_first};
    memset(back->dqkv, 0, pass->rows * 3 * setting->tower->width * sizeof(float));
    parallel_for(setting->team, pass->pictures * setting->tower->heads, compose_back_attend_chunk,
                 &job);
}

/* ---- Blocks ---- */

/* From the block's input again: qkv, and in the rows that have an output the middle and the hidden
 * values before the activation, in work. */
static void compose_back_recompute(struct compose_back *back, size_t block,
                                   struct compose_pass_rows rows)
{
    struct compose_pass *pass = &back->pass;
    const struct block_setting *setting = pass->compose->setting;
    const struct clip_model_block *weights = &pass->compose->model->text_blocks[block];
    size_t width = setting->tower->width, outs = pass->rows - rows.out_first;
    size_t at = rows.out_first * width;
    pass->x = back->inputs + block * pass->rows * width;
    compose_pass_project(pass, block, rows);
    compose_pass_attend(pass, block, rows);
    memcpy(back->middle + at, pass->x + at, outs * width * sizeof(float));
    block_linear(setting, weights->out, true, pass->scratch.normed + at, width, outs,
                 back->middle + at, width);
    block_layer_norm(setting, &weights->norm2, back->middle + at, outs, pass->scratch.normed + at);
    block_linear(setting, weights->expand, false, pass->scratch.normed + at, width, outs,
                 pass->scratch.work, setting->tower->mlp_width);
}

/* dx of the rows that have an output: from that of the block's output to that of the middle. */
static void compose_back_mlp(struct compose_back *back, size_t block, struct compose_pass_rows rows)
{
    const struct compose_pass *pass = &back->pass;
    const struct block_setting *setting = pass->compose->setting;
    const struct clip_model_block *weights = &pass->compose->model->text_blocks[block];
    size_t width = setting->tower->width, hidden = setting->tower->mlp_width;
    size_t outs = pass->rows - rows.out_first, at = rows.out_first * width;
    const struct block_back_part contract = {.weight = weights->contract, .count = width};
    const struct block_back_part expand = {.weight = weights->expand, .count = hidden};
    block_back_linear(setting, &contract, back->dx + at, width, outs, back->dhidden, hidden);
    block_back_activation(setting, pass->scratch.work, back->dhidden, outs * hidden);
    block_back_linear(setting, &expand, back->dhidden, hidden, outs, back->dnormed + at, width);
    block_back_layer_norm(setting, &weights->norm2, back->middle + at, back->dnormed + at, outs,
                          back->dx + at);
}

/* From that of the middle to that of the block's input, of all rows: without a table of keys and
 * values none is left out. */
static void compose_back_attention(struct compose_back *back, size_t block,
                                   struct compose_pass_rows rows)
{
    const struct compose_pass *pass = &back->pass;
    const struct block_setting *setting = pass->compose->setting;
    const struct clip_model_block *weights = &pass->compose->model->text_blocks[block];
    size_t width = setting->tower->width, outs = pass->rows - rows.out_first;
    size_t at = rows.out_first * width;
    const struct block_back_part out = {.weight = weights->out, .count = width};
    const struct block_back_part query = {.weight = weights->qkv, .count = width, .add = true};
    const struct block_back_part key_value = {
        .weight = weights->qkv, .first = width, .count = 2 * width};
    block_back_linear(setting, &out, back->dx + at, width, outs, back->dnormed + at, width);
    compose_back_attend(back, block, rows);
    block_back_linear(setting, &key_value, back->dqkv, 3 * width, pass->rows, back->dnormed, width);
    block_back_linear(setting, &query, back->dqkv + 3 * at, 3 * width, outs, back->dnormed + at,
                      width);
    block_back_layer_norm(setting, &weights->norm1, pass->x, back->dnormed, pass->rows, back->dx);
}

/* The prompts that were put in before this block have their gradient now; what was in their rows
 * before has none. */
static void compose_back_collect(struct compose_back *back, size_t block, float *dvalues)
{
    const struct compose_pass *pass = &back->pass;
    const struct pool_file *file = &pass->pool->file;
    const struct kernels *kernels = pass->compose->setting->kernels;
    for (size_t picture = 0; picture < pass->pictures; picture++)
        for (size_t slot = 0; slot < pass->slots; slot++) {
            size_t layer = picture * pass->depth + block;
            size_t prompt = pass->prompts[layer * pass->pool->chosen + slot / file->tokens];
            size_t offset = (size_t)(pool_value(pass->pool, block, prompt) - file->values) +
                            slot % file->tokens * file->width;
            kernels->accumulate(dvalues + offset,
                                back->dx + (slot * pass->pictures + picture) * file->width,
                                file->width);
        }
    memset(back->dx, 0, pass->slots * pass->pictures * file->width * sizeof(float));
}

void compose_back_gradient(struct compose_back *back, const float *dfeatures, float *dvalues)
{
    compose_back_from_leaves(back, dfeatures);
    for (size_t block = back->pass.compose->model->geometry.text.blocks; block-- > 0;) {
        struct compose_pass_rows rows = compose_pass_rows(&back->pass, block);
        compose_back_recompute(back, block, rows);
        compose_back_mlp(back, block, rows);
        compose_back_attention(back, block, rows);
        if (block < back->pass.depth)
            compose_back_collect(back, block, dvalues);
    }
}
