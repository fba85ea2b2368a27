#include "engine/clip_config.h"

#include <jansson.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/buf.h"
#include "engine/clip_model.h"

enum { CLIP_CONFIG_MAX_BYTES = 1 << 20, CLIP_CONFIG_MAX_NUMBER = 1 << 30 };

static const double clip_config_default_epsilon = 1e-5;

/* Where in the file a number stands and where in struct clip_config it goes. */
struct clip_config_field {
    const char *path; /* "key" or "section.key" */
    size_t offset;
};

#define CLIP_CONFIG_FIELD(path, member)                                                            \
    {                                                                                              \
        path, offsetof(struct clip_config, member)                                                 \
    }

static const struct clip_config_field clip_config_huggingface[] = {
    CLIP_CONFIG_FIELD("projection_dim", joint_width),
    CLIP_CONFIG_FIELD("vision_config.image_size", image_size),
    CLIP_CONFIG_FIELD("vision_config.patch_size", patch_size),
    CLIP_CONFIG_FIELD("vision_config.hidden_size", vision.width),
    CLIP_CONFIG_FIELD("vision_config.num_attention_heads", vision.heads),
    CLIP_CONFIG_FIELD("vision_config.num_hidden_layers", vision.blocks),
    CLIP_CONFIG_FIELD("vision_config.intermediate_size", vision.mlp_width),
    CLIP_CONFIG_FIELD("text_config.max_position_embeddings", context),
    CLIP_CONFIG_FIELD("text_config.vocab_size", vocabulary),
    CLIP_CONFIG_FIELD("text_config.hidden_size", text.width),
    CLIP_CONFIG_FIELD("text_config.num_attention_heads", text.heads),
    CLIP_CONFIG_FIELD("text_config.num_hidden_layers", text.blocks),
    CLIP_CONFIG_FIELD("text_config.intermediate_size", text.mlp_width),
};

static const struct clip_config_field clip_config_open_clip[] = {
    CLIP_CONFIG_FIELD("embed_dim", joint_width),
    CLIP_CONFIG_FIELD("vision_cfg.image_size", image_size),
    CLIP_CONFIG_FIELD("vision_cfg.patch_size", patch_size),
    CLIP_CONFIG_FIELD("vision_cfg.width", vision.width),
    CLIP_CONFIG_FIELD("vision_cfg.head_width", vision.head_width),
    CLIP_CONFIG_FIELD("vision_cfg.layers", vision.blocks),
    CLIP_CONFIG_FIELD("text_cfg.context_length", context),
    CLIP_CONFIG_FIELD("text_cfg.vocab_size", vocabulary),
    CLIP_CONFIG_FIELD("text_cfg.width", text.width),
    CLIP_CONFIG_FIELD("text_cfg.heads", text.heads),
    CLIP_CONFIG_FIELD("text_cfg.layers", text.blocks),
};

