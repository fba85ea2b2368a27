/*
 * What the tensors of a CLIP model are called in the files of HuggingFace, OpenAI and open_clip.
 *
 * A name is a prefix of the file ("module." in a training checkpoint), the name of a part of the
 * model, and the name of one tensor of that part: "ln_final" + ".weight". No state of its own.
 */
#ifndef ENGINE_CLIP_NAMES_H
#define ENGINE_CLIP_NAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/status.h"
#include "engine/clip_model.h"
#include "engine/safetensors.h"

/* Parts that a model has once. */
enum clip_names_part {
    CLIP_NAMES_CLASS_EMBEDDING,
    CLIP_NAMES_PATCH_EMBEDDING,
    CLIP_NAMES_VISION_POSITIONS,
    CLIP_NAMES_VISION_PRE_NORM, /* + "weight", "bias" */
    CLIP_NAMES_VISION_POST_NORM,
    CLIP_NAMES_VISION_PROJECTION,
    CLIP_NAMES_TOKEN_EMBEDDING,
    CLIP_NAMES_TEXT_POSITIONS,
    CLIP_NAMES_TEXT_FINAL_NORM, /* + "weight", "bias" */
    CLIP_NAMES_TEXT_PROJECTION,
    CLIP_NAMES_LOGIT_SCALE,
    CLIP_NAMES_PARTS
};

/* Parts that every transformer block has, each with a "weight" and a "bias". */
enum clip_names_block_part {
    CLIP_NAMES_NORM1,
    CLIP_NAMES_NORM2,
    CLIP_NAMES_QUERY, /* one tensor of [3 width, ...] for all three where qkv_joined */
    CLIP_NAMES_KEY,
    CLIP_NAMES_VALUE,
    CLIP_NAMES_OUT,
    CLIP_NAMES_EXPAND,
    CLIP_NAMES_CONTRACT,
    CLIP_NAMES_BLOCK_PARTS
};

enum clip_names_tower { CLIP_NAMES_VISION, CLIP_NAMES_TEXT };

enum { CLIP_NAMES_SIZE = 128 };

struct clip_names {
    enum clip_model_layout layout;
    const char *prefix;
    bool qkv_joined;             /* CLIP_NAMES_QUERY names Q, K and V in one tensor */
    bool projections_transposed; /* stored [width, joint], not [joint, width] */
};

/* By the tensors that are there; STATUS_UNSUPPORTED if no layout fits, or if the file holds a
 * variant of CLIP that is computed in another way. */
enum status clip_names_detect(const struct safetensors *file, struct clip_names *out,
                              struct fail *why);

/* The name into out[CLIP_NAMES_SIZE]. suffix is "weight" or "bias", or "" where the part is one
 * tensor. */
void clip_names_part(const struct clip_names *names, enum clip_names_part part, const char *suffix,
                     char *out);
void clip_names_block_part(const struct clip_names *names, enum clip_names_tower tower,
                           size_t block, enum clip_names_block_part part, const char *suffix,
                           char *out);

/* The tensor of that name; STATUS_FORMAT, naming it and what was found and expected, if it is
 * missing, has another rank or a dimension of zero, or, with a shape [rank], another shape. */
enum status clip_names_require(const struct safetensors *file, const char *name, uint32_t rank,
                               const size_t *shape, const struct safetensors_tensor **out,
                               struct fail *why);

/* One more than the highest block that any tensor of the tower belongs to. */
size_t clip_names_count_blocks(const struct clip_names *names, const struct safetensors *file,
                               enum clip_names_tower tower);

/* A tensor that some files carry and that takes no part in the computation. */
bool clip_names_is_buffer(const char *name);

#endif
