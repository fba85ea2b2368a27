/*
 * The vector kernels, written once over a vector of KERNELS_LANES floats (GCC vector extensions)
 * and compiled once per instruction set: kernels_avx512.c and its sisters define KERNELS_LANES,
 * KERNELS_TABLE and KERNELS_NAME, are compiled with the flags of that set, and include this file.
 */
#include <float.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "engine/kernels.h"

typedef float lanes_f32 __attribute__((vector_size(KERNELS_LANES * 4)));
typedef int32_t lanes_i32 __attribute__((vector_size(KERNELS_LANES * 4)));

#define LANES_INLINE static inline __attribute__((always_inline))

LANES_INLINE lanes_f32 lanes_all(float value)
{
    return value - (lanes_f32){0};
}

LANES_INLINE lanes_f32 lanes_load(const float *from)
{
    lanes_f32 value;
    memcpy(&value, from, sizeof value);
    return value;
}

LANES_INLINE void lanes_store(float *to, lanes_f32 value)
{
    memcpy(to, &value, sizeof value);
}

/* The last count < KERNELS_LANES values of a row; the other lanes are `fill`. */
LANES_INLINE lanes_f32 lanes_load_part(const float *from, size_t count, float fill)
{
    lanes_f32 value = lanes_all(fill);
    memcpy(&value, from, count * sizeof(float));
    return value;
}

LANES_INLINE void lanes_store_part(float *to, lanes_f32 value, size_t count)
{
    memcpy(to, &value, count * sizeof(float));
}

LANES_INLINE lanes_f32 lanes_select(lanes_i32 mask, lanes_f32 yes, lanes_f32 no)
{
    return (lanes_f32)(((lanes_i32)yes & mask) | ((lanes_i32)no & ~mask));
}

LANES_INLINE lanes_f32 lanes_max(lanes_f32 a, lanes_f32 b)
{
    return lanes_select(a > b, a, b);
}

LANES_INLINE lanes_f32 lanes_min(lanes_f32 a, lanes_f32 b)
{
    return lanes_select(a < b, a, b);
}

/* By halves: the upper lanes onto the lower ones until one is left. Shuffles, since taking the
 * address of a vector would keep it in memory where it is summed up. */
LANES_INLINE float lanes_sum(lanes_f32 value)
{
#if KERNELS_LANES == 16
    typedef float eight __attribute__((vector_size(32)));
    eight half = __builtin_shufflevector(value, value, 0, 1, 2, 3, 4, 5, 6, 7) +
                 __builtin_shufflevector(value, value, 8, 9, 10, 11, 12, 13, 14, 15);
#else
    lanes_f32 half = value;
#endif
#if KERNELS_LANES >= 8
    typedef float four __attribute__((vector_size(16)));
    four quarter = __builtin_shufflevector(half, half, 0, 1, 2, 3) +
                   __builtin_shufflevector(half, half, 4, 5, 6, 7);
#else
    lanes_f32 quarter = half;
#endif
    return (quarter[0] + quarter[2]) + (quarter[1] + quarter[3]);
}

/* e^x within 2 units in the last place, for x held inside the range where that is a normal float.
 * x = n ln 2 + r with |r| <= ln 2 / 2, and e^r by its Taylor polynomial of degree 7. */
LANES_INLINE lanes_f32 lanes_exp(lanes_f32 x)
{
    const float round = 12582912.0f; /* 1.5 * 2^23: adding it leaves the integer in the low bits */
    x = lanes_min(lanes_max(x, lanes_all(-87.3f)), lanes_all(88.3f));
    lanes_f32 shifted = x * 1.44269504f + round;
    lanes_f32 n = shifted - round;
    lanes_f32 r = x - n * 0.693359375f + n * 2.12194440e-4f;
    lanes_f32 p = lanes_all(1.0f / 5040);
    p = p * r + 1.0f / 720;
    p = p * r + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    lanes_i32 exponent = (lanes_i32)shifted - (lanes_i32)lanes_all(round);
    return (lanes_f32)((lanes_i32)p + (exponent << 23));
}

LANES_INLINE lanes_f32 lanes_quick_gelu(lanes_f32 z)
{
    return z / (1.0f + lanes_exp(-1.702f * z));
}

LANES_INLINE lanes_f32 lanes_quick_gelu_slope(lanes_f32 z)
{
    lanes_f32 sigmoid = 1.0f / (1.0f + lanes_exp(-1.702f * z));
    return sigmoid + 1.702f * z * sigmoid * (1.0f - sigmoid);
}