/* What open_clip can build otherwise than CLIP, some of it without any trace in the tensors. */
static const struct clip_config_fixed {
    const char *path, *accepted; /* JSON; a key that is missing or null is accepted too */
} clip_config_open_clip_fixed[] = {
    {"vision_cfg.timm_model_name", "null"},
    {"vision_cfg.pool_type", "\"tok\""},
    {"vision_cfg.global_average_pool", "false"},
    {"vision_cfg.attentional_pool", "false"},
    {"vision_cfg.final_ln_after_pool", "false"},
    {"vision_cfg.no_ln_pre", "false"},
    {"vision_cfg.pos_embed_type", "\"learnable\""},
    {"vision_cfg.act_kwargs", "null"},
    {"vision_cfg.ls_init_value", "null"},
    {"vision_cfg.block_type", "\"default\""},
    {"vision_cfg.qk_norm", "false"},
    {"vision_cfg.scaled_cosine_attn", "false"},
    {"vision_cfg.scale_heads", "false"},
    {"vision_cfg.scale_attn_inner", "false"},
    {"vision_cfg.scale_attn", "false"},
    {"vision_cfg.scale_fc", "false"},
    {"text_cfg.hf_model_name", "null"},
    {"text_cfg.text_arch", "\"clip\""},
    {"text_cfg.tokenizer_kwargs", "null"},
    {"text_cfg.embed_cls", "false"},
    {"text_cfg.no_causal_mask", "false"},
    {"text_cfg.pool_type", "\"argmax\""},
    {"text_cfg.final_ln_after_pool", "false"},
    {"text_cfg.proj_type", "\"linear\""},
    {"text_cfg.proj_bias", "false"},
    {"text_cfg.act_kwargs", "null"},
    {"text_cfg.ls_init_value", "null"},
    {"text_cfg.block_type", "\"default\""},
    {"text_cfg.qk_norm", "false"},
    {"text_cfg.scaled_cosine_attn", "false"},
    {"text_cfg.scale_heads", "false"},
    {"text_cfg.scale_attn_inner", "false"},
    {"text_cfg.scale_attn", "false"},
    {"text_cfg.scale_fc", "false"},
};

/* NULL if there is none or it is null. */
static const json_t *clip_config_find(const json_t *root, const char *path)
{
    for (const char *dot; (dot = strchr(path, '.')); path = dot + 1) {
        char section[32];
        size_t length = (size_t)(dot - path);
        memcpy(section, path, length);
        section[length] = '\0';
        root = json_object_get(root, section);
    }
    const json_t *value = json_object_get(root, path);
    return json_is_null(value) ? NULL : value;
}

static enum status clip_config_read_numbers(const json_t *root,
                                            const struct clip_config_field *fields, size_t count,
                                            struct clip_config *out, struct fail *why)
{
    for (size_t i = 0; i < count; i++) {
        const json_t *found = clip_config_find(root, fields[i].path);
        if (!found)
            continue;
        json_int_t value = json_is_integer(found) ? json_integer_value(found) : 0;
        if (value < 1 || value > CLIP_CONFIG_MAX_NUMBER)
            return status_fail(why, STATUS_INVALID, "%s is not a whole number from 1 to %d",
                               fields[i].path, CLIP_CONFIG_MAX_NUMBER);
        struct clip_config_number *number =
            (struct clip_config_number *)((char *)out + fields[i].offset);
        *number = (struct clip_config_number){(size_t)value, fields[i].path};
    }
    return STATUS_OK;
}

/* A tower that is described but does not say has HuggingFace's default. */
static enum status clip_config_read_activation(const json_t *root, const char *section,
                                               const char *path, int *out, struct fail *why)
{
    const json_t *found = clip_config_find(root, path);
    if (!found) {
        *out = clip_config_find(root, section) ? CLIP_MODEL_QUICK_GELU : -1;
        return STATUS_OK;
    }
    const char *name = json_string_value(found);
    for (int i = CLIP_MODEL_QUICK_GELU; name && i <= CLIP_MODEL_GELU; i++) {
        if (!strcmp(name, clip_model_activation_name((enum clip_model_activation)i))) {
            *out = i;
            return STATUS_OK;
        }
    }
    return status_fail(why, STATUS_UNSUPPORTED,
                       "%s is \"%.64s\"; supported are \"quick_gelu\" and \"gelu\"", path,
                       name ? name : "(not a text)");
}

static enum status clip_config_read_activations(const json_t *root, struct clip_config *out,
                                                struct fail *why)
{
    int vision = -1, text = -1;
    enum status status = clip_config_read_activation(root, "vision_config",
                                                     "vision_config.hidden_act", &vision, why);
    if (!status)
        status =
            clip_config_read_activation(root, "text_config", "text_config.hidden_act", &text, why);
    if (status)
        return status;
    if (vision >= 0 && text >= 0 && vision != text)
        return status_fail(why, STATUS_UNSUPPORTED,
                           "vision_config.hidden_act is \"%s\" and text_config.hidden_act \"%s\" "
                           "(quick_gelu where it is left out); towers with different activations "
                           "are not supported",
                           clip_model_activation_name((enum clip_model_activation)vision),
                           clip_model_activation_name((enum clip_model_activation)text));
    out->activation = vision >= 0 ? vision : text;
    return STATUS_OK;
}

