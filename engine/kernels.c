#include "engine/kernels.h"

#include <math.h>
#include <stdbool.h>

#include "engine/kernels_tables.h"

static bool kernels_always(void)
{
    return true;
}

#ifdef __x86_64__
static bool kernels_have_avx2(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

static bool kernels_have_avx512(void)
{
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw");
}
#endif

/* From the slowest to the fastest. */
static const struct {
    const struct kernels *table;
    bool (*runs_here)(void);
} kernels_known[] = {
    {&kernels_plain, kernels_always},
    {&kernels_base, kernels_always},
#ifdef __x86_64__
    {&kernels_avx2, kernels_have_avx2},
    {&kernels_avx512, kernels_have_avx512},
#endif
};

const struct kernels *kernels_at(size_t index)
{
    for (size_t i = 0; i < sizeof kernels_known / sizeof kernels_known[0]; i++)
        if (kernels_known[i].runs_here() && index-- == 0)
            return kernels_known[i].table;
    return NULL;
}

const struct kernels *kernels_best(void)
{
    const struct kernels *best = &kernels_plain;
    for (size_t i = 0; kernels_at(i); i++)
        best = kernels_at(i);
    return best;
}

void kernels_make_unit(const struct kernels *kernels, float *z, size_t count)
{
    float length = sqrtf(kernels->dot(z, z, count));
    if (!(length > 0))
        return;
    float scale = 1.0f / length;
    for (size_t i = 0; i < count; i++)
        z[i] *= scale;
}
