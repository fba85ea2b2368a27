#include "tests/unit/unit.h"

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>
#include <unistd.h>

#include "engine/cores.h"
#include "engine/parallel.h"

enum { CHUNKS = 1000, CALLERS = 4, ROUNDS = 200 };

static void count_chunk(void *argument, size_t index)
{
    atomic_int *runs = argument;
    atomic_fetch_add(&runs[index], 1);
}

static void check_each_chunk_once(struct parallel_team *team, size_t chunks)
{
    static _Thread_local atomic_int runs[CHUNKS];
    for (size_t i = 0; i < CHUNKS; i++)
        atomic_store(&runs[i], 0);
    parallel_for(team, chunks, count_chunk, runs);
    for (size_t i = 0; i < CHUNKS; i++)
        assert_int_equal(atomic_load(&runs[i]), i < chunks);
}

static void test_each_chunk_runs_once(void **state)
{
    (void)state;
    for (size_t helpers = 0; helpers < 4; helpers++) {
        struct fail why;
        struct parallel_team *team;
        unit_assert_ok(parallel_create(helpers, &team, &why), why);
        for (size_t chunks = 0; chunks <= CHUNKS; chunks += chunks < 5 ? 1 : 199)
            check_each_chunk_once(team, chunks);
        parallel_destroy(team);
    }
}

struct sum_job {
    const int *values;
    atomic_long total;
};

static void sum_chunk(void *argument, size_t index)
{
    struct sum_job *job = argument;
    atomic_fetch_add(&job->total, job->values[index]);
}

static void *call_many_times(void *team)
{
    int values[64];
    for (int i = 0; i < 64; i++)
        values[i] = i;
    for (int round = 0; round < ROUNDS; round++) {
        struct sum_job job = {.values = values};
        parallel_for(team, 64, sum_chunk, &job);
        if (atomic_load(&job.total) != 63 * 32)
            return team; /* a wrong sum */
    }
    return NULL;
}

static void test_several_callers_at_once(void **state)
{
    (void)state;
    struct fail why;
    struct parallel_team *team;
    pthread_t callers[CALLERS];
    unit_assert_ok(parallel_create(2, &team, &why), why);
    for (int i = 0; i < CALLERS; i++)
        assert_int_equal(pthread_create(&callers[i], NULL, call_many_times, team), 0);
    for (int i = 0; i < CALLERS; i++) {
        void *complaint;
        pthread_join(callers[i], &complaint);
        assert_null(complaint);
    }
    parallel_destroy(team);
}

struct server {
    struct parallel_team *team;
    bool stop; /* under the team's lock, by way of parallel_notify */
    atomic_bool left;
};

static bool server_stops(void *argument)
{
    return __atomic_load_n(&((struct server *)argument)->stop, __ATOMIC_ACQUIRE);
}

static void *serve(void *argument)
{
    struct server *server = argument;
    parallel_serve(server->team, server_stops, server, UINT64_MAX);
    atomic_store(&server->left, true);
    return NULL;
}

static void wait_for_other_thread(void *argument, size_t index)
{
    (void)index;
    pthread_t *others = argument;
    static atomic_int inside;
    atomic_fetch_add(&inside, 1);
    while (atomic_load(&inside) < 2) /* ends only if a second thread takes a chunk */
        usleep(100);
    others[index] = pthread_self();
}

static void test_idle_thread_serves_until_done(void **state)
{
    (void)state;
    struct fail why;
    struct server server = {0};
    pthread_t thread, ran[2];
    unit_assert_ok(parallel_create(0, &server.team, &why), why);
    assert_int_equal(pthread_create(&thread, NULL, serve, &server), 0);
    parallel_for(server.team, 2, wait_for_other_thread, ran);
    assert_false(pthread_equal(ran[0], ran[1]));
    assert_false(atomic_load(&server.left));
    __atomic_store_n(&server.stop, true, __ATOMIC_RELEASE);
    parallel_notify(server.team);
    pthread_join(thread, NULL);
    assert_true(atomic_load(&server.left));
    parallel_destroy(server.team);
}

static uint64_t now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static void test_idle_thread_serves_until_it_is_time(void **state)
{
    (void)state;
    struct fail why;
    struct server server = {0};
    unit_assert_ok(parallel_create(0, &server.team, &why), why);
    parallel_serve(server.team, server_stops, &server, 0); /* long ago */
    uint64_t wake_us = now_us() + 20000;
    parallel_serve(server.team, server_stops, &server, wake_us);
    assert_true(now_us() >= wake_us);
    server.stop = true; /* before the time */
    parallel_serve(server.team, server_stops, &server, UINT64_MAX - 1);
    parallel_destroy(server.team);
}

static void *serve_for_a_while(void *argument)
{
    struct server *server = argument;
    parallel_serve(server->team, server_stops, server, now_us() + 20000);
    atomic_store(&server->left, true);
    return NULL;
}

/* Even if there is always something to help with. */
static void test_busy_thread_serves_until_it_is_time(void **state)
{
    (void)state;
    struct fail why;
    struct server server = {0};
    pthread_t thread;
    unit_assert_ok(parallel_create(0, &server.team, &why), why);
    assert_int_equal(pthread_create(&thread, NULL, serve_for_a_while, &server), 0);
    while (!atomic_load(&server.left))
        check_each_chunk_once(server.team, 3);
    pthread_join(thread, NULL);
    parallel_destroy(server.team);
}

static void *serve_for_long(void *argument)
{
    struct server *server = argument;
    parallel_serve(server->team, server_stops, server, now_us() + 3600 * UINT64_C(1000000));
    return NULL;
}

static void test_notify_ends_a_sleep_before_its_time(void **state)
{
    (void)state;
    struct fail why;
    struct server server = {0};
    pthread_t thread;
    unit_assert_ok(parallel_create(0, &server.team, &why), why);
    assert_int_equal(pthread_create(&thread, NULL, serve_for_long, &server), 0);
    usleep(1000);
    __atomic_store_n(&server.stop, true, __ATOMIC_RELEASE);
    parallel_notify(server.team);
    pthread_join(thread, NULL);
    parallel_destroy(server.team);
}

static void test_cores(void **state)
{
    (void)state;
    assert_true(cores_available() >= 1);
    assert_int_equal(cores_of_quota("200000 100000\n"), 2);
    assert_int_equal(cores_of_quota("150000 100000"), 2);
    assert_int_equal(cores_of_quota("1000 100000"), 1);
    assert_int_equal(cores_of_quota("max 100000"), 0);
    assert_int_equal(cores_of_quota("-1 100000"), 0);
    assert_int_equal(cores_of_quota("100000 0"), 0);
    assert_int_equal(cores_of_quota(""), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_chunk_runs_once),
        cmocka_unit_test(test_several_callers_at_once),
        cmocka_unit_test(test_idle_thread_serves_until_done),
        cmocka_unit_test(test_idle_thread_serves_until_it_is_time),
        cmocka_unit_test(test_busy_thread_serves_until_it_is_time),
        cmocka_unit_test(test_notify_ends_a_sleep_before_its_time),
        cmocka_unit_test(test_cores),
    };
    return cmocka_run_group_tests_name("parallel", tests, NULL, NULL);
}
