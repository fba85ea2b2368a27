#include "tests/unit/unit.h"

#include "api/rest/classify_answer.h"

static enum status write_empty(size_t max_size, struct buf *out, struct fail *why)
{
    struct classify_answer *answer;
    const struct job_timings timings = {.queue_us = 1500};
    assert_int_equal(classify_answer_create(&answer, why), STATUS_OK);
    buf_init(out, max_size);
    const struct classify_answer_head head = {
        .request_id = "id", .model = "model", .timings = &timings, .total_us = 2000};
    enum status status = classify_answer_write(answer, &head, out, why);
    classify_answer_destroy(answer);
    return status;
}

static void test_writes_what_fits(void **state)
{
    (void)state;
    struct fail why;
    struct buf out;
    unit_assert_ok(write_empty(1000, &out, &why), why);
    assert_string_equal(out.data,
                        "{\"id\":\"id\",\"model\":\"model\",\"label_set\":null,\"pool\":null,"
                        "\"results\":[],\"timings_ms\":{"
                        "\"queue\":1.5,\"decode\":0.0,\"image\":0.0,\"retrieve\":0.0,\"text\":0.0,"
                        "\"total\":2.0}}\n");
    size_t whole = out.size;
    buf_finish(&out);
    unit_assert_ok(write_empty(whole, &out, &why), why);
    buf_finish(&out);
    for (size_t size = 0; size < whole; size++) {
        char limit[64];
        snprintf(limit, sizeof limit, "larger than %zu bytes", size);
        unit_assert_fails(write_empty(size, &out, &why), STATUS_LIMIT, why, limit);
        buf_finish(&out);
    }
}

static void test_says_which_versions_were_used(void **state)
{
    (void)state;
    struct fail why;
    struct buf out;
    struct classify_answer *answer;
    const struct job_timings timings = {0};
    const struct snapshot label_set = {.name = "animals", .version = 3};
    const struct snapshot pool = {.name = "groups", .version = 1234567890123};
    const struct classify_answer_head head = {.request_id = "id",
                                              .model = "model",
                                              .label_set = &label_set,
                                              .pool = &pool,
                                              .timings = &timings};
    buf_init(&out, 1000);
    unit_assert_ok(classify_answer_create(&answer, &why), why);
    unit_assert_ok(classify_answer_write(answer, &head, &out, &why), why);
    assert_non_null(strstr(out.data, "\"label_set\":{\"name\":\"animals\",\"version\":3},"
                                     "\"pool\":{\"name\":\"groups\",\"version\":1234567890123},"));
    classify_answer_destroy(answer);
    buf_finish(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_writes_what_fits),
        cmocka_unit_test(test_says_which_versions_were_used),
    };
    return cmocka_run_group_tests_name("classify_answer", tests, NULL, NULL);
}
