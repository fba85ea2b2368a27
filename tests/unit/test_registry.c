#include "tests/unit/things.h"

/* ---- Find, publish, remove ---- */

static void test_an_empty_registry_has_nothing(void **state)
{
    (void)state;
    struct fail why;
    struct snapshot *out = NULL;
    struct registry *registry = things_create(10, SIZE_MAX, 2);
    things_assert_names(registry, "");
    things_assert_versions(registry, "a", "");
    assert_null(registry_find(registry, "a"));
    assert_null(registry_find(registry, ""));
    assert_null(registry_find_default(registry));
    assert_false(registry_is_default(registry, "a"));
    assert_false(registry_is_default(registry, ""));
    unit_assert_fails(registry_remove(registry, "a", NULL, &why), STATUS_NOT_FOUND, why,
                      "no thing \"a\"");
    unit_assert_fails(registry_roll_back(registry, "a", 0, NULL, &out, &why), STATUS_NOT_FOUND, why,
                      "no thing \"a\"");
    unit_assert_fails(registry_change_default(registry, "a", NULL, STORE_DEFAULT_SET, &why),
                      STATUS_NOT_FOUND, why, "no thing \"a\"");
    assert_null(out);
    registry_destroy(registry);
    registry_destroy(NULL);
}

static void test_names_are_in_order(void **state)
{
    (void)state;
    struct registry *registry = things_create(10, SIZE_MAX, 1);
    static const char *const names[] = {"m", "b", "z", "a", "B", "aa", "10", "9", "a.", "n"};
    for (size_t i = 0; i < UNIT_COUNT(names); i++)
        things_publish(registry, names[i]);
    things_assert_names(registry, "10 1, 9 1, B 1, a 1, a. 1, aa 1, b 1, m 1, n 1, z 1, ");
    for (size_t i = 0; i < UNIT_COUNT(names); i++)
        assert_string_equal(things_find(registry, names[i])->name, names[i]);
    assert_null(things_find(registry, "A"));
    assert_null(things_find(registry, "zz"));
    assert_null(things_find(registry, ""));
    things_remove(registry, "z");
    things_remove(registry, "10");
    things_remove(registry, "b");
    things_assert_names(registry, "9 1, B 1, a 1, a. 1, aa 1, m 1, n 1, ");
    assert_null(things_find(registry, "b"));
    things_publish(registry, "b");
    things_assert_names(registry, "9 1, B 1, a 1, a. 1, aa 1, b 2, m 1, n 1, ");
    registry_destroy(registry);
}

static void test_publishing_says_whether_the_name_is_new(void **state)
{
    (void)state;
    struct fail why;
    struct registry *registry = things_create(10, SIZE_MAX, 1);
    for (int i = 0; i < 3; i++) {
        bool made = i;
        struct snapshot *snapshot = things_make("a");
        unit_assert_ok(registry_publish(registry, snapshot, NULL, STORE_DEFAULT_KEEP, &made, &why),
                       why);
        assert_int_equal(made, !i);
        assert_null(snapshot->document);
        assert_int_equal(snapshot->references, 2);
        snapshot_release(snapshot);
    }
    things_remove(registry, "a");
    bool made = false;
    struct snapshot *snapshot = things_make("a");
    unit_assert_ok(registry_publish(registry, snapshot, NULL, STORE_DEFAULT_KEEP, &made, &why),
                   why);
    assert_true(made);
    snapshot_release(snapshot);
    registry_destroy(registry);
}

