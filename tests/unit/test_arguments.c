#include "tests/unit/unit.h"

#include "api/cli/arguments.h"

enum { OWN = ARGUMENTS_OWN };

static const struct option options[] = {
    {"activation", required_argument, NULL, ARGUMENTS_ACTIVATION},
    {"help", no_argument, NULL, ARGUMENTS_HELP},
    {"json", no_argument, NULL, ARGUMENTS_JSON},
    {"model", required_argument, NULL, ARGUMENTS_MODEL},
    {"own", required_argument, NULL, OWN},
    {"threads", required_argument, NULL, ARGUMENTS_THREADS},
    {0},
};

/* The arguments of one call: a copy, since getopt reorders it. */
struct line {
    char *words[12];
    int count;
    struct arguments arguments;
};

static struct line *line_of(struct line *line, const char *const *words)
{
    line->count = 0;
    for (; words[line->count]; line->count++)
        line->words[line->count] = (char *)words[line->count];
    line->words[line->count] = NULL;
    arguments_init(&line->arguments, "try", line->count, line->words, options);
    return line;
}

#define LINE(line, ...) line_of(line, (const char *const[]){"try", __VA_ARGS__, NULL})

static void test_common_options(void **state)
{
    (void)state;
    struct line line;
    LINE(&line, "a", "--json", "--model=m", "--activation", "gelu", "--threads", "3");
    assert_int_equal(arguments_next(&line.arguments), ARGUMENTS_END);
    assert_true(line.arguments.json);
    assert_string_equal(line.arguments.model_dir, "m");
    assert_string_equal(line.arguments.activation, "gelu");
    assert_int_equal(line.arguments.threads, 3);
    size_t count;
    const char *const *rest = arguments_rest(&line.arguments, &count);
    assert_int_equal(count, 1);
    assert_string_equal(rest[0], "a");
}

static void test_own_options_and_rest(void **state)
{
    (void)state;
    struct line line;
    size_t count;
    LINE(&line, "-", "--own", "x", "--json", "--", "--own");
    assert_int_equal(arguments_next(&line.arguments), OWN);
    assert_string_equal(optarg, "x");
    assert_int_equal(arguments_next(&line.arguments), ARGUMENTS_END);
    const char *const *rest = arguments_rest(&line.arguments, &count);
    assert_int_equal(count, 2);
    assert_string_equal(rest[0], "-");
    assert_string_equal(rest[1], "--own");
}

static void test_help(void **state)
{
    (void)state;
    struct line line;
    assert_int_equal(arguments_next(&LINE(&line, "--help", "--wrong")->arguments), ARGUMENTS_HELP);
    assert_int_equal(arguments_next(&LINE(&line, "-h")->arguments), ARGUMENTS_HELP);
}

static void test_wrong_usage(void **state)
{
    (void)state;
    struct line line;
    assert_int_equal(arguments_next(&LINE(&line, "--wrong")->arguments), ARGUMENTS_WRONG);
    assert_int_equal(arguments_next(&LINE(&line, "-x")->arguments), ARGUMENTS_WRONG);
    assert_int_equal(arguments_next(&LINE(&line, "--own")->arguments), ARGUMENTS_WRONG);
    assert_int_equal(arguments_next(&LINE(&line, "--json=1")->arguments), ARGUMENTS_WRONG);
    assert_int_equal(arguments_next(&LINE(&line, "--threads", "0")->arguments), ARGUMENTS_WRONG);
    assert_int_equal(arguments_next(&LINE(&line, "--activation=relu")->arguments), ARGUMENTS_WRONG);
}

static void test_numbers(void **state)
{
    (void)state;
    static const char *const wrong[] = {
        "", "0", "11", "-1", "+5", " 5", "5 ", "5x", "0x5", "1e1", "18446744073709551617"};
    struct line line;
    size_t number = 99;
    LINE(&line, "-");
    for (size_t i = 0; i < UNIT_COUNT(wrong); i++)
        assert_false(arguments_number(&line.arguments, "n", wrong[i], 1, 10, &number));
    assert_int_equal(number, 99);
    assert_true(arguments_number(&line.arguments, "n", "10", 1, 10, &number));
    assert_int_equal(number, 10);
    assert_true(arguments_number(&line.arguments, "n", "1", 1, 10, &number));
    assert_int_equal(number, 1);
}

static void test_model_of_the_environment(void **state)
{
    (void)state;
    struct line line;
    setenv("ATTRIPROMPT_MODEL", "/models/mine", 1);
    assert_string_equal(LINE(&line, "-")->arguments.model_dir, "/models/mine");
    setenv("ATTRIPROMPT_MODEL", "", 1);
    assert_string_equal(LINE(&line, "-")->arguments.model_dir, "engine/models/emoji-clip");
    unsetenv("ATTRIPROMPT_MODEL");
    assert_string_equal(LINE(&line, "-")->arguments.model_dir, "engine/models/emoji-clip");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_common_options), cmocka_unit_test(test_own_options_and_rest),
        cmocka_unit_test(test_help),           cmocka_unit_test(test_wrong_usage),
        cmocka_unit_test(test_numbers),        cmocka_unit_test(test_model_of_the_environment),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
