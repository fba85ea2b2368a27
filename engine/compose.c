#include "engine/compose.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/mem.h"

enum { COMPOSE_ROWS_A_CHUNK = 32 /* of attention */ };

/* Row r of x is prompt token r for r < slots, else node r - slots of the trie. */
struct compose_pass {
    const struct compose *compose;
    const struct trie *trie;
    const struct engine_pool *pool;
    const uint16_t *prompts; /* [depth, chosen] */
    size_t slots;            /* 0 without prompts */
    size_t depth;
    size_t rows; /* slots and nodes */
    float *x;    /* [rows, width] */
    struct block_scratch scratch;
    const float **prompt_keys, **prompt_values; /* [slots], of the block at hand */
    const float **keys, **values;               /* [chunks, longest]: what a row attends to */
    float *weights;                             /* [chunks, longest] */
    float *leaves;                              /* [leaves, joint] */
    size_t longest;                             /* rows that one row attends to, at most */
};

/* ---- The start of text ---- */

static enum status compose_compute_start(const struct block_setting *setting,
                                         const struct clip_model *model, int32_t token, float *out,
                                         struct fail *why)
{
    const struct clip_model_tower *tower = &model->geometry.text;
    size_t width = tower->width;
    struct arena arena;
    enum status status =
        arena_init(&arena, arena_floats_bytes(width) + block_scratch_bytes(tower, 1, 1), why);
    if (status)
        return status;
    struct block_scratch scratch;
    const size_t starts[] = {0, 1};
    const struct block_sequences alone = {.count = 1, .starts = starts};
    float *x = arena_floats(&arena, width);
    block_scratch_take(&scratch, tower, 1, 1, &arena);
    for (size_t i = 0; i < width; i++)
        x[i] = model->token_embedding[(size_t)token * width + i] + model->text_positions[i];
    for (size_t block = 0; block < tower->blocks; block++) {
        block_forward(setting, &model->text_blocks[block], &alone, &scratch, x);
        memcpy(out + block * 2 * width, scratch.qkv + width, 2 * width * sizeof(float));
    }
    arena_finish(&arena);
    return STATUS_OK;
}

enum status compose_init(struct compose *compose, const struct block_setting *setting,
                         const struct clip_model *model, struct memo *rows, int32_t start_token,
                         struct fail *why)
{
    const struct clip_model_tower *tower = &model->geometry.text;
    struct compose made = {.setting = setting, .model = model, .rows = rows};
    made.start = mem_aligned(tower->blocks * 2 * tower->width, sizeof(float));
    enum status status =
        made.start ? compose_compute_start(setting, model, start_token, made.start, why)
                   : status_fail(why, STATUS_NO_MEMORY, "no memory for the start of text");
    if (status)
        compose_finish(&made);
    else
        *compose = made;
    return status;
}

void compose_finish(struct compose *compose)
{
    if (!compose)
        return;
    free(compose->start);
    compose->start = NULL;
}

/* ---- Scratch ---- */

static size_t compose_chunks(size_t rows)
{
    return (rows + COMPOSE_ROWS_A_CHUNK - 1) / COMPOSE_ROWS_A_CHUNK;
}

static size_t compose_pointers_floats(size_t pointers)
{
    return pointers * (sizeof(void *) / sizeof(float));
}

size_t compose_scratch_bytes(const struct clip_model *model, size_t nodes, size_t slots)
{
    const struct clip_model_tower *tower = &model->geometry.text;
    size_t rows = nodes + slots, attended = compose_chunks(rows) * model->geometry.context;
    return arena_floats_bytes(rows * tower->width) + block_scratch_bytes(tower, rows, 0) +
           2 * arena_floats_bytes(compose_pointers_floats(slots)) +
           2 * arena_floats_bytes(compose_pointers_floats(attended)) +
           arena_floats_bytes(attended) + arena_floats_bytes(nodes * model->geometry.joint_width);
}

