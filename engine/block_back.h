/*
 * Gradients of the steps of a block, shared with idle threads like the steps themselves: the parts
 * follow from the shapes and `ways` alone. Weights are never trained, so they have no gradient.
 */
#ifndef ENGINE_BLOCK_BACK_H
#define ENGINE_BLOCK_BACK_H

#include <stdbool.h>
#include <stddef.h>

#include "engine/block.h"

/* Outputs first..first + count - 1 of weight, the rows of dy being [outputs] all the same:
 * dx[rows, inputs] = dy weight, or dx += that. */
struct block_back_part {
    const struct gemm_weight *weight;
    size_t first, count;
    bool add;
};
void block_back_linear(const struct block_setting *setting, const struct block_back_part *part,
                       const float *dy, size_t dy_stride, size_t rows, float *dx, size_t dx_stride);

/* dx [rows, width] += the gradient of the norm at x, from dy; rows of the tower's width. */
void block_back_layer_norm(const struct block_setting *setting, const struct clip_model_norm *norm,
                           const float *x, const float *dy, size_t rows, float *dx);

/* d [count] *= the slope of the activation at z. */
void block_back_activation(const struct block_setting *setting, const float *z, float *d,
                           size_t count);

#endif
