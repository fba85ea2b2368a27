#include "tests/unit/unit.h"

#include "api/cli/load_schedule.h"

enum { START = 1000000007 };

static const double rates[] = {0.001, 0.5, 1, 3, 7.5, 1000, 99999, 100000};

static void test_even(void **state)
{
    (void)state;
    for (size_t i = 0; i < UNIT_COUNT(rates); i++) {
        const struct load_schedule schedule = {START, rates[i]};
        for (uint64_t index = 0; index < 5000; index++) {
            double ideal = START + (double)index * 1e6 / rates[i];
            unit_assert_near((double)load_schedule_due_us(&schedule, index), ideal, 1.0);
        }
        /* A day later it has not drifted. */
        uint64_t later = (uint64_t)(86400 * rates[i] + 0.5);
        unit_assert_near((double)load_schedule_due_us(&schedule, later),
                         START + (double)later * 1e6 / rates[i], 1.0);
    }
}

static void test_counts(void **state)
{
    (void)state;
    for (size_t i = 0; i < UNIT_COUNT(rates); i++) {
        const struct load_schedule schedule = {START, rates[i]};
        assert_int_equal(load_schedule_count_before(&schedule, 0), 0);
        assert_int_equal(load_schedule_count_before(&schedule, START), 0);
        assert_int_equal(load_schedule_count_before(&schedule, START + 1), 1);
        for (uint64_t index = 1; index < 5000; index++) {
            uint64_t due_us = load_schedule_due_us(&schedule, index);
            assert_int_equal(load_schedule_count_before(&schedule, due_us), index);
            assert_int_equal(load_schedule_count_before(&schedule, due_us + 1), index + 1);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_even),
        cmocka_unit_test(test_counts),
    };
    return cmocka_run_group_tests_name("load_schedule", tests, NULL, NULL);
}