static const float **compose_pointers(struct arena *arena, size_t count)
{
    return (void *)arena_floats(arena, compose_pointers_floats(count));
}

static void compose_take_scratch(struct compose_pass *pass, struct arena *arena)
{
    const struct clip_model *model = pass->compose->model;
    const struct clip_model_tower *tower = &model->geometry.text;
    size_t attended = compose_chunks(pass->rows) * model->geometry.context;
    pass->longest = model->geometry.context;
    pass->x = arena_floats(arena, pass->rows * tower->width);
    block_scratch_take(&pass->scratch, tower, pass->rows, 0, arena);
    pass->prompt_keys = compose_pointers(arena, pass->slots);
    pass->prompt_values = compose_pointers(arena, pass->slots);
    pass->keys = compose_pointers(arena, attended);
    pass->values = compose_pointers(arena, attended);
    pass->weights = arena_floats(arena, attended);
    pass->leaves = arena_floats(arena, pass->trie->leaves * model->geometry.joint_width);
}

/* ---- Rows before a block ---- */

static void compose_embed_nodes(struct compose_pass *pass)
{
    const struct clip_model *model = pass->compose->model;
    const struct trie *trie = pass->trie;
    size_t width = model->geometry.text.width;
    for (size_t node = 0; node < trie->nodes; node++) {
        const float *token = model->token_embedding + (size_t)trie->tokens[node] * width;
        const float *position =
            model->text_positions + (1 + pass->slots + trie->depths[node]) * width;
        float *row = pass->x + (pass->slots + node) * width;
        for (size_t i = 0; i < width; i++)
            row[i] = token[i] + position[i];
    }
}

/* The prompts of a block into the first rows. */
static void compose_embed_prompts(struct compose_pass *pass, size_t block)
{
    const struct pool_file *file = &pass->pool->file;
    const float *positions = pass->compose->model->text_positions;
    size_t width = file->width, floats = file->tokens * width;
    for (size_t i = 0; i < pass->pool->chosen; i++)
        memcpy(pass->x + i * floats,
               pool_value(pass->pool, block, pass->prompts[block * pass->pool->chosen + i]),
               floats * sizeof(float));
    for (size_t i = 0; i < pass->slots * width && block == 0 && file->pos0; i++)
        pass->x[i] += positions[width + i];
}

/* ---- Attention ---- */

/* Whether the prompts' outputs of this block are read: those of the last prompted one go on through
 * the tower, unless it is the tower's last. */
static bool compose_prompts_go_on(const struct compose_pass *pass, size_t block)
{
    size_t blocks = pass->compose->model->geometry.text.blocks;
    return pass->slots && pass->depth < blocks && block + 1 >= pass->depth;
}

/* Whether prompts are among the rows of this block, and not in the pool's table: in the first,
 * where positions are added, and where they go on. */
static bool compose_prompts_have_rows(const struct compose_pass *pass, size_t block)
{
    return (pass->slots && block == 0) || compose_prompts_go_on(pass, block);
}

static void compose_point_at_prompts(struct compose_pass *pass, size_t block)
{
    size_t width = pass->compose->model->geometry.text.width;
    bool own_rows = compose_prompts_have_rows(pass, block);
    for (size_t slot = 0; slot < pass->slots; slot++) {
        size_t tokens = pass->pool->file.tokens;
        const float *key = pass->scratch.qkv + slot * 3 * width + width;
        if (!own_rows)
            key = pool_key_value(pass->pool, block,
                                 pass->prompts[block * pass->pool->chosen + slot / tokens],
                                 slot % tokens);
        pass->prompt_keys[slot] = key;
        pass->prompt_values[slot] = key + width;
    }
}

struct compose_attention {
    const struct compose_pass *pass;
    const float *start; /* [2, width] */
    size_t first, count;
};

/* What a row attends to: start of text, the prompts (those before it and itself, if it is one), the
 * nodes above it, itself. Returns how many. */
