#include "tests/unit/kernel_tables.h"

enum { MOST = 4133 };

static void check_map(void (*fast)(float *, size_t), void (*plain)(float *, size_t), float range,
                      double tolerance)
{
    for (size_t s = 0; s < UNIT_COUNT(odd_sizes); s++) {
        uint32_t count = odd_sizes[s];
        float *a = random_floats(count + 1, range, 7), *b = random_floats(count + 1, range, 7);
        fast(a, count);
        plain(b, count);
        for (size_t i = 0; i < count; i++)
            unit_assert_near(a[i], b[i], tolerance * (1 + fabs((double)b[i])));
        assert_true(a[count] == b[count]); /* nothing past the end is written */
        free(a);
        free(b);
    }
}

static void check_activations(const struct kernels *table)
{
    check_map(table->quick_gelu, kernels_plain.quick_gelu, 12, 3e-7);
    check_map(table->quick_gelu, kernels_plain.quick_gelu, 300, 3e-7);
    check_map(table->gelu, kernels_plain.gelu, 6, 1e-6);
    check_map(table->gelu, kernels_plain.gelu, 300, 1e-6);
}

static void test_activations(void **state)
{
    (void)state;
    with_each_table(check_activations);
}

static void check_softmax(const struct kernels *table)
{
    check_map(table->softmax, kernels_plain.softmax, 1, 1e-6);
    check_map(table->softmax, kernels_plain.softmax, 100, 1e-6);
    float apart[] = {0, -1000, 1000, 999, -1e30f};
    table->softmax(apart, 5);
    unit_assert_near(apart[2], 1 / (1 + exp(-1)), 1e-6);
    unit_assert_near(apart[0] + apart[1] + apart[4], 0, 1e-30);
}

static void test_softmax(void **state)
{
    (void)state;
    with_each_table(check_softmax);
}

static void check_layer_norm(const struct kernels *table)
{
    for (size_t s = 0; s < UNIT_COUNT(odd_sizes); s++) {
        uint32_t width = odd_sizes[s], stride = width + 3, rows = 3;
        float *x = random_floats(rows * stride, 5, 1), *weight = random_floats(width, 2, 2);
        float *bias = random_floats(width, 1, 3);
        float *a = random_floats(rows * stride, 1, 4), *b = random_floats(rows * stride, 1, 4);
        table->layer_norm(x, stride, rows, width, weight, bias, 1e-5f, a, stride);
        kernels_plain.layer_norm(x, stride, rows, width, weight, bias, 1e-5f, b, stride);
        for (size_t i = 0; i < rows * stride; i++) /* the gaps between rows too */
            unit_assert_near(a[i], b[i], 2e-5);
        table->layer_norm(x, stride, rows, width, weight, bias, 1e-5f, x, stride);
        for (size_t i = 0; i < width; i++)
            assert_true(x[i] == a[i]); /* in place gives the same */
        free(x);
        free(weight);
        free(bias);
        free(a);
        free(b);
    }
}

static void test_layer_norm(void **state)
{
    (void)state;
    with_each_table(check_layer_norm);
}

/* A row far from zero: the variance must not cancel. */
static void check_layer_norm_offset(const struct kernels *table)
{
    float x[192], weight[192], bias[192], a[192], b[192];
    for (int i = 0; i < 192; i++) {
        x[i] = 1000 + (float)(i % 5);
        weight[i] = 1;
        bias[i] = 0;
    }
    table->layer_norm(x, 192, 1, 192, weight, bias, 1e-5f, a, 192);
    kernels_plain.layer_norm(x, 192, 1, 192, weight, bias, 1e-5f, b, 192);
    for (int i = 0; i < 192; i++)
        unit_assert_near(a[i], b[i], 1e-4);
}

static void test_layer_norm_far_from_zero(void **state)
{
    (void)state;
    with_each_table(check_layer_norm_offset);
}

static void check_dot(const struct kernels *table)
{
    float *a = random_floats(MOST, 1, 5), *b = random_floats(MOST, 1, 6);
    for (size_t s = 0; s < UNIT_COUNT(odd_sizes); s++)
        unit_assert_near(table->dot(a, b, odd_sizes[s]), kernels_plain.dot(a, b, odd_sizes[s]),
                         1e-5 * sqrt((double)odd_sizes[s]));
    free(a);
    free(b);
}

