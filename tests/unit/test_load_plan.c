#include "tests/unit/unit.h"

#include <unistd.h>

#include "api/cli/load_plan.h"
#include "api/rest/classify_request.h"

enum { PICTURES = 3 };

static const struct classify_limits limits = {
    .max_images = 8, .max_labels = 8, .max_label_texts = 8, .max_timeout_ms = 1000};
/* The first ends in what looks like the boundary; their lengths have every remainder of three. */
static const char *const contents[PICTURES] = {"one\r\n--attriprompt-bench-0--\r\n", "\xff\xfe!?",
                                               "three three"};
static char paths[PICTURES][32];
static const char *const names[PICTURES] = {paths[0], paths[1], paths[2]};
static struct url url;

static void write_file(char *path, const char *text)
{
    strcpy(path, "/tmp/test_load_plan_XXXXXX");
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
}

static int set_up(void **state)
{
    (void)state;
    for (size_t i = 0; i < PICTURES; i++)
        write_file(paths[i], contents[i]);
    return url_parse("http://a.example:81/v1/classify?x=1", &url, NULL);
}

static int tear_down(void **state)
{
    (void)state;
    for (size_t i = 0; i < PICTURES; i++)
        unlink(paths[i]);
    return 0;
}

static void header_of(const struct load_plan_request *request, const char *name, char *out)
{
    char wanted[64];
    snprintf(wanted, sizeof wanted, "\r\n%s: ", name);
    const char *at = strstr(request->bytes, wanted);
    assert_non_null(at);
    at += strlen(wanted);
    size_t length = strcspn(at, "\r");
    memcpy(out, at, length);
    out[length] = '\0';
}

/* What the server reads from a request: pictures whose indices are `expected`. */
static void assert_carries(const struct load_plan_request *request, enum classify_body kind,
                           const char *expected)
{
    struct fail why;
    struct classify_request read;
    enum classify_body found;
    char type[128], length[32];
    header_of(request, "Content-Type", type);
    header_of(request, "Content-Length", length);
    const char *body = strstr(request->bytes, "\r\n\r\n") + 4;
    size_t size = request->size - (size_t)(body - request->bytes);
    assert_int_equal(atol(length), size);
    classify_request_init(&read, &limits);
    unit_assert_ok(classify_request_body_kind(type, &found, &why), why);
    assert_int_equal(found, kind);
    unit_assert_ok(classify_request_read(&read, kind, type, body, size, &why), why);
    assert_int_equal(read.image_count, strlen(expected));
    for (size_t i = 0; i < read.image_count; i++) {
        const char *content = contents[expected[i] - '0'];
        assert_int_equal(read.images[i].why.code, STATUS_OK);
        assert_int_equal(read.images[i].size, strlen(content));
        assert_memory_equal(read.images[i].bytes, content, strlen(content));
    }
    classify_request_finish(&read);
}

static void test_get(void **state)
{
    (void)state;
    struct fail why;
    struct load_plan plan;
    const char *const headers[] = {"X-A: b", "x-c:d"};
    const struct load_plan_input input = {.url = &url, .headers = headers, .header_count = 2};
    unit_assert_ok(load_plan_make(&input, &plan, &why), why);
    assert_int_equal(plan.count, 1);
    assert_int_equal(plan.pictures, 0);
    const struct load_plan_request *request = load_plan_request_at(&plan, 12345);
    static const char start[] = "GET /v1/classify?x=1 HTTP/1.1\r\nHost: a.example:81\r\n";
    static const char end[] = "\r\nX-A: b\r\nx-c:d\r\n\r\n";
    assert_memory_equal(request->bytes, start, strlen(start));
    assert_memory_equal(request->bytes + request->size - strlen(end), end, strlen(end));
    load_plan_finish(&plan);
}

static void test_turns(void **state)
{
    (void)state;
    struct fail why;
    struct load_plan plan;
    const enum load_plan_body bodies[] = {LOAD_PLAN_JSON, LOAD_PLAN_RAW, LOAD_PLAN_MULTIPART};
    const struct load_plan_input input = {.url = &url,
                                          .images = names,
                                          .image_count = PICTURES,
                                          .bodies = bodies,
                                          .body_count = UNIT_COUNT(bodies),
                                          .pictures = 1};
    unit_assert_ok(load_plan_make(&input, &plan, &why), why);
    assert_int_equal(plan.count, 9);
    for (uint64_t i = 0; i < 18; i++) {
        static const enum classify_body kinds[] = {CLASSIFY_BODY_JSON, CLASSIFY_BODY_RAW,
                                                   CLASSIFY_BODY_FORM};
        const char expected[] = {(char)('0' + i / 3 % 3), '\0'};
        assert_carries(load_plan_request_at(&plan, i), kinds[i % 3], expected);
    }
    load_plan_finish(&plan);
}

