#include "engine/text.h"

size_t text_scratch_bytes(const struct clip_model *model, size_t rows, size_t count)
{
    const struct clip_model_tower *tower = &model->geometry.text;
    return arena_floats_bytes(rows * tower->width) + arena_floats_bytes(count * tower->width) +
           block_scratch_bytes(tower, rows, model->geometry.context);
}

static void text_embed(const struct clip_model *model, const int32_t *ids,
                       const struct block_sequences *sequences, float *x)
{
    size_t width = model->geometry.text.width;
    for (size_t text = 0; text < sequences->count; text++)
        for (size_t row = sequences->starts[text]; row < sequences->starts[text + 1]; row++) {
            const float *token = model->token_embedding + (size_t)ids[row] * width;
            const float *position = model->text_positions + (row - sequences->starts[text]) * width;
            for (size_t i = 0; i < width; i++)
                x[row * width + i] = token[i] + position[i];
        }
}

void text_forward(const struct block_setting *setting, const struct clip_model *model,
                  const int32_t *ids, const struct block_sequences *sequences, struct arena *arena,
                  float *out_features)
{
    const struct clip_model_tower *tower = &model->geometry.text;
    size_t used = arena->used_bytes, joint = model->geometry.joint_width;
    size_t rows = sequences->starts[sequences->count];
    struct block_scratch scratch;
    float *x = arena_floats(arena, rows * tower->width);
    float *ends = arena_floats(arena, sequences->count * tower->width);
    block_scratch_take(&scratch, tower, rows, model->geometry.context, arena);

    text_embed(model, ids, sequences, x);
    for (size_t block = 0; block + 1 < tower->blocks; block++)
        block_forward(setting, &model->text_blocks[block], sequences, &scratch, x);
    block_forward_readout(setting, &model->text_blocks[tower->blocks - 1], sequences, &scratch,
                          true, x, ends);
    block_layer_norm(setting, &model->text_final_norm, ends, sequences->count, ends);
    block_linear(setting, model->text_projection, false, ends, tower->width, sequences->count,
                 out_features, joint);
    for (size_t text = 0; text < sequences->count; text++)
        kernels_make_unit(setting->kernels, out_features + text * joint, joint);
    arena_rewind(arena, used);
}