static void test_changes_hold_only_under_their_condition(void **state)
{
    (void)state;
    struct fail why;
    struct registry *registry = things_create(10, SIZE_MAX, 2);
    const struct registry_condition nothing = {NULL};
    struct snapshot *stranger = things_make("a");
    const struct registry_condition strange = {stranger};
    things_assert_not_published(registry, things_make("a"), &strange, STATUS_CANCELLED,
                                "thing was changed");
    things_assert_names(registry, "");

    struct snapshot *first = things_make("a");
    unit_assert_ok(registry_publish(registry, first, &nothing, STORE_DEFAULT_KEEP, NULL, &why),
                   why);
    const struct registry_condition was_first = {first};
    things_assert_not_published(registry, things_make("a"), &nothing, STATUS_CANCELLED,
                                "meanwhile");
    things_assert_not_published(registry, things_make("a"), &strange, STATUS_CANCELLED,
                                "meanwhile");
    things_assert_not_published(registry, things_make("b"), &was_first, STATUS_CANCELLED,
                                "meanwhile");

    struct snapshot *second = things_make("a");
    unit_assert_ok(registry_publish(registry, second, &was_first, STORE_DEFAULT_KEEP, NULL, &why),
                   why);
    const struct registry_condition was_second = {second};
    struct snapshot *out = NULL;
    things_assert_not_published(registry, things_make("a"), &was_first, STATUS_CANCELLED,
                                "meanwhile");
    unit_assert_fails(registry_roll_back(registry, "a", 1, &was_first, &out, &why),
                      STATUS_CANCELLED, why, "meanwhile");
    unit_assert_fails(registry_change_default(registry, "a", &was_first, STORE_DEFAULT_SET, &why),
                      STATUS_CANCELLED, why, "meanwhile");
    unit_assert_fails(registry_remove(registry, "a", &was_first, &why), STATUS_CANCELLED, why,
                      "meanwhile");
    assert_int_equal(registry_remove(registry, "a", &was_first, NULL), STATUS_CANCELLED);
    assert_ptr_equal(things_find(registry, "a"), second);
    assert_string_equal(things_default(registry), "");

    unit_assert_ok(registry_change_default(registry, "a", &was_second, STORE_DEFAULT_SET, &why),
                   why);
    unit_assert_ok(registry_roll_back(registry, "a", 1, &was_second, &out, &why), why);
    assert_ptr_equal(out, first);
    unit_assert_fails(registry_remove(registry, "a", &was_second, &why), STATUS_CANCELLED, why,
                      "meanwhile");
    unit_assert_ok(registry_remove(registry, "a", &was_first, &why), why);
    unit_assert_fails(registry_remove(registry, "a", &was_first, &why), STATUS_NOT_FOUND, why,
                      "\"a\"");
    things_assert_not_published(registry, things_make("a"), &was_first, STATUS_CANCELLED,
                                "meanwhile");
    snapshot_release(out);
    snapshot_release(first);
    snapshot_release(second);
    snapshot_release(stranger);
    registry_destroy(registry);
}

static void test_snapshots_outlive_what_happens_to_their_name(void **state)
{
    (void)state;
    size_t count;
    struct registry *registry = things_create(10, SIZE_MAX, 1);
    things_publish_it(registry, things_make_of("a", 1, 11), STORE_DEFAULT_SET);
    struct snapshot *replaced = registry_find_default(registry);
    things_publish_it(registry, things_make_of("a", 1, 12), STORE_DEFAULT_KEEP);
    struct snapshot *removed = registry_find(registry, "a");
    things_remove(registry, "a");
    things_publish_it(registry, things_make_of("b", 1, 13), STORE_DEFAULT_KEEP);
    struct snapshot **list = registry_list(registry, &count);
    assert_int_equal(count, 1);
    assert_int_equal(list[0]->references, 2);
    registry_destroy(registry);

    struct snapshot *const left[] = {replaced, removed, list[0]};
    for (size_t i = 0; i < UNIT_COUNT(left); i++) {
        assert_int_equal(left[i]->references, 1);
        assert_int_equal(left[i]->version, i + 1);
        assert_int_equal(((struct thing *)left[i])->content, 11 + i);
        assert_int_equal(atomic_load(&things_alive), 3 - i);
        snapshot_release(left[i]);
    }
    free(list);
}

/* ---- Versions ---- */

