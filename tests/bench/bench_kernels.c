/*
 * The vectorised kernels against their plain twins, on one thread, at the sizes of ViT-B/16.
 *
 *     build/release/bench/bench_kernels
 *
 * "ms a picture" is what the image pass spends in that kernel, were it to run on one core. The
 * best of several tries counts, since other programs only ever slow it down.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/mem.h"
#include "engine/kernels.h"
#include "tests/bench/stopwatch.h"

enum { TOKENS = 197, WIDTH = 768, MLP_WIDTH = 3072, JOINT = 512, HEADS = 12, BLOCKS = 12 };
enum {
    COUNT = TOKENS * MLP_WIDTH, /* the largest of what follows */
    NORMED = TOKENS * WIDTH,
    SCORES = HEADS * TOKENS * TOKENS,
    DOTS = COUNT / JOINT,
    DOTTED = DOTS * JOINT,
    TRIES = 30
};

static float bench_sink; /* keeps the compiler from dropping a dot product */

static void bench_layer_norm(const struct kernels *kernels, float *z, const float *source)
{
    kernels->layer_norm(source, WIDTH, TOKENS, WIDTH, source, source + WIDTH, 1e-5f, z, WIDTH);
}

static void bench_quick_gelu(const struct kernels *kernels, float *z, const float *source)
{
    (void)source;
    kernels->quick_gelu(z, COUNT);
}

static void bench_gelu(const struct kernels *kernels, float *z, const float *source)
{
    (void)source;
    kernels->gelu(z, COUNT);
}

static void bench_softmax(const struct kernels *kernels, float *z, const float *source)
{
    (void)source;
    for (size_t row = 0; row < HEADS * TOKENS; row++)
        kernels->softmax(z + row * TOKENS, TOKENS);
}

static void bench_dot(const struct kernels *kernels, float *z, const float *source)
{
    for (size_t row = 0; row < DOTS; row++)
        bench_sink += kernels->dot(z + row * JOINT, source + row * JOINT, JOINT);
}

static const struct bench_case {
    const char *name;
    void (*run)(const struct kernels *kernels, float *z, const float *source);
    size_t elements; /* of one run */
    size_t runs;     /* in one image pass; 0: not a part of it */
} bench_cases[] = {
    {"layer_norm", bench_layer_norm, NORMED, 2 * BLOCKS + 1},
    {"quick_gelu", bench_quick_gelu, COUNT, BLOCKS},
    {"gelu", bench_gelu, COUNT, BLOCKS},
    {"softmax", bench_softmax, SCORES, BLOCKS},
    {"dot", bench_dot, DOTTED, 0},
};

/* Values as they occur, of about -4 to 4: a sum of four uniform ones. */
static void bench_fill(float *values, size_t count)
{
    uint32_t state = 1;
    for (size_t i = 0; i < count; i++) {
        values[i] = -4.0f;
        for (size_t part = 0; part < 4; part++) {
            state = state * 1664525u + 1013904223u;
            values[i] += (float)(state >> 8) / (1 << 23);
        }
    }
}

/* Seconds of one run. The kernels work in place, so each run starts from a fresh copy. */
static double bench_best(const struct bench_case *bench, const struct kernels *kernels, float *z,
                         const float *source)
{
    double best = 0;
    for (size_t i = 0; i < TRIES; i++) {
        memcpy(z, source, COUNT * sizeof *z);
        double start = stopwatch_seconds();
        bench->run(kernels, z, source);
        double seconds = stopwatch_seconds() - start;
        best = i == 0 || seconds < best ? seconds : best;
    }
    return best;
}

static void bench_print_case(const struct bench_case *bench, float *z, const float *source)
{
    double plain = bench_best(bench, &kernels_plain, z, source);
    const struct kernels *kernels;

    for (size_t i = 0; (kernels = kernels_at(i)) != NULL; i++) {
        double seconds = bench_best(bench, kernels, z, source);
        printf("%-11s %-7s %9.0f %8.1f", bench->name, kernels->name,
               1e-6 * (double)bench->elements / seconds, plain / seconds);
        if (bench->runs != 0)
            printf(" %13.2f", 1e3 * seconds * (double)bench->runs);
        printf("\n");
    }
}

int main(void)
{
    float *z = mem_aligned(COUNT, sizeof *z);
    float *source = mem_aligned(COUNT, sizeof *source);
    int status = z != NULL && source != NULL ? 0 : 1;

    if (status == 0) {
        bench_fill(source, COUNT);
        printf("kernel      table   million/s x plain  ms a picture\n");
        for (size_t i = 0; i < sizeof bench_cases / sizeof bench_cases[0]; i++)
            bench_print_case(&bench_cases[i], z, source);
    } else {
        fprintf(stderr, "bench_kernels: no memory for the values\n");
    }
    free(z);
    free(source);
    return status;
}
