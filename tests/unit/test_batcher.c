#include "tests/unit/unit.h"

#include "server/batcher.h"

static void init(struct batcher *batcher, size_t max_rows, size_t max_batch_rows)
{
    batcher_init(batcher, &(struct batcher_limits){.max_rows = max_rows,
                                                   .max_bytes = SIZE_MAX,
                                                   .max_batch_rows = max_batch_rows});
}

static void assert_next(struct batcher *batcher, uint64_t now_us, enum batcher_action action,
                        const struct job *job)
{
    struct job *out = NULL;
    size_t rows;
    assert_int_equal(batcher_has_work(batcher, now_us), action != BATCHER_IDLE);
    assert_int_equal(batcher_next(batcher, now_us, &out, &rows), action);
    assert_ptr_equal(out, job);
}

static void test_a_lone_job_goes_straight_through(void **state)
{
    (void)state;
    struct batcher batcher;
    struct job job = {.kind = NULL}, *out = NULL;
    size_t rows = 99;
    init(&batcher, 10, 4);
    assert_false(batcher_has_work(&batcher, 300));
    assert_int_equal(batcher_next(&batcher, 0, &out, &rows), BATCHER_IDLE);
    assert_int_equal(batcher_push(&batcher, &job, 100, NULL), STATUS_OK);
    assert_true(batcher_has_work(&batcher, 300));
    assert_int_equal(batcher_next(&batcher, 130, &out, &rows), BATCHER_PREPARE);
    assert_ptr_equal(out, &job);
    assert_false(batcher_has_work(&batcher, 300));
    job.rows = 2;
    batcher_push_ready(&batcher, &job, 200);
    assert_int_equal(batcher_next(&batcher, 205, &out, &rows), BATCHER_RUN);
    assert_ptr_equal(out, &job);
    assert_null(job.next);
    assert_int_equal(rows, 2);
    assert_int_equal(job.timings.queue_us, 35);
    assert_false(batcher_has_work(&batcher, 300));
}

static void test_prepares_in_order_until_a_batch_is_full(void **state)
{
    (void)state;
    struct batcher batcher;
    struct job jobs[6] = {{.kind = NULL}}, *out;
    size_t rows;
    init(&batcher, 10, 4);
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
    init(&batcher, 10, 4);
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
    init(&batcher, 10, 4);
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
    assert_false(batcher_has_work(&batcher, 300));
}

/* Or a stream of requests that come to nothing would keep it for ever. */
static void test_a_ready_job_does_not_wait_for_later_ones(void **state)
{
    (void)state;
    struct batcher batcher;
    struct job ready = {.rows = 1}, before = {.kind = NULL}, after = {.kind = NULL}, *out;
    size_t rows;
    init(&batcher, 10, 4);
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
    init(&batcher, 10, 4);
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
    init(&batcher, 3, 8);
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
    init(&batcher, 20, 6);
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
    assert_false(batcher_has_work(&batcher, 300));
}

/* Of waiting and ready jobs of both classes, not of those to be answered. */
static void test_refuses_too_many_bytes(void **state)
{
    (void)state;
    struct fail why;
    struct batcher batcher;
    struct job first = {.buffered_bytes = 40}, second = {.buffered_bytes = 30};
    struct job answered = {.rows = 1, .buffered_bytes = 100};
    struct job fits = {.buffered_bytes = 30, .low_priority = true}, one = {.buffered_bytes = 1};
    struct job none = {.kind = NULL};
    batcher_init(&batcher,
                 &(struct batcher_limits){.max_rows = 10, .max_bytes = 100, .max_batch_rows = 4});
    batcher_push_to_answer(&batcher, &answered, 0);
    unit_assert_ok(batcher_push(&batcher, &first, 0, &why), why);
    second.rows = 1;
    batcher_push_ready(&batcher, &second, 0);
    unit_assert_ok(batcher_push(&batcher, &fits, 0, &why), why);
    unit_assert_fails(batcher_push(&batcher, &one, 0, &why), STATUS_LIMIT, why,
                      "the queue is full (100 bytes of bodies)");
    unit_assert_ok(batcher_push(&batcher, &none, 0, &why), why);
    assert_true(batcher_remove(&batcher, &first));
    unit_assert_ok(batcher_push(&batcher, &one, 0, &why), why);
}

