#include "tests/unit/unit.h"

#include <pthread.h>

#include "server/label_sets.h"

/* Opened once: compiling labels takes a model. */
static struct engine *engine;
static struct engine_session *session;
static struct engine_labels *small, *large; /* the sets' labels, shared by all of them */

enum { LARGE = 10 };

static struct engine_labels *compile(size_t count)
{
    char texts[LARGE][16];
    const char *names[LARGE];
    for (size_t i = 0; i < count; i++) {
        snprintf(texts[i], sizeof texts[i], "label %zu", i);
        names[i] = texts[i];
    }
    struct fail why;
    struct engine_labels *labels = NULL;
    if (engine_labels_compile(session, names, count, NULL, 0, &labels, &why))
        fprintf(stderr, "%s\n", why.message);
    return labels;
}

static int open_model(void **state)
{
    (void)state;
    struct fail why;
    if (engine_open("engine/models/emoji-clip", &(struct engine_options){0}, &engine, &why) ||
        engine_session_create(engine, 1, &session, &why)) {
        fprintf(stderr, "%s\n", why.message);
        return -1;
    }
    small = compile(1);
    large = compile(LARGE);
    return small && large ? 0 : -1;
}

static int close_model(void **state)
{
    (void)state;
    engine_labels_release(small);
    engine_labels_release(large);
    engine_session_destroy(session);
    engine_close(engine);
    return 0;
}

static struct label_set *make_of(const char *name, struct engine_labels *labels)
{
    struct label_set *set = label_sets_make(name, "", engine_labels_acquire(labels), 7);
    assert_non_null(set);
    return set;
}

static struct label_set *make(const char *name)
{
    return make_of(name, small);
}

static struct label_sets *create(size_t max_sets, size_t max_bytes)
{
    struct fail why;
    struct label_sets *sets = NULL;
    const struct label_sets_limits limits = {.max_sets = max_sets, .max_bytes = max_bytes};
    unit_assert_ok(label_sets_create(&limits, &sets, &why), why);
    return sets;
}

/* The new version, which only the registry holds. */
static struct label_set *publish(struct label_sets *sets, const char *name,
                                 const struct label_set *expected)
{
    struct fail why;
    struct label_set *set = make(name);
    unit_assert_ok(label_sets_publish(sets, set, expected, &why), why);
    label_sets_release(set);
    return set;
}

static void assert_not_published(struct label_sets *sets, struct label_set *set,
                                 const struct label_set *expected, enum status status,
                                 const char *part)
{
    struct fail why;
    unit_assert_fails(label_sets_publish(sets, set, expected, &why), status, why, part);
    assert_int_equal(set->references, 1);
    assert_int_equal(set->version, 0);
    assert_int_equal(set->serial, 0);
    label_sets_release(set);
}

/* What the name stands for, held by the registry only. */
static struct label_set *find(struct label_sets *sets, const char *name)
{
    struct label_set *set = label_sets_find(sets, name);
    if (set)
        label_sets_release(set);
    return set;
}

static void assert_names(struct label_sets *sets, const char *expected)
{
    size_t count = 99;
    char names[256] = "";
    struct label_set **list = label_sets_list(sets, &count);
    assert_non_null(list);
    for (size_t i = 0; i < count; i++) {
        strncat(names, list[i]->name, sizeof names - strlen(names) - 1);
        strncat(names, " ", sizeof names - strlen(names) - 1);
        assert_ptr_equal(find(sets, list[i]->name), list[i]);
        label_sets_release(list[i]);
    }
    free(list);
    assert_string_equal(names, expected);
}

/* ---- Names and snapshots ---- */

static void test_names(void **state)
{
    (void)state;
    struct fail why;
    char longest[LABEL_SETS_MAX_NAME + 2];
    memset(longest, 'n', sizeof longest);
    longest[LABEL_SETS_MAX_NAME + 1] = '\0';
    unit_assert_fails(label_sets_check_name(longest, &why), STATUS_INVALID, why, "1 to 64");
    longest[LABEL_SETS_MAX_NAME] = '\0';
    unit_assert_ok(label_sets_check_name(longest, &why), why);
    static const char *const good[] = {"a", "Z", "0", "...", "_", "-", "a.b_c-9", "azAZ09"};
    for (size_t i = 0; i < UNIT_COUNT(good); i++)
        unit_assert_ok(label_sets_check_name(good[i], &why), why);
    static const char *const bad[] = {".",   "..",   "",         " ",   "a b", "a/b", "%",
                                      "a\n", "\x7f", "\xc3\xa4", "a:b", "{}",  "@",   "`"};
    for (size_t i = 0; i < UNIT_COUNT(bad); i++)
        unit_assert_fails(label_sets_check_name(bad[i], &why), STATUS_INVALID, why, "letters");
    assert_int_equal(label_sets_check_name("", NULL), STATUS_INVALID);
}

