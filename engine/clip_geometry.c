#include "engine/clip_geometry.h"

#include <math.h>

enum {
    CLIP_GEOMETRY_CHANNELS = 3,
    CLIP_GEOMETRY_HEAD_WIDTH = 64,
    CLIP_GEOMETRY_MAX_SCORES = 1 << 28 /* of one attention: a gigabyte */
};

static const double clip_geometry_epsilon = 1e-5;

static enum status clip_geometry_find(const struct safetensors *file,
                                      const struct clip_names *names, enum clip_names_part part,
                                      uint32_t rank, const struct safetensors_tensor **out,
                                      struct fail *why)
{
    char name[CLIP_NAMES_SIZE];
    clip_names_part(names, part, "", name);
    return clip_names_require(file, name, rank, NULL, out, why);
}

static enum status clip_geometry_infer_tower(const struct safetensors *file,
                                             const struct clip_names *names,
                                             enum clip_names_tower tower, size_t width,
                                             struct clip_model_tower *out, struct fail *why)
{
    char name[CLIP_NAMES_SIZE];
    const struct safetensors_tensor *expand;
    clip_names_block_part(names, tower, 0, CLIP_NAMES_EXPAND, "weight", name);
    enum status status = clip_names_require(file, name, 2, NULL, &expand, why);
    if (status)
        return status;
    out->width = width;
    out->blocks = clip_names_count_blocks(names, file, tower);
    out->mlp_width = expand->shape[0];
    return STATUS_OK;
}

static enum status clip_geometry_infer_patches(const struct safetensors_tensor *patch,
                                               const struct safetensors_tensor *positions,
                                               struct clip_model_geometry *out, struct fail *why)
{
    char shape[128];
    if (patch->shape[1] != CLIP_GEOMETRY_CHANNELS || patch->shape[2] != patch->shape[3])
        return status_fail(why, STATUS_UNSUPPORTED,
                           "tensor %s has shape %s; expected [width, %d, patch, patch]",
                           patch->name, safetensors_shape_text(patch, shape, sizeof shape),
                           CLIP_GEOMETRY_CHANNELS);
    size_t patches = positions->shape[0] - 1;
    size_t grid = (size_t)sqrt((double)patches);
    if (patches == 0 || grid * grid != patches)
        return status_fail(why, STATUS_UNSUPPORTED,
                           "tensor %s has %zu rows; expected 1 and a square number of patches",
                           positions->name, positions->shape[0]);
    out->patch_size = patch->shape[2];
    out->patches = patches;
    out->image_size = grid * out->patch_size;
    return STATUS_OK;
}

static enum status clip_geometry_infer_vision(const struct safetensors *file,
                                              const struct clip_names *names,
                                              struct clip_model_geometry *out, struct fail *why)
{
    const struct safetensors_tensor *patch, *positions, *projection;
    enum status status =
        clip_geometry_find(file, names, CLIP_NAMES_PATCH_EMBEDDING, 4, &patch, why);
    if (!status)
        status = clip_geometry_find(file, names, CLIP_NAMES_VISION_POSITIONS, 2, &positions, why);
    if (!status)
        status = clip_geometry_find(file, names, CLIP_NAMES_VISION_PROJECTION, 2, &projection, why);
    if (!status)
        status = clip_geometry_infer_patches(patch, positions, out, why);
    if (status)
        return status;
    out->joint_width = projection->shape[names->projections_transposed ? 1 : 0];
    return clip_geometry_infer_tower(file, names, CLIP_NAMES_VISION, patch->shape[0], &out->vision,
                                     why);
}

static enum status clip_geometry_infer_text(const struct safetensors *file,
                                            const struct clip_names *names,
                                            struct clip_model_geometry *out, struct fail *why)
{
    const struct safetensors_tensor *tokens, *positions;
    enum status status =
        clip_geometry_find(file, names, CLIP_NAMES_TOKEN_EMBEDDING, 2, &tokens, why);
    if (!status)
        status = clip_geometry_find(file, names, CLIP_NAMES_TEXT_POSITIONS, 2, &positions, why);
    if (status)
        return status;
    out->vocabulary = tokens->shape[0];
    out->context = positions->shape[0];
    return clip_geometry_infer_tower(file, names, CLIP_NAMES_TEXT, tokens->shape[1], &out->text,
                                     why);
}