static void test_the_last_versions_are_kept(void **state)
{
    (void)state;
    struct registry *registry = things_create(10, SIZE_MAX, 3);
    struct snapshot *first = snapshot_acquire(things_publish(registry, "a"));
    things_publish(registry, "b");
    things_assert_versions(registry, "a", "a 1, ");
    things_publish(registry, "a");
    things_publish(registry, "a");
    things_assert_versions(registry, "a", "a 1, a 2, a 3, ");
    assert_int_equal(first->references, 2);
    things_publish(registry, "a");
    things_assert_versions(registry, "a", "a 2, a 3, a 4, ");
    assert_int_equal(first->references, 1);
    assert_int_equal(atomic_load(&things_alive), 5);
    things_assert_versions(registry, "b", "b 1, ");
    things_assert_names(registry, "a 4, b 1, ");
    things_remove(registry, "a");
    things_assert_versions(registry, "a", "");
    assert_int_equal(atomic_load(&things_alive), 2);
    snapshot_release(first);
    registry_destroy(registry);
}

static void test_names_stand_for_an_earlier_version(void **state)
{
    (void)state;
    struct fail why;
    struct snapshot *out = NULL;
    struct registry *registry = things_create(10, SIZE_MAX, 3);
    things_publish(registry, "a");
    unit_assert_fails(registry_roll_back(registry, "a", 0, NULL, &out, &why), STATUS_INVALID, why,
                      "\"a\" before 1 is kept");
    for (int i = 0; i < 3; i++)
        things_publish(registry, "a");
    things_roll_back(registry, "a", 0, 3);
    things_roll_back(registry, "a", 0, 2);
    unit_assert_fails(registry_roll_back(registry, "a", 0, NULL, &out, &why), STATUS_INVALID, why,
                      "before 2");
    unit_assert_fails(registry_roll_back(registry, "a", 1, NULL, &out, &why), STATUS_INVALID, why,
                      "version 1 of the thing \"a\" is not kept");
    unit_assert_fails(registry_roll_back(registry, "a", 5, NULL, &out, &why), STATUS_INVALID, why,
                      "version 5");
    assert_null(out);
    assert_int_equal(things_version(registry, "a"), 2);
    things_roll_back(registry, "a", 4, 4);
    things_roll_back(registry, "a", 4, 4);
    things_roll_back(registry, "a", 2, 2);
    things_assert_names(registry, "a 2, ");
    things_assert_versions(registry, "a", "a 2, a 3, a 4, ");
    registry_destroy(registry);
}

static void test_versions_go_on_after_a_roll_back(void **state)
{
    (void)state;
    struct registry *registry = things_create(10, SIZE_MAX, 2);
    things_publish(registry, "a");
    things_publish(registry, "a");
    things_roll_back(registry, "a", 0, 1);
    assert_int_equal(things_publish(registry, "a")->version, 3);
    assert_int_equal(things_version(registry, "a"), 3);
    things_assert_versions(registry, "a", "a 2, a 3, ");
    things_roll_back(registry, "a", 0, 2);
    registry_destroy(registry);
}

static void test_no_version_comes_back(void **state)
{
    (void)state;
    struct registry *registry = things_create(10, SIZE_MAX, 2);
    for (int i = 0; i < 4; i++)
        things_publish(registry, "a");
    things_publish(registry, "b");
    things_publish(registry, "c");
    things_roll_back(registry, "a", 3, 3);
    things_remove(registry, "a"); /* which had 4, whatever it stood for */
    assert_int_equal(things_publish(registry, "a")->version, 5);
    assert_int_equal(things_publish(registry, "d")->version, 5);
    assert_int_equal(things_publish(registry, "b")->version, 2);
    things_remove(registry, "b");
    assert_int_equal(things_publish(registry, "b")->version, 5);
    things_publish(registry, "a");
    things_remove(registry, "a");
    things_remove(registry, "b");
    assert_int_equal(things_publish(registry, "b")->version, 7);
    assert_int_equal(things_publish(registry, "c")->version, 2);
    registry_destroy(registry);
}