static void test_a_snapshot(void **state)
{
    (void)state;
    struct label_set *set = label_sets_make("cats", "groups", engine_labels_acquire(large), 12);
    assert_non_null(set);
    assert_string_equal(set->name, "cats");
    assert_string_equal(set->pool, "groups");
    assert_ptr_equal(set->labels, large);
    assert_int_equal(set->bytes, engine_labels_bytes(large));
    assert_int_equal(set->compile_us, 12);
    assert_int_equal(set->version, 0);
    assert_ptr_equal(label_sets_acquire(set), set);
    label_sets_release(set);
    assert_string_equal(set->name, "cats");
    label_sets_release(set);
    label_sets_release(NULL);
}

/* ---- Find, publish, remove ---- */

static void test_empty(void **state)
{
    (void)state;
    struct fail why;
    struct label_sets *sets = create(10, SIZE_MAX);
    assert_names(sets, "");
    assert_null(label_sets_find(sets, "a"));
    unit_assert_fails(label_sets_remove(sets, "a", NULL, &why), STATUS_NOT_FOUND, why, "\"a\"");
    label_sets_destroy(sets);
    label_sets_destroy(NULL);
}

static void test_order(void **state)
{
    (void)state;
    struct fail why;
    struct label_sets *sets = create(10, SIZE_MAX);
    static const char *const names[] = {"m", "b", "z", "a", "B", "aa", "10", "9", "a.", "n"};
    for (size_t i = 0; i < UNIT_COUNT(names); i++)
        publish(sets, names[i], NULL);
    assert_names(sets, "10 9 B a a. aa b m n z ");
    for (size_t i = 0; i < UNIT_COUNT(names); i++)
        assert_string_equal(find(sets, names[i])->name, names[i]);
    assert_null(find(sets, "A"));
    assert_null(find(sets, "zz"));
    assert_null(find(sets, ""));
    static const char *const removed[] = {"z", "10", "b"};
    for (size_t i = 0; i < UNIT_COUNT(removed); i++)
        unit_assert_ok(label_sets_remove(sets, removed[i], find(sets, removed[i]), &why), why);
    assert_names(sets, "9 B a a. aa m n ");
    publish(sets, "b", NULL);
    assert_names(sets, "9 B a a. aa b m n ");
    label_sets_destroy(sets);
}

static void test_versions(void **state)
{
    (void)state;
    struct fail why;
    struct label_sets *sets = create(10, SIZE_MAX);
    struct label_set *first = publish(sets, "a", NULL);
    assert_int_equal(first->version, 1);
    uint64_t serial = first->serial;
    struct label_set *other = publish(sets, "b", NULL);
    assert_int_equal(other->version, 1);
    assert_true(other->serial > serial);
    serial = other->serial;
    struct label_set *second = publish(sets, "a", find(sets, "a"));
    assert_int_equal(second->version, 2);
    assert_true(second->serial > serial);
    serial = second->serial;
    unit_assert_ok(label_sets_remove(sets, "a", second, &why), why);
    struct label_set *again = publish(sets, "a", NULL);
    assert_int_equal(again->version, 1);
    assert_true(again->serial > serial);
    assert_names(sets, "a b ");
    label_sets_destroy(sets);
}

static void test_publish_expects(void **state)
{
    (void)state;
    struct fail why;
    struct label_sets *sets = create(10, SIZE_MAX);
    struct label_set *stranger = make("a");
    assert_not_published(sets, make("a"), stranger, STATUS_CANCELLED, "changed meanwhile");
    assert_names(sets, "");

    struct label_set *first = label_sets_acquire(publish(sets, "a", NULL));
    assert_not_published(sets, make("a"), NULL, STATUS_CANCELLED, "changed meanwhile");
    assert_not_published(sets, make("a"), stranger, STATUS_CANCELLED, "changed meanwhile");
    struct label_set *other = publish(sets, "b", NULL);
    assert_not_published(sets, make("a"), other, STATUS_CANCELLED, "changed meanwhile");
    assert_ptr_equal(find(sets, "a"), first);

    struct label_set *second = publish(sets, "a", first);
    assert_not_published(sets, make("a"), first, STATUS_CANCELLED, "changed meanwhile");
    assert_ptr_equal(find(sets, "a"), second);
    unit_assert_ok(label_sets_remove(sets, "a", second, &why), why);
    assert_not_published(sets, make("a"), first, STATUS_CANCELLED, "changed meanwhile");
    assert_int_equal(label_sets_publish(sets, stranger, first, NULL), STATUS_CANCELLED);
    assert_names(sets, "b ");
    label_sets_release(first);
    label_sets_release(stranger);
    label_sets_destroy(sets);
}