static void test_a_body_over_the_bound_is_let_in_alone(void **state)
{
    (void)state;
    struct fail why;
    struct batcher batcher;
    struct job large = {.buffered_bytes = 50}, low = {.buffered_bytes = 60, .low_priority = true};
    struct job none = {.kind = NULL};
    batcher_init(&batcher,
                 &(struct batcher_limits){.max_rows = 10, .max_bytes = 10, .max_batch_rows = 4});
    unit_assert_ok(batcher_push(&batcher, &large, 0, &why), why);
    unit_assert_fails(batcher_push(&batcher, &low, 0, &why), STATUS_LIMIT, why, "10 bytes");
    unit_assert_fails(batcher_push(&batcher, &none, 0, &why), STATUS_LIMIT, why, "10 bytes");
    assert_next(&batcher, 0, BATCHER_PREPARE, &large);
    unit_assert_ok(batcher_push(&batcher, &low, 0, &why), why);
    unit_assert_fails(batcher_push(&batcher, &none, 0, &why), STATUS_LIMIT, why, "10 bytes");
    assert_next(&batcher, 0, BATCHER_PREPARE, &low);
    low.rows = 1;
    batcher_push_ready(&batcher, &low, 0);
    unit_assert_fails(batcher_push(&batcher, &none, 0, &why), STATUS_LIMIT, why, "10 bytes");
}

static void init_with_delay(struct batcher *batcher)
{
    batcher_init(batcher, &(struct batcher_limits){.max_rows = 10,
                                                   .max_bytes = SIZE_MAX,
                                                   .max_batch_rows = 4,
                                                   .batch_delay_us = 100});
}

static void test_a_delay_holds_back_what_fills_no_batch(void **state)
{
    (void)state;
    struct batcher batcher;
    struct job first = {.rows = 2}, second = {.rows = 1, .low_priority = true};
    struct job done = {.rows = 1};
    init_with_delay(&batcher);
    assert_int_equal(batcher_wake_us(&batcher), UINT64_MAX);
    batcher_push_ready(&batcher, &second, 1000);
    assert_int_equal(batcher_wake_us(&batcher), 1100);
    batcher_push_ready(&batcher, &first, 1050);
    assert_int_equal(batcher_wake_us(&batcher), 1100); /* the first of them counts */
    assert_next(&batcher, 1099, BATCHER_IDLE, NULL);
    batcher_push_to_answer(&batcher, &done, 1099);
    assert_next(&batcher, 1099, BATCHER_ANSWER, &done);
    assert_next(&batcher, 1100, BATCHER_RUN, &first);
    assert_ptr_equal(first.next, &second);
    assert_int_equal(batcher_wake_us(&batcher), UINT64_MAX);
    assert_next(&batcher, 2000, BATCHER_IDLE, NULL);
}

static void test_during_a_delay_all_that_wait_are_prepared(void **state)
{
    (void)state;
    struct batcher batcher;
    struct job ready = {.rows = 1}, later[3] = {{.rows = 0}};
    init_with_delay(&batcher);
    batcher_push_ready(&batcher, &ready, 1000);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(batcher_push(&batcher, &later[i], 1010, NULL), STATUS_OK);
    assert_next(&batcher, 1020, BATCHER_PREPARE, &later[0]);
    assert_next(&batcher, 1099, BATCHER_PREPARE, &later[1]);
    assert_next(&batcher, 1100, BATCHER_RUN, &ready); /* it has waited long enough */
    assert_next(&batcher, 1100, BATCHER_PREPARE, &later[2]);
}

static void test_a_full_batch_is_not_held_back(void **state)
{
    (void)state;
    struct batcher batcher;
    struct job ready[2] = {{.rows = 1}, {.rows = 3}}, rest = {.rows = 3};
    init_with_delay(&batcher);
    batcher_push_ready(&batcher, &ready[0], 1000);
    batcher_push_ready(&batcher, &ready[1], 1001);
    batcher_push_ready(&batcher, &rest, 1002);
    assert_int_equal(batcher_wake_us(&batcher), UINT64_MAX);
    assert_next(&batcher, 1002, BATCHER_RUN, &ready[0]);
    assert_ptr_equal(ready[0].next, &ready[1]);
    assert_int_equal(batcher_wake_us(&batcher), 1102); /* the rest fills none */
    assert_next(&batcher, 1101, BATCHER_IDLE, NULL);
    assert_next(&batcher, 1102, BATCHER_RUN, &rest);
}

