/*
 * The weights of one CLIP model, read from a HuggingFace model folder (config.json,
 * model.safetensors), with the tensor names of HuggingFace, OpenAI or open_clip.
 *
 * Geometry comes from the tensors; config.json gives the activation, the number of heads and the
 * epsilon of layer norm, and the rest of it is checked against the tensors. The files of open_clip
 * (open_clip_model.safetensors, open_clip_config.json) are read too.
 * Immutable after load: any thread. All arrays are owned by the model.
 *
 * Linear weights are in gemm handles, [outputs, inputs] in Linear orientation; everything else is
 * plain f32.
 */
#ifndef ENGINE_CLIP_MODEL_H
#define ENGINE_CLIP_MODEL_H

#include <stddef.h>
#include <stdint.h>

#include "engine/base/status.h"
#include "engine/fingerprint.h"
#include "engine/gemm.h"

enum clip_model_activation {
    CLIP_MODEL_QUICK_GELU, /* z sigmoid(1.702 z), OpenAI */
    CLIP_MODEL_GELU        /* z (1 + erf(z / sqrt 2)) / 2 */
};

enum clip_model_layout { CLIP_MODEL_HUGGINGFACE, CLIP_MODEL_OPENAI, CLIP_MODEL_OPEN_CLIP };

struct clip_model_tower {
    size_t width;
    size_t heads; /* as the config says or implies, else width / 64 */
    size_t blocks;
    size_t mlp_width;
};

struct clip_model_geometry {
    size_t image_size; /* pixels, square */
    size_t patch_size; /* pixels, square */
    size_t patches;    /* (image_size / patch_size)² */
    size_t joint_width;
    size_t context;    /* tokens, SOT and EOT included */
    size_t vocabulary; /* rows of the token embedding */
    struct clip_model_tower vision;
    struct clip_model_tower text;
    enum clip_model_activation activation;
    enum clip_model_layout layout;
    float layer_norm_epsilon;
    float logit_scale; /* tau = exp of the stored value */
};

struct clip_model_norm {
    float *weight; /* [width] */
    float *bias;   /* [width] */
};

/* One transformer block (pre-norm):
 * y = x + out(attention(norm1 x)); x' = y + contract(activation(expand(norm2 y))). */
struct clip_model_block {
    struct clip_model_norm norm1, norm2;
    struct gemm_weight *qkv;      /* [3 width, width]: rows of Q, then K, then V */
    struct gemm_weight *out;      /* [width, width] */
    struct gemm_weight *expand;   /* [mlp_width, width] */
    struct gemm_weight *contract; /* [width, mlp_width] */
};

struct clip_model {
    struct clip_model_geometry geometry;

    struct gemm_weight *patch_embedding; /* [vision width, 3 patch²] (channel, row, column) */
    float *class_embedding;              /* [vision width] */
    float *vision_positions;             /* [1 + patches, vision width] */
    struct clip_model_norm vision_pre_norm, vision_post_norm;
    struct clip_model_block *vision_blocks; /* [vision blocks] */
    struct gemm_weight *vision_projection;  /* [joint, vision width] */

    float *token_embedding; /* [vocabulary, text width] */
    float *text_positions;  /* [context, text width] */
    struct clip_model_norm text_final_norm;
    struct clip_model_block *text_blocks; /* [text blocks] */
    struct gemm_weight *text_projection;  /* [joint, text width] */

    size_t parameters; /* how many numbers the tensors in use hold */
    char fingerprint[FINGERPRINT_BYTES];
};

struct clip_model_options {
    /* -1: what config.json says, quick_gelu if it says nothing; else an enum clip_model_activation.
     * The weights alone cannot say which. */
    int activation;
};

/* Errors name the file, the tensor and the shapes found and expected. */
enum status clip_model_load(const char *model_dir, const struct clip_model_options *options,
                            struct clip_model **out, struct fail *why);
void clip_model_destroy(struct clip_model *model);

const char *clip_model_activation_name(enum clip_model_activation activation);
const char *clip_model_layout_name(enum clip_model_layout layout);

#endif
