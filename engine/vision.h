/*
 * The vision tower:
 *     z0 = pre_norm([class ; patches(x)] + positions), z_l = block_l(z_{l-1}),
 *     feature = projection(post_norm(row 0 of z_L)), made unit.
 */
#ifndef ENGINE_VISION_H
#define ENGINE_VISION_H

#include <stddef.h>

#include "engine/base/arena.h"
#include "engine/block.h"
#include "engine/clip_model.h"

/* Bytes of arena that a call with count images needs. */
size_t vision_scratch_bytes(const struct clip_model *model, size_t count);

/* pixels [count, 3, image_size, image_size], normalised -> out_features [count, joint_width], unit.
 * out_patches, if not NULL: the patch rows after every block, without the class row,
 * [vision blocks, count, patches, vision width]; without it the last block computes the class row
 * alone. setting is that of the vision tower. The arena is left as it was. */
void vision_forward(const struct block_setting *setting, const struct clip_model *model,
                    const float *pixels, size_t count, struct arena *arena, float *out_features,
                    float *out_patches);

#endif
