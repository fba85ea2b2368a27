#include "tests/unit/unit.h"

#include "engine/gemm.h"

struct shape {
    size_t rows, outputs, inputs;
};

static const struct shape shapes[] = {{1, 1, 1},      {1, 64, 33},    {3, 65, 7},
                                      {5, 130, 192},  {65, 576, 192}, {17, 128, 768},
                                      {197, 192, 65}, {40, 129, 300}};

static void fill(float *values, size_t count, uint32_t seed)
{
    for (size_t i = 0; i < count; i++)
        values[i] = unit_random_float(&seed, 1);
}

static void plain_product(const struct shape *shape, const float *x, size_t x_stride,
                          const float *weight, const float *bias, bool add, float *y,
                          size_t y_stride)
{
    for (size_t row = 0; row < shape->rows; row++)
        for (size_t out = 0; out < shape->outputs; out++) {
            double sum = bias ? bias[out] : 0;
            for (size_t i = 0; i < shape->inputs; i++)
                sum += (double)x[row * x_stride + i] * weight[out * shape->inputs + i];
            float *value = &y[row * y_stride + out];
            *value = (float)(sum + (add ? *value : 0));
        }
}

static void check_product(const struct shape *shape, bool with_bias, bool add)
{
    struct fail why;
    struct gemm_weight *packed;
    size_t x_stride = shape->inputs + 2, y_stride = shape->outputs + 3;
    float *x = malloc(shape->rows * x_stride * 4), *y = malloc(shape->rows * y_stride * 4);
    float *weight = malloc(shape->outputs * shape->inputs * 4), *bias = malloc(shape->outputs * 4);
    float *expected = malloc(shape->rows * y_stride * 4);
    fill(x, shape->rows * x_stride, 1);
    fill(weight, shape->outputs * shape->inputs, 2);
    fill(bias, shape->outputs, 3);
    fill(y, shape->rows * y_stride, 4);
    memcpy(expected, y, shape->rows * y_stride * 4);

    unit_assert_ok(gemm_weight_create(weight, with_bias ? bias : NULL, shape->outputs,
                                      shape->inputs, &packed, &why),
                   why);
    assert_int_equal(gemm_weight_outputs(packed), shape->outputs);
    assert_int_equal(gemm_weight_inputs(packed), shape->inputs);
    plain_product(shape, x, x_stride, weight, with_bias ? bias : NULL, add, expected, y_stride);
    (add ? gemm_multiply_add : gemm_multiply)(packed, x, x_stride, shape->rows, y, y_stride);
    for (size_t i = 0; i < shape->rows * y_stride; i++)
        unit_assert_near(y[i], expected[i], 2e-6 * (double)shape->inputs + 1e-6);
    gemm_weight_destroy(packed);
    free(x);
    free(y);
    free(weight);
    free(bias);
    free(expected);
}

static void test_products(void **state)
{
    (void)state;
    for (size_t i = 0; i < UNIT_COUNT(shapes); i++)
        for (int mode = 0; mode < 4; mode++)
            check_product(&shapes[i], mode & 1, mode & 2);
}

/* What parallel threads rely on: columns computed apart, and the same bytes for the same split. */
static void test_columns(void **state)
{
    (void)state;
    struct fail why;
    static float x[65 * 192], weight[576 * 192], whole[65 * 576], parts[65 * 576], again[65 * 576];
    struct gemm_weight *packed;
    fill(x, UNIT_COUNT(x), 1);
    fill(weight, UNIT_COUNT(weight), 2);
    unit_assert_ok(gemm_weight_create(weight, NULL, 576, 192, &packed, &why), why);
    gemm_multiply(packed, x, 192, 65, whole, 576);
    for (size_t step = GEMM_COLUMN_STEP; step < 576; step += GEMM_COLUMN_STEP) {
        memset(parts, 0, sizeof parts);
        for (size_t first = 0; first < 576; first += step) {
            size_t count = first + step > 576 ? 576 - first : step;
            gemm_columns(packed, first, count, false, x, 192, 65, parts, 576);
            gemm_columns(packed, first, count, false, x, 192, 65, again, 576);
        }
        assert_memory_equal(parts, again, sizeof parts);
        for (size_t i = 0; i < UNIT_COUNT(parts); i++)
            unit_assert_near(parts[i], whole[i], 2e-6 * 192);
    }
    gemm_weight_destroy(packed);
}

