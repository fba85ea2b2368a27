#include "engine/compose_pass.h"

#include <math.h>
#include <string.h>

enum { COMPOSE_PASS_ROWS_A_CHUNK = 32 /* of attention */ };

/* ---- Scratch ---- */

static size_t compose_pass_chunks(size_t rows)
{
    return (rows + COMPOSE_PASS_ROWS_A_CHUNK - 1) / COMPOSE_PASS_ROWS_A_CHUNK;
}

size_t compose_pass_scratch_bytes(const struct clip_model *model, size_t nodes, size_t slots,
                                  size_t pictures)
{
    const struct clip_model_tower *tower = &model->geometry.text;
    size_t rows = (nodes + slots) * pictures;
    size_t attended = compose_pass_chunks(rows) * model->geometry.context;
    return arena_floats_bytes(rows * tower->width) + block_scratch_bytes(tower, rows, 0) +
           2 * arena_floats_bytes(arena_floats_for(slots * pictures, sizeof(void *))) +
           2 * arena_floats_bytes(arena_floats_for(attended, sizeof(void *))) +
           arena_floats_bytes(attended);
}

static const float **compose_pass_pointers(struct arena *arena, size_t count)
{
    return (void *)arena_floats(arena, arena_floats_for(count, sizeof(void *)));
}

void compose_pass_begin(struct compose_pass *pass, const struct compose *compose,
                        const struct trie *trie, const struct engine_pool *pool,
                        const uint16_t *prompts, size_t pictures, struct arena *arena)
{
    const struct clip_model_tower *tower = &compose->model->geometry.text;
    *pass = (struct compose_pass){.compose = compose,
                                  .trie = trie,
                                  .pictures = pictures,
                                  .longest = compose->model->geometry.context};
    if (pool && pool->file.depth) {
        pass->pool = pool;
        pass->prompts = prompts;
        pass->depth = pool->file.depth;
        pass->slots = pool->slots;
    }
    pass->rows = (pass->slots + trie->nodes) * pictures;
    size_t attended = compose_pass_chunks(pass->rows) * pass->longest;
    pass->x = arena_floats(arena, pass->rows * tower->width);
    block_scratch_take(&pass->scratch, tower, pass->rows, 0, arena);
    pass->prompt_keys = compose_pass_pointers(arena, pass->slots * pictures);
    pass->prompt_values = compose_pass_pointers(arena, pass->slots * pictures);
    pass->keys = compose_pass_pointers(arena, attended);
    pass->values = compose_pass_pointers(arena, attended);
    pass->weights = arena_floats(arena, attended);
}

/* ---- Rows before a block ---- */

void compose_pass_embed_nodes(struct compose_pass *pass)
{
    const struct clip_model *model = pass->compose->model;
    const struct trie *trie = pass->trie;
    size_t width = model->geometry.text.width;
    for (size_t node = 0; node < trie->nodes; node++) {
        const float *token = model->token_embedding + (size_t)trie->tokens[node] * width;
        const float *position =
            model->text_positions + (1 + pass->slots + trie->depths[node]) * width;
        float *row = pass->x + (pass->slots + node) * pass->pictures * width;
        for (size_t i = 0; i < width; i++)
            row[i] = token[i] + position[i];
        for (size_t picture = 1; picture < pass->pictures; picture++)
            memcpy(row + picture * width, row, width * sizeof(float));
    }
}

static const uint16_t *compose_pass_prompts(const struct compose_pass *pass, size_t picture,
                                            size_t block)
{
    return pass->prompts + (picture * pass->depth + block) * pass->pool->chosen;
}

static void compose_pass_embed_prompts(struct compose_pass *pass, size_t block)
{
    const struct pool_file *file = &pass->pool->file;
    size_t width = file->width;
    for (size_t slot = 0; slot < pass->slots; slot++) {
        const float *position = pass->compose->model->text_positions + (1 + slot) * width;
        for (size_t picture = 0; picture < pass->pictures; picture++) {
            size_t prompt = compose_pass_prompts(pass, picture, block)[slot / file->tokens];
            float *row = pass->x + (slot * pass->pictures + picture) * width;
            memcpy(row, pool_value(pass->pool, block, prompt) + slot % file->tokens * width,
                   width * sizeof(float));
            for (size_t i = 0; i < width && block == 0 && file->pos0; i++)
                row[i] += position[i];
        }
    }
}