static void test_remove_expects(void **state)
{
    (void)state;
    struct fail why;
    struct label_sets *sets = create(10, SIZE_MAX);
    struct label_set *first = label_sets_acquire(publish(sets, "a", NULL));
    struct label_set *second = publish(sets, "a", first);
    unit_assert_fails(label_sets_remove(sets, "a", first, &why), STATUS_CANCELLED, why,
                      "changed meanwhile");
    unit_assert_fails(label_sets_remove(sets, "b", second, &why), STATUS_NOT_FOUND, why, "\"b\"");
    assert_ptr_equal(find(sets, "a"), second);
    unit_assert_ok(label_sets_remove(sets, "a", second, &why), why);
    assert_null(find(sets, "a"));
    unit_assert_fails(label_sets_remove(sets, "a", first, &why), STATUS_NOT_FOUND, why, "\"a\"");
    publish(sets, "a", NULL);
    unit_assert_ok(label_sets_remove(sets, "a", NULL, &why), why); /* whatever it is */
    unit_assert_fails(label_sets_remove(sets, "a", NULL, &why), STATUS_NOT_FOUND, why, "\"a\"");
    label_sets_release(first);
    label_sets_destroy(sets);
}

static void test_snapshots_outlive_what_happens_to_the_name(void **state)
{
    (void)state;
    struct fail why;
    size_t count;
    struct label_sets *sets = create(10, SIZE_MAX);
    struct label_set *replaced = label_sets_acquire(publish(sets, "a", NULL));
    publish(sets, "a", replaced);
    struct label_set *removed = label_sets_find(sets, "a");
    unit_assert_ok(label_sets_remove(sets, "a", removed, &why), why);
    publish(sets, "b", NULL);
    struct label_set *found = label_sets_find(sets, "b");
    struct label_set **list = label_sets_list(sets, &count);
    assert_int_equal(count, 1);
    label_sets_destroy(sets);

    assert_ptr_equal(list[0], found);
    struct label_set *const left[] = {replaced, removed, found};
    const uint64_t versions[] = {1, 2, 1};
    for (size_t i = 0; i < UNIT_COUNT(left); i++) {
        assert_int_equal(left[i]->references, left[i] == found ? 2 : 1);
        assert_string_equal(left[i]->name, left[i] == found ? "b" : "a");
        assert_int_equal(left[i]->version, versions[i]);
        assert_string_equal(engine_labels_name(left[i]->labels, 0), "label 0");
        label_sets_release(left[i]);
    }
    label_sets_release(list[0]);
    free(list);
}

/* ---- Limits ---- */

static void test_limit_of_sets(void **state)
{
    (void)state;
    struct fail why;
    struct label_sets *sets = create(2, SIZE_MAX);
    publish(sets, "b", NULL);
    publish(sets, "a", NULL);
    assert_not_published(sets, make("c"), NULL, STATUS_LIMIT, "2 label sets");
    assert_names(sets, "a b ");
    assert_int_equal(publish(sets, "b", find(sets, "b"))->version, 2);
    unit_assert_ok(label_sets_remove(sets, "a", find(sets, "a"), &why), why);
    publish(sets, "c", NULL);
    assert_names(sets, "b c ");
    label_sets_destroy(sets);

    sets = create(0, SIZE_MAX);
    assert_not_published(sets, make("a"), NULL, STATUS_LIMIT, "0 label sets");
    assert_names(sets, "");
    label_sets_destroy(sets);
}

static void test_limit_of_bytes(void **state)
{
    (void)state;
    struct fail why;
    size_t one = engine_labels_bytes(small), ten = engine_labels_bytes(large);
    char limit[32];
    snprintf(limit, sizeof limit, "%zu", one + ten);
    struct label_sets *sets = create(10, one + ten);
    publish(sets, "a", NULL);
    struct label_set *set = make_of("b", large);
    unit_assert_ok(label_sets_publish(sets, set, NULL, &why), why);
    assert_int_equal(set->references, 2);
    assert_not_published(sets, make("c"), NULL, STATUS_LIMIT, limit);
    assert_not_published(sets, make_of("a", large), find(sets, "a"), STATUS_LIMIT, limit);
    assert_int_equal(publish(sets, "a", find(sets, "a"))->version, 2);
    publish(sets, "b", set);
    label_sets_release(set);
    publish(sets, "c", NULL);
    assert_names(sets, "a b c ");

    static const char *const names[] = {"a", "b", "c"};
    for (size_t i = 0; i < UNIT_COUNT(names); i++)
        unit_assert_ok(label_sets_remove(sets, names[i], find(sets, names[i]), &why), why);
    set = make_of("d", large);
    unit_assert_ok(label_sets_publish(sets, set, NULL, &why), why);
    label_sets_release(set);
    publish(sets, "e", NULL);
    assert_not_published(sets, make("f"), NULL, STATUS_LIMIT, limit);
    label_sets_destroy(sets);

    sets = create(10, 0);
    assert_not_published(sets, make("a"), NULL, STATUS_LIMIT, "0");
    label_sets_destroy(sets);
}

