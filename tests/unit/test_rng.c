/* Against what CPython's random module draws (3.11). */
#include "tests/unit/unit.h"

#include "engine/base/rng.h"

static void test_words(void **state)
{
    (void)state;
    static const struct {
        uint64_t seed;
        uint32_t words[4];
        double uniform;
    } seeds[] = {
        {0, {3626764237u, 1654615998u, 3255389356u, 3823568514u}, 0.420571580830845},
        {1, {577090037u, 2444712010u, 3639700191u, 3445702192u}, 0.763774618976614},
        {2, {4106135923u, 3707026329u, 4070888059u, 3646664648u}, 0.05655136772680869},
        {3, {1022050301u, 2545373330u, 2337446730u, 560161641u}, 0.36995516654807925},
        {1099511627783u, {2635837658u, 3209733218u, 3500038837u, 4028389051u}, 0.9450115087592873},
    };
    for (size_t s = 0; s < UNIT_COUNT(seeds); s++) {
        struct rng rng;
        rng_init(&rng, seeds[s].seed);
        for (size_t i = 0; i < 4; i++)
            assert_int_equal(rng_word(&rng), seeds[s].words[i]);
        assert_true(rng_uniform(&rng) == seeds[s].uniform);
    }
}

static void test_below(void **state)
{
    (void)state;
    static const uint32_t counts[] = {1, 2, 3, 10, 1000, 2147483648u, 4294967295u};
    static const uint32_t drawn[] = {0, 0, 1, 9, 485, 281444313u, 2601030205u};
    struct rng rng;
    rng_init(&rng, 3);
    for (size_t i = 0; i < UNIT_COUNT(counts); i++)
        assert_int_equal(rng_below(&rng, counts[i]), drawn[i]);
}

static void test_shuffle(void **state)
{
    (void)state;
    static const uint32_t shuffled[] = {5, 9, 3, 4, 6, 7, 2, 8, 1, 0};
    uint32_t items[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9};
    struct rng rng;
    rng_init(&rng, 2);
    rng_shuffle(&rng, items, 10);
    assert_memory_equal(items, shuffled, sizeof items);
    assert_true(rng_uniform(&rng) == 0.6068017336408379);
    rng_shuffle(&rng, items, 1);
    rng_shuffle(&rng, items, 0);
    assert_memory_equal(items, shuffled, sizeof items);
}

/* From lists and, beyond the limit that depends on the count, with draws again. */
static void test_sample(void **state)
{
    (void)state;
    static const struct {
        uint32_t population, count, drawn[16];
    } samples[] = {
        {40, 16, {8, 36, 4, 16, 7, 31, 28, 30, 24, 25, 6, 3, 15, 0, 12, 13}},
        {85, 16, {77, 0, 57, 34, 29, 75, 13, 40, 3, 2, 76, 69, 1, 48, 27, 54}},
        {86, 16, {3, 67, 28, 56, 63, 70, 29, 44, 58, 37, 2, 53, 71, 82, 12, 23}},
        {21, 5, {20, 9, 3, 10, 16}},
        {22, 5, {13, 16, 21, 6, 9}},
    };
    struct rng rng;
    uint32_t scratch[86], out[16];
    rng_init(&rng, 1);
    for (size_t i = 0; i < UNIT_COUNT(samples); i++) {
        rng_sample(&rng, samples[i].population, samples[i].count, scratch, out);
        assert_memory_equal(out, samples[i].drawn, samples[i].count * sizeof *out);
    }
    static const uint32_t all[] = {4, 9, 13, 12, 1, 15, 11, 7, 8, 3, 5, 6, 14, 0, 10, 2};
    rng_init(&rng, 1);
    rng_sample(&rng, 16, 16, scratch, out);
    assert_memory_equal(out, all, sizeof all);
}

static void test_normal(void **state)
{
    (void)state;
    enum { COUNT = 20000 };
    struct rng rng;
    double sum = 0, squares = 0, beyond = 0;
    rng_init(&rng, 1);
    for (int i = 0; i < COUNT; i++) {
        double z = rng_normal(&rng);
        sum += z;
        squares += z * z;
        beyond += fabs(z) > 1.959964;
    }
    unit_assert_near(sum / COUNT, 0, 0.03);
    unit_assert_near(squares / COUNT, 1, 0.04);
    unit_assert_near(beyond / COUNT, 0.05, 0.006);
}

/* A copy goes on from the same place, which is what a training that is resumed needs. */
static void test_copy(void **state)
{
    (void)state;
    struct rng rng, copy;
    rng_init(&rng, 9);
    for (int i = 0; i < 1000; i++)
        rng_word(&rng);
    copy = rng;
    for (int i = 0; i < 1000; i++)
        assert_int_equal(rng_word(&rng), rng_word(&copy));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_words),   cmocka_unit_test(test_below),
        cmocka_unit_test(test_shuffle), cmocka_unit_test(test_sample),
        cmocka_unit_test(test_normal),  cmocka_unit_test(test_copy),
    };
    return cmocka_run_group_tests_name("rng", tests, NULL, NULL);
}