/* erf(x) for x >= 0 by formula 7.1.26 of Abramowitz and Stegun, absolute error below 1.5e-7. */
LANES_INLINE lanes_f32 lanes_erf(lanes_f32 x)
{
    lanes_i32 negative = x < 0.0f;
    lanes_f32 magnitude = lanes_select(negative, -x, x);
    lanes_f32 t = 1.0f / (1.0f + 0.3275911f * magnitude);
    lanes_f32 p = lanes_all(1.061405429f);
    p = p * t - 1.453152027f;
    p = p * t + 1.421413741f;
    p = p * t - 0.284496736f;
    p = p * t + 0.254829592f;
    lanes_f32 erf = 1.0f - p * t * lanes_exp(-magnitude * magnitude);
    return lanes_select(negative, -erf, erf);
}

LANES_INLINE lanes_f32 lanes_gelu(lanes_f32 z)
{
    return 0.5f * z * (1.0f + lanes_erf(z * 0.70710678f));
}

LANES_INLINE lanes_f32 lanes_gelu_slope(lanes_f32 z)
{
    return 0.5f * (1.0f + lanes_erf(z * 0.70710678f)) + z * 0.39894228f * lanes_exp(-0.5f * z * z);
}

#define LANES_MAP(name, function)                                                                  \
    static void name(float *z, size_t count)                                                       \
    {                                                                                              \
        size_t i = 0;                                                                              \
        for (; i + KERNELS_LANES <= count; i += KERNELS_LANES)                                     \
            lanes_store(z + i, function(lanes_load(z + i)));                                       \
        if (i < count)                                                                             \
            lanes_store_part(z + i, function(lanes_load_part(z + i, count - i, 0.0f)), count - i); \
    }

LANES_MAP(kernels_lanes_quick_gelu, lanes_quick_gelu)
LANES_MAP(kernels_lanes_gelu, lanes_gelu)

#define LANES_MAP_BACK(name, slope)                                                                \
    static void name(const float *z, float *d, size_t count)                                       \
    {                                                                                              \
        size_t i = 0;                                                                              \
        for (; i + KERNELS_LANES <= count; i += KERNELS_LANES)                                     \
            lanes_store(d + i, lanes_load(d + i) * slope(lanes_load(z + i)));                      \
        if (i < count)                                                                             \
            lanes_store_part(d + i,                                                                \
                             lanes_load_part(d + i, count - i, 0.0f) *                             \
                                 slope(lanes_load_part(z + i, count - i, 0.0f)),                   \
                             count - i);                                                           \
    }

LANES_MAP_BACK(kernels_lanes_quick_gelu_back, lanes_quick_gelu_slope)
LANES_MAP_BACK(kernels_lanes_gelu_back, lanes_gelu_slope)

static float lanes_row_sum(const float *x, size_t count)
{
    lanes_f32 sum = {0};
    size_t i = 0;
    for (; i + KERNELS_LANES <= count; i += KERNELS_LANES)
        sum += lanes_load(x + i);
    if (i < count)
        sum += lanes_load_part(x + i, count - i, 0.0f);
    return lanes_sum(sum);
}

static float lanes_row_squares(const float *x, size_t count, float mean)
{
    lanes_f32 sum = {0};
    size_t i = 0;
    for (; i + KERNELS_LANES <= count; i += KERNELS_LANES) {
        lanes_f32 off = lanes_load(x + i) - mean;
        sum += off * off;
    }
    if (i < count) {
        lanes_f32 off = lanes_load_part(x + i, count - i, mean) - mean;
        sum += off * off;
    }
    return lanes_sum(sum);
}

static void kernels_lanes_layer_norm(const float *x, size_t x_stride, size_t rows, size_t width,
                                     const float *weight, const float *bias, float epsilon,
                                     float *y, size_t y_stride)
{
    for (size_t row = 0; row < rows; row++) {
        const float *in = x + row * x_stride;
        float *out = y + row * y_stride;
        float mean = lanes_row_sum(in, width) / (float)width;
        float scale = 1.0f / sqrtf(lanes_row_squares(in, width, mean) / (float)width + epsilon);
        size_t i = 0;
        for (; i + KERNELS_LANES <= width; i += KERNELS_LANES)
            lanes_store(out + i, (lanes_load(in + i) - mean) * scale * lanes_load(weight + i) +
                                     lanes_load(bias + i));
        for (; i < width; i++)
            out[i] = (in[i] - mean) * scale * weight[i] + bias[i];
    }
}

