/*
 * Matrix multiplication by a fixed weight, in single precision.
 *
 * Weights are packed once, at load, into a handle; the layout inside is the back end's own affair.
 * Immutable once packed: any number of threads may multiply by the same weight at once.
 */
#ifndef ENGINE_GEMM_H
#define ENGINE_GEMM_H

#include <stdbool.h>
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

/* The part of either product that yields outputs first..first+count-1 only; y is still addressed as
 * [rows, outputs]. Threads that share one product each take some columns, best in multiples of
 * GEMM_COLUMN_STEP. The last bits of a value may depend on which columns and rows are computed
 * together, so whoever wants the same bits again must split in the same way again. */
enum { GEMM_COLUMN_STEP = 64 };
void gemm_columns(const struct gemm_weight *weight, size_t first, size_t count, bool add,
                  const float *x, size_t x_stride, size_t rows, float *y, size_t y_stride);

/* The gradient of x, from that of y in outputs first..first+count-1 (the others count as 0):
 * dx[rows, inputs] = dy[rows, outputs] weight, or dx += that. Only its columns column..column +
 * columns - 1, which threads can share like those of gemm_columns. */
void gemm_back(const struct gemm_weight *weight, size_t first, size_t count, size_t column,
               size_t columns, bool add, const float *dy, size_t dy_stride, size_t rows, float *dx,
               size_t dx_stride);

/* Products of two activations, for attention. Strides in floats, nothing overlaps.
 * gemm_scores:  c[m, n] = scale * a[m, k] b[n, k]ᵀ
 * gemm_combine: c[m, n] = a[m, k] b[k, n] */
void gemm_scores(const float *a, size_t a_stride, const float *b, size_t b_stride, size_t m,
                 size_t n, size_t k, float scale, float *c, size_t c_stride);
void gemm_combine(const float *a, size_t a_stride, const float *b, size_t b_stride, size_t m,
                  size_t n, size_t k, float *c, size_t c_stride);

/* Keeps the library from starting threads of its own: sharing work is parallel.h's task. Called by
 * engine_open before the first product; harmless when repeated. */
void gemm_start(void);

/* Library and kernel in use, for logs and benchmarks, cut to size. Returns out. */
char *gemm_backend(char *out, size_t size);

#endif
