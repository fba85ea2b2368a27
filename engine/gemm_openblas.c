#include "engine/gemm.h"

#include <cblas.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/mem.h"

/* The weight is kept transposed, [inputs, outputs]: OpenBLAS packs that order faster, most of all
 * for few rows (tests/bench/bench_gemm). */
struct gemm_weight {
    size_t outputs, inputs;
    float *transposed;
    float *bias; /* [outputs], or NULL */
};

enum { GEMM_TRANSPOSE_TILE = 32 };

static void gemm_transpose(const float *from, size_t rows, size_t columns, float *to)
{
    for (size_t row = 0; row < rows; row += GEMM_TRANSPOSE_TILE) {
        size_t row_end = row + GEMM_TRANSPOSE_TILE < rows ? row + GEMM_TRANSPOSE_TILE : rows;
        for (size_t column = 0; column < columns; column++)
            for (size_t r = row; r < row_end; r++)
                to[column * rows + r] = from[r * columns + column];
    }
}

enum status gemm_weight_create(const float *weight, const float *bias, size_t outputs,
                               size_t inputs, struct gemm_weight **out, struct fail *why)
{
    size_t count;
    if (outputs == 0 || inputs == 0 || outputs > INT_MAX || inputs > INT_MAX ||
        !mem_multiply(outputs, inputs, &count))
        return status_fail(why, STATUS_LIMIT, "a weight of %zu x %zu cannot be multiplied", outputs,
                           inputs);
    struct gemm_weight *made = mem_zeroed(1, sizeof *made);
    if (!made)
        return status_fail(why, STATUS_NO_MEMORY, "no memory for a weight");
    made->outputs = outputs;
    made->inputs = inputs;
    made->transposed = mem_aligned(count, sizeof(float));
    made->bias = bias ? mem_aligned(outputs, sizeof(float)) : NULL;
    if (!made->transposed || (bias && !made->bias)) {
        gemm_weight_destroy(made);
        return status_fail(why, STATUS_NO_MEMORY, "no memory for a weight of %zu x %zu", outputs,
                           inputs);
    }
    gemm_transpose(weight, outputs, inputs, made->transposed);
    if (bias)
        memcpy(made->bias, bias, outputs * sizeof(float));
    *out = made;
    return STATUS_OK;
}

void gemm_weight_destroy(struct gemm_weight *weight)
{
    if (!weight)
        return;
    free(weight->transposed);
    free(weight->bias);
    free(weight);
}

size_t gemm_weight_outputs(const struct gemm_weight *weight)
{
    return weight->outputs;
}

size_t gemm_weight_inputs(const struct gemm_weight *weight)
{
    return weight->inputs;
}

static void gemm_start_from_bias(const float *bias, bool add, size_t count, size_t rows, float *y,
                                 size_t y_stride)
{
    for (size_t row = 0; row < rows; row++) {
        float *values = y + row * y_stride;
        if (!add)
            memcpy(values, bias, count * sizeof(float));
        else
            for (size_t i = 0; i < count; i++)
                values[i] += bias[i];
    }
}

void gemm_columns(const struct gemm_weight *weight, size_t first, size_t count, bool add,
                  const float *x, size_t x_stride, size_t rows, float *y, size_t y_stride)
{
    if (rows == 0 || count == 0)
        return;
    if (weight->bias)
        gemm_start_from_bias(weight->bias + first, add, count, rows, y + first, y_stride);
    float keep = add || weight->bias ? 1.0f : 0.0f;
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)rows, (int)count,
                (int)weight->inputs, 1.0f, x, (int)x_stride, weight->transposed + first,
                (int)weight->outputs, keep, y + first, (int)y_stride);
}

void gemm_multiply(const struct gemm_weight *weight, const float *x, size_t x_stride, size_t rows,
                   float *y, size_t y_stride)
{
    gemm_columns(weight, 0, weight->outputs, false, x, x_stride, rows, y, y_stride);
}

void gemm_multiply_add(const struct gemm_weight *weight, const float *x, size_t x_stride,
                       size_t rows, float *y, size_t y_stride)
{
    gemm_columns(weight, 0, weight->outputs, true, x, x_stride, rows, y, y_stride);
}

void gemm_back(const struct gemm_weight *weight, size_t first, size_t count, size_t column,
               size_t columns, bool add, const float *dy, size_t dy_stride, size_t rows, float *dx,
               size_t dx_stride)
{
    if (rows == 0 || columns == 0)
        return;
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)rows, (int)columns, (int)count, 1.0f,
                dy + first, (int)dy_stride, weight->transposed + column * weight->outputs + first,
                (int)weight->outputs, add ? 1.0f : 0.0f, dx + column, (int)dx_stride);
}

void gemm_scores(const float *a, size_t a_stride, const float *b, size_t b_stride, size_t m,
                 size_t n, size_t k, float scale, float *c, size_t c_stride)
{
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)m, (int)n, (int)k, scale, a,
                (int)a_stride, b, (int)b_stride, 0.0f, c, (int)c_stride);
}

void gemm_combine(const float *a, size_t a_stride, const float *b, size_t b_stride, size_t m,
                  size_t n, size_t k, float *c, size_t c_stride)
{
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)m, (int)n, (int)k, 1.0f, a,
                (int)a_stride, b, (int)b_stride, 0.0f, c, (int)c_stride);
}

void gemm_start(void)
{
    openblas_set_num_threads(1);
}

char *gemm_backend(char *out, size_t size)
{
    snprintf(out, size, "OpenBLAS f32 (%s)", openblas_get_corename());
    return out;
}
