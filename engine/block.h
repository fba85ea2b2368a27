/*
 * One transformer block, for both towers:
 *     y  = x + out(attention(norm1 x))
 *     x' = y + contract(activation(expand(norm2 y)))
 * with attention scale 1/sqrt(width / heads) and, in the text tower, a causal mask.
 *
 * Rows of several sequences stand one after the other in x; a sequence attends to itself only, so
 * lengths may differ and no padding is needed. Heavy steps are shared with idle threads, in parts
 * that follow from the shapes and `ways` alone: the bits of a result do not depend on who is idle.
 * They may depend on the rows that are computed together, in the last places.
 */
#ifndef ENGINE_BLOCK_H
#define ENGINE_BLOCK_H

#include <stdbool.h>
#include <stddef.h>

#include "engine/base/arena.h"
#include "engine/clip_model.h"
#include "engine/kernels.h"
#include "engine/parallel.h"

/* What the operations of a tower need and no input changes. */
struct block_setting {
    struct parallel_team *team;
    size_t ways; /* in how many parts to share a product at most: the cores, at least 1 */
    const struct kernels *kernels;
    const struct clip_model_tower *tower;
    enum clip_model_activation activation;
    float epsilon; /* of layer norm */
    bool causal;
};

/* Sequences over the rows of x: sequence i has rows starts[i] to starts[i + 1] - 1. */
struct block_sequences {
    size_t count;
    const size_t *starts; /* [count + 1], ascending from 0 */
};

struct block_scratch {
    float *normed; /* [rows, width]; later the attention's output */
    float *qkv;    /* [rows, 3 width] */
    float *work;   /* attention scores, then [rows, mlp_width] */
};

/* Bytes of arena for rows rows in sequences of at most longest rows. */
size_t block_scratch_bytes(const struct clip_model_tower *tower, size_t rows, size_t longest);
void block_scratch_take(struct block_scratch *scratch, const struct clip_model_tower *tower,
                        size_t rows, size_t longest, struct arena *arena);

/* x [rows, width], in place. */
void block_forward(const struct block_setting *setting, const struct clip_model_block *block,
                   const struct block_sequences *sequences, const struct block_scratch *scratch,
                   float *x);

/* The last block where only one row of each sequence is read (the last one, if causal): what
 * block_forward would leave (but for rounding) in row starts[i] + (last ? length - 1 : 0), in out
 * [sequences, width], at the cost of keys and values for all rows and the rest for one. x is left
 * as it is. */
void block_forward_readout(const struct block_setting *setting,
                           const struct clip_model_block *block,
                           const struct block_sequences *sequences,
                           const struct block_scratch *scratch, bool last, const float *x,
                           float *out);

/* y[rows, outputs] = x weightᵀ + bias, or y += that, shared with idle threads. */
void block_linear(const struct block_setting *setting, const struct gemm_weight *weight, bool add,
                  const float *x, size_t x_stride, size_t rows, float *y, size_t y_stride);

/* Outputs first..first + count - 1 of that alone; y is still addressed as [rows, outputs]. */
void block_linear_part(const struct block_setting *setting, const struct gemm_weight *weight,
                       size_t first, size_t count, const float *x, size_t x_stride, size_t rows,
                       float *y, size_t y_stride);

/* y [rows, width] += contract(activation(expand(norm2 y))); uses normed and work of the scratch. */
void block_mlp(const struct block_setting *setting, const struct clip_model_block *block,
               size_t rows, const struct block_scratch *scratch, float *y);

/* How many of `columns` columns of a product each thread takes that shares it, for rows rows and
 * `inner` multiplications a value: follows from the shape and the setting only. */
size_t block_columns_a_part(const struct block_setting *setting, size_t rows, size_t columns,
                            size_t inner);

/* Layer norm of rows of the tower's width, shared with idle threads. */
void block_layer_norm(const struct block_setting *setting, const struct clip_model_norm *norm,
                      const float *x, size_t rows, float *y);

#endif
