#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "engine/words.h"

static void assert_normalised(const char *text, const char *expected)
{
    struct buf out;
    buf_init(&out, 4096);
    assert_int_equal(words_normalise(text, strlen(text), &out, NULL), STATUS_OK);
    assert_string_equal(out.data, expected);
    assert_int_equal(out.size, strlen(expected));
    buf_finish(&out);
}

static void lower_case_is_full_and_without_context(void **state)
{
    (void)state;
    assert_normalised("", "");
    assert_normalised("A Photo, 100%", "a photo, 100%");
    assert_normalised("\u0130", "i\u0307");
    assert_normalised("I\u0307", "i\u0307");
    assert_normalised("I\u0323\u0307", "\u1ecb\u0307");
    assert_normalised("ΟΔΥΣΣΕΥΣ", "οδυσσευσ");
    assert_normalised("ς", "ς");
    assert_normalised("ẞß", "ßß");
    assert_normalised("\u01c4\u01c5\u01c6", "\u01c6\u01c6\u01c6");
    assert_normalised("Ⅷ Ⓐ", "ⅷ ⓐ");
}

static void text_is_composed(void **state)
{
    (void)state;
    assert_normalised("e\u0301", "\u00e9");
    assert_normalised("\u212a\u212b\u2126", "k\u00e5\u03c9");
    assert_normalised("q\u0307\u0323", "q\u0323\u0307");
    assert_normalised("a\u0315\u0300\u05ae\u0300b", "\u00e0\u05ae\u0300\u0315b");
    assert_normalised("\u0958", "\u0915\u093c"); /* excluded from composition */
    assert_normalised("\U0001d15e", "\U0001d157\U0001d165");
    assert_normalised("\u1112\u1161\u11ab", "\ud55c");
    assert_normalised("\u1100\u1161\u11a7", "\uac00\u11a7"); /* no trailing consonant */
    assert_normalised("\U0002f800", "\u4e3d");
}

static void bad_utf8_is_named_by_offset(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *message;
    } cases[] = {
        {"\x80", "text is not valid UTF-8 at byte 0"},
        {"abc\xff", "text is not valid UTF-8 at byte 3"},
        {"caf\xc3\xa9 \xc3", "text is not valid UTF-8 at byte 6"},
        {"\xc0\xaf", "text is not valid UTF-8 at byte 0"},             /* overlong */
        {"a\xe0\x80\xaf", "text is not valid UTF-8 at byte 1"},        /* overlong */
        {"ab\xf0\x80\x80\xaf", "text is not valid UTF-8 at byte 2"},   /* overlong */
        {"abc\xed\xa0\x80", "text is not valid UTF-8 at byte 3"},      /* U+D800 */
        {"abcd\xed\xbf\xbf", "text is not valid UTF-8 at byte 4"},     /* U+DFFF */
        {"\xf4\x90\x80\x80", "text is not valid UTF-8 at byte 0"},     /* U+110000 */
        {"\xf5\x80\x80\x80", "text is not valid UTF-8 at byte 0"},     /* above */
        {"a\xe2\x82", "text is not valid UTF-8 at byte 1"},            /* truncated */
        {"a\xf0\x9f\x98", "text is not valid UTF-8 at byte 1"},        /* truncated */
        {"\xe2\x28\xa1", "text is not valid UTF-8 at byte 0"},         /* no continuation */
        {"\xc3\xa9\xf8\x88\x80", "text is not valid UTF-8 at byte 2"}, /* five bytes */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct fail why = {0};
        struct buf out;
        buf_init(&out, 4096);
        assert_int_equal(words_normalise(cases[i].text, strlen(cases[i].text), &out, &why),
                         STATUS_FORMAT);
        assert_string_equal(why.message, cases[i].message);
        assert_int_equal(out.size, 0);
        buf_finish(&out);
    }
    assert_normalised("\uffff\U0010ffff\ud7ff\ue000", "\uffff\U0010ffff\ud7ff\ue000");
}

/* A million bytes of marks in the worst order for an insertion sort. */
static void long_runs_of_marks_take_linear_time(void **state)
{
    (void)state;
    size_t half = 262144;
    char *text = malloc(4 * half);
    for (size_t i = 0; i < 2 * half; i++)
        memcpy(text + 2 * i, i < half ? "\u0301" : "\u0316", 2);
    struct buf out;
    buf_init(&out, 1 << 24);
    clock_t start = clock();
    assert_int_equal(words_normalise(text, 4 * half, &out, NULL), STATUS_OK);
    assert_true(clock() - start < 5 * CLOCKS_PER_SEC);
    assert_int_equal(out.size, 4 * half);
    assert_memory_equal(out.data, "\u0316\u0316", 4);
    assert_memory_equal(out.data + 2 * half - 2, "\u0316\u0301", 4);
    buf_finish(&out);
    free(text);
}

/* Joins the pieces with "|". */
static void assert_pieces(const char *text, size_t length, const char *expected)
{
    char joined[256] = "";
    size_t cursor = 0, start, size, used = 0;
    while (words_next(text, length, &cursor, &start, &size)) {
        assert_true(size > 0 && start + size == cursor && cursor <= length);
        if (used > 0)
            joined[used++] = '|';
        memcpy(joined + used, text + start, size);
        used += size;
    }
    assert_int_equal(used, strlen(expected));
    assert_memory_equal(joined, expected, used);
}

static void pieces_follow_the_pattern(void **state)
{
    (void)state;
    static const struct {
        const char *text, *pieces;
    } cases[] = {
        {"", ""},
        {" \t\n", ""},
        {"a photo of a cat.", "a|photo|of|a|cat|."},
        {"it's they'll we've i'd i'm you're can't",
         "it|'s|they|'ll|we|'ve|i|'d|i|'m|you|'re|can|'t"},
        {"'tis ''s !'s 'l 'r' 'v o'clock '", "'t|is|''|s|!'|s|'|l|'|r|'|'|v|o|'|clock|'"},
        {"x12 3.5", "x|1|2|3|.|5"},
        {"½Ⅷ①", "½|Ⅷ|①"},
        {"<|endoftext|>", "<||endoftext||>"},
        {"a\xc2\x85"
         "b\u00a0c\u1680d\u2000e\u2028f\u202fg\u205fh\u3000i",
         "a|b|c|d|e|f|g|h|i"},
        {"a\u200bb\u180ec\ufeffd\x1c", "a|\u200b|b|\u180e|c|\ufeff|d|\x1c"},
        {"i\u0307s", "i|\u0307|s"},
        {"日本語です。", "日本語です|。"},
        {"👩\u200d👧 👍🏽", "👩\u200d👧|👍🏽"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_pieces(cases[i].text, strlen(cases[i].text), cases[i].pieces);
    size_t cursor = 1, start, size;
    assert_true(words_next("a\0b", 3, &cursor, &start, &size));
    assert_int_equal(start, 1);
    assert_int_equal(size, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lower_case_is_full_and_without_context),
        cmocka_unit_test(text_is_composed),
        cmocka_unit_test(bad_utf8_is_named_by_offset),
        cmocka_unit_test(long_runs_of_marks_take_linear_time),
        cmocka_unit_test(pieces_follow_the_pattern),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