static enum status clip_geometry_check_bounds(const struct clip_model_geometry *geometry,
                                              struct fail *why)
{
    const struct {
        const char *what;
        size_t value, least, most;
    } bounds[] = {
        {"image size", geometry->image_size, 1, 4096},
        {"number of patches", geometry->patches, 1, 16384},
        {"joint width", geometry->joint_width, 1, 16384},
        {"context", geometry->context, 2, 4096},
        {"vocabulary", geometry->vocabulary, 2, 1 << 20},
        {"vision width", geometry->vision.width, 1, 16384},
        {"vision MLP width", geometry->vision.mlp_width, 1, 65536},
        {"number of vision blocks", geometry->vision.blocks, 1, 256},
        {"text width", geometry->text.width, 1, 16384},
        {"text MLP width", geometry->text.mlp_width, 1, 65536},
        {"number of text blocks", geometry->text.blocks, 1, 256},
    };
    for (size_t i = 0; i < sizeof bounds / sizeof *bounds; i++)
        if (bounds[i].value < bounds[i].least || bounds[i].value > bounds[i].most)
            return status_fail(why, STATUS_LIMIT, "the %s is %zu; must be from %zu to %zu",
                               bounds[i].what, bounds[i].value, bounds[i].least, bounds[i].most);
    return STATUS_OK;
}

static enum status clip_geometry_check_config(const struct clip_model_geometry *geometry,
                                              const struct clip_config *config, struct fail *why)
{
    const struct {
        const struct clip_config_number *stated;
        size_t found;
    } pairs[] = {
        {&config->image_size, geometry->image_size},
        {&config->patch_size, geometry->patch_size},
        {&config->joint_width, geometry->joint_width},
        {&config->context, geometry->context},
        {&config->vocabulary, geometry->vocabulary},
        {&config->vision.width, geometry->vision.width},
        {&config->vision.blocks, geometry->vision.blocks},
        {&config->vision.mlp_width, geometry->vision.mlp_width},
        {&config->text.width, geometry->text.width},
        {&config->text.blocks, geometry->text.blocks},
        {&config->text.mlp_width, geometry->text.mlp_width},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
        if (pairs[i].stated->value && pairs[i].stated->value != pairs[i].found)
            return status_fail(why, STATUS_INVALID,
                               "config says %s is %zu, but the tensors say %zu",
                               pairs[i].stated->key, pairs[i].stated->value, pairs[i].found);
    return STATUS_OK;
}

static enum status clip_geometry_infer_heads(const char *tower_name,
                                             const struct clip_config_tower *config,
                                             struct clip_model_tower *tower, struct fail *why)
{
    const struct clip_config_number *stated =
        config->heads.value ? &config->heads : &config->head_width;
    if (stated->value && tower->width % stated->value)
        return status_fail(why, STATUS_INVALID,
                           "config says %s is %zu, which does not divide the %s width of %zu",
                           stated->key, stated->value, tower_name, tower->width);
    if (!stated->value && tower->width % CLIP_GEOMETRY_HEAD_WIDTH)
        return status_fail(why, STATUS_INVALID,
                           "the %s width of %zu is no multiple of %d, so config.json must say how "
                           "many attention heads there are",
                           tower_name, tower->width, CLIP_GEOMETRY_HEAD_WIDTH);
    tower->heads = config->heads.value        ? config->heads.value
                   : config->head_width.value ? tower->width / config->head_width.value
                                              : tower->width / CLIP_GEOMETRY_HEAD_WIDTH;
    return STATUS_OK;
}

/* The scratch of a session grows with these, far faster than the file. */
static enum status clip_geometry_check_scores(const char *tower_name,
                                              const struct clip_model_tower *tower, size_t tokens,
                                              struct fail *why)
{
    if (tower->heads > CLIP_GEOMETRY_MAX_SCORES / tokens / tokens)
        return status_fail(why, STATUS_LIMIT,
                           "%zu attention heads over %zu tokens in the %s tower; heads times "
                           "tokens squared must be at most %d",
                           tower->heads, tokens, tower_name, CLIP_GEOMETRY_MAX_SCORES);
    return STATUS_OK;
}

enum status clip_geometry_infer(const struct safetensors *file, const struct clip_names *names,
                                const struct clip_config *config, struct clip_model_geometry *out,
                                struct fail *why)
{
    double epsilon =
        config->layer_norm_epsilon > 0 ? config->layer_norm_epsilon : clip_geometry_epsilon;
    struct clip_model_geometry geometry = {
        .activation = config->activation < 0 ? CLIP_MODEL_QUICK_GELU
                                             : (enum clip_model_activation)config->activation,
        .layout = names->layout,
        .layer_norm_epsilon = (float)epsilon,
    };
    enum status status = clip_geometry_infer_vision(file, names, &geometry, why);
    if (!status)
        status = clip_geometry_infer_text(file, names, &geometry, why);
    if (!status)
        status = clip_geometry_check_bounds(&geometry, why);
    if (!status)
        status = clip_geometry_check_config(&geometry, config, why);
    if (!status)
        status = clip_geometry_infer_heads("vision", &config->vision, &geometry.vision, why);
    if (!status)
        status = clip_geometry_infer_heads("text", &config->text, &geometry.text, why);
    if (!status)
        status = clip_geometry_check_scores("vision", &geometry.vision, 1 + geometry.patches, why);
    if (!status)
        status = clip_geometry_check_scores("text", &geometry.text, geometry.context, why);
    if (!status)
        *out = geometry;
    return status;
}