static void test_etags_are_of_a_version_and_a_registry(void **state)
{
    (void)state;
    char etags[4][REGISTRY_ETAG_BYTES];
    struct registry *registry = things_create(10, SIZE_MAX, 2),
                    *other = things_create(10, SIZE_MAX, 2);
    registry_write_etag(registry, things_publish(registry, "a"), etags[0]);
    registry_write_etag(registry, things_find(registry, "a"), etags[1]);
    assert_string_equal(etags[0], etags[1]);
    assert_int_equal(strncmp(etags[0], "\"1-", 3), 0);
    assert_int_equal(etags[0][strlen(etags[0]) - 1], '"');
    assert_int_equal(strlen(etags[0]), 20);
    registry_write_etag(other, things_publish(other, "a"), etags[2]);
    assert_string_not_equal(etags[0], etags[2]);
    registry_write_etag(registry, things_publish(registry, "a"), etags[3]);
    assert_string_not_equal(etags[0], etags[3]);
    struct snapshot *last = things_make("z");
    last->version = UINT64_MAX;
    registry_write_etag(registry, last, etags[3]);
    assert_int_equal(strlen(etags[3]), 39);
    snapshot_release(last);
    registry_destroy(registry);
    registry_destroy(other);
}

/* ---- The default ---- */

static void test_one_name_at_most_is_the_default(void **state)
{
    (void)state;
    struct fail why;
    struct registry *registry = things_create(10, SIZE_MAX, 2);
    things_publish(registry, "a");
    things_publish_it(registry, things_make("b"), STORE_DEFAULT_CLEAR);
    assert_string_equal(things_default(registry), "");
    things_publish_it(registry, things_make("b"), STORE_DEFAULT_SET);
    assert_string_equal(things_default(registry), "b");
    assert_true(registry_is_default(registry, "b"));
    assert_false(registry_is_default(registry, "a"));
    things_publish_it(registry, things_make("a"), STORE_DEFAULT_CLEAR); /* of another */
    things_publish_it(registry, things_make("b"), STORE_DEFAULT_KEEP);
    assert_string_equal(things_default(registry), "b");
    assert_ptr_equal(things_find(registry, "b"), registry_find_default(registry));
    snapshot_release(things_find(registry, "b"));

    unit_assert_ok(registry_change_default(registry, "a", NULL, STORE_DEFAULT_SET, &why), why);
    assert_string_equal(things_default(registry), "a");
    unit_assert_ok(registry_change_default(registry, "b", NULL, STORE_DEFAULT_CLEAR, &why), why);
    unit_assert_ok(registry_change_default(registry, "a", NULL, STORE_DEFAULT_KEEP, &why), why);
    assert_string_equal(things_default(registry), "a");
    assert_int_equal(things_version(registry, "a"), 2);
    things_roll_back(registry, "a", 0, 1);
    assert_ptr_equal(things_find(registry, "a"), registry_find_default(registry));
    snapshot_release(things_find(registry, "a"));
    unit_assert_ok(registry_change_default(registry, "a", NULL, STORE_DEFAULT_CLEAR, &why), why);
    assert_string_equal(things_default(registry), "");
    registry_destroy(registry);
}

static void test_a_removed_name_is_the_default_no_more(void **state)
{
    (void)state;
    struct registry *registry = things_create(10, SIZE_MAX, 2);
    things_publish_it(registry, things_make("a"), STORE_DEFAULT_SET);
    things_publish(registry, "b");
    things_remove(registry, "b");
    assert_string_equal(things_default(registry), "a");
    things_remove(registry, "a");
    assert_string_equal(things_default(registry), "");
    things_publish(registry, "a");
    assert_false(registry_is_default(registry, "a"));
    registry_destroy(registry);
}

/* ---- Limits ---- */

static void test_limit_of_names(void **state)
{
    (void)state;
    struct registry *registry = things_create(2, SIZE_MAX, 3);
    things_publish(registry, "b");
    things_publish(registry, "a");
    things_assert_not_published(registry, things_make("c"), NULL, STATUS_LIMIT, "2 things already");
    things_assert_names(registry, "a 1, b 1, ");
    assert_int_equal(things_publish(registry, "b")->version, 2);
    things_remove(registry, "a");
    things_publish(registry, "c");
    things_assert_names(registry, "b 2, c 2, ");
    registry_destroy(registry);

    registry = things_create(0, SIZE_MAX, 1);
    things_assert_not_published(registry, things_make("a"), NULL, STATUS_LIMIT, "0 things");
    things_assert_names(registry, "");
    registry_destroy(registry);
}

