#include "engine/clip_names.h"

#include <stdio.h>
#include <string.h>

enum { CLIP_NAMES_LAYOUTS = 3, CLIP_NAMES_MAX_NUMBER = 1000000 };

struct clip_names_row {
    const char *of[CLIP_NAMES_LAYOUTS]; /* by enum clip_model_layout */
};

static const struct clip_names_row clip_names_parts[CLIP_NAMES_PARTS] = {
    [CLIP_NAMES_CLASS_EMBEDDING] = {{"vision_model.embeddings.class_embedding",
                                     "visual.class_embedding", "visual.class_embedding"}},
    [CLIP_NAMES_PATCH_EMBEDDING] = {{"vision_model.embeddings.patch_embedding.weight",
                                     "visual.conv1.weight", "visual.conv1.weight"}},
    [CLIP_NAMES_VISION_POSITIONS] = {{"vision_model.embeddings.position_embedding.weight",
                                      "visual.positional_embedding",
                                      "visual.positional_embedding"}},
    [CLIP_NAMES_VISION_PRE_NORM] = {{"vision_model.pre_layrnorm.", "visual.ln_pre.",
                                     "visual.ln_pre."}},
    [CLIP_NAMES_VISION_POST_NORM] = {{"vision_model.post_layernorm.", "visual.ln_post.",
                                      "visual.ln_post."}},
    [CLIP_NAMES_VISION_PROJECTION] = {{"visual_projection.weight", "visual.proj", "visual.proj"}},
    [CLIP_NAMES_TOKEN_EMBEDDING] = {{"text_model.embeddings.token_embedding.weight",
                                     "token_embedding.weight", "text.token_embedding.weight"}},
    [CLIP_NAMES_TEXT_POSITIONS] = {{"text_model.embeddings.position_embedding.weight",
                                    "positional_embedding", "text.positional_embedding"}},
    [CLIP_NAMES_TEXT_FINAL_NORM] = {{"text_model.final_layer_norm.", "ln_final.",
                                     "text.ln_final."}},
    [CLIP_NAMES_TEXT_PROJECTION] = {{"text_projection.weight", "text_projection",
                                     "text.text_projection"}},
    [CLIP_NAMES_LOGIT_SCALE] = {{"logit_scale", "logit_scale", "logit_scale"}},
};

static const struct clip_names_row clip_names_towers[] = {
    [CLIP_NAMES_VISION] = {{"vision_model.encoder.layers.", "visual.transformer.resblocks.",
                            "visual.transformer.resblocks."}},
    [CLIP_NAMES_TEXT] = {{"text_model.encoder.layers.", "transformer.resblocks.",
                          "text.transformer.resblocks."}},
};

static const struct clip_names_row clip_names_block_parts[CLIP_NAMES_BLOCK_PARTS] = {
    [CLIP_NAMES_NORM1] = {{"layer_norm1.", "ln_1.", "ln_1."}},
    [CLIP_NAMES_NORM2] = {{"layer_norm2.", "ln_2.", "ln_2."}},
    [CLIP_NAMES_QUERY] = {{"self_attn.q_proj.", "attn.in_proj_", "attn.in_proj_"}},
    [CLIP_NAMES_KEY] = {{"self_attn.k_proj.", NULL, NULL}},
    [CLIP_NAMES_VALUE] = {{"self_attn.v_proj.", NULL, NULL}},
    [CLIP_NAMES_OUT] = {{"self_attn.out_proj.", "attn.out_proj.", "attn.out_proj."}},
    [CLIP_NAMES_EXPAND] = {{"mlp.fc1.", "mlp.c_fc.", "mlp.c_fc."}},
    [CLIP_NAMES_CONTRACT] = {{"mlp.fc2.", "mlp.c_proj.", "mlp.c_proj."}},
};

static bool clip_names_ends_with(const char *text, const char *end)
{
    size_t text_length = strlen(text), end_length = strlen(end);
    return text_length >= end_length && !strcmp(text + text_length - end_length, end);
}

/* Tensors that mean another computation: to leave them out would give wrong features. */
static enum status clip_names_check_variant(const struct safetensors *file, struct fail *why)
{
    for (size_t i = 0; i < safetensors_count(file); i++) {
        const char *name = safetensors_at(file, i)->name;
        if (clip_names_ends_with(name, ".ls_1.gamma") || clip_names_ends_with(name, ".ls_2.gamma"))
            return status_fail(why, STATUS_UNSUPPORTED,
                               "tensor %s: models with LayerScale are not supported", name);
    }
    return STATUS_OK;
}

