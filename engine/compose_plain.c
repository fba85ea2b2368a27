#include "engine/compose_plain.h"

#include <string.h>

struct compose_plain_pass {
    const struct block_setting *setting;
    const struct clip_model *model;
    const struct engine_pool *pool;
    const uint16_t *prompts;
    size_t slots, depth;
    float *x; /* [texts, context, width] */
};

size_t compose_plain_scratch_bytes(const struct clip_model *model, size_t texts)
{
    const struct clip_model_tower *tower = &model->geometry.text;
    size_t context = model->geometry.context, rows = texts * context;
    return arena_floats_bytes(rows * tower->width) + block_scratch_bytes(tower, rows, context) +
           arena_floats_bytes((texts + 1) * (sizeof(size_t) / sizeof(float))) +
           arena_floats_bytes(texts * tower->width);
}

/* A token with its position; what follows end of text is padded with token 0. */
static void compose_plain_embed(const struct compose_plain_pass *pass, size_t text,
                                const int32_t *ids, size_t count)
{
    const struct clip_model *model = pass->model;
    size_t width = model->geometry.text.width, context = model->geometry.context;
    for (size_t position = 0; position < context; position++) {
        size_t at = position ? position - pass->slots : 0;
        bool is_prompt = position >= 1 && position <= pass->slots;
        int32_t id = is_prompt || at >= count ? 0 : ids[at];
        float *row = pass->x + (text * context + position) * width;
        for (size_t i = 0; i < width; i++)
            row[i] = model->token_embedding[(size_t)id * width + i] +
                     model->text_positions[position * width + i];
    }
}

static void compose_plain_replace(const struct compose_plain_pass *pass, size_t block, size_t text)
{
    const struct pool_file *file = &pass->pool->file;
    size_t width = file->width, context = pass->model->geometry.context;
    float *rows = pass->x + (text * context + 1) * width;
    for (size_t slot = 0; slot < pass->slots; slot++) {
        const float *value =
            pool_value(pass->pool, block,
                       pass->prompts[block * pass->pool->chosen + slot / file->tokens]) +
            slot % file->tokens * width;
        for (size_t i = 0; i < width; i++)
            rows[slot * width + i] =
                value[i] + (block == 0 && file->pos0
                                ? pass->model->text_positions[(1 + slot) * width + i]
                                : 0);
    }
}

static void compose_plain_run(struct compose_plain_pass *pass, const int32_t *ids,
                              const size_t *starts, size_t texts, struct arena *arena, float *out)
{
    const struct clip_model *model = pass->model;
    const struct clip_model_tower *tower = &model->geometry.text;
    size_t used = arena->used_bytes, context = model->geometry.context, width = tower->width;
    size_t joint = model->geometry.joint_width;
    struct block_scratch scratch;
    pass->x = arena_floats(arena, texts * context * width);
    block_scratch_take(&scratch, tower, texts * context, context, arena);
    size_t *bounds = (void *)arena_floats(arena, (texts + 1) * (sizeof(size_t) / sizeof(float)));
    float *ends = arena_floats(arena, texts * width);
    const struct block_sequences sequences = {.count = texts, .starts = bounds};
    for (size_t text = 0; text <= texts; text++)
        bounds[text] = text * context;
    for (size_t text = 0; text < texts; text++)
        compose_plain_embed(pass, text, ids + starts[text], starts[text + 1] - starts[text]);
    for (size_t block = 0; block < tower->blocks; block++) {
        for (size_t text = 0; text < texts && block < pass->depth; text++)
            compose_plain_replace(pass, block, text);
        block_forward(pass->setting, &model->text_blocks[block], &sequences, &scratch, pass->x);
    }
    for (size_t text = 0; text < texts; text++) {
        size_t end = starts[text + 1] - starts[text] - 1 + pass->slots;
        memcpy(ends + text * width, pass->x + (text * context + end) * width,
               width * sizeof(float));
    }
    block_layer_norm(pass->setting, &model->text_final_norm, ends, texts, ends);
    block_linear(pass->setting, model->text_projection, false, ends, width, texts, out, joint);
    for (size_t text = 0; text < texts; text++)
        kernels_make_unit(pass->setting->kernels, out + text * joint, joint);
    arena_rewind(arena, used);
}

void compose_plain_features(const struct block_setting *setting, const struct clip_model *model,
                            const struct engine_pool *pool, const uint16_t *prompts,
                            const int32_t *ids, const size_t *starts, size_t texts,
                            size_t texts_a_pass, struct arena *arena, float *out_features)
{
    struct compose_plain_pass pass = {.setting = setting,
                                      .model = model,
                                      .pool = pool,
                                      .prompts = prompts,
                                      .depth = pool ? pool->file.depth : 0,
                                      .slots = pool && pool->file.depth ? pool->slots : 0};
    for (size_t done = 0; done < texts;) {
        size_t left = texts - done, count = left < texts_a_pass ? left : texts_a_pass;
        compose_plain_run(&pass, ids, starts + done, count, arena,
                          out_features + done * model->geometry.joint_width);
        done += count;
    }
}