/* Where a tower says its epsilon, and what it is otherwise; 0: not stated. */
struct clip_config_epsilon {
    const char *path;
    double value;
};

static enum status clip_config_read_epsilon(const json_t *root, struct clip_config_epsilon *epsilon,
                                            struct fail *why)
{
    const json_t *found = clip_config_find(root, epsilon->path);
    if (!found)
        return STATUS_OK;
    double value = json_number_value(found);
    if (!(value >= 1e-12 && value <= 1))
        return status_fail(why, STATUS_INVALID, "%s is not a number from 1e-12 to 1",
                           epsilon->path);
    epsilon->value = value;
    return STATUS_OK;
}

static enum status clip_config_read_epsilons(const json_t *root, struct clip_config_epsilon vision,
                                             struct clip_config_epsilon text, double *out,
                                             struct fail *why)
{
    enum status status = clip_config_read_epsilon(root, &vision, why);
    if (!status)
        status = clip_config_read_epsilon(root, &text, why);
    if (status)
        return status;
    if (vision.value > 0 && text.value > 0 && vision.value != text.value)
        return status_fail(why, STATUS_UNSUPPORTED,
                           "%s is %g and %s %g (%g where it is left out); towers with different "
                           "ones are not supported",
                           vision.path, vision.value, text.path, text.value,
                           clip_config_default_epsilon);
    *out = vision.value > 0 ? vision.value : text.value;
    return STATUS_OK;
}

static enum status clip_config_read_huggingface(const json_t *root, struct clip_config *out,
                                                struct fail *why)
{
    enum status status = clip_config_read_numbers(
        root, clip_config_huggingface,
        sizeof clip_config_huggingface / sizeof *clip_config_huggingface, out, why);
    if (!status && out->activation < 0)
        status = clip_config_read_activations(root, out, why);
    if (status)
        return status;
    double vision = clip_config_find(root, "vision_config") ? clip_config_default_epsilon : 0;
    double text = clip_config_find(root, "text_config") ? clip_config_default_epsilon : 0;
    return clip_config_read_epsilons(
        root, (struct clip_config_epsilon){"vision_config.layer_norm_eps", vision},
        (struct clip_config_epsilon){"text_config.layer_norm_eps", text}, &out->layer_norm_epsilon,
        why);
}

static enum status clip_config_check_fixed(const json_t *model,
                                           const struct clip_config_fixed *fixed, struct fail *why)
{
    const json_t *found = clip_config_find(model, fixed->path);
    if (!found)
        return STATUS_OK;
    char *text = json_dumps(found, JSON_ENCODE_ANY | JSON_COMPACT | JSON_ENSURE_ASCII |
                                       JSON_REAL_PRECISION(9));
    if (!text)
        return status_fail(why, STATUS_NO_MEMORY, "no memory for the value of %s", fixed->path);
    enum status status = STATUS_OK;
    if (!strcmp(fixed->accepted, "null"))
        status =
            status_fail(why, STATUS_UNSUPPORTED,
                        "%s is %.80s; models that set it are not supported", fixed->path, text);
    else if (strcmp(text, fixed->accepted) != 0)
        status = status_fail(why, STATUS_UNSUPPORTED, "%s is %.80s; only %s is supported",
                             fixed->path, text, fixed->accepted);
    free(text);
    return status;
}

/* The arguments of a tower's layer norms: eps may be given, nothing else. */
static enum status clip_config_check_norm(const json_t *model, const char *path, struct fail *why)
{
    const json_t *found = clip_config_find(model, path);
    if (found && (!json_is_object(found) ||
                  json_object_size(found) != (json_object_get(found, "eps") ? 1 : 0)))
        return status_fail(why, STATUS_UNSUPPORTED, "%s holds other arguments than eps", path);
    return STATUS_OK;
}