static size_t compose_list_attended(const struct compose_attention *attention, size_t row,
                                    const float **keys, const float **values)
{
    const struct compose_pass *pass = attention->pass;
    size_t width = pass->compose->model->geometry.text.width;
    size_t prompts = row < pass->slots ? row + 1 : pass->slots, count = 1 + prompts;
    keys[0] = attention->start;
    values[0] = attention->start + width;
    memcpy(keys + 1, pass->prompt_keys, prompts * sizeof *keys);
    memcpy(values + 1, pass->prompt_values, prompts * sizeof *values);
    if (row < pass->slots)
        return count;
    uint32_t node = (uint32_t)(row - pass->slots);
    count += pass->trie->depths[node] + 1;
    for (size_t at = count; node != TRIE_ROOT; node = pass->trie->parents[node]) {
        keys[--at] = pass->scratch.qkv + (pass->slots + node) * 3 * width + width;
        values[at] = keys[at] + width;
    }
    return count;
}

static void compose_attention_chunk(void *argument, size_t chunk)
{
    const struct compose_attention *attention = argument;
    const struct compose_pass *pass = attention->pass;
    const struct block_setting *setting = pass->compose->setting;
    size_t width = setting->tower->width, head_width = width / setting->tower->heads;
    size_t from = chunk * COMPOSE_ROWS_A_CHUNK, to = from + COMPOSE_ROWS_A_CHUNK;
    const float **keys = pass->keys + chunk * pass->longest;
    const float **values = pass->values + chunk * pass->longest;
    for (size_t i = from; i < to && i < attention->count; i++) {
        size_t row = attention->first + i;
        size_t count = compose_list_attended(attention, row, keys, values);
        setting->kernels->attend(pass->scratch.qkv + row * 3 * width, keys, values, count,
                                 setting->tower->heads, head_width, 1.0f / sqrtf((float)head_width),
                                 pass->weights + chunk * pass->longest,
                                 pass->scratch.normed + row * width);
    }
}

/* From qkv of rows first.. to the same rows of normed. */
static void compose_attend(struct compose_pass *pass, size_t block, size_t first)
{
    size_t width = pass->compose->model->geometry.text.width;
    struct compose_attention attention = {.pass = pass,
                                          .start = pass->compose->start + block * 2 * width,
                                          .first = first,
                                          .count = pass->rows - first};
    compose_point_at_prompts(pass, block);
    parallel_for(pass->compose->setting->team, compose_chunks(attention.count),
                 compose_attention_chunk, &attention);
}

/* ---- Blocks ---- */

/* Keys and values of rows from..rows-1, and the queries of the rows that have an output, which are
 * out_first..rows-1, all of them from the norm of x; then what attention makes of it is added to
 * those rows, and what the MLP makes of that. */
static void compose_block(struct compose_pass *pass, size_t block, size_t from, size_t out_first)
{
    const struct block_setting *setting = pass->compose->setting;
    const struct clip_model_block *weights = &pass->compose->model->text_blocks[block];
    size_t width = setting->tower->width, rows = pass->rows - from, outs = pass->rows - out_first;
    float *normed = pass->scratch.normed, *qkv = pass->scratch.qkv;
    block_layer_norm(setting, &weights->norm1, pass->x + from * width, rows, normed + from * width);
    if (outs == rows) {
        block_linear(setting, weights->qkv, false, normed + from * width, width, rows,
                     qkv + from * 3 * width, 3 * width);
    } else {
        block_linear_part(setting, weights->qkv, width, 2 * width, normed + from * width, width,
                          rows, qkv + from * 3 * width, 3 * width);
        block_linear_part(setting, weights->qkv, 0, width, normed + out_first * width, width, outs,
                          qkv + out_first * 3 * width, 3 * width);
    }
    compose_attend(pass, block, out_first);
    float *x = pass->x + out_first * width;
    block_linear(setting, weights->out, true, normed + out_first * width, width, outs, x, width);
    block_mlp(setting, weights, outs, &pass->scratch, x);
}

