#include "tests/unit/unit.h"

#include "api/cli/latency_histogram.h"

enum { SAMPLES = 10007 };

static struct latency_histogram histogram;
static uint64_t samples[SAMPLES];

static void empty(void)
{
    memset(&histogram, 0, sizeof histogram);
}

static int compare(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* Every quantile is that of the sorted samples, or at most 1/128 more. */
static void assert_quantiles(size_t count)
{
    double sum = 0;
    empty();
    for (size_t i = 0; i < count; i++) {
        latency_histogram_add(&histogram, samples[i], 1);
        sum += (double)samples[i];
    }
    qsort(samples, count, sizeof samples[0], compare);
    assert_int_equal(histogram.count, count);
    assert_int_equal(histogram.max_us, samples[count - 1]);
    assert_int_equal(latency_histogram_quantile_us(&histogram, 1), samples[count - 1]);
    unit_assert_near(latency_histogram_mean_us(&histogram), sum / (double)count, 1e-6 * sum);
    static const double shares[] = {0, 0.001, 0.01, 0.25, 0.5, 0.75, 0.9, 0.99, 0.999, 0.9999};
    for (size_t i = 0; i < UNIT_COUNT(shares); i++) {
        size_t rank = (size_t)ceil(shares[i] * (double)count);
        uint64_t exact = samples[rank ? rank - 1 : 0];
        uint64_t found = latency_histogram_quantile_us(&histogram, shares[i]);
        assert_true(found >= exact);
        assert_true(found <= exact + exact / 128);
    }
}

static void test_against_sorted(void **state)
{
    (void)state;
    uint32_t seed = 1;
    for (size_t i = 0; i < SAMPLES; i++)
        samples[i] = unit_random(&seed) % 1000;
    assert_quantiles(SAMPLES);
    for (size_t i = 0; i < SAMPLES; i++) /* from microseconds to hours */
        samples[i] = (uint64_t)unit_random(&seed) << (unit_random(&seed) % 12) >> 12;
    assert_quantiles(SAMPLES);
    for (size_t i = 0; i < SAMPLES; i++) /* two humps, as with a cache */
        samples[i] = (i % 10 ? 300 : 70000) + unit_random(&seed) % 100;
    assert_quantiles(SAMPLES);
    for (size_t count = 1; count < 5; count++)
        assert_quantiles(count);
}

/* Each time is in a bucket that ends no more than 1/128 later, and buckets do not overlap. */
static void test_every_bucket(void **state)
{
    (void)state;
    uint64_t last = 0;
    for (uint64_t us = 1; us < UINT64_C(1) << LATENCY_HISTOGRAM_MAX_BITS; us = last + 1) {
        empty();
        latency_histogram_add(&histogram, us, 1);
        latency_histogram_add(&histogram, (UINT64_C(1) << LATENCY_HISTOGRAM_MAX_BITS) - 1, 1);
        last = latency_histogram_quantile_us(&histogram, 0.5);
        assert_true(last >= us);
        assert_true((last - us) * 128 <= us);
        empty();
        latency_histogram_add(&histogram, last, 1);
        latency_histogram_add(&histogram, last + 1, 1);
        assert_int_equal(latency_histogram_quantile_us(&histogram, 0.5), last);
    }
}

static void test_bounds(void **state)
{
    (void)state;
    empty();
    assert_int_equal(latency_histogram_quantile_us(&histogram, 0.5), 0);
    assert_true(latency_histogram_mean_us(&histogram) == 0);
    latency_histogram_add(&histogram, 7, 0);
    assert_int_equal(histogram.max_us, 0);
    latency_histogram_add(&histogram, 0, 3);
    latency_histogram_add(&histogram, UINT64_MAX, 1);
    assert_int_equal(histogram.count, 4);
    assert_int_equal(latency_histogram_quantile_us(&histogram, 0.75), 0);
    assert_int_equal(latency_histogram_quantile_us(&histogram, 0.76),
                     (UINT64_C(1) << LATENCY_HISTOGRAM_MAX_BITS) - 1);
    assert_int_equal(latency_histogram_quantile_us(&histogram, 2),
                     (UINT64_C(1) << LATENCY_HISTOGRAM_MAX_BITS) - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_sorted),
        cmocka_unit_test(test_every_bucket),
        cmocka_unit_test(test_bounds),
    };
    return cmocka_run_group_tests_name("latency_histogram", tests, NULL, NULL);
}
