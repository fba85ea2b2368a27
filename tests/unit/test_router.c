#include "tests/unit/unit.h"

#include "server/router.h"

static const struct router_route routes[] = {
    {.method = "GET", .path = "/thing"},
    {.method = "PUT", .path = "/thing"},
    {.method = "POST", .path = "/work"},
    {.method = "GET", .path = "/things/{name}"},
    {.method = "DELETE", .path = "/things/{name}"},
    {.method = "POST", .path = "/things/{name}/undo"},
    {.method = "GET", .path = "/things"},
    {.method = "GET", .path = "/pre{name}/x"},
};
static const struct router router = {routes, UNIT_COUNT(routes)};

static enum router_match find(const char *method, const char *path,
                              const struct router_route **route, char allow[64])
{
    *route = NULL;
    allow[0] = '\0';
    return router_find(&router, method, path, route, allow, 64);
}

static void test_finds(void **state)
{
    (void)state;
    const struct router_route *route;
    char allow[64];
    assert_int_equal(find("GET", "/thing", &route, allow), ROUTER_FOUND);
    assert_ptr_equal(route, &routes[0]);
    assert_int_equal(find("HEAD", "/thing", &route, allow), ROUTER_FOUND);
    assert_ptr_equal(route, &routes[0]);
    assert_int_equal(find("PUT", "/thing", &route, allow), ROUTER_FOUND);
    assert_ptr_equal(route, &routes[1]);
}

static void test_does_not_find(void **state)
{
    (void)state;
    const struct router_route *route;
    char allow[64];
    assert_int_equal(find("GET", "/thing/", &route, allow), ROUTER_NO_PATH);
    assert_int_equal(find("GET", "", &route, allow), ROUTER_NO_PATH);
    assert_int_equal(find("POST", "/thing", &route, allow), ROUTER_NO_METHOD);
    assert_string_equal(allow, "GET, HEAD, PUT");
    assert_int_equal(find("HEAD", "/work", &route, allow), ROUTER_NO_METHOD);
    assert_string_equal(allow, "POST");
    assert_int_equal(find("get", "/thing", &route, allow), ROUTER_NO_METHOD);
    assert_null(route);
}

static void test_many_methods_do_not_overflow(void **state)
{
    (void)state;
    const struct router_route *route;
    char allow[12] = "";
    assert_int_equal(router_find(&router, "POST", "/thing", &route, allow, sizeof allow),
                     ROUTER_NO_METHOD);
    assert_true(strlen(allow) < sizeof allow);
}

static void assert_parameter(const char *method, const char *path, size_t index,
                             const char *expected)
{
    const struct router_route *route;
    char allow[64];
    assert_int_equal(find(method, path, &route, allow), ROUTER_FOUND);
    assert_ptr_equal(route, &routes[index]);
    size_t length;
    const char *parameter = router_parameter(route, path, &length);
    assert_int_equal(length, strlen(expected));
    assert_memory_equal(parameter, expected, length);
    if (length)
        assert_true(parameter >= path && parameter + length <= path + strlen(path));
}

static void test_a_name_at_the_end(void **state)
{
    (void)state;
    assert_parameter("GET", "/things/cat", 3, "cat");
    assert_parameter("HEAD", "/things/c", 3, "c");
    assert_parameter("DELETE", "/things/a b%{}.", 4, "a b%{}.");
    assert_parameter("GET", "/things/{name}", 3, "{name}");
    assert_parameter("GET", "/things/undo", 3, "undo");
}

static void test_a_name_in_the_middle(void **state)
{
    (void)state;
    assert_parameter("POST", "/things/cat/undo", 5, "cat");
    assert_parameter("POST", "/things/undo/undo", 5, "undo");
    assert_parameter("GET", "/prefix/x", 7, "fix");
}

static void test_no_name(void **state)
{
    (void)state;
    assert_parameter("GET", "/things", 6, "");
    assert_parameter("GET", "/thing", 0, "");
    size_t length = 1;
    router_parameter(&routes[3], "/elsewhere", &length);
    assert_int_equal(length, 0);
    router_parameter(&routes[3], "/things/", &length);
    assert_int_equal(length, 0);
}

static void test_names_that_do_not_fit(void **state)
{
    (void)state;
    static const char *const paths[] = {
        "/things/",          "/things//",         "/things//undo",  "/things/cat/",
        "/things/cat/dog",   "/things/cat/undo/", "/things/cat/un", "/things/cat/undone",
        "/things/a/b/undo",  "//things/cat",      "/thing/cat",     "/thingscat",
        "/things/cat//undo", "/Things/cat",       "things/cat",     "/pre/x",
        "/prefix",           "/prefix/",          "/prefix/xy",     "/pre",
    };
    const struct router_route *route;
    char allow[64];
    for (size_t i = 0; i < UNIT_COUNT(paths); i++) {
        assert_int_equal(find("GET", paths[i], &route, allow), ROUTER_NO_PATH);
        assert_null(route);
        assert_string_equal(allow, "");
    }
}

static void test_methods_of_a_name(void **state)
{
    (void)state;
    const struct router_route *route;
    char allow[64];
    assert_int_equal(find("POST", "/things/cat", &route, allow), ROUTER_NO_METHOD);
    assert_string_equal(allow, "GET, HEAD, DELETE");
    assert_int_equal(find("GET", "/things/cat/undo", &route, allow), ROUTER_NO_METHOD);
    assert_string_equal(allow, "POST");
    assert_int_equal(find("DELETE", "/things", &route, allow), ROUTER_NO_METHOD);
    assert_string_equal(allow, "GET, HEAD");
}

/* Two patterns may fit one path: the first row that takes the method answers. */
static void test_patterns_that_overlap(void **state)
{
    (void)state;
    static const struct router_route some[] = {
        {.method = "GET", .path = "/a/all"},
        {.method = "GET", .path = "/a/{name}"},
        {.method = "PUT", .path = "/a/{name}"},
    };
    const struct router both = {some, UNIT_COUNT(some)};
    const struct router_route *route = NULL;
    char allow[64] = "";
    assert_int_equal(router_find(&both, "GET", "/a/all", &route, allow, sizeof allow),
                     ROUTER_FOUND);
    assert_ptr_equal(route, &some[0]);
    assert_int_equal(router_find(&both, "PUT", "/a/all", &route, allow, sizeof allow),
                     ROUTER_FOUND);
    assert_ptr_equal(route, &some[2]);
    assert_int_equal(router_find(&both, "GET", "/a/al", &route, allow, sizeof allow), ROUTER_FOUND);
    assert_ptr_equal(route, &some[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_finds),
        cmocka_unit_test(test_does_not_find),
        cmocka_unit_test(test_many_methods_do_not_overflow),
        cmocka_unit_test(test_a_name_at_the_end),
        cmocka_unit_test(test_a_name_in_the_middle),
        cmocka_unit_test(test_no_name),
        cmocka_unit_test(test_names_that_do_not_fit),
        cmocka_unit_test(test_methods_of_a_name),
        cmocka_unit_test(test_patterns_that_overlap),
    };
    return cmocka_run_group_tests_name("router", tests, NULL, NULL);
}
