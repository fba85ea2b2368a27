/* What tests of kernels have in common. */
#ifndef TESTS_UNIT_KERNEL_TABLES_H
#define TESTS_UNIT_KERNEL_TABLES_H

#include "tests/unit/unit.h"

#include "engine/kernels.h"

static const uint32_t odd_sizes[] = {1,  2,  3,  7,  15,  16,  17,  31,  33,
                                     63, 64, 65, 77, 192, 197, 769, 4133};

/* free() */
static inline float *random_floats(size_t count, float range, uint32_t seed)
{
    float *values = calloc(count, sizeof *values);
    for (size_t i = 0; i < count; i++)
        values[i] = unit_random_float(&seed, range);
    return values;
}

/* Calls check with every vector table that this processor runs. */
static inline void with_each_table(void (*check)(const struct kernels *))
{
    assert_ptr_equal(kernels_at(0), &kernels_plain);
    for (size_t i = 1; kernels_at(i); i++)
        check(kernels_at(i));
}

/* Calls check for heads of many widths and numbers of rows to attend to, up to 77. */
static inline void with_each_attention(const struct kernels *table,
                                       void (*check)(const struct kernels *, size_t heads,
                                                     size_t head_width, size_t count))
{
    const size_t head_widths[] = {1, 3, 8, 16, 31, 64, 80}, counts[] = {1, 2, 3, 11, 77};
    for (size_t w = 0; w < UNIT_COUNT(head_widths); w++)
        for (size_t c = 0; c < UNIT_COUNT(counts); c++)
            check(table, 1 + w % 3, head_widths[w], counts[c]);
}

#endif
