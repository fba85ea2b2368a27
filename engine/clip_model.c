#include "engine/clip_model.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/log.h"
#include "engine/base/mem.h"
#include "engine/clip_config.h"
#include "engine/clip_folder.h"
#include "engine/clip_geometry.h"
#include "engine/clip_names.h"
#include "engine/safetensors.h"

/* Weights are widened here one at a time on their way to gemm, so that the model is never held
 * twice. */
struct clip_model_scratch {
    float *floats;
    size_t count;
};

struct clip_model_loader {
    const struct safetensors *file;
    struct clip_names names;
    bool *used; /* [tensors of the file] */
    struct clip_model_scratch scratch;
    struct clip_model *model;
};

/* A Linear layer, stored as one tensor, or as three where Q, K and V are separate. */
enum { CLIP_MODEL_MAX_PARTS = 3 };

struct clip_model_linear {
    size_t parts;
    enum clip_names_block_part part[CLIP_MODEL_MAX_PARTS];
    size_t outputs; /* of each part */
    size_t inputs;
};

static enum status clip_model_reserve(struct clip_model_scratch *scratch, size_t count,
                                      struct fail *why)
{
    if (count <= scratch->count)
        return STATUS_OK;
    float *floats = mem_aligned(count, sizeof(float));
    if (!floats)
        return status_fail(why, STATUS_NO_MEMORY, "no memory to convert %zu weights", count);
    free(scratch->floats);
    *scratch = (struct clip_model_scratch){floats, count};
    return STATUS_OK;
}

static enum status clip_model_widen(struct clip_model_loader *loader,
                                    const struct safetensors_tensor *tensor, float *out,
                                    struct fail *why)
{
    loader->used[tensor - safetensors_at(loader->file, 0)] = true;
    loader->model->parameters += tensor->count;
    return safetensors_to_f32(tensor, out, why);
}

/* A tensor that stays as it is. */
static enum status clip_model_load_array(struct clip_model_loader *loader,
                                         enum clip_names_part part, uint32_t rank,
                                         const size_t *shape, float **out, struct fail *why)
{
    char name[CLIP_NAMES_SIZE];
    const struct safetensors_tensor *tensor;
    clip_names_part(&loader->names, part, "", name);
    enum status status = clip_names_require(loader->file, name, rank, shape, &tensor, why);
    if (status)
        return status;
    *out = mem_aligned(tensor->count, sizeof(float));
    if (!*out)
        return status_fail(why, STATUS_NO_MEMORY, "no memory for tensor %s", name);
    return clip_model_widen(loader, tensor, *out, why);
}

static enum status clip_model_load_vector(struct clip_model_loader *loader, const char *name,
                                          size_t width, float **out, struct fail *why)
{
    const struct safetensors_tensor *tensor;
    enum status status = clip_names_require(loader->file, name, 1, &width, &tensor, why);
    if (status)
        return status;
    *out = mem_aligned(width, sizeof(float));
    if (!*out)
        return status_fail(why, STATUS_NO_MEMORY, "no memory for tensor %s", name);
    return clip_model_widen(loader, tensor, *out, why);
}

static enum status clip_model_load_norm(struct clip_model_loader *loader, enum clip_names_part part,
                                        size_t width, struct clip_model_norm *out, struct fail *why)
{
    char weight[CLIP_NAMES_SIZE], bias[CLIP_NAMES_SIZE];
    clip_names_part(&loader->names, part, "weight", weight);
    clip_names_part(&loader->names, part, "bias", bias);
    enum status status = clip_model_load_vector(loader, weight, width, &out->weight, why);
    return status ? status : clip_model_load_vector(loader, bias, width, &out->bias, why);
}

static enum status clip_model_load_block_norm(struct clip_model_loader *loader,
                                              enum clip_names_tower tower, size_t block,
                                              enum clip_names_block_part part, size_t width,
                                              struct clip_model_norm *out, struct fail *why)
{
    char weight[CLIP_NAMES_SIZE], bias[CLIP_NAMES_SIZE];
    clip_names_block_part(&loader->names, tower, block, part, "weight", weight);
    clip_names_block_part(&loader->names, tower, block, part, "bias", bias);
    enum status status = clip_model_load_vector(loader, weight, width, &out->weight, why);
    return status ? status : clip_model_load_vector(loader, bias, width, &out->bias, why);
}

