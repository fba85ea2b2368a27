/*
 * Matrix multiplication by a fixed weight, in single precision.
 *
 * Weights are packed once, at load, into a handle; the layout inside is the back end's own affair.
 * Immutable once packed: any number of threads may multiply by the same weight at once.
 */
#ifndef ENGINE_GEMM_H
#define ENGINE_GEMM_H

#include <stddef.h>

#include "engine/base/status.h"

struct gemm_weight;

/* weight: [outputs, inputs], row major, as Linear layers are stored: y = x weightᵀ + bias.
 * bias: [outputs] or NULL. Both are copied. */
enum status gemm_weight_create(const float *weight, const float *bias, size_t outputs,
                               size_t inputs, struct gemm_weight **out, struct fail *why);
void gemm_weight_destroy(struct gemm_weight *weight);

size_t gemm_weight_outputs(const struct gemm_weight *weight);
size_t gemm_weight_inputs(const struct gemm_weight *weight);

/* y[rows, outputs] = x[rows, inputs] weightᵀ + bias. Row strides in floats, at least the widths.
 * x and y must not overlap. Runs on the calling thread alone. */
void gemm_multiply(const struct gemm_weight *weight, const float *x, size_t x_stride, size_t rows,
                   float *y, size_t y_stride);

/* The same added to what y holds: y += x weightᵀ + bias. */
void gemm_multiply_add(const struct gemm_weight *weight, const float *x, size_t x_stride,
                       size_t rows, float *y, size_t y_stride);

/* Name of the library and kernel in use, for logs and benchmarks. Static storage. */
const char *gemm_backend(void);

#endif