static void test_dot(void **state)
{
    (void)state;
    with_each_table(check_dot);
}

/* Every number of rows up to two blocks of four, with gaps between the rows. */
static void check_dot_rows(const struct kernels *table)
{
    enum { ROWS = 9 };
    for (size_t s = 0; s < UNIT_COUNT(odd_sizes); s++) {
        uint32_t width = odd_sizes[s], stride = width + 3;
        float *x = random_floats(width, 1, 5), *rows = random_floats(ROWS * stride, 1, 6);
        float all[ROWS + 1], few[ROWS + 1], plain[ROWS];
        table->dot_rows(x, rows, stride, ROWS, width, all);
        kernels_plain.dot_rows(x, rows, stride, ROWS, width, plain);
        for (size_t count = 0; count <= ROWS; count++) {
            few[count] = 42;
            table->dot_rows(x, rows, stride, count, width, few);
            assert_true(few[count] == 42);
            for (size_t i = 0; i < count; i++) {
                assert_true(few[i] == all[i]); /* in whatever company */
                unit_assert_near(few[i], plain[i], 1e-5 * sqrt((double)width));
            }
        }
        free(x);
        free(rows);
    }
}

static void test_dot_rows(void **state)
{
    (void)state;
    with_each_table(check_dot_rows);
}

static void check_accumulate(const struct kernels *table)
{
    for (size_t s = 0; s < UNIT_COUNT(odd_sizes); s++) {
        uint32_t count = odd_sizes[s];
        float *x = random_floats(count, 1, 1), *y = random_floats(count + 1, 1, 2);
        float *expected = random_floats(count + 1, 1, 2);
        table->accumulate(y, x, count);
        kernels_plain.accumulate(expected, x, count);
        assert_memory_equal(y, expected, (count + 1) * sizeof *y);
        free(x);
        free(y);
        free(expected);
    }
}

static void test_accumulate(void **state)
{
    (void)state;
    with_each_table(check_accumulate);
}

static void check_attend_case(const struct kernels *table, size_t heads, size_t head_width,
                              size_t count)
{
    enum { MOST_ROWS = 80 };
    size_t width = heads * head_width;
    float *rows = random_floats((uint32_t)(2 * count * width), 2, 3);
    float *q = random_floats((uint32_t)width, 2, 4), weights[MOST_ROWS];
    float *a = random_floats((uint32_t)width + 1, 1, 5),
          *b = random_floats((uint32_t)width + 1, 1, 5);
    const float *keys[MOST_ROWS], *values[MOST_ROWS];
    for (size_t j = 0; j < count; j++) { /* anywhere: backwards, and values before keys */
        values[j] = rows + 2 * (count - 1 - j) * width;
        keys[j] = values[j] + width;
    }
    float scale = 1 / sqrtf((float)head_width);
    table->attend(q, keys, values, count, heads, head_width, scale, weights, a);
    kernels_plain.attend(q, keys, values, count, heads, head_width, scale, weights, b);
    for (size_t i = 0; i <= width; i++)
        unit_assert_near(a[i], b[i], 3e-6);
    free(rows);
    free(q);
    free(a);
    free(b);
}

static void check_attend(const struct kernels *table)
{
    with_each_attention(table, check_attend_case);
}

static void test_attend(void **state)
{
    (void)state;
    with_each_table(check_attend);
}

static void test_make_unit(void **state)
{
    (void)state;
    float z[] = {3, 0, 4, 0}, zero[] = {0, 0};
    kernels_make_unit(kernels_best(), z, 4);
    unit_assert_near(z[0], 0.6, 1e-7);
    unit_assert_near(z[2], 0.8, 1e-7);
    kernels_make_unit(kernels_best(), zero, 2);
    assert_true(zero[0] == 0 && zero[1] == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_activations), cmocka_unit_test(test_softmax),
        cmocka_unit_test(test_layer_norm),  cmocka_unit_test(test_layer_norm_far_from_zero),
        cmocka_unit_test(test_dot),         cmocka_unit_test(test_dot_rows),
        cmocka_unit_test(test_accumulate),  cmocka_unit_test(test_attend),
        cmocka_unit_test(test_make_unit),
    };
    return cmocka_run_group_tests_name("kernels", tests, NULL, NULL);
}