/* Whether the prompts' outputs of this block are read: those of the last prompted one go on through
 * the tower, unless it is the tower's last. */
static bool compose_pass_prompts_go_on(const struct compose_pass *pass, size_t block)
{
    size_t blocks = pass->compose->model->geometry.text.blocks;
    return pass->slots && pass->depth < blocks && block + 1 >= pass->depth;
}

/* Whether the keys and values of this block's prompts are in the pool's table: not in the first,
 * where positions are added, nor where they go on, nor if the pool has no table. */
static bool compose_pass_prompts_are_known(const struct compose_pass *pass, size_t block)
{
    return block > 0 && !compose_pass_prompts_go_on(pass, block) && pass->pool->keys_values;
}

size_t compose_pass_leaves(const struct compose_pass *pass)
{
    return pass->rows - pass->trie->leaves * pass->pictures;
}

struct compose_pass_rows compose_pass_rows(const struct compose_pass *pass, size_t block)
{
    size_t nodes = pass->slots * pass->pictures;
    bool known = pass->slots && compose_pass_prompts_are_known(pass, block);
    bool last = block + 1 == pass->compose->model->geometry.text.blocks;
    return (struct compose_pass_rows){
        .from = known ? nodes : 0,
        .out_first = last                                      ? compose_pass_leaves(pass)
                     : compose_pass_prompts_go_on(pass, block) ? 0
                                                               : nodes,
    };
}

void compose_pass_enter(struct compose_pass *pass, size_t block)
{
    if (block < pass->depth && !compose_pass_prompts_are_known(pass, block))
        compose_pass_embed_prompts(pass, block);
}

/* ---- Attention ---- */

static void compose_pass_point_at_prompts(struct compose_pass *pass, size_t block)
{
    size_t width = pass->compose->model->geometry.text.width;
    bool known = pass->slots && compose_pass_prompts_are_known(pass, block);
    for (size_t i = 0; i < pass->slots * pass->pictures; i++) {
        size_t picture = i / pass->slots, slot = i % pass->slots;
        const float *key =
            pass->scratch.qkv + (slot * pass->pictures + picture) * 3 * width + width;
        if (known) {
            size_t tokens = pass->pool->file.tokens;
            size_t prompt = compose_pass_prompts(pass, picture, block)[slot / tokens];
            key = pool_key_value(pass->pool, block, prompt, slot % tokens);
        }
        pass->prompt_keys[i] = key;
        pass->prompt_values[i] = key + width;
    }
}

static void compose_pass_list_rows(const struct compose_pass *pass, size_t picture, size_t prompts,
                                   uint32_t node, size_t count, size_t *out)
{
    out[0] = SIZE_MAX;
    for (size_t slot = 0; slot < prompts; slot++)
        out[1 + slot] = slot * pass->pictures + picture;
    for (size_t at = count; at > 1 + prompts; node = pass->trie->parents[node])
        out[--at] = (pass->slots + node) * pass->pictures + picture;
}

size_t compose_pass_attended(const struct compose_pass *pass, size_t block, size_t row,
                             const float **keys, const float **values, size_t *out_rows)
{
    size_t width = pass->compose->model->geometry.text.width, pictures = pass->pictures;
    size_t picture = row % pictures, at = row / pictures;
    size_t prompts = at < pass->slots ? at + 1 : pass->slots, count = 1 + prompts;
    const float *start = pass->compose->start + block * 2 * width;
    uint32_t node = at < pass->slots ? TRIE_ROOT : (uint32_t)(at - pass->slots);
    keys[0] = start;
    values[0] = start + width;
    memcpy(keys + 1, pass->prompt_keys + picture * pass->slots, prompts * sizeof *keys);
    memcpy(values + 1, pass->prompt_values + picture * pass->slots, prompts * sizeof *values);
    if (node != TRIE_ROOT)
        count += pass->trie->depths[node] + 1;
    if (out_rows)
        compose_pass_list_rows(pass, picture, prompts, node, count, out_rows);
    for (at = count; at > 1 + prompts; node = pass->trie->parents[node]) {
        size_t of = (pass->slots + node) * pictures + picture;
        keys[--at] = pass->scratch.qkv + of * 3 * width + width;
        values[at] = keys[at] + width;
    }
    return count;
}

