#include "tests/unit/unit.h"

#include "api/cli/load_result.h"

enum { START = 1000000, END = 3000000 };

static struct load_result result;
static struct load_connection connection;

static int set_up(void **state)
{
    (void)state;
    memset(&result, 0, sizeof result);
    result.start_us = START;
    result.end_us = END;
    load_connection_init(&connection, 0);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    load_connection_finish(&connection);
    return 0;
}

/* An answer with this head to a request that was due and sent at these times. */
static void add_answer(uint64_t due_us, uint64_t begun_us, uint64_t now_us, const char *head)
{
    char text[512];
    size_t used;
    snprintf(text, sizeof text, "HTTP/1.1 %s\r\nContent-Length: 0\r\n\r\n", head);
    response_start(&connection.response);
    assert_int_equal(response_feed(&connection.response, text, strlen(text), &used, NULL), 0);
    assert_true(response_is_complete(&connection.response));
    connection.due_us = due_us;
    connection.begun_us = begun_us;
    load_result_add_answer(&result, &connection, now_us);
}

static void add_failure(uint64_t due_us, uint64_t now_us, enum load_connection_outcome failure,
                        bool in_request)
{
    connection.due_us = due_us;
    load_result_add_failure(&result, &connection, failure, in_request, now_us);
}

/* Times belong to when a request was due, rates to when it ended. */
static void test_measured_time(void **state)
{
    (void)state;
    add_answer(START - 10, START - 10, START - 1, "200 OK"); /* warm-up */
    assert_int_equal(result.rate_answered, 0);
    add_answer(START - 10, START, START + 5, "200 OK");
    assert_int_equal(result.rate_answered, 1);
    assert_int_equal(result.answered, 0);
    add_answer(START, START + 2, START + 9, "200 OK");
    assert_int_equal(result.rate_answered, 2);
    assert_int_equal(result.answered, 1);
    assert_int_equal(result.accepted_from_due.max_us, 9);
    assert_int_equal(result.accepted_from_sending.max_us, 7);
    add_answer(END - 1, END - 1, END + 99, "200 OK"); /* was waited for */
    assert_int_equal(result.rate_answered, 2);
    assert_int_equal(result.answered, 2);
    assert_int_equal(result.all_from_due.max_us, 100);
    unit_assert_near(load_result_seconds(&result), 2.0, 1e-9);
}

static void test_refusals(void **state)
{
    (void)state;
    add_answer(START - 10, START - 10, START - 5, "503 In the warm-up");
    assert_string_equal(result.first_problem, "");
    add_answer(START, START, START + 10, "302 Found");
    add_answer(START, START, START + 20, "429 Busy\r\nRetry-After: 1");
    add_answer(START, START, START + 30, "429 Busy");
    add_answer(START, START, START + 40, "503 No\r\nRetry-After: 1");
    assert_int_equal(result.answered, 4);
    assert_int_equal(result.accepted, 1);
    assert_int_equal(result.rate_accepted, 1);
    assert_int_equal(result.accepted_from_due.max_us, 10);
    assert_int_equal(result.refused_from_sending.count, 3);
    assert_int_equal(result.all_from_due.count, 4);
    assert_int_equal(result.retry_after, 1);
    assert_int_equal(result.statuses[429], 2);
    assert_int_equal(result.statuses[503], 1);
    assert_string_equal(result.first_problem, "429");
}

static void test_failures(void **state)
{
    (void)state;
    add_failure(START - 5, START + 5, LOAD_CONNECTION_RESET, true); /* of the warm-up */
    add_failure(0, START - 5, LOAD_CONNECTION_UNOPENED, false);
    assert_int_equal(load_result_failure_count(&result), 0);
    add_failure(START, START + 50, LOAD_CONNECTION_TIMED_OUT, true);
    add_failure(0, START + 50, LOAD_CONNECTION_UNOPENED, false);
    assert_int_equal(load_result_failure_count(&result), 2);
    assert_int_equal(result.all_from_due.count, 1);
    assert_int_equal(result.all_from_due.max_us, 50);
    assert_int_equal(result.accepted_from_due.count, 0);
}

static void assert_stage(size_t i, const char *name, uint64_t count, double sum_ms)
{
    assert_string_equal(result.stages[i].name, name);
    assert_int_equal(result.stages[i].count, count);
    unit_assert_near(result.stages[i].sum_ms, sum_ms, 1e-9);
}

static void test_timing(void **state)
{
    (void)state;
    load_result_add_timing(&result, "queue;dur=0.5, image;dur=12");
    load_result_add_timing(&result, " image; dur=3 ,, queue;desc=\"x\";dur=0.25,miss,hit;desc=a");
    load_result_add_timing(&result, "queue;dur=, queue;dur=-1, queue;dur=nan, ;dur=1, dur=1");
    load_result_add_timing(&result, "queue;desc=\"dur=9\", queue;xdur=9, queue;");
    load_result_add_timing(&result, "");
    load_result_add_timing(&result, ", ,");
    assert_int_equal(result.stage_count, 2);
    assert_stage(0, "queue", 2, 0.75);
    assert_stage(1, "image", 2, 15);
    /* A stage's time is not that of the next. */
    load_result_add_timing(&result, "cached, queue;dur=1");
    assert_int_equal(result.stage_count, 2);
    assert_stage(0, "queue", 3, 1.75);
}

/* However many names a server makes up. */
static void test_many_stages(void **state)
{
    (void)state;
    char header[200];
    for (int i = 0; i < 1000; i++) {
        snprintf(header, sizeof header, "stage%d;dur=1", i);
        load_result_add_timing(&result, header);
    }
    assert_int_equal(result.stage_count, LOAD_RESULT_MAX_STAGES);
    snprintf(header, sizeof header, "%0100d;dur=1", 1);
    load_result_add_timing(&result, header);
    assert_int_equal(result.stage_count, LOAD_RESULT_MAX_STAGES);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_measured_time, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_refusals, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_failures, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_timing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_many_stages, set_up, tear_down),
    };
    return cmocka_run_group_tests_name("load_result", tests, NULL, NULL);
}
