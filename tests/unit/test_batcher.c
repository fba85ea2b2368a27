#include "tests/unit/unit.h"

#include "server/batcher.h"

static void test_a_lone_job_goes_straight_through(void **state)
{
    (void)state;
    struct batcher batcher;
    struct job job = {.kind = NULL}, *out = NULL;
    size_t rows = 99;
    batcher_init(&batcher, 10, 4);
    assert_false(batcher_has_work(&batcher));
    assert_int_equal(batcher_next(&batcher, 0, &out, &rows), BATCHER_IDLE);
    assert_int_equal(batcher_push(&batcher, &job, 100, NULL), STATUS_OK);
    assert_true(batcher_has_work(&batcher));
    assert_int_equal(batcher_next(&batcher, 130, &out, &rows), BATCHER_PREPARE);
    assert_ptr_equal(out, &job);
    assert_false(batcher_has_work(&batcher));
    job.rows = 2;
    batcher_push_ready(&batcher, &job, 200);
    assert_int_equal(batcher_next(&batcher, 205, &out, &rows), BATCHER_RUN);
    assert_ptr_equal(out, &job);
    assert_null(job.next);
    assert_int_equal(rows, 2);
    assert_int_equal(job.timings.queue_us, 35);
    assert_false(batcher_has_work(&batcher));
}

static void test_prepares_in_order_until_a_batch_is_full(void **state)
{
    (void)state;
    struct batcher batcher;
    struct job jobs[6] = {{.kind = NULL}}, *out;
    size_t rows;
    batcher_init(&batcher, 10, 4);
    for (size_t i = 0; i < 6; i++)
        assert_int_equal(batcher_push(&batcher, &jobs[i], 0, NULL), STATUS_OK);
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(batcher_next(&batcher, 0, &out, &rows), BATCHER_PREPARE);
        assert_ptr_equal(out, &jobs[i]);
        out->rows = 1;
        batcher_push_ready(&batcher, out, 0);
    }
    assert_int_equal(batcher_next(&batcher, 0, &out, &rows), BATCHER_RUN);
    assert_int_equal(rows, 4);
    for (size_t i = 0; i < 4; i++, out = out->next)
        assert_ptr_equal(out, &jobs[i]);
    assert_null(out);
    assert_int_equal(batcher_next(&batcher, 0, &out, &rows), BATCHER_PREPARE);
    assert_ptr_equal(out, &jobs[4]);
}

static void test_backlog(void **state)
{
    (void)state;
    struct batcher batcher;
    struct job waiting[3] = {{.kind = NULL}}, ready = {.rows = 5};
    batcher_init(&batcher, 10, 4);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(batcher_push(&batcher, &waiting[i], 0, NULL), STATUS_OK);
    batcher_push_ready(&batcher, &ready, 0);
    assert_int_equal(batcher_backlog_us(&batcher, 2), 0); /* nothing is known yet */
    batcher_note_work(&batcher, 1000, 0);
    assert_int_equal(batcher_backlog_us(&batcher, 2), 0);
    batcher_note_work(&batcher, 7000, 4); /* 2,000 a row */
    unit_assert_near((double)batcher_backlog_us(&batcher, 1), 16000, 1);
    unit_assert_near((double)batcher_backlog_us(&batcher, 2), 8000, 1);
    for (size_t i = 0; i < 100; i++) /* what was long ago is forgotten */
        batcher_note_work(&batcher, 400, 4);
    unit_assert_near((double)batcher_backlog_us(&batcher, 1), 800, 2);
}

/* Answers come before all else, and can be taken back. */
static void test_answers_come_first(void **state)
{
    (void)state;
    struct batcher batcher;
    struct job waiting = {.kind = NULL}, ready = {.rows = 4}, done[2] = {{.rows = 1}, {.rows = 1}};
    struct job *out;
    size_t rows;
    batcher_init(&batcher, 10, 4);
    assert_int_equal(batcher_push(&batcher, &waiting, 0, NULL), STATUS_OK);
    batcher_push_ready(&batcher, &ready, 5);
    batcher_push_to_answer(&batcher, &done[0], 10);
    batcher_push_to_answer(&batcher, &done[1], 10);
    assert_int_equal(batcher_next(&batcher, 12, &out, &rows), BATCHER_ANSWER);
    assert_ptr_equal(out, &done[0]);
    assert_null(out->next);
    assert_int_equal(done[0].timings.queue_us, 2);
    assert_true(batcher_remove(&batcher, &done[1]));
    assert_false(batcher_remove(&batcher, &done[1]));
    assert_int_equal(batcher_next(&batcher, 12, &out, &rows), BATCHER_RUN);
    assert_int_equal(batcher_next(&batcher, 12, &out, &rows), BATCHER_PREPARE);
    assert_false(batcher_has_work(&batcher));
}