static const struct clip_names *clip_names_find(const struct safetensors *file,
                                                enum clip_names_part part)
{
    static const struct clip_names candidates[] = {
        {CLIP_MODEL_HUGGINGFACE, "", false, false},
        {CLIP_MODEL_OPENAI, "", true, true},
        {CLIP_MODEL_OPEN_CLIP, "", true, true},
        {CLIP_MODEL_HUGGINGFACE, "module.", false, false},
        {CLIP_MODEL_OPENAI, "module.", true, true},
        {CLIP_MODEL_OPEN_CLIP, "module.", true, true},
    };
    for (size_t i = 0; i < sizeof candidates / sizeof *candidates; i++) {
        char name[CLIP_NAMES_SIZE];
        clip_names_part(&candidates[i], part, "", name);
        if (safetensors_find(file, name))
            return &candidates[i];
    }
    return NULL;
}

enum status clip_names_detect(const struct safetensors *file, struct clip_names *out,
                              struct fail *why)
{
    /* The token embedding is named differently in each layout. A file without one is known by its
     * class embedding, so that the error can say what is missing. */
    const struct clip_names *found = clip_names_find(file, CLIP_NAMES_TOKEN_EMBEDDING);
    if (!found)
        found = clip_names_find(file, CLIP_NAMES_CLASS_EMBEDDING);
    if (!found)
        return status_fail(why, STATUS_UNSUPPORTED,
                           "not a CLIP model: no tensor is called %s (HuggingFace), %s (OpenAI) or "
                           "%s (open_clip)",
                           clip_names_parts[CLIP_NAMES_TOKEN_EMBEDDING].of[CLIP_MODEL_HUGGINGFACE],
                           clip_names_parts[CLIP_NAMES_TOKEN_EMBEDDING].of[CLIP_MODEL_OPENAI],
                           clip_names_parts[CLIP_NAMES_TOKEN_EMBEDDING].of[CLIP_MODEL_OPEN_CLIP]);
    enum status status = clip_names_check_variant(file, why);
    if (!status)
        *out = *found;
    return status;
}

void clip_names_part(const struct clip_names *names, enum clip_names_part part, const char *suffix,
                     char *out)
{
    snprintf(out, CLIP_NAMES_SIZE, "%s%s%s", names->prefix,
             clip_names_parts[part].of[names->layout], suffix);
}

void clip_names_block_part(const struct clip_names *names, enum clip_names_tower tower,
                           size_t block, enum clip_names_block_part part, const char *suffix,
                           char *out)
{
    snprintf(out, CLIP_NAMES_SIZE, "%s%s%zu.%s%s", names->prefix,
             clip_names_towers[tower].of[names->layout], block,
             clip_names_block_parts[part].of[names->layout], suffix);
}

enum status clip_names_require(const struct safetensors *file, const char *name, uint32_t rank,
                               const size_t *shape, const struct safetensors_tensor **out,
                               struct fail *why)
{
    const struct safetensors_tensor *tensor = safetensors_find(file, name);
    if (!tensor)
        return status_fail(why, STATUS_FORMAT, "tensor %s is missing", name);
    char found[128], expected[128];
    safetensors_shape_text(tensor, found, sizeof found);
    if (tensor->rank != rank)
        return status_fail(why, STATUS_FORMAT, "tensor %s has shape %s; expected %u dimensions",
                           name, found, rank);
    if (tensor->count == 0)
        return status_fail(why, STATUS_FORMAT,
                           "tensor %s has shape %s; expected no empty dimension", name, found);
    if (shape && memcmp(shape, tensor->shape, rank * sizeof *shape)) {
        struct safetensors_tensor wanted = {.rank = rank};
        memcpy(wanted.shape, shape, rank * sizeof *shape);
        return status_fail(why, STATUS_FORMAT, "tensor %s has shape %s; expected %s", name, found,
                           safetensors_shape_text(&wanted, expected, sizeof expected));
    }
    *out = tensor;
    return STATUS_OK;
}

size_t clip_names_count_blocks(const struct clip_names *names, const struct safetensors *file,
                               enum clip_names_tower tower)
{
    char start[CLIP_NAMES_SIZE];
    snprintf(start, sizeof start, "%s%s", names->prefix,
             clip_names_towers[tower].of[names->layout]);
    size_t start_length = strlen(start), count = 0;
    for (size_t i = 0; i < safetensors_count(file); i++) {
        const char *name = safetensors_at(file, i)->name;
        if (strncmp(name, start, start_length))
            continue;
        size_t number = 0;
        const char *digit = name + start_length;
        for (; *digit >= '0' && *digit <= '9' && number < CLIP_NAMES_MAX_NUMBER; digit++)
            number = number * 10 + (size_t)(*digit - '0');
        if (digit > name + start_length && number + 1 > count)
            count = number + 1;
    }
    return count;
}

bool clip_names_is_buffer(const char *name)
{
    static const char *const buffers[] = {"position_ids",     "attn_mask",      "logit_bias",
                                          "input_resolution", "context_length", "vocab_size"};
    for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++)
        if (clip_names_ends_with(name, buffers[i]))
            return true;
    return false;
}