/* ---- Threads ---- */

enum { HAMMER_THREADS = 4, HAMMER_STEPS = 400, HAMMER_NAMES = 3 };

struct hammer {
    struct label_sets *sets;
    unsigned seed;
    size_t published, removed;
    bool wrong;
};

static bool hammer_is_right(const struct label_set *set, const char *name)
{
    return !strcmp(set->name, name) && set->version && set->serial &&
           engine_labels_count(set->labels) == 1;
}

static void hammer_list(struct hammer *hammer)
{
    size_t count;
    struct label_set **list = label_sets_list(hammer->sets, &count);
    hammer->wrong |= !list || count > HAMMER_NAMES;
    for (size_t i = 0; i < count; i++)
        hammer->wrong |= i && strcmp(list[i - 1]->name, list[i]->name) >= 0;
    for (size_t i = 0; i < count; i++)
        label_sets_release(list[i]);
    free(list);
}

/* The change is made if the name still stands for what was found, and else refused as it should. */
static void hammer_change(struct hammer *hammer, const char *name, bool remove)
{
    struct label_set *found = label_sets_find(hammer->sets, name);
    struct label_set *set = label_sets_make(name, "", engine_labels_acquire(small), 0);
    enum status status;
    if (found)
        hammer->wrong |= !hammer_is_right(found, name);
    if (remove && found) {
        status = label_sets_remove(hammer->sets, name, found, NULL);
        hammer->removed += !status;
        hammer->wrong |= status && status != STATUS_CANCELLED && status != STATUS_NOT_FOUND;
    } else if (set) {
        status = label_sets_publish(hammer->sets, set, found, NULL);
        hammer->published += !status;
        hammer->wrong |= status && status != STATUS_CANCELLED;
        hammer->wrong |= !status && set->version != (found ? found->version + 1 : 1);
    }
    label_sets_release(set);
    label_sets_release(found);
}

static void *hammer_run(void *argument)
{
    struct hammer *hammer = argument;
    static const char *const names[HAMMER_NAMES] = {"a", "b", "c"};
    uint32_t state = hammer->seed;
    for (int i = 0; i < HAMMER_STEPS; i++) {
        uint32_t random = unit_random(&state);
        if (random % 8 == 0)
            hammer_list(hammer);
        else
            hammer_change(hammer, names[random / 8 % HAMMER_NAMES], random / 64 % 4 == 0);
    }
    return NULL;
}

static void test_threads(void **state)
{
    (void)state;
    struct label_sets *sets = create(HAMMER_NAMES, HAMMER_NAMES * engine_labels_bytes(small));
    struct hammer hammers[HAMMER_THREADS];
    pthread_t threads[HAMMER_THREADS];
    size_t published = 0, removed = 0, count;
    for (unsigned i = 0; i < HAMMER_THREADS; i++) {
        hammers[i] = (struct hammer){.sets = sets, .seed = i + 1};
        assert_int_equal(pthread_create(&threads[i], NULL, hammer_run, &hammers[i]), 0);
    }
    for (size_t i = 0; i < HAMMER_THREADS; i++) {
        pthread_join(threads[i], NULL);
        assert_false(hammers[i].wrong);
        published += hammers[i].published;
        removed += hammers[i].removed;
    }
    assert_true(published > removed && removed > 0);
    /* The next serial counts what was published. */
    struct label_set *found = label_sets_find(sets, "a");
    struct label_set *set = publish(sets, "a", found);
    assert_int_equal(set->serial, published + 1);
    label_sets_release(found);
    struct label_set **list = label_sets_list(sets, &count);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(list[i]->references, 2);
        label_sets_release(list[i]);
    }
    free(list);
    label_sets_destroy(sets);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_a_snapshot),
        cmocka_unit_test(test_empty),
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_versions),
        cmocka_unit_test(test_publish_expects),
        cmocka_unit_test(test_remove_expects),
        cmocka_unit_test(test_snapshots_outlive_what_happens_to_the_name),
        cmocka_unit_test(test_limit_of_sets),
        cmocka_unit_test(test_limit_of_bytes),
        cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests_name("label_sets", tests, open_model, close_model);
}