static void lanes_norm_back_row(const float *x, size_t width, const float *weight, float epsilon,
                                const float *dy, float *dx)
{
    float mean = lanes_row_sum(x, width) / (float)width;
    float scale = 1.0f / sqrtf(lanes_row_squares(x, width, mean) / (float)width + epsilon);
    lanes_f32 g_sums = {0}, gn_sums = {0};
    size_t i = 0;
    for (; i + KERNELS_LANES <= width; i += KERNELS_LANES) {
        lanes_f32 g = lanes_load(dy + i) * lanes_load(weight + i);
        g_sums += g;
        gn_sums += g * (lanes_load(x + i) - mean);
    }
    float g_mean = lanes_sum(g_sums), gn_mean = lanes_sum(gn_sums);
    for (; i < width; i++) {
        g_mean += dy[i] * weight[i];
        gn_mean += dy[i] * weight[i] * (x[i] - mean);
    }
    g_mean /= (float)width;
    gn_mean *= scale * scale / (float)width;
    for (i = 0; i + KERNELS_LANES <= width; i += KERNELS_LANES) {
        lanes_f32 g = lanes_load(dy + i) * lanes_load(weight + i);
        lanes_store(dx + i, lanes_load(dx + i) +
                                scale * (g - g_mean - (lanes_load(x + i) - mean) * gn_mean));
    }
    for (; i < width; i++)
        dx[i] += scale * (dy[i] * weight[i] - g_mean - (x[i] - mean) * gn_mean);
}

static void kernels_lanes_layer_norm_back(const float *x, size_t x_stride, size_t rows,
                                          size_t width, const float *weight, float epsilon,
                                          const float *dy, size_t dy_stride, float *dx,
                                          size_t dx_stride)
{
    for (size_t row = 0; row < rows; row++)
        lanes_norm_back_row(x + row * x_stride, width, weight, epsilon, dy + row * dy_stride,
                            dx + row * dx_stride);
}

static float lanes_row_max(const float *z, size_t count)
{
    lanes_f32 max = lanes_all(-FLT_MAX);
    size_t i = 0;
    for (; i + KERNELS_LANES <= count; i += KERNELS_LANES)
        max = lanes_max(lanes_load(z + i), max);
    if (i < count)
        max = lanes_max(lanes_load_part(z + i, count - i, -FLT_MAX), max);
    float best = max[0];
    for (int lane = 1; lane < KERNELS_LANES; lane++)
        best = max[lane] > best ? max[lane] : best;
    return best;
}

static void kernels_lanes_softmax(float *z, size_t count)
{
    float max = lanes_row_max(z, count);
    lanes_f32 sums = {0};
    size_t i = 0;
    for (; i + KERNELS_LANES <= count; i += KERNELS_LANES) {
        lanes_f32 value = lanes_exp(lanes_load(z + i) - max);
        sums += value;
        lanes_store(z + i, value);
    }
    float sum = lanes_sum(sums);
    if (i < count) {
        lanes_f32 value = lanes_exp(lanes_load_part(z + i, count - i, max) - max);
        for (size_t lane = 0; lane < count - i; lane++)
            sum += value[lane];
        lanes_store_part(z + i, value, count - i);
    }
    float scale = 1.0f / sum;
    for (i = 0; i < count; i++)
        z[i] *= scale;
}

/* Four sums, since one alone would wait for its own last addition most of the time. */
static float kernels_lanes_dot(const float *a, const float *b, size_t count)
{
    lanes_f32 sum[4] = {{0}, {0}, {0}, {0}};
    size_t i = 0;
    for (; i + 4 * KERNELS_LANES <= count; i += 4 * KERNELS_LANES)
        for (size_t part = 0; part < 4; part++)
            sum[part] +=
                lanes_load(a + i + part * KERNELS_LANES) * lanes_load(b + i + part * KERNELS_LANES);
    for (; i + KERNELS_LANES <= count; i += KERNELS_LANES)
        sum[0] += lanes_load(a + i) * lanes_load(b + i);
    float total = lanes_sum((sum[0] + sum[1]) + (sum[2] + sum[3]));
    for (; i < count; i++)
        total += a[i] * b[i];
    return total;
}

static float lanes_dot_rest(float sum, const float *x, const float *row, size_t from, size_t width)
{
    for (size_t i = from; i < width; i++)
        sum += x[i] * row[i];
    return sum;
}

/* One sum for each row, so that a row comes out the same in whatever company. */
static float lanes_dot_row(const float *x, const float *row, size_t width)
{
    lanes_f32 sum = {0};
    size_t i = 0;
    for (; i + KERNELS_LANES <= width; i += KERNELS_LANES)
        sum += lanes_load(x + i) * lanes_load(row + i);
    return lanes_dot_rest(lanes_sum(sum), x, row, i, width);
}

static void lanes_dot_four_rows(const float *x, const float *const row[4], size_t width, float *out)
{
    lanes_f32 a = {0}, b = {0}, c = {0}, d = {0};
    size_t i = 0;
    for (; i + KERNELS_LANES <= width; i += KERNELS_LANES) {
        lanes_f32 value = lanes_load(x + i);
        a += value * lanes_load(row[0] + i);
        b += value * lanes_load(row[1] + i);
        c += value * lanes_load(row[2] + i);
        d += value * lanes_load(row[3] + i);
    }
    out[0] = lanes_dot_rest(lanes_sum(a), x, row[0], i, width);
    out[1] = lanes_dot_rest(lanes_sum(b), x, row[1], i, width);
    out[2] = lanes_dot_rest(lanes_sum(c), x, row[2], i, width);
    out[3] = lanes_dot_rest(lanes_sum(d), x, row[3], i, width);
}