static void test_without_a_delay_nobody_need_ask_again(void **state)
{
    (void)state;
    struct batcher batcher;
    struct job ready = {.rows = 1};
    init(&batcher, 10, 4);
    batcher_push_ready(&batcher, &ready, 1000);
    assert_int_equal(batcher_wake_us(&batcher), UINT64_MAX);
    assert_next(&batcher, 1000, BATCHER_RUN, &ready);
}

static void test_normal_jobs_go_before_low_ones(void **state)
{
    (void)state;
    struct batcher batcher;
    struct job low[3] = {{.low_priority = true}, {.low_priority = true}, {.low_priority = true}};
    struct job normal[3] = {{.rows = 0}};
    const uint64_t soon_us = BATCHER_LOW_PATIENCE_US - 1;
    init(&batcher, 10, 4);
    low[1].rows = low[2].rows = normal[1].rows = normal[2].rows = 1;
    batcher_push_to_answer(&batcher, &low[2], 0);
    batcher_push_to_answer(&batcher, &normal[2], 0);
    assert_int_equal(batcher_push(&batcher, &low[0], 0, NULL), STATUS_OK);
    assert_int_equal(batcher_push(&batcher, &normal[0], 0, NULL), STATUS_OK);
    batcher_push_ready(&batcher, &low[1], 0);
    batcher_push_ready(&batcher, &normal[1], 0);
    assert_next(&batcher, soon_us, BATCHER_ANSWER, &normal[2]);
    assert_next(&batcher, soon_us, BATCHER_ANSWER, &low[2]);
    assert_next(&batcher, soon_us, BATCHER_PREPARE, &normal[0]);
    assert_next(&batcher, soon_us, BATCHER_PREPARE, &low[0]);
    assert_next(&batcher, soon_us, BATCHER_RUN, &normal[1]);
    assert_ptr_equal(normal[1].next, &low[1]); /* a batch may mix both */
    assert_null(low[1].next);
}

static void test_low_jobs_out_of_patience_take_turns_with_normal_ones(void **state)
{
    (void)state;
    struct batcher batcher;
    struct job low[3] = {{.low_priority = true}, {.low_priority = true}, {.low_priority = true}};
    struct job normal[3] = {{.rows = 0}};
    const uint64_t late_us = BATCHER_LOW_PATIENCE_US;
    init(&batcher, 10, 4);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(batcher_push(&batcher, &low[i], i < 2 ? 0 : 1, NULL), STATUS_OK);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(batcher_push(&batcher, &normal[i], late_us, NULL), STATUS_OK);
    assert_next(&batcher, late_us, BATCHER_PREPARE, &low[0]);
    assert_next(&batcher, late_us, BATCHER_PREPARE, &normal[0]);
    assert_next(&batcher, late_us, BATCHER_PREPARE, &low[1]);
    assert_next(&batcher, late_us, BATCHER_PREPARE, &normal[1]);
    assert_next(&batcher, late_us, BATCHER_PREPARE, &normal[2]); /* low[2] came 1 us too late */
    assert_next(&batcher, late_us, BATCHER_PREPARE, &low[2]);
}

/* A low one too: normal jobs that come later are not even prepared before it has run. */
static void test_no_stream_of_normal_jobs_holds_a_low_one_back(void **state)
{
    (void)state;
    struct batcher batcher;
    struct job ready = {.rows = 1, .low_priority = true}, before = {.rows = 0};
    struct job after = {.rows = 0};
    init(&batcher, 10, 4);
    assert_int_equal(batcher_push(&batcher, &before, 1, NULL), STATUS_OK);
    batcher_push_ready(&batcher, &ready, 2);
    assert_int_equal(batcher_push(&batcher, &after, 3, NULL), STATUS_OK);
    assert_next(&batcher, 4, BATCHER_PREPARE, &before);
    before.rows = 1;
    batcher_push_ready(&batcher, &before, 5);
    assert_next(&batcher, 6, BATCHER_RUN, &before);
    assert_ptr_equal(before.next, &ready);
    assert_next(&batcher, 7, BATCHER_PREPARE, &after);
}

static void test_low_jobs_leave_half_of_the_queue(void **state)
{
    (void)state;
    struct fail why;
    struct batcher batcher;
    struct job low[] = {{.low_priority = true}, {.low_priority = true}, {.low_priority = true}};
    struct job normal[] = {{.rows = 0}, {.rows = 0}};
    init(&batcher, 3, 8);
    assert_int_equal(batcher_push(&batcher, &low[0], 0, &why), STATUS_OK);
    assert_int_equal(batcher_push(&batcher, &low[1], 0, &why), STATUS_OK);
    unit_assert_fails(batcher_push(&batcher, &low[2], 0, &why), STATUS_LIMIT, why,
                      "2 pictures for low priority");
    assert_int_equal(batcher_push(&batcher, &normal[0], 0, &why), STATUS_OK);
    unit_assert_fails(batcher_push(&batcher, &normal[1], 0, &why), STATUS_LIMIT, why,
                      "3 pictures)");
}

