#include "tests/unit/unit.h"

#include "server/stall.h"

enum { LIMIT_US = 1000 };

static void test_nobody_works(void **state)
{
    (void)state;
    const uint64_t signs_us[] = {0, 0, 0};
    assert_int_equal(stall_judge(signs_us, 3, 50000, LIMIT_US).verdict, STALL_NONE);
    assert_int_equal(stall_judge(signs_us, 0, 50000, LIMIT_US).verdict, STALL_NONE);
}

/* Unready at half of the limit, dead at the whole, by a clock that the test moves. */
static void test_one_grows_silent(void **state)
{
    (void)state;
    uint64_t signs_us[] = {0, 20000, 0};
    for (uint64_t silent_us = 0; silent_us <= 2 * LIMIT_US; silent_us++) {
        struct stall_report report = stall_judge(signs_us, 3, 20000 + silent_us, LIMIT_US);
        assert_int_equal(report.verdict, silent_us >= LIMIT_US       ? STALL_DEAD
                                         : silent_us >= LIMIT_US / 2 ? STALL_UNREADY
                                                                     : STALL_NONE);
        if (report.verdict) {
            assert_int_equal(report.worker, 1);
            assert_int_equal(report.silent_us, silent_us);
        }
    }
    signs_us[1] = 21500; /* alive after all */
    assert_int_equal(stall_judge(signs_us, 3, 22000 - 1, LIMIT_US).verdict, STALL_NONE);
    signs_us[1] = 0;
    assert_int_equal(stall_judge(signs_us, 3, 90000, LIMIT_US).verdict, STALL_NONE);
}

static void test_the_most_silent_is_named(void **state)
{
    (void)state;
    const uint64_t signs_us[] = {9500, 9990, 8800, 9000};
    struct stall_report report = stall_judge(signs_us, 4, 10000, LIMIT_US);
    assert_int_equal(report.verdict, STALL_DEAD);
    assert_int_equal(report.worker, 2);
    assert_int_equal(report.silent_us, 1200);
}

/* One that was shown while the clock had been read already. */
static void test_a_sign_may_be_younger_than_now(void **state)
{
    (void)state;
    const uint64_t signs_us[] = {10001, UINT64_MAX};
    assert_int_equal(stall_judge(signs_us, 2, 10000, LIMIT_US).verdict, STALL_NONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nobody_works),
        cmocka_unit_test(test_one_grows_silent),
        cmocka_unit_test(test_the_most_silent_is_named),
        cmocka_unit_test(test_a_sign_may_be_younger_than_now),
    };
    return cmocka_run_group_tests_name("stall", tests, NULL, NULL);
}
