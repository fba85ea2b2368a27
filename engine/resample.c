#include "engine/resample.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/mem.h"

enum {
    RESAMPLE_CHANNELS = 3,
    RESAMPLE_WEIGHT_BITS = 22,
    RESAMPLE_LOW_BITS = 11, /* of a weight: both halves then fit an int16_t */
    RESAMPLE_LANES = 8      /* the number of weights is rounded up to this, with zeros */
};

/* One direction: which source samples each output sample of the window is made of. */
struct resample_axis {
    uint32_t first, count; /* the source samples that the window needs */
    uint32_t outputs;
    size_t taps;       /* weights of an output, padding included */
    uint32_t *starts;  /* [outputs], relative to first */
    int32_t *weights;  /* [outputs, taps] */
    int16_t *high_low; /* [outputs, 2, taps]: weight = high << RESAMPLE_LOW_BITS | low */
};

static double resample_kernel(double x)
{
    static const double a = -0.5;
    x = fabs(x);
    if (x < 1.0)
        return ((a + 2.0) * x - (a + 3.0)) * x * x + 1;
    if (x < 2.0)
        return (((x - 5) * x + 8) * x - 4) * a;
    return 0.0;
}

static int32_t resample_fixed(double weight)
{
    double scaled = weight * (1 << RESAMPLE_WEIGHT_BITS);
    return (int32_t)(scaled < 0 ? scaled - 0.5 : scaled + 0.5);
}

/* Weights of the output sample at position: which source samples, and doubles into scratch. */
static void resample_weigh(double scale, uint32_t size, uint32_t position, double *scratch,
                           uint32_t *out_start, uint32_t *out_count)
{
    double stretch = scale < 1.0 ? 1.0 : scale;
    double support = 2.0 * stretch, step = 1.0 / stretch;
    double centre = (position + 0.5) * scale;
    double lowest = centre - support + 0.5, highest = centre + support + 0.5;
    int64_t start = lowest < 0 ? 0 : (int64_t)lowest;
    int64_t end = highest > size ? (int64_t)size : (int64_t)highest;
    double sum = 0;
    for (int64_t i = start; i < end; i++) {
        scratch[i - start] = resample_kernel(((double)i - centre + 0.5) * step);
        sum += scratch[i - start];
    }
    for (int64_t i = start; i < end && sum != 0; i++)
        scratch[i - start] /= sum;
    *out_start = (uint32_t)start;
    *out_count = (uint32_t)(end - start);
}

static void resample_axis_finish(struct resample_axis *axis)
{
    free(axis->starts);
    free(axis->weights);
    free(axis->high_low);
}

/* Splits so that the sums of the long row loop are products of 16-bit numbers, which every x86-64
 * and Arm processor adds up eight at a time. */
static void resample_axis_split(struct resample_axis *axis)
{
    for (size_t o = 0; o < axis->outputs; o++) {
        const int32_t *weights = axis->weights + o * axis->taps;
        int16_t *high = axis->high_low + 2 * o * axis->taps, *low = high + axis->taps;
        for (size_t t = 0; t < axis->taps; t++) {
            low[t] = (int16_t)(weights[t] & ((1 << RESAMPLE_LOW_BITS) - 1));
            high[t] = (int16_t)((weights[t] - low[t]) / (1 << RESAMPLE_LOW_BITS));
        }
    }
}

static bool resample_axis_allocate(struct resample_axis *axis, size_t taps)
{
    size_t count, pairs;
    axis->taps = (taps + RESAMPLE_LANES - 1) / RESAMPLE_LANES * RESAMPLE_LANES;
    if (!mem_multiply(axis->outputs, axis->taps, &count) || !mem_multiply(count, 2, &pairs))
        return false;
    axis->starts = mem_zeroed(axis->outputs, sizeof *axis->starts);
    axis->weights = mem_zeroed(count, sizeof *axis->weights);
    axis->high_low = mem_zeroed(pairs, sizeof *axis->high_low);
    return axis->starts && axis->weights && axis->high_low;
}

/* size source samples are resized to out_size, of which [from, from + outputs) are wanted. */
static enum status resample_axis_init(struct resample_axis *axis, uint32_t size, uint32_t out_size,
                                      uint32_t from, uint32_t outputs, struct fail *why)
{
    double scale = (double)size / out_size;
    double support = 2.0 * (scale < 1.0 ? 1.0 : scale);
    double reach = ceil(support) * 2 + 1;
    size_t taps = reach < size ? (size_t)reach : size;
    *axis = (struct resample_axis){.outputs = outputs};
    double *scratch = mem_aligned(taps, sizeof *scratch);
    if (!scratch || !resample_axis_allocate(axis, taps)) {
        free(scratch);
        resample_axis_finish(axis);
        return status_fail(why, STATUS_NO_MEMORY, "no memory for %u weights of %zu", outputs, taps);
    }
    for (uint32_t o = 0; o < outputs; o++) {
        uint32_t start, count;
        resample_weigh(scale, size, from + o, scratch, &start, &count);
        if (o == 0)
            axis->first = start;
        axis->starts[o] = start - axis->first;
        axis->count = start + count - axis->first;
        for (uint32_t t = 0; t < count; t++)
            axis->weights[o * axis->taps + t] = resample_fixed(scratch[t]);
    }
    free(scratch);
    resample_axis_split(axis);
    return STATUS_OK;
}

