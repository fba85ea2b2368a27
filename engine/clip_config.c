#include "engine/clip_config.h"

#include <jansson.h>
#include <stddef.h>
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

/* NULL if there is none or it is null. */
static const json_t *clip_config_find(const json_t *root, const char *path)
{
    const char *dot = strchr(path, '.');
    const json_t *value = json_object_get(root, path);
    if (dot) {
        char section[32];
        size_t length = (size_t)(dot - path);
        memcpy(section, path, length);
        section[length] = '\0';
        value = json_object_get(json_object_get(root, section), dot + 1);
    }
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

static enum status clip_config_read_epsilon(const json_t *root, const char *section,
                                            const char *path, double *out, struct fail *why)
{
    const json_t *found = clip_config_find(root, path);
    if (!found) {
        *out = clip_config_find(root, section) ? clip_config_default_epsilon : 0;
        return STATUS_OK;
    }
    double value = json_number_value(found);
    if (!(value >= 1e-12 && value <= 1))
        return status_fail(why, STATUS_INVALID, "%s is not a number from 1e-12 to 1", path);
    *out = value;
    return STATUS_OK;
}

static enum status clip_config_read_epsilons(const json_t *root, const char *vision_section,
                                             const char *vision_path, const char *text_section,
                                             const char *text_path, struct clip_config *out,
                                             struct fail *why)
{
    double vision = 0, text = 0;
    enum status status = clip_config_read_epsilon(root, vision_section, vision_path, &vision, why);
    if (!status)
        status = clip_config_read_epsilon(root, text_section, text_path, &text, why);
    if (status)
        return status;
    if (vision > 0 && text > 0 && vision != text)
        return status_fail(why, STATUS_UNSUPPORTED,
                           "%s is %g and %s %g (%g where it is left out); towers with different "
                           "ones are not supported",
                           vision_path, vision, text_path, text, clip_config_default_epsilon);
    out->layer_norm_epsilon = vision > 0 ? vision : text;
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
    return status
               ? status
               : clip_config_read_epsilons(root, "vision_config", "vision_config.layer_norm_eps",
                                           "text_config", "text_config.layer_norm_eps", out, why);
}

static enum status clip_config_read_open_clip(const json_t *model, struct clip_config *out,
                                              struct fail *why)
{
    enum status status = clip_config_read_numbers(
        model, clip_config_open_clip, sizeof clip_config_open_clip / sizeof *clip_config_open_clip,
        out, why);
    if (status || out->activation >= 0)
        return status;
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