static void check_back(const struct shape *shape, bool add)
{
    struct fail why;
    struct gemm_weight *packed;
    size_t first = shape->outputs / 3, count = shape->outputs - first - shape->outputs / 5;
    size_t column = shape->inputs / 4, columns = shape->inputs - column - shape->inputs / 7;
    size_t x_stride = shape->inputs + 2, y_stride = shape->outputs + 3;
    float *dx = malloc(shape->rows * x_stride * 4), *dy = malloc(shape->rows * y_stride * 4);
    float *weight = malloc(shape->outputs * shape->inputs * 4);
    float *before = malloc(shape->rows * x_stride * 4);
    fill(dx, shape->rows * x_stride, 1);
    fill(weight, shape->outputs * shape->inputs, 2);
    fill(dy, shape->rows * y_stride, 4);
    memcpy(before, dx, shape->rows * x_stride * 4);
    unit_assert_ok(gemm_weight_create(weight, NULL, shape->outputs, shape->inputs, &packed, &why),
                   why);
    gemm_back(packed, first, count, column, columns, add, dy, y_stride, shape->rows, dx, x_stride);
    for (size_t row = 0; row < shape->rows; row++)
        for (size_t i = 0; i < x_stride; i++) {
            bool inside = i >= column && i < column + columns;
            double sum = add || !inside ? before[row * x_stride + i] : 0;
            for (size_t out = first; inside && out < first + count; out++)
                sum += (double)dy[row * y_stride + out] * weight[out * shape->inputs + i];
            unit_assert_near(dx[row * x_stride + i], sum, 2e-6 * (double)shape->outputs + 1e-6);
        }
    gemm_weight_destroy(packed);
    free(dx);
    free(dy);
    free(weight);
    free(before);
}

static void test_gradients(void **state)
{
    (void)state;
    for (size_t i = 0; i < UNIT_COUNT(shapes); i++)
        for (int add = 0; add < 2; add++)
            check_back(&shapes[i], add);
}

static void test_activation_products(void **state)
{
    (void)state;
    enum { M = 5, N = 7, K = 12, STRIDE = 16 };
    float a[M * STRIDE], b[N * STRIDE], c[M * N], d[N * K], e[M * K];
    fill(a, UNIT_COUNT(a), 1);
    fill(b, UNIT_COUNT(b), 2);
    fill(d, UNIT_COUNT(d), 3);
    gemm_scores(a, STRIDE, b, STRIDE, M, N, K, 0.5f, c, N);
    gemm_combine(c, N, d, K, M, K, N, e, K);
    for (int m = 0; m < M; m++)
        for (int n = 0; n < N; n++) {
            double sum = 0;
            for (int k = 0; k < K; k++)
                sum += (double)a[m * STRIDE + k] * b[n * STRIDE + k];
            unit_assert_near(c[m * N + n], sum / 2, 1e-6);
        }
    for (int m = 0; m < M; m++)
        for (int k = 0; k < K; k++) {
            double sum = 0;
            for (int n = 0; n < N; n++)
                sum += (double)c[m * N + n] * d[n * K + k];
            unit_assert_near(e[m * K + k], sum, 1e-6);
        }
}

static void test_refused(void **state)
{
    (void)state;
    struct fail why;
    struct gemm_weight *packed = NULL;
    float one = 1;
    unit_assert_fails(gemm_weight_create(&one, NULL, 0, 1, &packed, &why), STATUS_LIMIT, why,
                      "0 x 1");
    unit_assert_fails(gemm_weight_create(&one, NULL, (size_t)1 << 40, 1, &packed, &why),
                      STATUS_LIMIT, why, "cannot be multiplied");
    assert_null(packed);
    gemm_weight_destroy(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_products),  cmocka_unit_test(test_columns),
        cmocka_unit_test(test_gradients), cmocka_unit_test(test_activation_products),
        cmocka_unit_test(test_refused),
    };
    gemm_start();
    return cmocka_run_group_tests_name("gemm", tests, NULL, NULL);
}
