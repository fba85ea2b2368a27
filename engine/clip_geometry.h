/*
 * The sizes of a CLIP model, from the shapes of a few of its tensors, checked against config.json
 * and against upper bounds: of each size, and of heads times tokens squared in each tower.
 */
#ifndef ENGINE_CLIP_GEOMETRY_H
#define ENGINE_CLIP_GEOMETRY_H

#include "engine/base/status.h"
#include "engine/clip_config.h"
#include "engine/clip_model.h"
#include "engine/clip_names.h"
#include "engine/safetensors.h"

/* All of *out but logit_scale. Errors name the tensor or the key of config.json, with the values
 * found and expected. */
enum status clip_geometry_infer(const struct safetensors *file, const struct clip_names *names,
                                const struct clip_config *config, struct clip_model_geometry *out,
                                struct fail *why);

#endif
