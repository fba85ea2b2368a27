#include "engine/vision.h"

#include <stdint.h>
#include <string.h>

struct vision_pass {
    const struct block_setting *setting;
    const struct clip_model *model;
    size_t count, tokens, width;
    struct block_sequences sequences;
    struct block_scratch scratch;
    float *x;       /* [count, tokens, width] */
    float *columns; /* [count, patches, 3 patch²], then [count, width] class rows */
    float *patches; /* [count, patches, width] */
};

static size_t vision_patch_inputs(const struct clip_model *model)
{
    return 3 * model->geometry.patch_size * model->geometry.patch_size;
}

static size_t vision_columns_floats(const struct clip_model *model, size_t count)
{
    size_t columns = model->geometry.patches * vision_patch_inputs(model);
    size_t width = model->geometry.vision.width;
    return count * (columns > width ? columns : width);
}

size_t vision_scratch_bytes(const struct clip_model *model, size_t count)
{
    const struct clip_model_geometry *geometry = &model->geometry;
    size_t tokens = geometry->patches + 1, width = geometry->vision.width;
    return arena_floats_bytes(count * tokens * width) +
           arena_floats_bytes(vision_columns_floats(model, count)) +
           arena_floats_bytes(count * geometry->patches * width) +
           arena_floats_bytes((count + 1) * (sizeof(size_t) / sizeof(float))) +
           block_scratch_bytes(&geometry->vision, count * tokens, tokens);
}

/* One image -> [patches, 3 patch²], each row channel by channel, row by row. */
static void vision_cut_patches(const struct clip_model_geometry *geometry, const float *pixels,
                               float *columns)
{
    size_t size = geometry->image_size, patch = geometry->patch_size, grid = size / patch;
    for (size_t row = 0; row < grid; row++)
        for (size_t column = 0; column < grid; column++)
            for (size_t channel = 0; channel < 3; channel++)
                for (size_t line = 0; line < patch; line++) {
                    size_t y = row * patch + line;
                    memcpy(columns, pixels + (channel * size + y) * size + column * patch,
                           patch * sizeof(float));
                    columns += patch;
                }
}

static void vision_embed_chunk(void *argument, size_t image)
{
    const struct vision_pass *pass = argument;
    const struct clip_model *model = pass->model;
    size_t width = pass->width;
    float *x = pass->x + image * pass->tokens * width;
    const float *patches = pass->patches + image * (pass->tokens - 1) * width;
    for (size_t i = 0; i < width; i++)
        x[i] = model->class_embedding[i] + model->vision_positions[i];
    for (size_t i = width; i < pass->tokens * width; i++)
        x[i] = patches[i - width] + model->vision_positions[i];
}

struct vision_cut_job {
    const struct vision_pass *pass;
    const float *pixels;
};

static void vision_cut_chunk(void *argument, size_t image)
{
    const struct vision_cut_job *job = argument;
    const struct clip_model_geometry *geometry = &job->pass->model->geometry;
    size_t pixels = 3 * geometry->image_size * geometry->image_size;
    size_t columns = geometry->patches * vision_patch_inputs(job->pass->model);
    vision_cut_patches(geometry, job->pixels + image * pixels,
                       job->pass->columns + image * columns);
}

static void vision_embed(struct vision_pass *pass, const float *pixels)
{
    const struct clip_model *model = pass->model;
    size_t rows = pass->count * (pass->tokens - 1);
    struct vision_cut_job cut = {pass, pixels};
    parallel_for(pass->setting->team, pass->count, vision_cut_chunk, &cut);
    block_linear(pass->setting, model->patch_embedding, false, pass->columns,
                 vision_patch_inputs(model), rows, pass->patches, pass->width);
    parallel_for(pass->setting->team, pass->count, vision_embed_chunk, pass);
    block_layer_norm(pass->setting, &model->vision_pre_norm, pass->x, pass->count * pass->tokens,
                     pass->x);
}

static void vision_show(const struct vision_pass *pass, const struct vision_watcher *watcher,
                        size_t block)
{
    if (watcher && block <= watcher->last)
        watcher->look(watcher->context, block, pass->x);
}

/* Leaves the class rows after the last block in pass->columns [count, width]. */
static void vision_run_blocks(struct vision_pass *pass, const struct vision_watcher *watcher)
{
    const struct clip_model *model = pass->model;
    size_t blocks = model->geometry.vision.blocks, width = pass->width;
    size_t full = watcher && watcher->last == blocks ? blocks : blocks - 1;
    vision_show(pass, watcher, 0);
    for (size_t block = 0; block < full; block++) {
        block_forward(pass->setting, &model->vision_blocks[block], &pass->sequences, &pass->scratch,
                      pass->x);
        vision_show(pass, watcher, block + 1);
    }
    if (full < blocks)
        block_forward_readout(pass->setting, &model->vision_blocks[full], &pass->sequences,
                              &pass->scratch, false, pass->x, pass->columns);
    else
        for (size_t image = 0; image < pass->count; image++)
            memcpy(pass->columns + image * width, pass->x + image * pass->tokens * width,
                   width * sizeof(float));
}

void vision_forward(const struct block_setting *setting, const struct clip_model *model,
                    const float *pixels, size_t count, const struct vision_watcher *watcher,
                    struct arena *arena, float *out_features)
{
    size_t used = arena->used_bytes, tokens = model->geometry.patches + 1;
    size_t width = model->geometry.vision.width, joint = model->geometry.joint_width;
    struct vision_pass pass = {
        .setting = setting, .model = model, .count = count, .tokens = tokens, .width = width};
    pass.x = arena_floats(arena, count * tokens * width);
    pass.columns = arena_floats(arena, vision_columns_floats(model, count));
    pass.patches = arena_floats(arena, count * (tokens - 1) * width);
    size_t *starts = (void *)arena_floats(arena, (count + 1) * (sizeof(size_t) / sizeof(float)));
    block_scratch_take(&pass.scratch, &model->geometry.vision, count * tokens, tokens, arena);
    for (size_t i = 0; i <= count; i++)
        starts[i] = i * tokens;
    pass.sequences = (struct block_sequences){.count = count, .starts = starts};

    vision_embed(&pass, pixels);
    vision_run_blocks(&pass, watcher);
    block_layer_norm(setting, &model->vision_post_norm, pass.columns, count, pass.columns);
    block_linear(setting, model->vision_projection, false, pass.columns, width, count, out_features,
                 joint);
    for (size_t image = 0; image < count; image++)
        kernels_make_unit(setting->kernels, out_features + image * joint, joint);
    arena_rewind(arena, used);
}
