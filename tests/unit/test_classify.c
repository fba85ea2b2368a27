#include "tests/unit/unit.h"

#include "engine/engine.h"

static void test_probabilities(void **state)
{
    (void)state;
    float cosines[] = {0.30f, 0.20f, 0.31f}, logits[3], probabilities[3];
    engine_probabilities(100, cosines, 3, logits, probabilities);
    double sum = exp(30 - 31) + exp(20 - 31) + 1;
    unit_assert_near(logits[2], 31, 1e-5);
    unit_assert_near(probabilities[0], exp(-1) / sum, 1e-6);
    unit_assert_near(probabilities[1], exp(-11) / sum, 1e-6);
    unit_assert_near(probabilities[2], 1 / sum, 1e-6);
    engine_probabilities(100, cosines, 1, NULL, probabilities);
    assert_true(probabilities[0] == 1);
    engine_probabilities(100, cosines, 0, logits, probabilities);
}

static void test_top_is_sorted_with_ties_to_the_lower_index(void **state)
{
    (void)state;
    float cosines[] = {0.1f, 0.5f, 0.2f, 0.5f, 0.4f};
    struct engine_prediction top[5];
    size_t count;
    engine_top(10, cosines, 5, 3, top, &count);
    assert_int_equal(count, 3);
    assert_int_equal(top[0].label, 1);
    assert_int_equal(top[1].label, 3);
    assert_int_equal(top[2].label, 4);
    float probabilities[5];
    engine_probabilities(10, cosines, 5, NULL, probabilities);
    assert_true(top[0].probability == probabilities[1]);
    unit_assert_near(top[0].logit, 5, 1e-6);
    engine_top(10, cosines, 5, 0, top, &count);
    assert_int_equal(count, 0);
    engine_top(10, cosines, 5, 99, top, &count);
    assert_int_equal(count, 5);
    assert_int_equal(top[4].label, 0);
}

/* Any top_k of many labels, with many ties, against a plain selection. */
static void test_top_of_many(void **state)
{
    (void)state;
    enum { COUNT = 500 };
    float cosines[COUNT];
    uint32_t seed = 3;
    for (int i = 0; i < COUNT; i++)
        cosines[i] = (float)(unit_random(&seed) % 60) / 100;
    struct engine_prediction top[COUNT];
    for (size_t top_k = 1; top_k <= COUNT; top_k += 37) {
        size_t count;
        bool taken[COUNT] = {false};
        engine_top(100, cosines, COUNT, top_k, top, &count);
        assert_int_equal(count, top_k);
        for (size_t rank = 0; rank < count; rank++) {
            size_t best = COUNT;
            for (size_t i = 0; i < COUNT; i++)
                if (!taken[i] && (best == COUNT || cosines[i] > cosines[best]))
                    best = i;
            taken[best] = true;
            assert_int_equal(top[rank].label, best);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_probabilities),
        cmocka_unit_test(test_top_is_sorted_with_ties_to_the_lower_index),
        cmocka_unit_test(test_top_of_many),
    };
    return cmocka_run_group_tests_name("classify", tests, NULL, NULL);
}
