#include "tests/unit/unit.h"

#include "server/label_set.h"
#include "server/registry.h"

/* Opened once: compiling labels takes a model. */
static struct engine *engine;
static struct engine_session *session;
static struct engine_labels *six; /* "label 0" to "label 5" */

enum { LABELS = 6 };

static int open_model(void **state)
{
    (void)state;
    struct fail why;
    static const char *const names[LABELS] = {"label 0", "label 1", "label 2",
                                              "label 3", "label 4", "label 5"};
    if (engine_open("engine/models/emoji-clip", &(struct engine_options){0}, &engine, &why) ||
        engine_session_create(engine, 1, &session, &why) ||
        engine_labels_compile(session, names, LABELS, NULL, 0, &six, &why)) {
        fprintf(stderr, "%s\n", why.message);
        return -1;
    }
    return 0;
}

static int close_model(void **state)
{
    (void)state;
    engine_labels_release(six);
    engine_session_destroy(session);
    engine_close(engine);
    return 0;
}

/* class_of [LABELS], or NULL. */
static struct label_set *create(const uint32_t *class_of)
{
    uint32_t *copy = NULL;
    if (class_of) {
        copy = malloc(LABELS * sizeof *copy);
        assert_non_null(copy);
        memcpy(copy, class_of, LABELS * sizeof *copy);
    }
    const struct label_set_parts parts = {.name = "things",
                                          .pool = "groups",
                                          .labels = engine_labels_acquire(six),
                                          .class_of = copy,
                                          .compile_us = 12};
    struct label_set *set = label_set_create(&parts);
    assert_non_null(set);
    return set;
}

static void assert_classes(const struct label_set *set, size_t count, const char *const *names)
{
    assert_int_equal(set->classes, count);
    for (size_t i = 0; i < count; i++)
        assert_string_equal(label_set_class_name(set, i), names[i]);
}

static void assert_reduced(const struct label_set *set, float *cosines, size_t rows,
                           const float *expected)
{
    label_set_reduce(set, cosines, rows);
    for (size_t i = 0; i < rows * set->classes; i++)
        assert_true(cosines[i] == expected[i]);
}

static void test_parts(void **state)
{
    (void)state;
    struct label_set *set = create(NULL);
    assert_string_equal(set->snapshot.name, "things");
    assert_string_equal(set->pool, "groups");
    assert_int_equal(set->compile_us, 12);
    assert_ptr_equal(set->labels, six);
    assert_int_equal(set->snapshot.version, 0);
    assert_null(set->snapshot.document);
    assert_true(set->snapshot.bytes > engine_labels_bytes(six));
    size_t plain = set->snapshot.bytes;
    label_set_release(set);
    set = create((const uint32_t[LABELS]){0, 1, 2, 3, 4, 0});
    assert_true(set->snapshot.bytes >= plain + LABELS * sizeof(uint32_t));
    label_set_release(set);
    label_set_release(NULL);
}

static void test_without_aliases_each_label_is_a_class(void **state)
{
    (void)state;
    struct label_set *set = create(NULL);
    static const char *const names[] = {"label 0", "label 1", "label 2",
                                        "label 3", "label 4", "label 5"};
    assert_classes(set, LABELS, names);
    float cosines[] = {.5F, .1F, -1, .3F, .2F, 0, -.5F, -.1F, 1, -.3F, -.2F, 0};
    float same[UNIT_COUNT(cosines)];
    memcpy(same, cosines, sizeof same);
    assert_reduced(set, cosines, 2, same);
    label_set_release(set);
}

