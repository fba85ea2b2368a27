#include "tests/unit/unit.h"

#include "server/router.h"

static const struct router_route routes[] = {
    {.method = "GET", .path = "/thing"},
    {.method = "PUT", .path = "/thing"},
    {.method = "POST", .path = "/work"},
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_finds),
        cmocka_unit_test(test_does_not_find),
        cmocka_unit_test(test_many_methods_do_not_overflow),
    };
    return cmocka_run_group_tests_name("router", tests, NULL, NULL);
}