static enum status clip_model_load_linear(struct clip_model_loader *loader,
                                          enum clip_names_tower tower, size_t block,
                                          const struct clip_model_linear *linear,
                                          struct gemm_weight **out, struct fail *why)
{
    const struct safetensors_tensor *weights[CLIP_MODEL_MAX_PARTS], *biases[CLIP_MODEL_MAX_PARTS];
    const size_t shape[] = {linear->outputs, linear->inputs};
    for (size_t i = 0; i < linear->parts; i++) {
        char name[CLIP_NAMES_SIZE];
        clip_names_block_part(&loader->names, tower, block, linear->part[i], "weight", name);
        enum status status = clip_names_require(loader->file, name, 2, shape, &weights[i], why);
        if (status)
            return status;
        clip_names_block_part(&loader->names, tower, block, linear->part[i], "bias", name);
        status = clip_names_require(loader->file, name, 1, shape, &biases[i], why);
        if (status)
            return status;
    }

    size_t outputs = linear->parts * linear->outputs, count = outputs * linear->inputs;
    enum status status = clip_model_reserve(&loader->scratch, count + outputs, why);
    float *weight = loader->scratch.floats;
    for (size_t i = 0; i < linear->parts && !status; i++) {
        status = clip_model_widen(loader, weights[i], weight + i * weights[i]->count, why);
        if (!status)
            status = clip_model_widen(loader, biases[i], weight + count + i * linear->outputs, why);
    }
    return status ? status
                  : gemm_weight_create(weight, weight + count, outputs, linear->inputs, out, why);
}

static void clip_model_transpose(const float *from, size_t rows, size_t columns, float *to)
{
    for (size_t row = 0; row < rows; row++)
        for (size_t column = 0; column < columns; column++)
            to[column * rows + row] = from[row * columns + column];
}

static enum status clip_model_load_projection(struct clip_model_loader *loader,
                                              enum clip_names_part part, size_t width,
                                              struct gemm_weight **out, struct fail *why)
{
    size_t joint = loader->model->geometry.joint_width;
    bool transposed = loader->names.projections_transposed;
    const size_t shape[] = {transposed ? width : joint, transposed ? joint : width};
    char name[CLIP_NAMES_SIZE];
    const struct safetensors_tensor *tensor;
    clip_names_part(&loader->names, part, "", name);
    enum status status = clip_names_require(loader->file, name, 2, shape, &tensor, why);
    if (!status)
        status = clip_model_reserve(&loader->scratch, 2 * tensor->count, why);
    float *stored = loader->scratch.floats, *weight = stored;
    if (!status)
        status = clip_model_widen(loader, tensor, stored, why);
    if (status)
        return status;
    if (transposed) {
        weight = stored + tensor->count;
        clip_model_transpose(stored, width, joint, weight);
    }
    return gemm_weight_create(weight, NULL, joint, width, out, why);
}

/* A projection once more, as [width, joint], into out. */
static enum status clip_model_read_projection(const struct clip_model_loader *loader,
                                              enum clip_names_part part, size_t width, float *out,
                                              float *scratch, struct fail *why)
{
    size_t joint = loader->model->geometry.joint_width;
    bool as_stored = loader->names.projections_transposed;
    char name[CLIP_NAMES_SIZE];
    clip_names_part(&loader->names, part, "", name);
    enum status status =
        safetensors_to_f32(safetensors_find(loader->file, name), as_stored ? out : scratch, why);
    if (!status && !as_stored)
        clip_model_transpose(scratch, joint, width, out);
    return status;
}