struct compose_pass_attention {
    const struct compose_pass *pass;
    size_t block, first, count;
};

static void compose_pass_attend_chunk(void *argument, size_t chunk)
{
    const struct compose_pass_attention *attention = argument;
    const struct compose_pass *pass = attention->pass;
    const struct block_setting *setting = pass->compose->setting;
    size_t width = setting->tower->width, head_width = width / setting->tower->heads;
    size_t from = chunk * COMPOSE_PASS_ROWS_A_CHUNK, to = from + COMPOSE_PASS_ROWS_A_CHUNK;
    const float **keys = pass->keys + chunk * pass->longest;
    const float **values = pass->values + chunk * pass->longest;
    for (size_t i = from; i < to && i < attention->count; i++) {
        size_t row = attention->first + i;
        size_t count = compose_pass_attended(pass, attention->block, row, keys, values, NULL);
        setting->kernels->attend(pass->scratch.qkv + row * 3 * width, keys, values, count,
                                 setting->tower->heads, head_width, 1.0f / sqrtf((float)head_width),
                                 pass->weights + chunk * pass->longest,
                                 pass->scratch.normed + row * width);
    }
}

void compose_pass_attend(struct compose_pass *pass, size_t block, struct compose_pass_rows rows)
{
    struct compose_pass_attention attention = {.pass = pass,
                                               .block = block,
                                               .first = rows.out_first,
                                               .count = pass->rows - rows.out_first};
    compose_pass_point_at_prompts(pass, block);
    parallel_for(pass->compose->setting->team, compose_pass_chunks(attention.count),
                 compose_pass_attend_chunk, &attention);
}

/* ---- Blocks ---- */

void compose_pass_project(struct compose_pass *pass, size_t block, struct compose_pass_rows rows)
{
    const struct block_setting *setting = pass->compose->setting;
    const struct clip_model_block *weights = &pass->compose->model->text_blocks[block];
    size_t width = setting->tower->width, from = rows.from, out_first = rows.out_first;
    float *normed = pass->scratch.normed, *qkv = pass->scratch.qkv;
    block_layer_norm(setting, &weights->norm1, pass->x + from * width, pass->rows - from,
                     normed + from * width);
    if (from == out_first) {
        block_linear(setting, weights->qkv, false, normed + from * width, width, pass->rows - from,
                     qkv + from * 3 * width, 3 * width);
        return;
    }
    block_linear_part(setting, weights->qkv, width, 2 * width, normed + from * width, width,
                      pass->rows - from, qkv + from * 3 * width, 3 * width);
    block_linear_part(setting, weights->qkv, 0, width, normed + out_first * width, width,
                      pass->rows - out_first, qkv + out_first * 3 * width, 3 * width);
}

void compose_pass_run(struct compose_pass *pass, size_t block)
{
    const struct block_setting *setting = pass->compose->setting;
    const struct clip_model_block *weights = &pass->compose->model->text_blocks[block];
    struct compose_pass_rows rows = compose_pass_rows(pass, block);
    size_t width = setting->tower->width, outs = pass->rows - rows.out_first;
    compose_pass_project(pass, block, rows);
    compose_pass_attend(pass, block, rows);
    float *x = pass->x + rows.out_first * width;
    block_linear(setting, weights->out, true, pass->scratch.normed + rows.out_first * width, width,
                 outs, x, width);
    block_mlp(setting, weights, outs, &pass->scratch, x);
}