static void test_several_pictures(void **state)
{
    (void)state;
    struct fail why;
    struct load_plan plan;
    const enum load_plan_body bodies[] = {LOAD_PLAN_MULTIPART, LOAD_PLAN_JSON};
    const struct load_plan_input input = {.url = &url,
                                          .images = names,
                                          .image_count = PICTURES,
                                          .bodies = bodies,
                                          .body_count = UNIT_COUNT(bodies),
                                          .pictures = 2};
    static const char *const expected[] = {"01", "20", "12"};
    unit_assert_ok(load_plan_make(&input, &plan, &why), why);
    assert_int_equal(plan.pictures, 2);
    for (size_t i = 0; i < 6; i++)
        assert_carries(load_plan_request_at(&plan, i),
                       i % 2 ? CLASSIFY_BODY_JSON : CLASSIFY_BODY_FORM, expected[i / 2]);
    load_plan_finish(&plan);
}

static void assert_not_made(const char *path, enum status expected, const char *part)
{
    struct fail why;
    struct load_plan plan;
    const enum load_plan_body body = LOAD_PLAN_RAW;
    const char *const both[] = {names[0], path};
    const struct load_plan_input input = {.url = &url,
                                          .images = both,
                                          .image_count = 2,
                                          .bodies = &body,
                                          .body_count = 1,
                                          .pictures = 1};
    unit_assert_fails(load_plan_make(&input, &plan, &why), expected, why, part);
    load_plan_finish(&plan);
}

static void test_files(void **state)
{
    (void)state;
    char path[32];
    assert_not_made("/nowhere/at.all", STATUS_NOT_FOUND, "/nowhere/at.all");
    write_file(path, "");
    assert_not_made(path, STATUS_FORMAT, "is empty");
    assert_int_equal(truncate(path, LOAD_PLAN_MAX_PICTURE_BYTES + 1), 0);
    assert_not_made(path, STATUS_LIMIT, path);
    unlink(path);
}

/* Ours, unless the user gives others. */
static void test_own_headers(void **state)
{
    (void)state;
    const char *const given[] = {"user-agent: mine", "Accepted: x"};
    for (size_t count = 0; count <= 2; count++) {
        struct fail why;
        struct load_plan plan;
        const struct load_plan_input input = {.url = &url, .headers = given, .header_count = count};
        unit_assert_ok(load_plan_make(&input, &plan, &why), why);
        const struct load_plan_request *request = load_plan_request_at(&plan, 0);
        char *text = strndup(request->bytes, request->size);
        assert_true(!strstr(text, "User-Agent: attriprompt-bench/") == (count > 0));
        assert_true(!strstr(text, "user-agent: mine\r\n") == !count);
        assert_non_null(strstr(text, "Accept: */*\r\n"));
        free(text);
        load_plan_finish(&plan);
    }
}

static void test_headers(void **state)
{
    (void)state;
    struct fail why;
    static const char *const good[] = {"A: b", "a-b:", "Accept: */*", "Connection: close"};
    static const struct {
        const char *header, *part;
    } wrong[] = {
        {"", "Name: value"},
        {"a", "Name: value"},
        {": b", "Name: value"},
        {"a b: c", "Name: value"},
        {"a : b", "Name: value"},
        {"a: b\r\nc: d", "control"},
        {"host: x", "Host is"},
        {"CONTENT-LENGTH: 1", "Content-Length is"},
        {"Content-Type: a", "Content-Type is"},
    };
    for (size_t i = 0; i < UNIT_COUNT(good); i++)
        unit_assert_ok(load_plan_check_header(good[i], &why), why);
    for (size_t i = 0; i < UNIT_COUNT(wrong); i++)
        unit_assert_fails(load_plan_check_header(wrong[i].header, &why), STATUS_INVALID, why,
                          wrong[i].part);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_get),
        cmocka_unit_test(test_turns),
        cmocka_unit_test(test_several_pictures),
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_own_headers),
        cmocka_unit_test(test_headers),
    };
    return cmocka_run_group_tests_name("load_plan", tests, set_up, tear_down);
}
