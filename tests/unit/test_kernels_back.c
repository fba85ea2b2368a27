/* The gradient kernels: the plain ones against differences of the plain functions, the vector ones
 * against the plain ones. */
#include "tests/unit/kernel_tables.h"

enum { MOST_ROWS = 80 };

/* ---- The plain ones ---- */

/* The slope of f at z by central differences, of a function in double. */
static double slope(double (*f)(double), double z)
{
    double step = 1e-5;
    return (f(z + step) - f(z - step)) / (2 * step);
}

static double quick_gelu(double z)
{
    return z / (1 + exp(-1.702 * z));
}

static double gelu(double z)
{
    return 0.5 * z * (1 + erf(z / sqrt(2)));
}

static void test_slopes_of_activations(void **state)
{
    (void)state;
    for (double z = -9; z <= 9; z += 0.17) {
        float at = (float)z, quick = 2, exact = 2;
        kernels_plain.quick_gelu_back(&at, &quick, 1);
        kernels_plain.gelu_back(&at, &exact, 1);
        unit_assert_near(quick, 2 * slope(quick_gelu, at), 2e-6);
        unit_assert_near(exact, 2 * slope(gelu, at), 2e-6);
    }
}

static double norm_loss(const double *x, size_t width, const float *weight, const float *dy)
{
    double mean = 0, squares = 0, loss = 0;
    for (size_t i = 0; i < width; i++)
        mean += x[i] / (double)width;
    for (size_t i = 0; i < width; i++)
        squares += (x[i] - mean) * (x[i] - mean) / (double)width;
    for (size_t i = 0; i < width; i++)
        loss += dy[i] * weight[i] * (x[i] - mean) / sqrt(squares + 1e-5);
    return loss;
}

static void test_gradient_of_layer_norm(void **state)
{
    (void)state;
    enum { WIDTH = 19 };
    float *x = random_floats(WIDTH, 3, 1), *weight = random_floats(WIDTH, 2, 2);
    float *dy = random_floats(WIDTH, 1, 3), *dx = random_floats(WIDTH, 1, 4);
    float *before = random_floats(WIDTH, 1, 4);
    double at[WIDTH], sum = 0, along = 0, worst = 0;
    for (size_t i = 0; i < WIDTH; i++)
        at[i] = x[i];
    kernels_plain.layer_norm_back(x, WIDTH, 1, WIDTH, weight, 1e-5f, dy, WIDTH, dx, WIDTH);
    for (size_t i = 0; i < WIDTH; i++) {
        at[i] = x[i] + 1e-5;
        double more = norm_loss(at, WIDTH, weight, dy);
        at[i] = x[i] - 1e-5;
        double less = norm_loss(at, WIDTH, weight, dy);
        at[i] = x[i];
        worst = unit_worse(worst, fabs((double)dx[i] - (double)before[i] - (more - less) / 2e-5));
        sum += dx[i] - before[i];
        along += (dx[i] - before[i]) * x[i];
    }
    print_message("worst error %.1e\n", worst);
    assert_true(worst <= 1e-6);
    unit_assert_near(sum, 0, 1e-6);   /* a norm takes shifts away, */
    unit_assert_near(along, 0, 1e-4); /* and scale, but for its epsilon */
    free(x);
    free(weight);
    free(dy);
    free(dx);
    free(before);
}

enum { HEADS = 2, HEAD_WIDTH = 5, WIDTH = HEADS * HEAD_WIDTH, ATTENDED = 4 };

struct attention {
    double q[WIDTH], keys[ATTENDED][WIDTH], values[ATTENDED][WIDTH];
    float dout[WIDTH];
};

static double attention_loss(const struct attention *at)
{
    double loss = 0;
    for (size_t first = 0; first < WIDTH; first += HEAD_WIDTH) {
        double weights[ATTENDED], sum = 0;
        for (size_t j = 0; j < ATTENDED; j++) {
            double score = 0;
            for (size_t i = first; i < first + HEAD_WIDTH; i++)
                score += at->q[i] * at->keys[j][i];
            sum += weights[j] = exp(score / sqrt(HEAD_WIDTH));
        }
        for (size_t j = 0; j < ATTENDED; j++)
            for (size_t i = first; i < first + HEAD_WIDTH; i++)
                loss += at->dout[i] * weights[j] / sum * at->values[j][i];
    }
    return loss;
}

static double attention_slope(struct attention *at, double *value)
{
    double was = *value;
    *value = was + 1e-5;
    double more = attention_loss(at);
    *value = was - 1e-5;
    double less = attention_loss(at);
    *value = was;
    return (more - less) / 2e-5;
}

static void test_gradient_of_attention(void **state)
{
    (void)state;
    uint32_t seed = 5;
    struct attention at;
    float q[WIDTH], keys[ATTENDED][WIDTH], values[ATTENDED][WIDTH], weights[2 * ATTENDED];
    float dq[WIDTH], dkeys[ATTENDED][WIDTH] = {{0}}, dvalues[ATTENDED][WIDTH] = {{0}};
    const float *key_at[ATTENDED], *value_at[ATTENDED];
    float *dkey_at[ATTENDED], *dvalue_at[ATTENDED];
    for (size_t i = 0; i < WIDTH; i++) {
        at.q[i] = q[i] = unit_random_float(&seed, 2);
        at.dout[i] = unit_random_float(&seed, 1);
        for (size_t j = 0; j < ATTENDED; j++) {
            at.keys[j][i] = keys[j][i] = unit_random_float(&seed, 2);
            at.values[j][i] = values[j][i] = unit_random_float(&seed, 2);
        }
    }
    for (size_t j = 0; j < ATTENDED; j++) {
        key_at[j] = keys[j];
        value_at[j] = values[j];
        dkey_at[j] = j ? dkeys[j] : NULL; /* the first is a constant */
        dvalue_at[j] = j ? dvalues[j] : NULL;
    }
    for (size_t first = 0; first < WIDTH; first += HEAD_WIDTH)
        kernels_plain.attend_back(q, key_at, value_at, ATTENDED, first, HEAD_WIDTH,
                                  1 / sqrtf(HEAD_WIDTH), at.dout, weights, dq, dkey_at, dvalue_at);
    for (size_t i = 0; i < WIDTH; i++) {
        unit_assert_near(dq[i], attention_slope(&at, &at.q[i]), 1e-6);
        for (size_t j = 1; j < ATTENDED; j++) {
            unit_assert_near(dkeys[j][i], attention_slope(&at, &at.keys[j][i]), 1e-6);
            unit_assert_near(dvalues[j][i], attention_slope(&at, &at.values[j][i]), 1e-6);
        }
    }
}