/* Once the projections are loaded, so that they are known to be there and well formed. */
static enum status clip_model_fingerprint(struct clip_model_loader *loader, struct fail *why)
{
    const struct clip_model_geometry *geometry = &loader->model->geometry;
    size_t text = geometry->text.width * geometry->joint_width;
    size_t vision = geometry->vision.width * geometry->joint_width;
    enum status status = clip_model_reserve(&loader->scratch, 2 * (text + vision), why);
    float *floats = loader->scratch.floats, *scratch = floats + text + vision;
    if (!status)
        status = clip_model_read_projection(loader, CLIP_NAMES_TEXT_PROJECTION,
                                            geometry->text.width, floats, scratch, why);
    if (!status)
        status = clip_model_read_projection(loader, CLIP_NAMES_VISION_PROJECTION,
                                            geometry->vision.width, floats + text, scratch, why);
    if (!status)
        fingerprint_compute(floats, text, floats + text, vision, loader->model->fingerprint);
    return status;
}

static enum status clip_model_load_patch_embedding(struct clip_model_loader *loader,
                                                   struct fail *why)
{
    const struct clip_model_geometry *geometry = &loader->model->geometry;
    size_t width = geometry->vision.width, patch = geometry->patch_size;
    const size_t shape[] = {width, 3, patch, patch};
    char name[CLIP_NAMES_SIZE];
    const struct safetensors_tensor *tensor;
    clip_names_part(&loader->names, CLIP_NAMES_PATCH_EMBEDDING, "", name);
    enum status status = clip_names_require(loader->file, name, 4, shape, &tensor, why);
    if (!status)
        status = clip_model_reserve(&loader->scratch, tensor->count, why);
    if (!status)
        status = clip_model_widen(loader, tensor, loader->scratch.floats, why);
    return status ? status
                  : gemm_weight_create(loader->scratch.floats, NULL, width, 3 * patch * patch,
                                       &loader->model->patch_embedding, why);
}

static enum status clip_model_load_block(struct clip_model_loader *loader,
                                         enum clip_names_tower tower, size_t index,
                                         const struct clip_model_tower *sizes,
                                         struct clip_model_block *out, struct fail *why)
{
    size_t width = sizes->width, mlp_width = sizes->mlp_width;
    const struct clip_model_linear qkv =
        loader->names.qkv_joined
            ? (struct clip_model_linear){1, {CLIP_NAMES_QUERY}, 3 * width, width}
            : (struct clip_model_linear){
                  3, {CLIP_NAMES_QUERY, CLIP_NAMES_KEY, CLIP_NAMES_VALUE}, width, width};
    const struct {
        struct clip_model_linear linear;
        struct gemm_weight **out;
    } linears[] = {
        {qkv, &out->qkv},
        {{1, {CLIP_NAMES_OUT}, width, width}, &out->out},
        {{1, {CLIP_NAMES_EXPAND}, mlp_width, width}, &out->expand},
        {{1, {CLIP_NAMES_CONTRACT}, width, mlp_width}, &out->contract},
    };
    enum status status =
        clip_model_load_block_norm(loader, tower, index, CLIP_NAMES_NORM1, width, &out->norm1, why);
    if (!status)
        status = clip_model_load_block_norm(loader, tower, index, CLIP_NAMES_NORM2, width,
                                            &out->norm2, why);
    for (size_t i = 0; i < sizeof linears / sizeof *linears && !status; i++)
        status =
            clip_model_load_linear(loader, tower, index, &linears[i].linear, linears[i].out, why);
    return status;
}

static enum status clip_model_load_blocks(struct clip_model_loader *loader,
                                          enum clip_names_tower tower,
                                          const struct clip_model_tower *sizes,
                                          struct clip_model_block **out, struct fail *why)
{
    struct clip_model_block *blocks = mem_zeroed(sizes->blocks, sizeof *blocks);
    if (!blocks)
        return status_fail(why, STATUS_NO_MEMORY, "no memory for %zu blocks", sizes->blocks);
    *out = blocks;
    enum status status = STATUS_OK;
    for (size_t i = 0; i < sizes->blocks && !status; i++)
        status = clip_model_load_block(loader, tower, i, sizes, &blocks[i], why);
    return status;
}

