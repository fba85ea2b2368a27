#include "tests/unit/unit.h"

#include "api/cli/url.h"

static void test_parts(void **state)
{
    (void)state;
    static const struct {
        const char *text, *host;
        unsigned port;
        const char *authority, *target;
    } cases[] = {
        {"http://a.example", "a.example", 80, "a.example", "/"},
        {"HTTP://127.0.0.1:8080/x?y=1#z", "127.0.0.1", 8080, "127.0.0.1:8080", "/x?y=1"},
        {"http://[::1]:65535/", "::1", 65535, "[::1]:65535", "/"},
        {"http://[fe80::1%eth0]", "fe80::1%eth0", 80, "[fe80::1%eth0]", "/"},
        {"http://host?labels=cat", "host", 80, "host", "/?labels=cat"},
        {"http://my_host:1/a:b@c", "my_host", 1, "my_host:1", "/a:b@c"},
    };
    for (size_t i = 0; i < UNIT_COUNT(cases); i++) {
        struct fail why;
        struct url url;
        unit_assert_ok(url_parse(cases[i].text, &url, &why), why);
        assert_string_equal(url.host, cases[i].host);
        assert_int_equal(url.port, cases[i].port);
        assert_string_equal(url.authority, cases[i].authority);
        assert_string_equal(url.target, cases[i].target);
    }
}

static void test_wrong(void **state)
{
    (void)state;
    static const struct {
        const char *text, *part;
    } cases[] = {
        {"", "http://"},
        {"127.0.0.1:8080", "http://"},
        {"ftp://a", "http://"},
        {"http://", "host"},
        {"http:///x", "host"},
        {"http://:80/", "host"},
        {"http://[::1", "host"},
        {"http://[]/", "host"},
        {"http://a b/", "port"},
        {"http://a:/", "port"},
        {"http://a:0/", "port"},
        {"http://a:65536/", "port"},
        {"http://a:123456/", "port"},
        {"http://a:80x/", "port"},
        {"http://[::1]x/", "port"},
        {"http://u:p@a/", "passwords"},
        {"http://a/b c", "byte 3 "},
        {"http://a/\xc3\xa9", "percent-encoded"},
        {"http://a/\r\nX: y", "percent-encoded"},
    };
    for (size_t i = 0; i < UNIT_COUNT(cases); i++) {
        struct fail why;
        struct url url;
        unit_assert_fails(url_parse(cases[i].text, &url, &why), STATUS_INVALID, why, cases[i].part);
    }
    struct fail why;
    struct url url;
    unit_assert_fails(url_parse("https://a/", &url, &why), STATUS_UNSUPPORTED, why, "https");
}

/* A URL of so many letters at one place is read, or refused for its length. */
static enum status parse_long(const char *head, size_t count, const char *tail, struct fail *why)
{
    struct url url;
    char *text = malloc(strlen(head) + count + strlen(tail) + 1);
    strcpy(text, head);
    memset(text + strlen(head), 'a', count);
    strcpy(text + strlen(head) + count, tail);
    enum status status = url_parse(text, &url, why);
    free(text);
    return status;
}

static void test_lengths(void **state)
{
    (void)state;
    struct fail why;
    unit_assert_ok(parse_long("http://", URL_MAX_HOST, ":65535/", &why), why);
    unit_assert_fails(parse_long("http://", URL_MAX_HOST + 1, "/", &why), STATUS_INVALID, why,
                      "host");
    unit_assert_fails(parse_long("http://", 100000, "/", &why), STATUS_INVALID, why, "host");
    unit_assert_ok(parse_long("http://a/", URL_MAX_TARGET - 1, "", &why), why);
    unit_assert_fails(parse_long("http://a/", URL_MAX_TARGET, "", &why), STATUS_INVALID, why,
                      "path");
    unit_assert_ok(parse_long("http://a?", URL_MAX_TARGET - 2, "", &why), why);
    unit_assert_fails(parse_long("http://a?", URL_MAX_TARGET - 1, "", &why), STATUS_INVALID, why,
                      "path");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parts),
        cmocka_unit_test(test_wrong),
        cmocka_unit_test(test_lengths),
    };
    return cmocka_run_group_tests_name("url", tests, NULL, NULL);
}
