/* What every unit test includes: cmocka with the headers it wants first. */
#ifndef TESTS_UNIT_UNIT_H
#define TESTS_UNIT_UNIT_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/base/status.h"

#define UNIT_COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* The call failed with this code, and its message names the thing. */
#define unit_assert_fails(expression, expected, why, part)                                         \
    do {                                                                                           \
        assert_int_equal((expression), (expected));                                                \
        if (!strstr((why).message, (part)))                                                        \
            fail_msg("\"%s\" does not say \"%s\"", (why).message, (part));                         \
    } while (0)

#define unit_assert_ok(expression, why)                                                            \
    do {                                                                                           \
        if ((expression) != STATUS_OK)                                                             \
            fail_msg("%s", (why).message);                                                         \
    } while (0)

#define unit_assert_near(actual, expected, tolerance)                                              \
    do {                                                                                           \
        double unit_actual = (actual), unit_expected = (expected);                                 \
        if (!(fabs(unit_actual - unit_expected) <= (tolerance)))                                   \
            fail_msg("%.9g is not within %g of %.9g", unit_actual, (double)(tolerance),            \
                     unit_expected);                                                               \
    } while (0)

/* A repeatable stream of numbers. */
static inline uint32_t unit_random(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

/* In -range..range. */
static inline float unit_random_float(uint32_t *state, float range)
{
    return ((float)unit_random(state) / 8388608.0f - 1.0f) * range;
}

/* The larger of two errors, where fmax would take a NaN for none. */
static inline double unit_worse(double a, double b)
{
    return isnan(a) || isnan(b) ? (double)INFINITY : fmax(a, b);
}

#endif
