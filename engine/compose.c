#include "engine/compose.h"

#include <stdlib.h>
#include <string.h>

#include "engine/base/mem.h"
#include "engine/compose_pass.h"

/* ---- The start of text ---- */

static enum status compose_compute_start(const struct block_setting *setting,
                                         const struct clip_model *model, int32_t token, float *out,
                                         float *out_rows, struct fail *why)
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
        memcpy(out_rows + block * width, x, width * sizeof(float));
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
    made.start_rows = mem_aligned(tower->blocks * tower->width, sizeof(float));
    enum status status =
        made.start && made.start_rows
            ? compose_compute_start(setting, model, start_token, made.start, made.start_rows, why)
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
    free(compose->start_rows);
    compose->start = compose->start_rows = NULL;
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
    compose_pass_embed_nodes(pass);
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

size_t compose_scratch_bytes(const struct clip_model *model, size_t nodes, size_t slots)
{
    return compose_pass_scratch_bytes(model, nodes, slots, 1) +
           arena_floats_bytes(nodes * model->geometry.joint_width);
}

static void compose_read_leaves(struct compose_pass *pass, float *leaves, float *out_features)
{
    const struct block_setting *setting = pass->compose->setting;
    const struct clip_model *model = pass->compose->model;
    const struct trie *trie = pass->trie;
    size_t width = setting->tower->width, joint = model->geometry.joint_width;
    float *ends = pass->x + compose_pass_leaves(pass) * width;
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
    struct compose_pass pass;
    compose_pass_begin(&pass, compose, text->trie, pool, prompts, 1, arena);
    float *leaves = arena_floats(arena, text->trie->leaves * compose->model->geometry.joint_width);
    for (size_t block = compose_recall(&pass, text); block < blocks; block++) {
        compose_pass_enter(&pass, block);
        compose_pass_run(&pass, block);
        compose_remember(&pass, text, block + 1);
    }
    compose_read_leaves(&pass, leaves, out_features);
    arena_rewind(arena, used);
}
