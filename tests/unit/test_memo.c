#include "tests/unit/unit.h"

#include <pthread.h>

#include "engine/memo.h"

enum { FLOATS = 16 };

static struct memo_key key_of(uint64_t subject, const uint16_t *prompts, size_t count)
{
    return (struct memo_key){.subject = subject, .pool = 3, .prompts = prompts, .count = count};
}

static void keep(struct memo *memo, uint64_t subject, uint16_t prompt, float value)
{
    float floats[FLOATS];
    for (size_t i = 0; i < FLOATS; i++)
        floats[i] = value;
    struct memo_key key = key_of(subject, &prompt, 1);
    memo_keep(memo, &key, floats, FLOATS);
}

/* The value that is kept; NAN if there is none. */
static float look_up(struct memo *memo, uint64_t subject, uint16_t prompt)
{
    struct memo_key key = key_of(subject, &prompt, 1);
    struct memo_entry *entry = memo_find(memo, &key);
    float value = entry ? memo_floats(entry)[FLOATS - 1] : NAN;
    memo_release(memo, entry);
    return value;
}

static struct memo *create(size_t max_bytes)
{
    struct fail why;
    struct memo *memo;
    unit_assert_ok(memo_create(max_bytes, &memo, &why), why);
    return memo;
}

/* What one entry of keep() takes in the account. */
static size_t entry_bytes(void)
{
    struct memo *memo = create(1 << 20);
    struct memo_figures figures;
    keep(memo, 1, 1, 1);
    memo_figures(memo, &figures);
    memo_destroy(memo);
    return figures.bytes;
}

static void test_keys(void **state)
{
    (void)state;
    struct memo *memo = create(1 << 20);
    struct memo_figures figures;
    const uint16_t long_one[] = {7, 8}, other[] = {7, 9};
    const float value = 5;
    assert_true(isnan(look_up(memo, 1, 7)));
    keep(memo, 1, 7, 1);
    keep(memo, 2, 7, 2);
    keep(memo, 1, 8, 3);
    assert_true(look_up(memo, 1, 7) == 1 && look_up(memo, 2, 7) == 2 && look_up(memo, 1, 8) == 3);
    keep(memo, 1, 7, 4); /* takes the place of the first */
    assert_true(look_up(memo, 1, 7) == 4);
    struct memo_key key = key_of(1, long_one, 2);
    memo_keep(memo, &key, &value, 1);
    struct memo_entry *found = memo_find(memo, &key);
    assert_non_null(found);
    memo_release(memo, found);
    key.part = 1;
    assert_null(memo_find(memo, &key));
    key.part = 0;
    key.pool = 4;
    assert_null(memo_find(memo, &key));
    key = key_of(1, other, 2);
    assert_null(memo_find(memo, &key));
    key = key_of(1, NULL, 0); /* the beginning of all */
    assert_null(memo_find(memo, &key));
    memo_figures(memo, &figures);
    assert_int_equal(figures.entries, 4);
    assert_int_equal(figures.hits, 5);
    assert_int_equal(figures.misses, 5);
    assert_int_equal(figures.evictions, 0);
    memo_destroy(memo);
    memo_destroy(NULL);
}

static void test_the_least_recently_used_leaves(void **state)
{
    (void)state;
    struct memo *memo = create(3 * entry_bytes());
    struct memo_figures figures;
    keep(memo, 1, 1, 1);
    keep(memo, 1, 2, 2);
    keep(memo, 1, 3, 3);
    assert_true(look_up(memo, 1, 1) == 1);
    keep(memo, 1, 4, 4);
    assert_true(isnan(look_up(memo, 1, 2)));
    assert_true(look_up(memo, 1, 1) == 1 && look_up(memo, 1, 3) == 3 && look_up(memo, 1, 4) == 4);
    memo_figures(memo, &figures);
    assert_int_equal(figures.evictions, 1);
    assert_int_equal(figures.bytes, figures.max_bytes);
    memo_destroy(memo);
}

static void test_what_is_held_stays(void **state)
{
    (void)state;
    struct memo *memo = create(entry_bytes());
    const uint16_t prompt = 1;
    struct memo_key key = key_of(1, &prompt, 1);
    keep(memo, 1, 1, 1);
    struct memo_entry *held = memo_find(memo, &key);
    keep(memo, 1, 2, 2);
    assert_null(memo_find(memo, &key));
    assert_true(memo_floats(held)[0] == 1);
    memo_release(memo, held);
    memo_release(memo, NULL);
    assert_true(look_up(memo, 1, 2) == 2);
    memo_destroy(memo);
}

static void test_what_does_not_fit_is_not_kept(void **state)
{
    (void)state;
    struct memo *none = create(0), *small = create(entry_bytes() - 1);
    struct memo_figures figures;
    keep(none, 1, 1, 1);
    keep(small, 1, 1, 1);
    assert_true(isnan(look_up(none, 1, 1)) && isnan(look_up(small, 1, 1)));
    memo_figures(small, &figures);
    assert_int_equal(figures.bytes, 0);
    memo_destroy(none);
    memo_destroy(small);
}

static void test_budget_under_many(void **state)
{
    (void)state;
    struct memo *memo = create(50 * entry_bytes());
    struct memo_figures figures;
    uint32_t seed = 1;
    for (int i = 0; i < 10000; i++) {
        uint16_t prompt = (uint16_t)(unit_random(&seed) % 500);
        float found = look_up(memo, 1, prompt);
        assert_true(isnan(found) || found == (float)prompt);
        if (isnan(found))
            keep(memo, 1, prompt, prompt);
        memo_figures(memo, &figures);
        assert_true(figures.bytes <= figures.max_bytes);
    }
    assert_int_equal(figures.entries, 50);
    assert_int_equal(figures.hits + figures.misses, 10000);
    assert_int_equal(figures.misses - figures.evictions, 50);
    memo_destroy(memo);
}

static void *hammer(void *argument)
{
    struct memo *memo = argument;
    uint32_t seed = (uint32_t)(uintptr_t)&seed;
    for (int i = 0; i < 3000; i++) {
        uint16_t prompt = (uint16_t)(unit_random(&seed) % 40);
        float found = look_up(memo, 1, prompt);
        if (isnan(found))
            keep(memo, 1, prompt, prompt);
        else if (found != (float)prompt)
            return argument;
    }
    return NULL;
}

static void test_threads(void **state)
{
    (void)state;
    struct memo *memo = create(20 * entry_bytes());
    pthread_t threads[4];
    for (size_t i = 0; i < UNIT_COUNT(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, hammer, memo), 0);
    for (size_t i = 0; i < UNIT_COUNT(threads); i++) {
        void *wrong;
        pthread_join(threads[i], &wrong);
        assert_null(wrong);
    }
    memo_destroy(memo);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_the_least_recently_used_leaves),
        cmocka_unit_test(test_what_is_held_stays),
        cmocka_unit_test(test_what_does_not_fit_is_not_kept),
        cmocka_unit_test(test_budget_under_many),
        cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests_name("memo", tests, NULL, NULL);
}
