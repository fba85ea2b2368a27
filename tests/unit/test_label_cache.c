#include "tests/unit/unit.h"

#include "server/label_cache.h"

/* Opened once: compiling labels takes a model. */
static struct engine *engine;
static struct engine_session *session;

static int open_model(void **state)
{
    (void)state;
    struct fail why;
    if (engine_open("engine/models/emoji-clip", &(struct engine_options){0}, &engine, &why) ||
        engine_session_create(engine, 1, &session, &why)) {
        fprintf(stderr, "%s\n", why.message);
        return -1;
    }
    return 0;
}

static int close_model(void **state)
{
    (void)state;
    engine_session_destroy(session);
    engine_close(engine);
    return 0;
}

static struct engine_labels *get(struct label_cache *cache, const char *first, const char *second,
                                 const char *sentence)
{
    struct fail why;
    struct engine_labels *labels = NULL;
    const char *names[] = {first, second};
    unit_assert_ok(label_cache_get(cache, session, names, second ? 2 : 1, &sentence,
                                   sentence ? 1 : 0, &labels, &why),
                   why);
    engine_labels_release(labels); /* the cache keeps it, if it has room; only compared */
    return labels;
}

static void assert_figures(struct label_cache *cache, size_t entries, size_t hits, size_t misses)
{
    struct label_cache_figures figures;
    label_cache_figures(cache, &figures);
    assert_int_equal(figures.entries, entries);
    assert_int_equal(figures.hits, hits);
    assert_int_equal(figures.misses, misses);
    assert_true((figures.bytes > 0) == (entries > 0));
}

static void test_finds_what_it_kept(void **state)
{
    (void)state;
    struct label_cache *cache;
    assert_int_equal(label_cache_create(1 << 20, &cache, NULL), STATUS_OK);
    struct engine_labels *both = get(cache, "cat", "dog", NULL);
    assert_figures(cache, 1, 0, 1);
    assert_ptr_equal(get(cache, "cat", "dog", NULL), both);
    assert_figures(cache, 1, 1, 1);
    get(cache, "dog", "cat", NULL);
    get(cache, "catdog", NULL, NULL);
    get(cache, "cat", "dog", "{}");
    assert_figures(cache, 4, 1, 4);
    assert_ptr_equal(get(cache, "cat", "dog", NULL), both);
    label_cache_destroy(cache);
}

static void test_the_oldest_leave_first(void **state)
{
    (void)state;
    struct fail why;
    struct label_cache *cache;
    struct label_cache_figures one;
    assert_int_equal(label_cache_create(1 << 20, &cache, &why), STATUS_OK);
    get(cache, "a", NULL, NULL);
    label_cache_figures(cache, &one);
    label_cache_destroy(cache);

    assert_int_equal(label_cache_create(2 * one.bytes, &cache, &why), STATUS_OK);
    get(cache, "a", NULL, NULL);
    get(cache, "b", NULL, NULL);
    assert_figures(cache, 2, 0, 2);
    get(cache, "a", NULL, NULL); /* b is the oldest now */
    get(cache, "c", NULL, NULL);
    assert_figures(cache, 2, 1, 3);
    get(cache, "a", NULL, NULL);
    assert_figures(cache, 2, 2, 3);
    get(cache, "b", NULL, NULL);
    assert_figures(cache, 2, 2, 4);
    label_cache_destroy(cache);
}

static void test_too_large_to_keep(void **state)
{
    (void)state;
    struct label_cache *cache;
    assert_int_equal(label_cache_create(0, &cache, NULL), STATUS_OK);
    get(cache, "a", NULL, NULL);
    get(cache, "a", NULL, NULL);
    assert_figures(cache, 0, 0, 2);
    label_cache_destroy(cache);
    label_cache_destroy(NULL);
}

static void test_failures_are_not_kept(void **state)
{
    (void)state;
    struct fail why;
    struct label_cache *cache;
    struct engine_labels *labels = NULL;
    const char *names[] = {"cat", "cat"};
    assert_int_equal(label_cache_create(1 << 20, &cache, &why), STATUS_OK);
    unit_assert_fails(label_cache_get(cache, session, names, 2, NULL, 0, &labels, &why),
                      STATUS_INVALID, why, "cat");
    assert_null(labels);
    assert_figures(cache, 0, 0, 1);
    label_cache_destroy(cache);
}

static void test_texts_beyond_the_limit_of_a_key(void **state)
{
    (void)state;
    struct fail why;
    struct label_cache *cache;
    struct engine_labels *labels = NULL;
    const size_t length = (size_t)1 << 26;
    char *name = malloc(length + 1);
    memset(name, 'a', length);
    name[length] = '\0';
    assert_int_equal(label_cache_create(1 << 20, &cache, &why), STATUS_OK);
    unit_assert_fails(
        label_cache_get(cache, session, (const char *const *)&name, 1, NULL, 0, &labels, &why),
        STATUS_LIMIT, why, "labels and sentences together: more than 67108864 bytes");
    assert_null(labels);
    label_cache_destroy(cache);
    free(name);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_finds_what_it_kept),
        cmocka_unit_test(test_the_oldest_leave_first),
        cmocka_unit_test(test_too_large_to_keep),
        cmocka_unit_test(test_failures_are_not_kept),
        cmocka_unit_test(test_texts_beyond_the_limit_of_a_key),
    };
    return cmocka_run_group_tests_name("label_cache", tests, open_model, close_model);
}
