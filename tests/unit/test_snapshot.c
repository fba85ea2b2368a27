#include "tests/unit/unit.h"

#include "server/snapshot.h"

static int destroyed;

static void on_destroy(struct snapshot *snapshot)
{
    destroyed++;
    assert_string_equal(snapshot->name, "cats");
}

static void test_the_last_release_destroys(void **state)
{
    (void)state;
    struct snapshot snapshot = {0};
    destroyed = 0;
    snapshot_init(&snapshot, "cats", 12, strdup("a document"), on_destroy);
    assert_int_equal(snapshot.bytes, 12);
    assert_int_equal(snapshot.version, 0);
    assert_ptr_equal(snapshot_acquire(&snapshot), &snapshot);
    snapshot_release(&snapshot);
    assert_int_equal(destroyed, 0);
    assert_string_equal(snapshot.document, "a document");
    snapshot_release(&snapshot);
    assert_int_equal(destroyed, 1);
    snapshot_release(NULL);
}

static void test_names(void **state)
{
    (void)state;
    struct fail why;
    char longest[SNAPSHOT_MAX_NAME + 2];
    memset(longest, 'n', sizeof longest);
    longest[SNAPSHOT_MAX_NAME + 1] = '\0';
    unit_assert_fails(snapshot_check_name(longest, &why), STATUS_INVALID, why, "1 to 64");
    longest[SNAPSHOT_MAX_NAME] = '\0';
    unit_assert_ok(snapshot_check_name(longest, &why), why);
    static const char *const good[] = {"a", "Z", "0", "...", "_", "-", "a.b_c-9", "azAZ09"};
    for (size_t i = 0; i < UNIT_COUNT(good); i++)
        unit_assert_ok(snapshot_check_name(good[i], &why), why);
    static const char *const bad[] = {".",   "..",   "",         " ",   "a b", "a/b", "%",
                                      "a\n", "\x7f", "\xc3\xa4", "a:b", "{}",  "@",   "`"};
    for (size_t i = 0; i < UNIT_COUNT(bad); i++)
        unit_assert_fails(snapshot_check_name(bad[i], &why), STATUS_INVALID, why, "letters");
    assert_int_equal(snapshot_check_name("", NULL), STATUS_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_last_release_destroys),
        cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests_name("snapshot", tests, NULL, NULL);
}
