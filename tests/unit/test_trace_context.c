#include "tests/unit/unit.h"

#include "server/trace_context.h"

#define TRACE  "0af7651916cd43dd8448eb211c80319c"
#define PARENT "b7ad6b7169203331"

static void test_valid(void **state)
{
    (void)state;
    static const char *const values[] = {
        "00-" TRACE "-" PARENT "-01",        "00-" TRACE "-" PARENT "-00",
        "00-" TRACE "-" PARENT "-ff",        "cc-" TRACE "-" PARENT "-01",
        "cc-" TRACE "-" PARENT "-01-what-x", "01-" TRACE "-" PARENT "-01-",
    };
    for (size_t i = 0; i < UNIT_COUNT(values); i++) {
        char id[TRACE_CONTEXT_ID_BYTES] = "";
        if (!trace_context_read(values[i], id))
            fail_msg("%s is refused", values[i]);
        assert_string_equal(id, TRACE);
    }
}

static void test_invalid(void **state)
{
    (void)state;
    static const char *const values[] = {
        "",
        "-",
        "00",
        "00-",
        "00-" TRACE,
        "00-" TRACE "-" PARENT,
        "00-" TRACE "-" PARENT "-",
        "00-" TRACE "-" PARENT "-1",
        "00-" TRACE "-" PARENT "-0x",
        "00-" TRACE "-" PARENT "-011",
        "00-" TRACE "-" PARENT "-01-more",
        "00-" TRACE "-" PARENT "-01 ",
        " 00-" TRACE "-" PARENT "-01",
        "cc-" TRACE "-" PARENT "-01.what",
        "ff-" TRACE "-" PARENT "-01",
        "0-" TRACE "-" PARENT "-01",
        "000-" TRACE "-" PARENT "-01",
        "00-00000000000000000000000000000000-" PARENT "-01",
        "00-" TRACE "-0000000000000000-01",
        "00-0AF7651916CD43DD8448EB211C80319C-" PARENT "-01",
        "00-" TRACE "0-" PARENT "-01",
        "00-" TRACE "-" PARENT "0-01",
        "00_" TRACE "-" PARENT "-01",
        "00-" TRACE "\n" PARENT "-01",
    };
    for (size_t i = 0; i < UNIT_COUNT(values); i++) {
        char id[TRACE_CONTEXT_ID_BYTES] = "untouched";
        if (trace_context_read(values[i], id))
            fail_msg("%s is taken", values[i]);
        assert_string_equal(id, "untouched");
    }
}

/* Every beginning of a valid one, each in memory of its own length. */
static void test_cut_short(void **state)
{
    (void)state;
    static const char whole[] = "00-" TRACE "-" PARENT "-01";
    for (size_t length = 0; length < sizeof whole - 1; length++) {
        char id[TRACE_CONTEXT_ID_BYTES], *cut = strndup(whole, length);
        assert_non_null(cut);
        assert_false(trace_context_read(cut, id));
        free(cut);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_valid),
        cmocka_unit_test(test_invalid),
        cmocka_unit_test(test_cut_short),
    };
    return cmocka_run_group_tests_name("trace_context", tests, NULL, NULL);
}
