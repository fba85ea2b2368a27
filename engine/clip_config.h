/*
 * What config.json says about a CLIP model, in the form of HuggingFace ("vision_config",
 * "text_config") or of open_clip ("model_cfg"). Everything in it is optional; what open_clip takes
 * for a missing number of heads counts as stated.
 */
#ifndef ENGINE_CLIP_CONFIG_H
#define ENGINE_CLIP_CONFIG_H

#include <stddef.h>

#include "engine/base/status.h"

struct clip_config_number {
    size_t value;    /* 0: not stated */
    const char *key; /* where it stood, "vision_config.hidden_size"; static storage */
};

struct clip_config_tower {
    struct clip_config_number width, heads, head_width, blocks, mlp_width;
};

struct clip_config {
    struct clip_config_number image_size, patch_size, joint_width, context, vocabulary;
    struct clip_config_tower vision, text;
    int activation;            /* an enum clip_model_activation; -1: not stated */
    double layer_norm_epsilon; /* 0: not stated */
};

/* A file that does not exist states nothing; one over 1 MiB is STATUS_LIMIT. activation: -1, or the
 * caller's own choice, which is then taken over without a look at what the file says.
 * STATUS_UNSUPPORTED for a model that is computed in another way than CLIP. Errors name the file
 * and the key. */
enum status clip_config_load(const char *path, int activation, struct clip_config *out,
                             struct fail *why);

#endif
