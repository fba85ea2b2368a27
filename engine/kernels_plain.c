#include <math.h>

#include "engine/kernels.h"

static void kernels_plain_layer_norm(const float *x, size_t x_stride, size_t rows, size_t width,
                                     const float *weight, const float *bias, float epsilon,
                                     float *y, size_t y_stride)
{
    for (size_t row = 0; row < rows; row++) {
        const float *in = x + row * x_stride;
        float *out = y + row * y_stride;
        double sum = 0, squares = 0;
        for (size_t i = 0; i < width; i++)
            sum += in[i];
        double mean = sum / (double)width;
        for (size_t i = 0; i < width; i++)
            squares += (in[i] - mean) * (in[i] - mean);
        double scale = 1 / sqrt(squares / (double)width + epsilon);
        for (size_t i = 0; i < width; i++)
            out[i] = (float)((in[i] - mean) * scale) * weight[i] + bias[i];
    }
}

static void kernels_plain_quick_gelu(float *z, size_t count)
{
    for (size_t i = 0; i < count; i++)
        z[i] = z[i] / (1 + expf(-1.702f * z[i]));
}

static void kernels_plain_gelu(float *z, size_t count)
{
    for (size_t i = 0; i < count; i++)
        z[i] = 0.5f * z[i] * (1 + erff(z[i] * 0.70710678f));
}

static void kernels_plain_softmax(float *z, size_t count)
{
    float max = z[0];
    for (size_t i = 1; i < count; i++)
        max = z[i] > max ? z[i] : max;
    double sum = 0;
    for (size_t i = 0; i < count; i++) {
        z[i] = expf(z[i] - max);
        sum += z[i];
    }
    for (size_t i = 0; i < count; i++)
        z[i] = (float)(z[i] / sum);
}

static float kernels_plain_dot(const float *a, const float *b, size_t count)
{
    double sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += (double)a[i] * b[i];
    return (float)sum;
}

static void kernels_plain_dot_rows(const float *x, const float *rows, size_t row_stride,
                                   size_t count, size_t width, float *out)
{
    for (size_t i = 0; i < count; i++)
        out[i] = kernels_plain_dot(x, rows + i * row_stride, width);
}

static void kernels_plain_accumulate(float *y, const float *x, size_t count)
{
    for (size_t i = 0; i < count; i++)
        y[i] += x[i];
}

static void kernels_plain_attend(const float *q, const float *const *keys,
                                 const float *const *values, size_t count, size_t heads,
                                 size_t head_width, float scale, float *weights, float *out)
{
    for (size_t first = 0; first < heads * head_width; first += head_width) {
        for (size_t j = 0; j < count; j++)
            weights[j] = scale * kernels_plain_dot(q + first, keys[j] + first, head_width);
        kernels_plain_softmax(weights, count);
        for (size_t i = first; i < first + head_width; i++) {
            double sum = 0;
            for (size_t j = 0; j < count; j++)
                sum += (double)weights[j] * values[j][i];
            out[i] = (float)sum;
        }
    }
}

static void kernels_plain_layer_norm_back(const float *x, size_t x_stride, size_t rows,
                                          size_t width, const float *weight, float epsilon,
                                          const float *dy, size_t dy_stride, float *dx,
                                          size_t dx_stride)
{
    for (size_t row = 0; row < rows; row++) {
        const float *in = x + row * x_stride, *d = dy + row * dy_stride;
        double mean = 0, squares = 0, g_mean = 0, gn_mean = 0;
        for (size_t i = 0; i < width; i++)
            mean += in[i] / (double)width;
        for (size_t i = 0; i < width; i++)
            squares += (in[i] - mean) * (in[i] - mean);
        double scale = 1 / sqrt(squares / (double)width + epsilon);
        for (size_t i = 0; i < width; i++) {
            double g = (double)d[i] * weight[i];
            g_mean += g / (double)width;
            gn_mean += g * (in[i] - mean) * scale / (double)width;
        }
        for (size_t i = 0; i < width; i++) {
            double g = (double)d[i] * weight[i], n = (in[i] - mean) * scale;
            dx[row * dx_stride + i] += (float)(scale * (g - g_mean - n * gn_mean));
        }
    }
}

static void kernels_plain_quick_gelu_back(const float *z, float *d, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        float sigmoid = 1 / (1 + expf(-1.702f * z[i]));
        d[i] *= sigmoid + 1.702f * z[i] * sigmoid * (1 - sigmoid);
    }
}

static void kernels_plain_gelu_back(const float *z, float *d, size_t count)
{
    for (size_t i = 0; i < count; i++)
        d[i] *=
            0.5f * (1 + erff(z[i] * 0.70710678f)) + z[i] * 0.39894228f * expf(-0.5f * z[i] * z[i]);
}

static void kernels_plain_attend_back(const float *q, const float *const *keys,
                                      const float *const *values, size_t count, size_t first,
                                      size_t head_width, float scale, const float *dout,
                                      float *weights, float *dq, float *const *dkeys,
                                      float *const *dvalues)
{
    double along = 0;
    float *slopes = weights + count;
    for (size_t j = 0; j < count; j++)
        weights[j] = scale * kernels_plain_dot(q + first, keys[j] + first, head_width);
    kernels_plain_softmax(weights, count);
    for (size_t j = 0; j < count; j++) {
        slopes[j] = kernels_plain_dot(dout + first, values[j] + first, head_width);
        along += (double)weights[j] * slopes[j];
    }
    for (size_t j = 0; j < count; j++)
        slopes[j] = scale * weights[j] * (float)(slopes[j] - along);
    for (size_t i = first; i < first + head_width; i++) {
        double sum = 0;
        for (size_t j = 0; j < count; j++) {
            sum += (double)slopes[j] * keys[j][i];
            if (dkeys[j])
                dkeys[j][i] += slopes[j] * q[i];
            if (dvalues[j])
                dvalues[j][i] += weights[j] * dout[i];
        }
        dq[i] = (float)sum;
    }
}

const struct kernels kernels_plain = {
    .name = "plain",
    .layer_norm = kernels_plain_layer_norm,
    .quick_gelu = kernels_plain_quick_gelu,
    .gelu = kernels_plain_gelu,
    .softmax = kernels_plain_softmax,
    .dot = kernels_plain_dot,
    .dot_rows = kernels_plain_dot_rows,
    .accumulate = kernels_plain_accumulate,
    .attend = kernels_plain_attend,
    .layer_norm_back = kernels_plain_layer_norm_back,
    .quick_gelu_back = kernels_plain_quick_gelu_back,
    .gelu_back = kernels_plain_gelu_back,
    .attend_back = kernels_plain_attend_back,
};
