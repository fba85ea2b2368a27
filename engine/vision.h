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

/* Looks on while the tower runs. */
struct vision_watcher {
    /* x [count, 1 + patches, vision width]: all rows after `block` blocks, the class row first.
     * Called on the thread of vision_forward for every block from 0 to `last`, which is at most the
     * number of blocks. */
    void (*look)(void *context, size_t block, const float *x);
    void *context;
    size_t last;
};

/* pixels [count, 3, image_size, image_size], normalised -> out_features [count, joint_width], unit.
 * watcher may be NULL; where nobody looks at the rows after the last block, that computes the class
 * row alone. setting is that of the vision tower. The arena is left as it was. */
void vision_forward(const struct block_setting *setting, const struct clip_model *model,
                    const float *pixels, size_t count, const struct vision_watcher *watcher,
                    struct arena *arena, float *out_features);

#endif