static uint8_t resample_round(int32_t sum)
{
    int32_t value = (sum + (1 << (RESAMPLE_WEIGHT_BITS - 1))) >> RESAMPLE_WEIGHT_BITS;
    return (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value);
}

/* Partial sums may wrap around; the total never does, so arithmetic modulo 2^32 is exact. */
static uint8_t resample_dot(const int16_t *samples, const int16_t *high, const int16_t *low,
                            size_t taps)
{
    uint32_t high_sum = 0, low_sum = 0;
    for (size_t t = 0; t < taps; t++) {
        high_sum += (uint32_t)((int32_t)samples[t] * high[t]);
        low_sum += (uint32_t)((int32_t)samples[t] * low[t]);
    }
    return resample_round((int32_t)((high_sum << RESAMPLE_LOW_BITS) + low_sum));
}

/* One row: rgb [count, 3] -> planes [3, stride] -> out_rgb [outputs, 3]. */
static void resample_row(const struct resample_axis *axis, const uint8_t *rgb, int16_t *planes,
                         size_t stride, uint8_t *out_rgb)
{
    for (size_t i = 0; i < axis->count; i++)
        for (size_t c = 0; c < RESAMPLE_CHANNELS; c++)
            planes[c * stride + i] = rgb[i * RESAMPLE_CHANNELS + c];
    for (size_t o = 0; o < axis->outputs; o++) {
        const int16_t *samples = planes + axis->starts[o];
        const int16_t *high = axis->high_low + 2 * o * axis->taps, *low = high + axis->taps;
        for (size_t c = 0; c < RESAMPLE_CHANNELS; c++, samples += stride)
            out_rgb[o * RESAMPLE_CHANNELS + c] = resample_dot(samples, high, low, axis->taps);
    }
}

/* The rows that the window needs: out_rows [y->count, x->outputs, 3]. */
static enum status resample_rows(const struct resample_axis *x, const struct resample_axis *y,
                                 const uint8_t *rgb, uint32_t width, uint8_t *out_rows,
                                 struct fail *why)
{
    size_t stride = x->count + x->taps; /* padding weights are zero, but what they meet is read */
    int16_t *planes = mem_zeroed(stride, RESAMPLE_CHANNELS * sizeof *planes);
    if (!planes)
        return status_fail(why, STATUS_NO_MEMORY, "no memory for a row of %zu pixels", stride);
    for (size_t r = 0; r < y->count; r++)
        resample_row(x, rgb + ((y->first + r) * width + x->first) * RESAMPLE_CHANNELS, planes,
                     stride, out_rows + r * x->outputs * RESAMPLE_CHANNELS);
    free(planes);
    return STATUS_OK;
}

/* rows [axis->count, samples] -> out [axis->outputs, samples]; sums [samples] is scratch. */
static void resample_columns(const struct resample_axis *axis, const uint8_t *rows, size_t samples,
                             int32_t *sums, uint8_t *out)
{
    for (size_t o = 0; o < axis->outputs; o++) {
        const uint8_t *row = rows + axis->starts[o] * samples;
        size_t reach = axis->count - axis->starts[o];
        size_t taps = axis->taps < reach ? axis->taps : reach;
        memset(sums, 0, samples * sizeof *sums);
        for (size_t t = 0; t < taps; t++, row += samples) {
            int32_t weight = axis->weights[o * axis->taps + t];
            for (size_t i = 0; i < samples; i++)
                sums[i] += row[i] * weight;
        }
        for (size_t i = 0; i < samples; i++)
            out[o * samples + i] = resample_round(sums[i]);
    }
}

static enum status resample_passes(const struct resample_axis *x, const struct resample_axis *y,
                                   const uint8_t *rgb, uint32_t width, uint8_t *out_rgb,
                                   struct fail *why)
{
    size_t samples = (size_t)x->outputs * RESAMPLE_CHANNELS;
    uint8_t *rows = mem_aligned(y->count, samples);
    int32_t *sums = mem_aligned(samples, sizeof *sums);
    enum status status = rows && sums
                             ? resample_rows(x, y, rgb, width, rows, why)
                             : status_fail(why, STATUS_NO_MEMORY, "no memory for %u rows of %u",
                                           y->count, x->outputs);
    if (!status)
        resample_columns(y, rows, samples, sums, out_rgb);
    free(rows);
    free(sums);
    return status;
}

enum status resample_bicubic(const uint8_t *rgb, uint32_t width, uint32_t height,
                             uint32_t out_width, uint32_t out_height,
                             const struct resample_window *window, uint8_t *out_rgb,
                             struct fail *why)
{
    struct resample_axis x, y;
    enum status status = resample_axis_init(&x, width, out_width, window->left, window->width, why);
    if (status)
        return status;
    status = resample_axis_init(&y, height, out_height, window->top, window->height, why);
    if (!status) {
        status = resample_passes(&x, &y, rgb, width, out_rgb, why);
        resample_axis_finish(&y);
    }
    resample_axis_finish(&x);
    return status;
}