/* Or a stream of requests that come to nothing would keep it for ever. */
static void test_a_ready_job_does_not_wait_for_later_ones(void **state)
{
    (void)state;
    struct batcher batcher;
    struct job ready = {.rows = 1}, before = {.kind = NULL}, after = {.kind = NULL}, *out;
    size_t rows;
    batcher_init(&batcher, 10, 4);
    assert_int_equal(batcher_push(&batcher, &before, 1, NULL), STATUS_OK);
    batcher_push_ready(&batcher, &ready, 2);
    assert_int_equal(batcher_push(&batcher, &after, 3, NULL), STATUS_OK);
    assert_int_equal(batcher_next(&batcher, 4, &out, &rows), BATCHER_PREPARE);
    assert_ptr_equal(out, &before);
    assert_int_equal(batcher_next(&batcher, 5, &out, &rows), BATCHER_RUN);
    assert_ptr_equal(out, &ready);
    assert_int_equal(batcher_next(&batcher, 6, &out, &rows), BATCHER_PREPARE);
    assert_ptr_equal(out, &after);
}

static void test_jobs_are_not_split(void **state)
{
    (void)state;
    struct batcher batcher;
    struct job jobs[] = {{.rows = 3}, {.rows = 2}, {.rows = 9}, {.rows = 1}}, *out;
    const size_t batches[] = {3, 2, 9, 1};
    size_t rows;
    batcher_init(&batcher, 10, 4);
    for (size_t i = 0; i < 4; i++)
        batcher_push_ready(&batcher, &jobs[i], 0);
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(batcher_next(&batcher, 0, &out, &rows), BATCHER_RUN);
        assert_int_equal(rows, batches[i]);
        assert_ptr_equal(out, &jobs[i]);
        assert_null(out->next);
    }
    assert_int_equal(batcher_next(&batcher, 0, &out, &rows), BATCHER_IDLE);
}

static void test_refuses_when_full(void **state)
{
    (void)state;
    struct fail why;
    struct batcher batcher;
    struct job jobs[] = {{.rows = 0}, {.rows = 2}, {.rows = 0}, {.rows = 5}}, *out;
    size_t rows;
    batcher_init(&batcher, 3, 8);
    assert_int_equal(batcher_push(&batcher, &jobs[0], 0, &why), STATUS_OK);
    batcher_push_ready(&batcher, &jobs[1], 0);
    unit_assert_fails(batcher_push(&batcher, &jobs[2], 0, &why), STATUS_LIMIT, why, "3 pictures");
    batcher_push_ready(&batcher, &jobs[3], 0); /* was let in before */
    assert_int_equal(batcher_next(&batcher, 0, &out, &rows), BATCHER_PREPARE);
    assert_int_equal(batcher_next(&batcher, 0, &out, &rows), BATCHER_RUN);
    assert_int_equal(rows, 7);
    assert_int_equal(batcher_push(&batcher, &jobs[2], 0, &why), STATUS_OK);
}

static void test_takes_jobs_back(void **state)
{
    (void)state;
    struct batcher batcher;
    struct job waiting[3] = {{.kind = NULL}}, ready[3] = {{.rows = 2}, {.rows = 2}, {.rows = 2}};
    struct job *out;
    size_t rows;
    batcher_init(&batcher, 20, 6);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(batcher_push(&batcher, &waiting[i], 0, NULL), STATUS_OK);
        batcher_push_ready(&batcher, &ready[i], 0);
    }
    assert_true(batcher_remove(&batcher, &ready[1]));
    assert_false(batcher_remove(&batcher, &ready[1]));
    assert_true(batcher_remove(&batcher, &waiting[2]));
    assert_true(batcher_remove(&batcher, &waiting[0]));
    assert_int_equal(batcher_next(&batcher, 0, &out, &rows), BATCHER_PREPARE);
    assert_ptr_equal(out, &waiting[1]);
    assert_false(batcher_remove(&batcher, &waiting[1])); /* a worker has it */
    assert_int_equal(batcher_next(&batcher, 0, &out, &rows), BATCHER_RUN);
    assert_int_equal(rows, 4);
    assert_ptr_equal(out, &ready[0]);
    assert_ptr_equal(out->next, &ready[2]);
    assert_null(out->next->next);
    assert_false(batcher_has_work(&batcher));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_lone_job_goes_straight_through),
        cmocka_unit_test(test_backlog),
        cmocka_unit_test(test_answers_come_first),
        cmocka_unit_test(test_prepares_in_order_until_a_batch_is_full),
        cmocka_unit_test(test_a_ready_job_does_not_wait_for_later_ones),
        cmocka_unit_test(test_jobs_are_not_split),
        cmocka_unit_test(test_refuses_when_full),
        cmocka_unit_test(test_takes_jobs_back),
    };
    return cmocka_run_group_tests_name("batcher", tests, NULL, NULL);
}
