/*
 * Everything of a transformer that is not a matrix product.
 *
 * One table of functions per instruction set, chosen at run time; `kernels_plain` is the same in
 * straight loops and libm, the oracle that the others are tested against. Pure functions: any
 * thread. Strides in floats.
 */
#ifndef ENGINE_KERNELS_H
#define ENGINE_KERNELS_H

#include <stddef.h>

struct kernels {
    const char *name; /* "plain", "base", "avx2", "avx512" */

    /* y = (x - mean) / sqrt(variance + epsilon) * weight + bias for each of rows; the variance is
     * the biased one. weight, bias: [width]. y may be x. */
    void (*layer_norm)(const float *x, size_t x_stride, size_t rows, size_t width,
                       const float *weight, const float *bias, float epsilon, float *y,
                       size_t y_stride);

    /* z = z sigmoid(1.702 z), in place. */
    void (*quick_gelu)(float *z, size_t count);

    /* z = z (1 + erf(z / sqrt 2)) / 2, in place. */
    void (*gelu)(float *z, size_t count);

    /* z = exp(z - max z) / sum of the same, in place; count >= 1. */
    void (*softmax)(float *z, size_t count);

    float (*dot)(const float *a, const float *b, size_t count);

    /* out[i] = x · rows[i] for count rows, row_stride apart. The bits of out[i] depend on x and its
     * row alone. */
    void (*dot_rows)(const float *x, const float *rows, size_t row_stride, size_t count,
                     size_t width, float *out);

    /* y += x */
    void (*accumulate)(float *y, const float *x, size_t count);

    /* Attention of one row over rows that may lie anywhere. For each head h, with the columns
     * h * head_width to (h + 1) * head_width - 1 of every row:
     *     out = sum over j of weights[j] values[j], weights = softmax over j of scale q · keys[j].
     * q, out: [heads * head_width], out not among the others; keys, values: [count] rows, count at
     * least 1; weights: [count], scratch. */
    void (*attend)(const float *q, const float *const *keys, const float *const *values,
                   size_t count, size_t heads, size_t head_width, float scale, float *weights,
                   float *out);

    /* ---- Gradients: what the loss loses by what goes in, from what it loses by what comes out
     * ---- */

    /* dx += gradient of layer_norm at x, from dy, for each of rows. With n = (x - mean) r and
     * g = dy * weight: r (g - mean(g) - n mean(g n)). dy may not be dx. */
    void (*layer_norm_back)(const float *x, size_t x_stride, size_t rows, size_t width,
                            const float *weight, float epsilon, const float *dy, size_t dy_stride,
                            float *dx, size_t dx_stride);

    /* d *= the slope of the activation at z. */
    void (*quick_gelu_back)(const float *z, float *d, size_t count);
    void (*gelu_back)(const float *z, float *d, size_t count);

    /* Of attend, for the head that has the columns first to first + head_width - 1, from dout.
     * These columns of dq are set; those of dkeys[j] and dvalues[j], for every j whose pointers are
     * not NULL, are added to. weights: [2 count], scratch. */
    void (*attend_back)(const float *q, const float *const *keys, const float *const *values,
                        size_t count, size_t first, size_t head_width, float scale,
                        const float *dout, float *weights, float *dq, float *const *dkeys,
                        float *const *dvalues);
};

extern const struct kernels kernels_plain;

/* The fastest table that this processor can run. */
const struct kernels *kernels_best(void);

/* Tables that this processor can run, kernels_plain first; NULL past the last. For tests. */
const struct kernels *kernels_at(size_t index);

/* z = z / |z|, in place, with the given dot product. A zero vector stays zero. */
void kernels_make_unit(const struct kernels *kernels, float *z, size_t count);

#endif