static void kernels_lanes_dot_rows(const float *x, const float *rows, size_t row_stride,
                                   size_t count, size_t width, float *out)
{
    size_t row = 0;
    for (; row + 4 <= count; row += 4) {
        const float *at = rows + row * row_stride;
        const float *const four[] = {at, at + row_stride, at + 2 * row_stride, at + 3 * row_stride};
        lanes_dot_four_rows(x, four, width, out + row);
    }
    for (; row < count; row++)
        out[row] = lanes_dot_row(x, rows + row * row_stride, width);
}

static void kernels_lanes_accumulate(float *y, const float *x, size_t count)
{
    size_t i = 0;
    for (; i + KERNELS_LANES <= count; i += KERNELS_LANES)
        lanes_store(y + i, lanes_load(y + i) + lanes_load(x + i));
    for (; i < count; i++)
        y[i] += x[i];
}

static void lanes_combine(const float *const *values, const float *weights, size_t count,
                          size_t first, size_t width, float *out)
{
    size_t i = first;
    for (; i + KERNELS_LANES <= first + width; i += KERNELS_LANES) {
        lanes_f32 sum = {0};
        for (size_t j = 0; j < count; j++)
            sum += weights[j] * lanes_load(values[j] + i);
        lanes_store(out + i, sum);
    }
    for (; i < first + width; i++) {
        float sum = 0;
        for (size_t j = 0; j < count; j++)
            sum += weights[j] * values[j][i];
        out[i] = sum;
    }
}

static void kernels_lanes_attend(const float *q, const float *const *keys,
                                 const float *const *values, size_t count, size_t heads,
                                 size_t head_width, float scale, float *weights, float *out)
{
    for (size_t first = 0; first < heads * head_width; first += head_width) {
        for (size_t j = 0; j < count; j++)
            weights[j] = scale * kernels_lanes_dot(q + first, keys[j] + first, head_width);
        kernels_lanes_softmax(weights, count);
        lanes_combine(values, weights, count, first, head_width, out);
    }
}

/* y[first..] += scale x[first..], [width]. */
static void lanes_add_scaled(float *y, float scale, const float *x, size_t first, size_t width)
{
    size_t i = first;
    for (; i + KERNELS_LANES <= first + width; i += KERNELS_LANES)
        lanes_store(y + i, lanes_load(y + i) + scale * lanes_load(x + i));
    for (; i < first + width; i++)
        y[i] += scale * x[i];
}

static void kernels_lanes_attend_back(const float *q, const float *const *keys,
                                      const float *const *values, size_t count, size_t first,
                                      size_t head_width, float scale, const float *dout,
                                      float *weights, float *dq, float *const *dkeys,
                                      float *const *dvalues)
{
    float along = 0, *slopes = weights + count;
    for (size_t j = 0; j < count; j++)
        weights[j] = scale * kernels_lanes_dot(q + first, keys[j] + first, head_width);
    kernels_lanes_softmax(weights, count);
    for (size_t j = 0; j < count; j++) {
        slopes[j] = kernels_lanes_dot(dout + first, values[j] + first, head_width);
        along += weights[j] * slopes[j];
    }
    for (size_t j = 0; j < count; j++) {
        slopes[j] = scale * weights[j] * (slopes[j] - along);
        if (dkeys[j])
            lanes_add_scaled(dkeys[j], slopes[j], q, first, head_width);
        if (dvalues[j])
            lanes_add_scaled(dvalues[j], weights[j], dout, first, head_width);
    }
    lanes_combine(keys, slopes, count, first, head_width, dq);
}

const struct kernels KERNELS_TABLE = {
    .name = KERNELS_NAME,
    .layer_norm = kernels_lanes_layer_norm,
    .quick_gelu = kernels_lanes_quick_gelu,
    .gelu = kernels_lanes_gelu,
    .softmax = kernels_lanes_softmax,
    .dot = kernels_lanes_dot,
    .dot_rows = kernels_lanes_dot_rows,
    .accumulate = kernels_lanes_accumulate,
    .attend = kernels_lanes_attend,
    .layer_norm_back = kernels_lanes_layer_norm_back,
    .quick_gelu_back = kernels_lanes_quick_gelu_back,
    .gelu_back = kernels_lanes_gelu_back,
    .attend_back = kernels_lanes_attend_back,
};