static void test_limit_of_bytes(void **state)
{
    (void)state;
    struct registry *registry = things_create(10, 110, 1);
    things_publish_it(registry, things_make_of("a", 10, 0), STORE_DEFAULT_KEEP);
    things_publish_it(registry, things_make_of("b", 100, 0), STORE_DEFAULT_KEEP);
    things_assert_not_published(registry, things_make("c"), NULL, STATUS_LIMIT,
                                "110, of which 110 are in use");
    things_assert_not_published(registry, things_make_of("a", 11, 0), NULL, STATUS_LIMIT,
                                "the thing takes 11 bytes");
    things_assert_not_published(registry, things_make_of("a", SIZE_MAX, 0), NULL, STATUS_LIMIT,
                                "100 are in use");
    things_publish_it(registry, things_make_of("a", 10, 0), STORE_DEFAULT_KEEP);
    things_publish_it(registry, things_make_of("b", 90, 0), STORE_DEFAULT_KEEP);
    things_publish_it(registry, things_make_of("c", 10, 0), STORE_DEFAULT_KEEP);
    things_assert_names(registry, "a 2, b 2, c 1, ");
    things_remove(registry, "a");
    things_remove(registry, "b");
    things_remove(registry, "c");
    things_publish_it(registry, things_make_of("d", 110, 0), STORE_DEFAULT_KEEP);
    things_assert_not_published(registry, things_make("e"), NULL, STATUS_LIMIT, "110");
    registry_destroy(registry);

    registry = things_create(10, 0, 1);
    things_assert_not_published(registry, things_make("a"), NULL, STATUS_LIMIT, "may take 0");
    things_publish_it(registry, things_make_of("a", 0, 0), STORE_DEFAULT_KEEP);
    registry_destroy(registry);
}

static void test_kept_versions_take_bytes_until_they_are_dropped(void **state)
{
    (void)state;
    struct registry *registry = things_create(10, 100, 3);
    things_publish_it(registry, things_make_of("a", 30, 0), STORE_DEFAULT_KEEP);
    things_publish_it(registry, things_make_of("a", 20, 0), STORE_DEFAULT_KEEP);
    things_assert_not_published(registry, things_make_of("a", 51, 0), NULL, STATUS_LIMIT,
                                "50 are in use");
    things_publish_it(registry, things_make_of("a", 50, 0), STORE_DEFAULT_KEEP);
    things_assert_not_published(registry, things_make("b"), NULL, STATUS_LIMIT, "100 are in use");
    things_assert_not_published(registry, things_make_of("a", 31, 0), NULL, STATUS_LIMIT,
                                "70 are in use");
    things_publish_it(registry, things_make_of("a", 30, 0), STORE_DEFAULT_KEEP); /* 20, 50, 30 */
    things_roll_back(registry, "a", 2, 2);
    things_assert_not_published(registry, things_make("b"), NULL, STATUS_LIMIT, "100 are in use");
    things_remove(registry, "a");
    things_publish_it(registry, things_make_of("b", 100, 0), STORE_DEFAULT_KEEP);
    registry_destroy(registry);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        THINGS_TEST(test_an_empty_registry_has_nothing),
        THINGS_TEST(test_names_are_in_order),
        THINGS_TEST(test_publishing_says_whether_the_name_is_new),
        THINGS_TEST(test_changes_hold_only_under_their_condition),
        THINGS_TEST(test_snapshots_outlive_what_happens_to_their_name),
        THINGS_TEST(test_the_last_versions_are_kept),
        THINGS_TEST(test_names_stand_for_an_earlier_version),
        THINGS_TEST(test_versions_go_on_after_a_roll_back),
        THINGS_TEST(test_no_version_comes_back),
        THINGS_TEST(test_etags_are_of_a_version_and_a_registry),
        THINGS_TEST(test_one_name_at_most_is_the_default),
        THINGS_TEST(test_a_removed_name_is_the_default_no_more),
        THINGS_TEST(test_limit_of_names),
        THINGS_TEST(test_limit_of_bytes),
        THINGS_TEST(test_kept_versions_take_bytes_until_they_are_dropped),
    };
    return cmocka_run_group_tests_name("registry", tests, NULL, NULL);
}