static enum status clip_model_load_vision(struct clip_model_loader *loader, struct fail *why)
{
    struct clip_model *model = loader->model;
    const struct clip_model_geometry *geometry = &model->geometry;
    size_t width = geometry->vision.width;
    const size_t positions[] = {1 + geometry->patches, width};
    enum status status = clip_model_load_patch_embedding(loader, why);
    if (!status)
        status = clip_model_load_array(loader, CLIP_NAMES_CLASS_EMBEDDING, 1, &width,
                                       &model->class_embedding, why);
    if (!status)
        status = clip_model_load_array(loader, CLIP_NAMES_VISION_POSITIONS, 2, positions,
                                       &model->vision_positions, why);
    if (!status)
        status = clip_model_load_norm(loader, CLIP_NAMES_VISION_PRE_NORM, width,
                                      &model->vision_pre_norm, why);
    if (!status)
        status = clip_model_load_norm(loader, CLIP_NAMES_VISION_POST_NORM, width,
                                      &model->vision_post_norm, why);
    if (!status)
        status = clip_model_load_projection(loader, CLIP_NAMES_VISION_PROJECTION, width,
                                            &model->vision_projection, why);
    return status ? status
                  : clip_model_load_blocks(loader, CLIP_NAMES_VISION, &geometry->vision,
                                           &model->vision_blocks, why);
}

static enum status clip_model_load_text(struct clip_model_loader *loader, struct fail *why)
{
    struct clip_model *model = loader->model;
    const struct clip_model_geometry *geometry = &model->geometry;
    size_t width = geometry->text.width;
    const size_t tokens[] = {geometry->vocabulary, width};
    const size_t positions[] = {geometry->context, width};
    enum status status = clip_model_load_array(loader, CLIP_NAMES_TOKEN_EMBEDDING, 2, tokens,
                                               &model->token_embedding, why);
    if (!status)
        status = clip_model_load_array(loader, CLIP_NAMES_TEXT_POSITIONS, 2, positions,
                                       &model->text_positions, why);
    if (!status)
        status = clip_model_load_norm(loader, CLIP_NAMES_TEXT_FINAL_NORM, width,
                                      &model->text_final_norm, why);
    if (!status)
        status = clip_model_load_projection(loader, CLIP_NAMES_TEXT_PROJECTION, width,
                                            &model->text_projection, why);
    return status ? status
                  : clip_model_load_blocks(loader, CLIP_NAMES_TEXT, &geometry->text,
                                           &model->text_blocks, why);
}

/* Stored as its logarithm, in a tensor of no or one dimension. */
static enum status clip_model_load_logit_scale(struct clip_model_loader *loader, struct fail *why)
{
    char name[CLIP_NAMES_SIZE], shape[128];
    clip_names_part(&loader->names, CLIP_NAMES_LOGIT_SCALE, "", name);
    const struct safetensors_tensor *tensor = safetensors_find(loader->file, name);
    if (!tensor)
        return status_fail(why, STATUS_FORMAT, "tensor %s is missing", name);
    if (tensor->count != 1)
        return status_fail(why, STATUS_FORMAT, "tensor %s has shape %s; expected []", name,
                           safetensors_shape_text(tensor, shape, sizeof shape));
    float logarithm;
    enum status status = clip_model_widen(loader, tensor, &logarithm, why);
    if (status)
        return status;
    float scale = expf(logarithm);
    if (!isfinite(scale) || scale <= 0)
        return status_fail(why, STATUS_INVALID, "tensor %s is %g, whose exponential overflows",
                           name, (double)logarithm);
    loader->model->geometry.logit_scale = scale;
    return STATUS_OK;
}

static void clip_model_log_unused(const struct clip_model_loader *loader)
{
    const char *first = NULL;
    size_t count = 0;
    for (size_t i = 0; i < safetensors_count(loader->file); i++) {
        const char *name = safetensors_at(loader->file, i)->name;
        if (loader->used[i] || clip_names_is_buffer(name))
            continue;
        first = first ? first : name;
        count++;
    }
    if (count)
        log_line(LOG_WARN, "ignored tensors that CLIP does not use: %zu, the first is %s", count,
                 first);
}

