/*
 * GFLOP/s of engine/gemm.h on one thread, for the layers of ViT-B/16 and the rows that occur.
 *
 *     build/release/bench/bench_gemm
 *
 * The weights of a shape take turns, as in the blocks of a tower: each is as cold in the cache as
 * it is in use. The best of several tries counts, since other programs only ever slow it down.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/base/mem.h"
#include "engine/gemm.h"
#include "tests/bench/stopwatch.h"

enum { BLOCKS = 12, TRIES = 5, MAX_ROWS = 8 * 197, MAX_WIDTH = 3072 };

static const double try_seconds = 0.03;

/* A text token, a short label, labels by the dozen, half a picture, one, two, eight. */
static const size_t bench_rows[] = {1, 4, 20, 64, 99, 197, 394, MAX_ROWS};
enum { ROW_COUNTS = sizeof bench_rows / sizeof bench_rows[0] };

static const struct bench_layer {
    const char *name;
    size_t inputs, outputs;
    bool add;
} bench_layers[] = {
    {"image queries, keys, values", 768, 2304, false},
    {"image attention output +=", 768, 768, true},
    {"image expand", 768, 3072, false},
    {"image contract +=", 3072, 768, true},
    {"image projection", 768, 512, false},
    {"text queries, keys, values", 512, 1536, false},
    {"text attention output +=", 512, 512, true},
    {"text expand", 512, 2048, false},
    {"text contract +=", 2048, 512, true},
};

struct bench_weights {
    struct gemm_weight *blocks[BLOCKS];
};

static void bench_fill(float *values, size_t count)
{
    uint32_t state = 1;
    for (size_t i = 0; i < count; i++) {
        state = state * 1664525u + 1013904223u;
        values[i] = (float)(state >> 8) / (1 << 23) - 1.0f;
    }
}

static void bench_weights_finish(struct bench_weights *weights)
{
    for (size_t i = 0; i < BLOCKS; i++)
        gemm_weight_destroy(weights->blocks[i]);
}

static enum status bench_weights_init(struct bench_weights *weights,
                                      const struct bench_layer *layer, const float *values,
                                      struct fail *why)
{
    *weights = (struct bench_weights){0};
    for (size_t i = 0; i < BLOCKS; i++) {
        enum status status = gemm_weight_create(values, values, layer->outputs, layer->inputs,
                                                &weights->blocks[i], why);
        if (status != STATUS_OK) {
            bench_weights_finish(weights);
            return status;
        }
    }
    return STATUS_OK;
}

/* Seconds of one product. */
static double bench_try(const struct bench_weights *weights, const struct bench_layer *layer,
                        size_t rows, const float *x, float *y)
{
    size_t done = 0;
    double start = stopwatch_seconds(), elapsed;

    do {
        for (size_t i = 0; i < BLOCKS; i++)
            (layer->add ? gemm_multiply_add : gemm_multiply)(weights->blocks[i], x, layer->inputs,
                                                             rows, y, layer->outputs);
        done += BLOCKS;
        elapsed = stopwatch_seconds() - start;
    } while (elapsed < try_seconds);
    return elapsed / (double)done;
}

static void bench_print_layer(const struct bench_weights *weights, const struct bench_layer *layer,
                              const float *x, float *y)
{
    printf("%-27s %4zu -> %4zu ", layer->name, layer->inputs, layer->outputs);
    for (size_t r = 0; r < ROW_COUNTS; r++) {
        double best = bench_try(weights, layer, bench_rows[r], x, y);
        for (size_t i = 1; i < TRIES; i++) {
            double seconds = bench_try(weights, layer, bench_rows[r], x, y);
            best = seconds < best ? seconds : best;
        }
        double operations = 2.0 * (double)(bench_rows[r] * layer->inputs * layer->outputs);
        printf("%7.1f", 1e-9 * operations / best);
        fflush(stdout);
    }
    printf("\n");
}

static enum status bench_run(float *x, float *y, float *values, struct fail *why)
{
    char backend[128];
    if (x == NULL || y == NULL || values == NULL)
        return status_fail(why, STATUS_NO_MEMORY, "no memory for the matrices");
    bench_fill(x, MAX_ROWS * MAX_WIDTH);
    bench_fill(values, MAX_WIDTH * MAX_WIDTH);

    gemm_start();
    printf("GFLOP/s on one thread, %s\n%-41s", gemm_backend(backend, sizeof backend), "rows");
    for (size_t r = 0; r < ROW_COUNTS; r++)
        printf("%7zu", bench_rows[r]);
    printf("\n");
    for (size_t i = 0; i < sizeof bench_layers / sizeof bench_layers[0]; i++) {
        struct bench_weights weights;
        enum status status = bench_weights_init(&weights, &bench_layers[i], values, why);
        if (status != STATUS_OK)
            return status;
        bench_print_layer(&weights, &bench_layers[i], x, y);
        bench_weights_finish(&weights);
    }
    return STATUS_OK;
}

int main(void)
{
    struct fail why;
    float *x = mem_aligned(MAX_ROWS * MAX_WIDTH, sizeof *x);
    float *y = mem_aligned(MAX_ROWS * MAX_WIDTH, sizeof *y);
    float *values = mem_aligned(MAX_WIDTH * MAX_WIDTH, sizeof *values);

    enum status status = bench_run(x, y, values, &why);
    if (status != STATUS_OK)
        fprintf(stderr, "bench_gemm: %s\n", why.message);
    free(x);
    free(y);
    free(values);
    return status == STATUS_OK ? 0 : 1;
}
