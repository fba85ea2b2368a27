#include "tests/unit/unit.h"

#include "api/rest/multipart.h"

static const char type[] = "multipart/form-data; boundary=x";

static enum status next(struct multipart *multipart, struct multipart_part *part, bool *end,
                        struct fail *why)
{
    *end = false;
    return multipart_next(multipart, part, end, why);
}

static void assert_part(struct multipart *multipart, const char *name, const char *data)
{
    struct fail why;
    struct multipart_part part;
    bool end;
    unit_assert_ok(next(multipart, &part, &end, &why), why);
    assert_false(end);
    assert_string_equal(part.name, name);
    assert_int_equal(part.size, strlen(data));
    assert_memory_equal(part.data, data, part.size);
}

static void assert_end(struct multipart *multipart)
{
    struct fail why;
    struct multipart_part part;
    bool end;
    unit_assert_ok(next(multipart, &part, &end, &why), why);
    assert_true(end);
}

static void open_body(struct multipart *multipart, const char *content_type, const char *body)
{
    struct fail why;
    unit_assert_ok(multipart_open(multipart, content_type, body, strlen(body), &why), why);
}

static void test_parts(void **state)
{
    (void)state;
    struct multipart multipart;
    open_body(&multipart, type,
              "preamble\r\n--x\r\nContent-Disposition: form-data; name=\"image\"; "
              "filename=\"a;name=b.png\"\r\nContent-Type: image/png\r\n\r\nline\r\n--y\r\n-\r\n"
              "--x \t\r\ncontent-disposition:form-data;name=labels\r\n\r\ncat,dog\r\n"
              "--x\r\nContent-Disposition: form-data; filename=\"f\"; NAME=\"a\\\"b\"\r\n\r\n\r\n"
              "--x--\r\nepilogue");
    assert_part(&multipart, "image", "line\r\n--y\r\n-");
    assert_part(&multipart, "labels", "cat,dog");
    assert_part(&multipart, "a\"b", "");
    assert_end(&multipart);
}

static void test_first_boundary_may_open_the_body(void **state)
{
    (void)state;
    struct multipart multipart;
    open_body(&multipart, "multipart/form-data; charset=utf-8; Boundary=\"x y\"",
              "--x y\r\nContent-Disposition: form-data; name=a\r\n\r\n1\r\n--x y--");
    assert_part(&multipart, "a", "1");
    assert_end(&multipart);
    open_body(&multipart, type, "--x--");
    assert_end(&multipart);
}

static void test_empty_part_without_a_line_break_of_its_own(void **state)
{
    (void)state;
    struct multipart multipart;
    open_body(&multipart, type,
              "--x\r\nContent-Disposition: form-data; name=a\r\n\r\n--x\r\n"
              "Content-Disposition: form-data; name=b\r\n\r\n1\r\n--x--");
    assert_part(&multipart, "a", "");
    assert_part(&multipart, "b", "1");
    assert_end(&multipart);
}

static void test_boundary_is_required(void **state)
{
    (void)state;
    static const char too_long[] =
        "multipart/form-data; boundary="
        "12345678901234567890123456789012345678901234567890123456789012345678901";
    static const char *const wrong[] = {
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary=\"\"",
        "multipart/form-data; boundary=\"x",
        "multipart/form-data; xboundary=x",
        "multipart/form-data; boundary",
        "multipart/form-data;",
        too_long,
    };
    for (size_t i = 0; i < UNIT_COUNT(wrong); i++) {
        struct fail why;
        struct multipart multipart;
        unit_assert_fails(multipart_open(&multipart, wrong[i], "--x--", 5, &why), STATUS_FORMAT,
                          why, "boundary");
    }
}

static void assert_malformed(const char *body, const char *part_of_message)
{
    struct fail why;
    struct multipart multipart;
    struct multipart_part part;
    bool end;
    /* Exactly as long as the body, so that a sanitizer sees a step too far. */
    size_t size = strlen(body);
    char *copy = malloc(size ? size : 1);
    memcpy(copy, body, size);
    unit_assert_ok(multipart_open(&multipart, type, copy, size, &why), why);
    enum status status;
    do
        status = next(&multipart, &part, &end, &why);
    while (!status && !end);
    unit_assert_fails(status, STATUS_FORMAT, why, part_of_message);
    free(copy);
}

static void test_malformed(void **state)
{
    (void)state;
    assert_malformed("", "no boundary after part 0");
    assert_malformed("--y--", "no boundary after part 0");
    assert_malformed("--x", "not ended");
    assert_malformed("--x-", "not ended");
    assert_malformed("--xy\r\n", "not ended");
    assert_malformed("--x\r\n", "part 1 of the form has a header that is cut short");
    assert_malformed("--x\r\nContent-Disposition: form-data; name=\"a\"\r\n", "cut short");
    assert_malformed("--x\r\n\r\n", "part 1 of the form has no name");
    assert_malformed("--x\r\nContent-Disposition: form-data; name=\"a\r\n\r\n", "no name");
    assert_malformed("--x\r\nContent-Disposition: form-data; filename=a\r\n\r\n", "no name");
    assert_malformed("--x\r\nContent-Disposition: form-data; name=a\r\n\r\nabc\r\n--",
                     "cut short in part 1 (a)");
    assert_malformed("--x\r\nContent-Disposition: form-data; name=a\r\n\r\nabc\r\n--x\r\n",
                     "part 2 of the form has a header that is cut short");
}

/* A form that is whole, cut at every byte: never a crash, never a success. */
static void test_cut_anywhere(void **state)
{
    (void)state;
    static const char body[] = "--x\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nabc\r\n"
                               "--x\r\nContent-Disposition: form-data; name=\"b\"\r\n\r\n\r\n--x--";
    for (size_t size = 0; size < sizeof body - 1; size++) {
        char copy[sizeof body];
        memcpy(copy, body, size);
        copy[size] = '\0';
        assert_malformed(copy, "");
    }
}

static void test_no_body_at_all(void **state)
{
    (void)state;
    struct fail why;
    struct multipart multipart;
    struct multipart_part part;
    bool end = false;
    unit_assert_ok(multipart_open(&multipart, "multipart/form-data; boundary=x", NULL, 0, &why),
                   why);
    unit_assert_fails(multipart_next(&multipart, &part, &end, &why), STATUS_FORMAT, why,
                      "cut short");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parts),
        cmocka_unit_test(test_first_boundary_may_open_the_body),
        cmocka_unit_test(test_empty_part_without_a_line_break_of_its_own),
        cmocka_unit_test(test_boundary_is_required),
        cmocka_unit_test(test_malformed),
        cmocka_unit_test(test_cut_anywhere),
        cmocka_unit_test(test_no_body_at_all),
    };
    return cmocka_run_group_tests_name("multipart", tests, NULL, NULL);
}