static enum status clip_config_check_open_clip(const json_t *model, struct fail *why)
{
    const struct clip_config_fixed *fixed = clip_config_open_clip_fixed;
    size_t count = sizeof clip_config_open_clip_fixed / sizeof *fixed;
    enum status status = STATUS_OK;
    if (json_is_array(clip_config_find(model, "vision_cfg.layers")))
        return status_fail(why, STATUS_UNSUPPORTED,
                           "vision_cfg.layers is a list: ResNet towers are not supported");
    for (size_t i = 0; i < count && !status; i++)
        status = clip_config_check_fixed(model, &fixed[i], why);
    if (!status)
        status = clip_config_check_norm(model, "vision_cfg.norm_kwargs", why);
    if (!status)
        status = clip_config_check_norm(model, "text_cfg.norm_kwargs", why);
    return status;
}

static enum status clip_config_read_open_clip(const json_t *model, struct clip_config *out,
                                              struct fail *why)
{
    enum status status = clip_config_check_open_clip(model, why);
    if (!status)
        status = clip_config_read_numbers(
            model, clip_config_open_clip,
            sizeof clip_config_open_clip / sizeof *clip_config_open_clip, out, why);
    if (!status)
        status = clip_config_read_epsilons(
            model,
            (struct clip_config_epsilon){"vision_cfg.norm_kwargs.eps", clip_config_default_epsilon},
            (struct clip_config_epsilon){"text_cfg.norm_kwargs.eps", clip_config_default_epsilon},
            &out->layer_norm_epsilon, why);
    if (status)
        return status;
    if (!out->vision.head_width.value)
        out->vision.head_width =
            (struct clip_config_number){64, "vision_cfg.head_width (by default)"};
    if (!out->text.heads.value)
        out->text.heads = (struct clip_config_number){8, "text_cfg.heads (by default)"};
    if (out->activation >= 0)
        return STATUS_OK;
    const json_t *quick = clip_config_find(model, "quick_gelu");
    if (quick && !json_is_boolean(quick))
        return status_fail(why, STATUS_INVALID, "quick_gelu is neither true nor false");
    out->activation = json_is_true(quick) ? CLIP_MODEL_QUICK_GELU : CLIP_MODEL_GELU;
    return STATUS_OK;
}

static enum status clip_config_read(const struct buf *text, struct clip_config *out,
                                    struct fail *why)
{
    json_error_t error;
    json_t *root = json_loadb(text->data, text->size, JSON_REJECT_DUPLICATES, &error);
    if (!root)
        return status_fail(why, STATUS_FORMAT, "line %d: %s", error.line, error.text);
    /* open_clip's own file has a section "model_cfg"; its list of models has what stands in it. */
    const json_t *model = json_object_get(root, "model_cfg");
    if (!model && json_object_get(root, "vision_cfg"))
        model = root;
    enum status status;
    if (!json_is_object(root))
        status = status_fail(why, STATUS_FORMAT, "not a JSON object");
    else if (model)
        status = clip_config_read_open_clip(model, out, why);
    else
        status = clip_config_read_huggingface(root, out, why);
    json_decref(root);
    return status;
}

enum status clip_config_load(const char *path, int activation, struct clip_config *out,
                             struct fail *why)
{
    struct clip_config config = {.activation = activation};
    struct buf text;
    buf_init(&text, CLIP_CONFIG_MAX_BYTES);
    enum status status = buf_read_file(&text, path, why);
    if (status == STATUS_NOT_FOUND) {
        status = STATUS_OK;
    } else if (!status) {
        status = clip_config_read(&text, &config, why);
        if (status)
            status_context(why, status, "%s", path);
    }
    buf_finish(&text);
    if (!status)
        *out = config;
    return status;
}
