#include "tests/unit/things.h"

#include "api/rest/precondition.h"

struct parts {
    struct registry *registry;
    struct snapshot *current; /* of "a", version 11 */
    char etag[REGISTRY_ETAG_BYTES];
};

static void open_parts(struct parts *parts)
{
    parts->registry = things_create(2, SIZE_MAX, 1);
    for (int i = 0; i < 11; i++)
        things_publish(parts->registry, "a");
    parts->current = things_find(parts->registry, "a");
    registry_write_etag(parts->registry, parts->current, parts->etag);
}

static bool names(const struct parts *parts, const char *before, const char *after, bool weak)
{
    char header[PRECONDITION_MAX_HEADER];
    snprintf(header, sizeof header, "%s%s%s", before, parts->etag, after);
    return precondition_names(header, weak, parts->registry, parts->current);
}

static void test_headers_that_name_a_snapshot(void **state)
{
    (void)state;
    struct parts parts;
    open_parts(&parts);
    static const char *const around[][2] = {{"", ""},
                                            {"\"x\", ", ""},
                                            {"", ", \"x\""},
                                            {"\"x\",", ",\"y\""},
                                            {"W/\"x\", ", ", W/\"y\""},
                                            {" ", " "},
                                            {"W/", ""},
                                            {"\"x\", W/", ""}};
    for (size_t i = 0; i < UNIT_COUNT(around); i++) {
        size_t length = strlen(around[i][0]);
        bool is_weak = length && around[i][0][length - 1] == '/';
        assert_true(names(&parts, around[i][0], around[i][1], true));
        assert_int_equal(names(&parts, around[i][0], around[i][1], false), !is_weak);
    }
    char both[2 * REGISTRY_ETAG_BYTES + 8];
    snprintf(both, sizeof both, "W/%s, %s", parts.etag, parts.etag);
    assert_true(precondition_names(both, false, parts.registry, parts.current));
    assert_true(precondition_names("*", false, parts.registry, parts.current));
    assert_true(precondition_names("*", true, parts.registry, parts.current));
    registry_destroy(parts.registry);
}

static void test_headers_that_name_another(void **state)
{
    (void)state;
    struct parts parts;
    open_parts(&parts);
    char shorter[REGISTRY_ETAG_BYTES], of_one[REGISTRY_ETAG_BYTES], of_eleven[2 * sizeof of_one];
    snprintf(shorter, sizeof shorter, "%.*s", (int)strlen(parts.etag) - 2, parts.etag + 1);
    snprintf(of_one, sizeof of_one, "\"%s", parts.etag + 2); /* "1-..." of "11-..." */
    snprintf(of_eleven, sizeof of_eleven, "\"1%s", parts.etag + 1);
    const char *const others[] = {"",     "\"\"",    "\"x\"", "nothing", shorter,
                                  of_one, of_eleven, "\"*\"", "* ",      "\"11-\""};
    for (size_t i = 0; i < UNIT_COUNT(others); i++)
        for (int weak = 0; weak < 2; weak++)
            assert_false(precondition_names(others[i], weak, parts.registry, parts.current));
    assert_false(precondition_names("*", true, parts.registry, NULL));
    assert_false(precondition_names(parts.etag, true, parts.registry, NULL));
    registry_destroy(parts.registry);
}

static void test_checks(void **state)
{
    (void)state;
    struct fail why;
    struct parts parts;
    open_parts(&parts);
    struct precondition none = {0}, only_new = {.only_new = true}, match = {.has_if_match = true};
    unit_assert_ok(precondition_check(&none, parts.registry, parts.current, &why), why);
    unit_assert_ok(precondition_check(&none, parts.registry, NULL, &why), why);

    unit_assert_ok(precondition_check(&only_new, parts.registry, NULL, &why), why);
    unit_assert_fails(precondition_check(&only_new, parts.registry, parts.current, &why),
                      STATUS_INVALID, why, "\"a\" already");

    unit_assert_fails(precondition_check(&match, parts.registry, parts.current, &why),
                      STATUS_INVALID, why, "If-Match  is not");
    strcpy(match.if_match, "*");
    unit_assert_ok(precondition_check(&match, parts.registry, parts.current, &why), why);
    unit_assert_fails(precondition_check(&match, parts.registry, NULL, &why), STATUS_INVALID, why,
                      "If-Match *");
    strcpy(match.if_match, parts.etag);
    unit_assert_ok(precondition_check(&match, parts.registry, parts.current, &why), why);
    snprintf(match.if_match, sizeof match.if_match, "W/%s", parts.etag);
    unit_assert_fails(precondition_check(&match, parts.registry, parts.current, &why),
                      STATUS_INVALID, why, match.if_match);
    things_publish(parts.registry, "a");
    strcpy(match.if_match, parts.etag);
    unit_assert_fails(
        precondition_check(&match, parts.registry, things_find(parts.registry, "a"), &why),
        STATUS_INVALID, why, "If-Match \"11-");
    match.only_new = true;
    assert_int_equal(precondition_check(&match, parts.registry, NULL, NULL), STATUS_INVALID);
    registry_destroy(parts.registry);
}

static void test_only_conditions_hold_until_the_change(void **state)
{
    (void)state;
    const struct registry_condition found = {NULL};
    const struct precondition none = {0}, only_new = {.only_new = true},
                              match = {.has_if_match = true};
    assert_null(precondition_at_publish(&none, &found));
    assert_ptr_equal(precondition_at_publish(&only_new, &found), &found);
    assert_ptr_equal(precondition_at_publish(&match, &found), &found);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        THINGS_TEST(test_headers_that_name_a_snapshot),
        THINGS_TEST(test_headers_that_name_another),
        THINGS_TEST(test_checks),
        THINGS_TEST(test_only_conditions_hold_until_the_change),
    };
    return cmocka_run_group_tests_name("precondition", tests, NULL, NULL);
}