static void test_takes_low_jobs_back(void **state)
{
    (void)state;
    struct batcher batcher;
    struct job low[3] = {{.low_priority = true, .buffered_bytes = 7},
                         {.low_priority = true, .rows = 2, .buffered_bytes = 7},
                         {.low_priority = true, .rows = 2, .buffered_bytes = 7}};
    init(&batcher, 20, 6);
    assert_int_equal(batcher_push(&batcher, &low[0], 0, NULL), STATUS_OK);
    batcher_push_ready(&batcher, &low[1], 0);
    batcher_push_to_answer(&batcher, &low[2], 0);
    for (size_t i = 0; i < 3; i++) {
        assert_true(batcher_remove(&batcher, &low[i]));
        assert_false(batcher_remove(&batcher, &low[i]));
    }
    assert_int_equal(batcher.waiting.low.bytes + batcher.ready.low.bytes, 0);
    assert_next(&batcher, 0, BATCHER_IDLE, NULL);
}

static void test_figures_tell_why_batches_began(void **state)
{
    (void)state;
    struct batcher batcher;
    struct job jobs[5] = {{.kind = NULL}}, *out;
    size_t rows;
    batcher_init(&batcher, &(struct batcher_limits){
                               .max_rows = 10, .max_bytes = SIZE_MAX, .max_batch_rows = 2});
    for (size_t i = 0; i < 5; i++) {
        jobs[i].rows = 1;
        batcher_push_ready(&batcher, &jobs[i], 0);
    }
    assert_int_equal(batcher_queue_rows(&batcher), 5);
    while (batcher_next(&batcher, 0, &out, &rows) == BATCHER_RUN)
        assert_int_equal(batcher_queue_rows(&batcher) + rows, rows == 1 ? 1 : out == jobs ? 5 : 3);
    batcher.limits.batch_delay_us = 100;
    batcher_push_ready(&batcher, &jobs[0], 0);
    assert_int_equal(batcher_next(&batcher, 99, &out, &rows), BATCHER_IDLE);
    assert_int_equal(batcher_next(&batcher, 100, &out, &rows), BATCHER_RUN);
    const struct batcher_figures *figures = &batcher.figures;
    assert_int_equal(figures->batches[BATCHER_FULL], 2);
    assert_int_equal(figures->batches[BATCHER_GREEDY], 1);
    assert_int_equal(figures->batches[BATCHER_DELAYED], 1);
    assert_int_equal(figures->rows.sum, 6);
    assert_int_equal(histogram_count(&figures->rows), 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_lone_job_goes_straight_through),
        cmocka_unit_test(test_prepares_in_order_until_a_batch_is_full),
        cmocka_unit_test(test_backlog),
        cmocka_unit_test(test_answers_come_first),
        cmocka_unit_test(test_a_ready_job_does_not_wait_for_later_ones),
        cmocka_unit_test(test_jobs_are_not_split),
        cmocka_unit_test(test_refuses_when_full),
        cmocka_unit_test(test_takes_jobs_back),
        cmocka_unit_test(test_refuses_too_many_bytes),
        cmocka_unit_test(test_a_body_over_the_bound_is_let_in_alone),
        cmocka_unit_test(test_a_delay_holds_back_what_fills_no_batch),
        cmocka_unit_test(test_during_a_delay_all_that_wait_are_prepared),
        cmocka_unit_test(test_a_full_batch_is_not_held_back),
        cmocka_unit_test(test_without_a_delay_nobody_need_ask_again),
        cmocka_unit_test(test_normal_jobs_go_before_low_ones),
        cmocka_unit_test(test_low_jobs_out_of_patience_take_turns_with_normal_ones),
        cmocka_unit_test(test_no_stream_of_normal_jobs_holds_a_low_one_back),
        cmocka_unit_test(test_low_jobs_leave_half_of_the_queue),
        cmocka_unit_test(test_takes_low_jobs_back),
        cmocka_unit_test(test_figures_tell_why_batches_began),
    };
    return cmocka_run_group_tests_name("batcher", tests, NULL, NULL);
}
