#include "tests/unit/unit.h"

#include "engine/base/utf8.h"

static size_t length_of(const char *text)
{
    return utf8_length((const unsigned char *)text, strlen(text));
}

static void test_boundaries(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint32_t code;
    } characters[] = {
        {"\x01", 0x1},
        {"\x7f", 0x7f},
        {"\xc2\x80", 0x80},
        {"\xdf\xbf", 0x7ff},
        {"\xe0\xa0\x80", 0x800},
        {"\xec\xbf\xbf", 0xcfff},
        {"\xed\x80\x80", 0xd000},
        {"\xed\x9f\xbf", 0xd7ff},
        {"\xee\x80\x80", 0xe000},
        {"\xef\xbf\xbf", 0xffff},
        {"\xf0\x90\x80\x80", 0x10000},
        {"\xf3\xbf\xbf\xbf", 0xfffff},
        {"\xf4\x80\x80\x80", 0x100000},
        {"\xf4\x8f\xbf\xbf", 0x10ffff},
    };
    for (size_t i = 0; i < UNIT_COUNT(characters); i++) {
        const unsigned char *at = (const unsigned char *)characters[i].text;
        size_t length = strlen(characters[i].text);
        assert_int_equal(utf8_length(at, length), length);
        assert_int_equal(utf8_length(at, SIZE_MAX), length);
        assert_int_equal(utf8_decode(at, length), characters[i].code);
        for (size_t left = 0; left < length; left++)
            assert_int_equal(utf8_length(at, left), 0);
    }
    assert_int_equal(utf8_length((const unsigned char *)"", 1), 1);
}

static void test_malformed(void **state)
{
    (void)state;
    static const char *const texts[] = {
        /* nothing before them */
        "\x80",
        "\xbf",
        /* overlong */
        "\xc0\x80",
        "\xc1\xbf",
        "\xe0\x80\x80",
        "\xe0\x9f\xbf",
        "\xf0\x80\x80\x80",
        "\xf0\x8f\xbf\xbf",
        /* surrogates */
        "\xed\xa0\x80",
        "\xed\xbf\xbf",
        /* past U+10FFFF */
        "\xf4\x90\x80\x80",
        "\xf5\x80\x80\x80",
        /* never a first byte */
        "\xf8\x88\x80\x80\x80",
        "\xfe",
        "\xff",
        /* not followed */
        "\xc2\x7f",
        "\xc2\xc0",
        "\xe1\x80\x7f",
        "\xe1\x80\xc0",
        "\xe1\xc0\x80",
        "\xf1\x80\x80\xc0",
        "\xf1\x80\x7f\x80",
    };
    for (size_t i = 0; i < UNIT_COUNT(texts); i++)
        assert_int_equal(length_of(texts[i]), 0);
}

/* Every code point, written out after the table of the standard. */
static void test_all_code_points(void **state)
{
    (void)state;
    for (uint32_t code = 0x80; code <= 0x10ffff; code++) {
        const unsigned char two[] = {0xc0 | (code >> 6 & 0x1f), 0x80 | (code & 0x3f)};
        const unsigned char three[] = {0xe0 | (code >> 12 & 0xf), 0x80 | (code >> 6 & 0x3f),
                                       0x80 | (code & 0x3f)};
        const unsigned char four[] = {0xf0 | (code >> 18 & 0x7), 0x80 | (code >> 12 & 0x3f),
                                      0x80 | (code >> 6 & 0x3f), 0x80 | (code & 0x3f)};
        const unsigned char *at = code < 0x800 ? two : code < 0x10000 ? three : four;
        size_t length = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
        bool surrogate = code >= 0xd800 && code < 0xe000;
        assert_int_equal(utf8_length(at, length), surrogate ? 0 : length);
        if (!surrogate)
            assert_int_equal(utf8_decode(at, length), code);
    }
}

static void test_a_text(void **state)
{
    (void)state;
    assert_true(utf8_is_valid("", 0));
    assert_true(utf8_is_valid("k\303\244fer \347\214\253 \360\237\220\210", 16));
    assert_true(utf8_is_valid("a\0b", 3));
    assert_false(utf8_is_valid("caf\xe9", 4));
    assert_false(utf8_is_valid("\347\214\253", 2));
    assert_false(utf8_is_valid("ok \xed\xa0\x80", 6));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_boundaries),
        cmocka_unit_test(test_malformed),
        cmocka_unit_test(test_all_code_points),
        cmocka_unit_test(test_a_text),
    };
    return cmocka_run_group_tests_name("utf8", tests, NULL, NULL);
}
