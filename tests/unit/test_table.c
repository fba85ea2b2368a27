#include "tests/unit/unit.h"

#include <locale.h>

#include "api/cli/printable.h"
#include "api/cli/table.h"

static void assert_bar(double fraction, size_t columns, bool utf8, const char *expected)
{
    struct buf out;
    struct fail why;
    buf_init(&out, SIZE_MAX);
    unit_assert_ok(table_append_bar(&out, fraction, columns, utf8, &why), why);
    assert_string_equal(out.data, expected);
    buf_finish(&out);
}

static void test_bars_of_blocks(void **state)
{
    (void)state;
    assert_bar(1, 4, true, "████");
    assert_bar(0.5, 4, true, "██");
    assert_bar(0.5, 1, true, "▌");
    assert_bar(0.25 + 0.125 / 4, 4, true, "█▏");
    assert_bar(0.99, 4, true, "████");
    assert_bar(0.97, 4, true, "███▉");
    assert_bar(0, 4, true, "");
    assert_bar(0.01, 4, true, "");
    assert_bar(1, 0, true, "");
}

static void test_bars_of_ascii(void **state)
{
    (void)state;
    assert_bar(1, 4, false, "####");
    assert_bar(0.6, 4, false, "##");
    assert_bar(0.1, 4, false, "");
}

static void test_bars_of_odd_fractions_stay_inside(void **state)
{
    (void)state;
    assert_bar(2, 3, true, "███");
    assert_bar(-1, 3, true, "");
    assert_bar((double)NAN, 3, true, "");
    assert_bar((double)INFINITY, 3, false, "###");
}

static void test_cells(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t columns;
        bool cut;
        const char *expected;
    } cases[] = {
        {"cat", 5, true, "cat  "},       {"", 2, true, "  "},
        {"猫", 5, true, "猫   "},        {"elephant", 6, true, "ele..."},
        {"猫猫猫猫", 6, true, "猫... "}, {"elephant", 6, false, "elephant"},
        {"a\nb", 8, false, "a\\x0ab  "},
    };
    for (size_t i = 0; i < UNIT_COUNT(cases); i++) {
        struct buf out;
        struct fail why;
        buf_init(&out, SIZE_MAX);
        unit_assert_ok(table_append_cell(&out, cases[i].text, cases[i].columns, cases[i].cut, &why),
                       why);
        assert_string_equal(out.data, cases[i].expected);
        buf_finish(&out);
    }
}

static void assert_row(const struct terminal *terminal, size_t widest, const char *label,
                       double fraction, const char *expected)
{
    struct table table;
    struct buf out;
    struct fail why;
    buf_init(&out, SIZE_MAX);
    table_init(&table, terminal, widest);
    unit_assert_ok(table_append_row(&table, &out, label, fraction, &why), why);
    assert_string_equal(out.data, expected);
    buf_finish(&out);
}

static void test_rows_without_a_terminal_have_no_bars(void **state)
{
    (void)state;
    const struct terminal pipe = {.utf8 = true, .columns = 40};
    assert_row(&pipe, 5, "cat", 0.9123, "  cat     91.2%\n");
    assert_row(&pipe, 5, "zebra", 1, "  zebra  100.0%\n");
    assert_row(&pipe, 60, "a label of more than thirty-two columns", 0,
               "  a label of more than thirty-two columns    0.0%\n");
}

static void test_rows_on_a_terminal(void **state)
{
    (void)state;
    const struct terminal blocks = {.interactive = true, .utf8 = true, .columns = 31};
    const struct terminal ascii = {.interactive = true, .utf8 = false, .columns = 31};
    assert_row(&blocks, 8, "cat", 0.5, "  cat        50.0%  █████\n");
    assert_row(&ascii, 8, "cat", 0.5, "  cat        50.0%  #####\n");
    assert_row(&blocks, 8, "cat", 0, "  cat         0.0%\n");
    assert_row(&blocks, 20, "an african elephant", 1, "  an afr...  100.0%  █████████\n");
}

static void test_rows_fit_the_terminal(void **state)
{
    (void)state;
    for (size_t columns = 24; columns < 200; columns++) {
        for (size_t widest = 1; widest < 100; widest += 7) {
            const struct terminal terminal = {true, true, columns};
            struct table table;
            struct buf out;
            buf_init(&out, SIZE_MAX);
            table_init(&table, &terminal, widest);
            assert_int_equal(table_append_row(&table, &out, "猫猫猫猫 and other animals", 1, NULL),
                             STATUS_OK);
            out.data[out.size - 1] = '\0';
            assert_true(printable_columns(out.data) < columns);
            buf_finish(&out);
        }
    }
}

static void test_a_tiny_terminal_is_survived(void **state)
{
    (void)state;
    const struct terminal tiny = {true, true, 1};
    assert_row(&tiny, 3, "cat", 1, "  cat       100.0%\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bars_of_blocks),
        cmocka_unit_test(test_bars_of_ascii),
        cmocka_unit_test(test_bars_of_odd_fractions_stay_inside),
        cmocka_unit_test(test_cells),
        cmocka_unit_test(test_rows_without_a_terminal_have_no_bars),
        cmocka_unit_test(test_rows_on_a_terminal),
        cmocka_unit_test(test_rows_fit_the_terminal),
        cmocka_unit_test(test_a_tiny_terminal_is_survived),
    };
    setlocale(LC_CTYPE, "C.UTF-8");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