static enum status clip_model_load_tensors(const struct safetensors *file,
                                           const struct clip_config *config,
                                           struct clip_model *model, struct fail *why)
{
    struct clip_model_loader loader = {.file = file, .model = model};
    enum status status = clip_names_detect(file, &loader.names, why);
    if (!status)
        status = clip_geometry_infer(file, &loader.names, config, &model->geometry, why);
    if (status)
        return status;
    loader.used = mem_zeroed(safetensors_count(file), sizeof *loader.used);
    if (!loader.used)
        return status_fail(why, STATUS_NO_MEMORY, "no memory for the list of tensors");
    status = clip_model_load_vision(&loader, why);
    if (!status)
        status = clip_model_load_text(&loader, why);
    if (!status)
        status = clip_model_load_logit_scale(&loader, why);
    if (!status)
        status = clip_model_fingerprint(&loader, why);
    if (!status)
        clip_model_log_unused(&loader);
    free(loader.scratch.floats);
    free(loader.used);
    return status;
}

static enum status clip_model_load_file(const struct clip_folder *folder, int activation,
                                        struct clip_model *model, struct fail *why)
{
    struct clip_config config;
    enum status status = clip_config_load(folder->config, activation, &config, why);
    if (status)
        return status;
    struct safetensors *file;
    status = safetensors_open(folder->weights, &file, why);
    if (status)
        return status;
    status = clip_model_load_tensors(file, &config, model, why);
    if (status)
        status_context(why, status, "%s", folder->weights);
    safetensors_close(file);
    return status;
}

enum status clip_model_load(const char *model_dir, const struct clip_model_options *options,
                            struct clip_model **out, struct fail *why)
{
    struct clip_folder folder;
    enum status status = clip_folder_find(model_dir, &folder, why);
    if (status)
        return status;
    struct clip_model *model = mem_zeroed(1, sizeof *model);
    if (!model)
        return status_fail(why, STATUS_NO_MEMORY, "no memory for a model");
    status = clip_model_load_file(&folder, options ? options->activation : -1, model, why);
    if (status)
        clip_model_destroy(model);
    else
        *out = model;
    return status;
}

static void clip_model_finish_norm(struct clip_model_norm *norm)
{
    free(norm->weight);
    free(norm->bias);
}

static void clip_model_destroy_blocks(struct clip_model_block *blocks, size_t count)
{
    for (size_t i = 0; blocks && i < count; i++) {
        clip_model_finish_norm(&blocks[i].norm1);
        clip_model_finish_norm(&blocks[i].norm2);
        gemm_weight_destroy(blocks[i].qkv);
        gemm_weight_destroy(blocks[i].out);
        gemm_weight_destroy(blocks[i].expand);
        gemm_weight_destroy(blocks[i].contract);
    }
    free(blocks);
}

void clip_model_destroy(struct clip_model *model)
{
    if (!model)
        return;
    clip_model_destroy_blocks(model->vision_blocks, model->geometry.vision.blocks);
    clip_model_destroy_blocks(model->text_blocks, model->geometry.text.blocks);
    clip_model_finish_norm(&model->vision_pre_norm);
    clip_model_finish_norm(&model->vision_post_norm);
    clip_model_finish_norm(&model->text_final_norm);
    gemm_weight_destroy(model->patch_embedding);
    gemm_weight_destroy(model->vision_projection);
    gemm_weight_destroy(model->text_projection);
    free(model->class_embedding);
    free(model->vision_positions);
    free(model->token_embedding);
    free(model->text_positions);
    free(model);
}

const char *clip_model_activation_name(enum clip_model_activation activation)
{
    return activation == CLIP_MODEL_GELU ? "gelu" : "quick_gelu";
}

const char *clip_model_layout_name(enum clip_model_layout layout)
{
    switch (layout) {
    case CLIP_MODEL_HUGGINGFACE:
        return "huggingface";
    case CLIP_MODEL_OPENAI:
        return "openai";
    case CLIP_MODEL_OPEN_CLIP:
        return "open_clip";
    }
    return "unknown";
}