/* ---- The vector ones ---- */

static void check_slopes(void (*fast)(const float *, float *, size_t),
                         void (*plain)(const float *, float *, size_t), float range)
{
    for (size_t s = 0; s < UNIT_COUNT(odd_sizes); s++) {
        size_t count = odd_sizes[s];
        float *z = random_floats(count, range, 7);
        float *a = random_floats(count + 1, 2, 8), *b = random_floats(count + 1, 2, 8);
        fast(z, a, count);
        plain(z, b, count);
        for (size_t i = 0; i < count; i++)
            unit_assert_near(a[i], b[i], 2e-6);
        assert_true(a[count] == b[count]);
        free(z);
        free(a);
        free(b);
    }
}

static void check_activations(const struct kernels *table)
{
    check_slopes(table->quick_gelu_back, kernels_plain.quick_gelu_back, 12);
    check_slopes(table->quick_gelu_back, kernels_plain.quick_gelu_back, 300);
    check_slopes(table->gelu_back, kernels_plain.gelu_back, 6);
    check_slopes(table->gelu_back, kernels_plain.gelu_back, 300);
}

static void test_activations(void **state)
{
    (void)state;
    with_each_table(check_activations);
}

static void check_layer_norm(const struct kernels *table)
{
    for (size_t s = 0; s < UNIT_COUNT(odd_sizes); s++) {
        size_t width = odd_sizes[s], stride = width + 3, rows = 3;
        float *x = random_floats(rows * stride, 5, 1), *weight = random_floats(width, 2, 2);
        float *dy = random_floats(rows * stride, 1, 3);
        float *a = random_floats(rows * stride, 1, 4), *b = random_floats(rows * stride, 1, 4);
        table->layer_norm_back(x, stride, rows, width, weight, 1e-5f, dy, stride, a, stride);
        kernels_plain.layer_norm_back(x, stride, rows, width, weight, 1e-5f, dy, stride, b, stride);
        for (size_t i = 0; i < rows * stride; i++) /* the gaps between rows too */
            unit_assert_near(a[i], b[i], width > 1 ? 2e-5 : 2e-3);
        free(x);
        free(weight);
        free(dy);
        free(a);
        free(b);
    }
}

static void test_layer_norm(void **state)
{
    (void)state;
    with_each_table(check_layer_norm);
}

/* Rows that lie anywhere: [count] of keys, values and their gradients, the first without any. */
struct rows {
    const float *keys[MOST_ROWS], *values[MOST_ROWS];
    float *dkeys[MOST_ROWS], *dvalues[MOST_ROWS];
};

static void point(struct rows *rows, const float *from, float *gradients, size_t count,
                  size_t width)
{
    for (size_t j = 0; j < count; j++) {
        size_t at = 2 * (count - 1 - j) * width;
        rows->values[j] = from + at;
        rows->keys[j] = from + at + width;
        rows->dvalues[j] = j ? gradients + at : NULL;
        rows->dkeys[j] = j ? gradients + at + width : NULL;
    }
}

static void check_attend_case(const struct kernels *table, size_t heads, size_t head_width,
                              size_t count)
{
    size_t width = heads * head_width, floats = 2 * count * width;
    float *from = random_floats(floats, 2, 3), *q = random_floats(width, 2, 4);
    float *dout = random_floats(width, 1, 5), weights[2 * MOST_ROWS];
    float *a = random_floats(floats, 1, 6), *b = random_floats(floats, 1, 6);
    float *dq_a = random_floats(width + 1, 1, 7), *dq_b = random_floats(width + 1, 1, 7);
    struct rows rows;
    float scale = 1 / sqrtf((float)head_width);
    for (size_t head = 0; head < heads; head++) {
        point(&rows, from, a, count, width);
        table->attend_back(q, rows.keys, rows.values, count, head * head_width, head_width, scale,
                           dout, weights, dq_a, rows.dkeys, rows.dvalues);
        point(&rows, from, b, count, width);
        kernels_plain.attend_back(q, rows.keys, rows.values, count, head * head_width, head_width,
                                  scale, dout, weights, dq_b, rows.dkeys, rows.dvalues);
    }
    for (size_t i = 0; i < floats; i++)
        unit_assert_near(a[i], b[i], 1e-5);
    for (size_t i = 0; i <= width; i++)
        unit_assert_near(dq_a[i], dq_b[i], 1e-5);
    free(from);
    free(q);
    free(dout);
    free(a);
    free(b);
    free(dq_a);
    free(dq_b);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_slopes_of_activations),
        cmocka_unit_test(test_gradient_of_layer_norm),
        cmocka_unit_test(test_gradient_of_attention),
        cmocka_unit_test(test_activations),
        cmocka_unit_test(test_layer_norm),
        cmocka_unit_test(test_attend),
    };
    return cmocka_run_group_tests_name("kernels_back", tests, NULL, NULL);
}