static void test_classes_have_the_best_of_their_labels(void **state)
{
    (void)state;
    static const char *const names[] = {"label 0", "label 1", "label 2"};
    struct label_set *set = create((const uint32_t[LABELS]){0, 1, 2, 0, 2, 0});
    assert_classes(set, 3, names);
    float cosines[] = {.1F,  .2F,  .3F,  .4F,  .5F,  .6F,   /* the last alias */
                       .6F,  .5F,  .4F,  .3F,  .2F,  .1F,   /* the names */
                       -.6F, -.5F, -.4F, -.3F, -.2F, -.4F}; /* an alias in the middle */
    assert_reduced(set, cosines, 3,
                   (const float[]){.6F, .2F, .5F, .6F, .5F, .4F, -.3F, -.5F, -.2F});
    label_set_release(set);
}

/* As they lie after a PATCH: new names behind the aliases of old ones. */
static void test_names_may_come_after_aliases_of_others(void **state)
{
    (void)state;
    static const char *const names[] = {"label 0", "label 3", "label 4"};
    struct label_set *set = create((const uint32_t[LABELS]){0, 0, 0, 1, 2, 1});
    assert_classes(set, 3, names);
    float cosines[] = {.1F, .3F, .2F, .4F, .5F, .6F, .9F, .3F, .2F, .4F, -.5F, .1F};
    assert_reduced(set, cosines, 2, (const float[]){.3F, .6F, .5F, .9F, .4F, -.5F});
    label_set_release(set);
}

static void test_one_class_of_all(void **state)
{
    (void)state;
    static const char *const names[] = {"label 0"};
    struct label_set *set = create((const uint32_t[LABELS]){0});
    assert_classes(set, 1, names);
    enum { ROWS = 50 };
    float cosines[ROWS * LABELS], expected[ROWS];
    uint32_t random = 3;
    for (size_t i = 0; i < UNIT_COUNT(cosines); i++)
        cosines[i] = unit_random_float(&random, 1);
    for (size_t row = 0; row < ROWS; row++) {
        expected[row] = -2;
        for (size_t i = 0; i < LABELS; i++)
            expected[row] = fmaxf(expected[row], cosines[row * LABELS + i]);
    }
    assert_reduced(set, cosines, ROWS, expected);
    label_set_release(set);
}

/* What is left out of a shortlist is -INFINITY. */
static void test_classes_none_of_whose_labels_count(void **state)
{
    (void)state;
    struct label_set *set = create((const uint32_t[LABELS]){0, 1, 2, 0, 1, 2});
    float cosines[] = {-INFINITY, -INFINITY, .2F, -INFINITY, -.9F, -INFINITY};
    assert_reduced(set, cosines, 1, (const float[]){-INFINITY, -.9F, .2F});
    label_set_release(set);
}

static void test_sets_are_found_in_a_registry(void **state)
{
    (void)state;
    struct fail why;
    struct registry *registry;
    const struct registry_options options = {
        .noun = "label set", .max_names = 1, .max_bytes = SIZE_MAX, .kept_versions = 1};
    unit_assert_ok(registry_create(&options, &registry, &why), why);
    assert_null(label_set_find(registry, "things"));
    assert_null(label_set_find_default(registry));
    struct label_set *set = create(NULL);
    unit_assert_ok(registry_publish(registry, &set->snapshot, NULL, STORE_DEFAULT_SET, NULL, &why),
                   why);
    assert_ptr_equal(label_set_find(registry, "things"), set);
    assert_ptr_equal(label_set_find_default(registry), set);
    assert_int_equal(set->snapshot.references, 4);
    for (int i = 0; i < 3; i++)
        label_set_release(set);
    registry_destroy(registry);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parts),
        cmocka_unit_test(test_without_aliases_each_label_is_a_class),
        cmocka_unit_test(test_classes_have_the_best_of_their_labels),
        cmocka_unit_test(test_names_may_come_after_aliases_of_others),
        cmocka_unit_test(test_one_class_of_all),
        cmocka_unit_test(test_classes_none_of_whose_labels_count),
        cmocka_unit_test(test_sets_are_found_in_a_registry),
    };
    return cmocka_run_group_tests_name("label_set", tests, open_model, close_model);
}
