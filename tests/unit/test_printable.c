#include "tests/unit/unit.h"

#include <locale.h>

#include "api/cli/printable.h"

static void assert_shown(const char *text, size_t max_columns, const char *expected)
{
    struct buf out;
    struct fail why;
    buf_init(&out, SIZE_MAX);
    unit_assert_ok(buf_append(&out, "", 0, &why), why);
    unit_assert_ok(printable_append(&out, text, max_columns, &why), why);
    assert_string_equal(out.data, expected);
    buf_finish(&out);
}

static void test_plain_text_is_kept(void **state)
{
    (void)state;
    assert_shown("", 10, "");
    assert_shown("cat, Käfer, 猫, 🐈", SIZE_MAX, "cat, Käfer, 猫, 🐈");
    assert_shown("a\\b", SIZE_MAX, "a\\b");
}

static void test_what_steers_a_terminal_is_escaped(void **state)
{
    (void)state;
    assert_shown("\033[2J\a", SIZE_MAX, "\\x1b[2J\\x07");
    assert_shown("a\r\n\tb\x7f", SIZE_MAX, "a\\x0d\\x0a\\x09b\\x7f");
    assert_shown("\xc2\x9b"
                 "31m",
                 SIZE_MAX, "\\u009b31m");
    assert_shown("gpj.\u202ecod", SIZE_MAX, "gpj.\\u202ecod");
    assert_shown("\u2028\u2067\u200f", SIZE_MAX, "\\u2028\\u2067\\u200f");
}

static void test_bytes_that_are_not_utf8_are_escaped(void **state)
{
    (void)state;
    assert_shown("caf\xe9", SIZE_MAX, "caf\\xe9");
    assert_shown("\xc0\x80", SIZE_MAX, "\\xc0\\x80");
    assert_shown("\xe0\x80\x80", SIZE_MAX, "\\xe0\\x80\\x80");
    assert_shown("\xed\xa0\x80", SIZE_MAX, "\\xed\\xa0\\x80");
    assert_shown("\xf4\x90\x80\x80", SIZE_MAX, "\\xf4\\x90\\x80\\x80");
    assert_shown("\xe7\x8c", SIZE_MAX, "\\xe7\\x8c");
    assert_shown("\xff", SIZE_MAX, "\\xff");
}

static void test_columns(void **state)
{
    (void)state;
    assert_int_equal(printable_columns("cat"), 3);
    assert_int_equal(printable_columns("Käfer"), 5);
    assert_int_equal(printable_columns("猫🐈"), 4);
    assert_int_equal(printable_columns("e\u0301"), 1);
    assert_int_equal(printable_columns("\033"), 4);
    assert_int_equal(printable_columns("\xff"), 4);
}

static void test_text_is_cut_to_columns(void **state)
{
    (void)state;
    assert_shown("elephant", 8, "elephant");
    assert_shown("elephant", 7, "elep...");
    assert_shown("elephant", 3, "...");
    assert_shown("elephant", 2, "..");
    assert_shown("elephant", 0, "");
    assert_shown("猫猫猫猫", 7, "猫猫...");
    assert_shown("猫猫猫猫", 6, "猫...");
    assert_shown("ab\033cdef", 8, "ab...");
}

static void test_json_text_is_utf8(void **state)
{
    (void)state;
    struct buf out;
    struct fail why;
    buf_init(&out, SIZE_MAX);
    unit_assert_ok(printable_append_utf8(&out, "", &why), why);
    assert_string_equal(out.data, "");
    unit_assert_ok(printable_append_utf8(&out, "\033猫\xe7\x8c!", &why), why);
    assert_string_equal(out.data, "\033猫\ufffd\ufffd!");
    buf_finish(&out);
}

static void test_a_full_buffer_is_told(void **state)
{
    (void)state;
    struct buf out;
    struct fail why;
    buf_init(&out, 4);
    assert_int_equal(printable_append(&out, "elephant", SIZE_MAX, &why), STATUS_LIMIT);
    assert_int_equal(printable_append_utf8(&out, "elephant", &why), STATUS_LIMIT);
    buf_finish(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain_text_is_kept),
        cmocka_unit_test(test_what_steers_a_terminal_is_escaped),
        cmocka_unit_test(test_bytes_that_are_not_utf8_are_escaped),
        cmocka_unit_test(test_columns),
        cmocka_unit_test(test_text_is_cut_to_columns),
        cmocka_unit_test(test_json_text_is_utf8),
        cmocka_unit_test(test_a_full_buffer_is_told),
    };
    setlocale(LC_CTYPE, "C.UTF-8");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