static void compose_run_block(struct compose_pass *pass, size_t block)
{
    size_t blocks = pass->compose->model->geometry.text.blocks;
    size_t from = compose_prompts_have_rows(pass, block) ? 0 : pass->slots;
    size_t out_first = compose_prompts_go_on(pass, block) ? 0 : pass->slots;
    if (from < pass->slots && block < pass->depth)
        compose_embed_prompts(pass, block);
    if (block + 1 == blocks)
        out_first = pass->rows - pass->trie->leaves;
    compose_block(pass, block, from, out_first);
}

/* ---- The memo of rows ---- */

static struct memo_key compose_key(const struct compose_pass *pass, const struct compose_text *text,
                                   size_t layers)
{
    return (struct memo_key){.subject = text->subject,
                             .part = text->part,
                             .pool = pass->pool->id,
                             .prompts = pass->prompts,
                             .count = layers * pass->pool->chosen};
}

/* Fills the nodes' rows after as many blocks as are known, and returns how many. The rows after the
 * last prompted block are known by the whole composition, whose features are kept instead. */
static size_t compose_recall(struct compose_pass *pass, const struct compose_text *text)
{
    size_t floats = pass->trie->nodes * pass->compose->model->geometry.text.width;
    float *nodes = pass->x + pass->slots * pass->compose->model->geometry.text.width;
    if (text->subject)
        for (size_t layers = pass->depth; layers-- > 1;) {
            struct memo_key key = compose_key(pass, text, layers);
            struct memo_entry *entry = memo_find(pass->compose->rows, &key);
            if (!entry)
                continue;
            memcpy(nodes, memo_floats(entry), floats * sizeof(float));
            memo_release(pass->compose->rows, entry);
            return layers;
        }
    compose_embed_nodes(pass);
    return 0;
}

static void compose_remember(const struct compose_pass *pass, const struct compose_text *text,
                             size_t layers)
{
    size_t width = pass->compose->model->geometry.text.width;
    if (!text->subject || layers >= pass->depth)
        return;
    struct memo_key key = compose_key(pass, text, layers);
    memo_keep(pass->compose->rows, &key, pass->x + pass->slots * width, pass->trie->nodes * width);
}

/* ---- Features ---- */

static void compose_read_leaves(struct compose_pass *pass, float *out_features)
{
    const struct block_setting *setting = pass->compose->setting;
    const struct clip_model *model = pass->compose->model;
    const struct trie *trie = pass->trie;
    size_t width = setting->tower->width, joint = model->geometry.joint_width;
    float *ends = pass->x + (pass->rows - trie->leaves) * width, *leaves = pass->leaves;
    block_layer_norm(setting, &model->text_final_norm, ends, trie->leaves, ends);
    block_linear(setting, model->text_projection, false, ends, width, trie->leaves, leaves, joint);
    for (size_t leaf = 0; leaf < trie->leaves; leaf++)
        kernels_make_unit(setting->kernels, leaves + leaf * joint, joint);
    for (size_t text = 0; text < trie->texts; text++)
        memcpy(out_features + text * joint, leaves + trie->leaf_of_text[text] * joint,
               joint * sizeof(float));
}

void compose_features(const struct compose *compose, const struct compose_text *text,
                      const struct engine_pool *pool, const uint16_t *prompts, struct arena *arena,
                      float *out_features)
{
    size_t used = arena->used_bytes, blocks = compose->model->geometry.text.blocks;
    struct compose_pass pass = {.compose = compose, .trie = text->trie};
    if (pool && pool->file.depth) {
        pass.pool = pool;
        pass.prompts = prompts;
        pass.depth = pool->file.depth;
        pass.slots = pool->slots;
    }
    pass.rows = pass.slots + text->trie->nodes;
    compose_take_scratch(&pass, arena);
    for (size_t block = compose_recall(&pass, text); block < blocks; block++) {
        compose_run_block(&pass, block);
        compose_remember(&pass, text, block + 1);
    }
    compose_read_leaves(&pass, out_features);
    arena_rewind(arena, used);
}
