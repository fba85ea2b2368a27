#include "tests/unit/unit.h"

#include <unistd.h>

#include "config/config.h"

static enum status load(struct config *config, struct fail *why, int count, const char **arguments)
{
    return config_load(config, count, (char *const *)arguments, why);
}

#define LOAD(config, why, ...)                                                                     \
    load(config, why, (int)UNIT_COUNT(((const char *[]){__VA_ARGS__})),                            \
         (const char *[]){__VA_ARGS__})

static void test_defaults(void **state)
{
    (void)state;
    struct fail why;
    struct config config;
    unit_assert_ok(config_load(&config, 0, NULL, &why), why);
    assert_string_equal(config.host, "127.0.0.1");
    assert_int_equal(config.port, 8080);
    assert_int_equal(config.max_body_bytes, 32 << 20);
    assert_int_equal(config.request_timeout_ms, 30000);
    assert_int_equal(config.log_level, LOG_INFO);
    assert_int_equal(config.activation, CONFIG_ACTIVATION_OF_MODEL);
    unit_assert_ok(LOAD(&config, &why, "--activation=gelu", "--log-level", "debug"), why);
    assert_int_equal(config.activation, CONFIG_GELU);
    assert_int_equal(config.log_level, LOG_DEBUG);
}

static void test_flag_beats_environment_beats_default(void **state)
{
    (void)state;
    struct fail why;
    struct config config;
    setenv("ATTRIPROMPT_MAX_BATCH_ROWS", "3", 1);
    setenv("ATTRIPROMPT_HOST", "::1", 1);
    unit_assert_ok(LOAD(&config, &why, "--host", "0.0.0.0", "--port=0"), why);
    assert_string_equal(config.host, "0.0.0.0");
    assert_int_equal(config.port, 0);
    assert_int_equal(config.max_batch_rows, 3);
    setenv("ATTRIPROMPT_HOST", "", 1);
    setenv("ATTRIPROMPT_MAX_BATCH_ROWS", "many", 1);
    unit_assert_ok(LOAD(&config, &why, "--max-batch-rows", "5"), why);
    assert_int_equal(config.max_batch_rows, 5);
    assert_string_equal(config.host, "127.0.0.1");
    setenv("ATTRIPROMPT_MAX_BATCH_ROWS", "0", 1);
    unit_assert_fails(config_load(&config, 0, NULL, &why), STATUS_INVALID, why,
                      "ATTRIPROMPT_MAX_BATCH_ROWS: \"0\" is not a whole number from 1 to 1024");
    unsetenv("ATTRIPROMPT_MAX_BATCH_ROWS");
    unsetenv("ATTRIPROMPT_HOST");
}

static void test_bounds(void **state)
{
    (void)state;
    struct fail why;
    struct config config;
    unit_assert_ok(LOAD(&config, &why, "--port", "65535"), why);
    const char *wrong[] = {"65536", "-1", "", " 1", "1 ", "0x10", "1.5", "99999999999999999999"};
    for (size_t i = 0; i < UNIT_COUNT(wrong); i++)
        unit_assert_fails(LOAD(&config, &why, "--port", wrong[i]), STATUS_INVALID, why,
                          "is not a whole number from 0 to 65535");
    assert_int_equal(config.port, 65535); /* a failed load leaves it alone */
}

static void test_mistakes(void **state)
{
    (void)state;
    struct fail why;
    struct config config;
    unit_assert_fails(LOAD(&config, &why, "--prt", "1"), STATUS_INVALID, why, "--prt");
    unit_assert_fails(LOAD(&config, &why, "--prt=1"), STATUS_INVALID, why, "unknown option --prt");
    unit_assert_fails(LOAD(&config, &why, "--port"), STATUS_INVALID, why, "needs a value");
    unit_assert_fails(LOAD(&config, &why, "port"), STATUS_INVALID, why, "unexpected");
    unit_assert_fails(LOAD(&config, &why, "--"), STATUS_INVALID, why, "--");
    unit_assert_fails(LOAD(&config, &why, "--log-level", "INFO"), STATUS_INVALID, why,
                      "none of error, warn, info, debug");
    unit_assert_fails(LOAD(&config, &why, "--activation", "relu"), STATUS_INVALID, why,
                      "none of model, quick_gelu, gelu");
    unit_assert_fails(LOAD(&config, &why, "--request-timeout-ms", "200000"), STATUS_INVALID, why,
                      "--max-request-timeout-ms (120000)");
}

/* ---- The file ---- */

static char file_path[] = "/tmp/test_config.XXXXXX";

static void write_file(const char *text)
{
    FILE *file = fopen(file_path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, strlen(text), file), strlen(text));
    fclose(file);
}

static int make_file(void **state)
{
    (void)state;
    int descriptor = mkstemp(file_path);
    return descriptor < 0 ? -1 : close(descriptor);
}

static int remove_file(void **state)
{
    (void)state;
    return unlink(file_path);
}

static void test_environment_beats_file_beats_default(void **state)
{
    (void)state;
    struct fail why;
    struct config config;
    write_file("# a comment\n\n  port =  9000  \r\nmax-batch-rows=3\n\tlog-level = debug\n"
               "host = a = b # no comment\npool = /some where/pool.safetensors");
    setenv("ATTRIPROMPT_MAX_BATCH_ROWS", "4", 1);
    unit_assert_ok(LOAD(&config, &why, "--config", file_path, "--log-level", "warn"), why);
    assert_int_equal(config.port, 9000);
    assert_int_equal(config.max_batch_rows, 4);
    assert_int_equal(config.log_level, LOG_WARN);
    assert_string_equal(config.host, "a = b # no comment");
    assert_string_equal(config.pool, "/some where/pool.safetensors");
    assert_int_equal(config.max_queue_rows, 256);
    config_finish(&config);
    unsetenv("ATTRIPROMPT_MAX_BATCH_ROWS");
    setenv("ATTRIPROMPT_CONFIG", file_path, 1);
    unit_assert_ok(config_load(&config, 0, NULL, &why), why);
    assert_int_equal(config.max_batch_rows, 3);
    config_finish(&config);
    setenv("ATTRIPROMPT_CONFIG", "/no/such/file", 1);
    unit_assert_fails(config_load(&config, 0, NULL, &why), STATUS_NOT_FOUND, why, "/no/such/file");
    write_file("");
    unit_assert_ok(LOAD(&config, &why, "--config", file_path), why); /* the flag wins */
    config_finish(&config);
    config_finish(NULL);
    unsetenv("ATTRIPROMPT_CONFIG");
}

static void test_mistakes_in_a_file(void **state)
{
    (void)state;
    static const struct {
        const char *text, *part;
    } wrong[] = {
        {"port 1", "line 1: \"port 1\" is not NAME = VALUE"},
        {"\n\nport = x\n", "line 3: port: \"x\" is not a whole number"},
        {"prt = 1", "line 1: unknown option \"prt\""},
        {"= 1", "unknown option \"\""},
        {"port = 1\nhost = h\nport = 1", "line 3: port is given twice"},
        {"host =", "line 1: host: must not be empty"},
        {"log-level = loud", "none of error"},
        {"config = x", "unknown option \"config\""},
        {"request-timeout-ms = 200000", "--max-request-timeout-ms (120000)"},
    };
    for (size_t i = 0; i < UNIT_COUNT(wrong); i++) {
        struct fail why;
        struct config config;
        write_file(wrong[i].text);
        unit_assert_fails(LOAD(&config, &why, "--config", file_path), STATUS_INVALID, why,
                          wrong[i].part);
        if (strstr(wrong[i].part, "line"))
            assert_non_null(strstr(why.message, file_path));
    }
}

/* What is printed gives the same values back, and prints the same but for where they come from. */
static void test_printing(void **state)
{
    (void)state;
    struct fail why;
    struct config config, again;
    char first[16384] = "", second[16384] = "";
    unit_assert_ok(
        LOAD(&config, &why, "--port=1", "--activation=gelu", "--print-config", "--check-config"),
        why);
    assert_true(config.print && config.check);
    FILE *stream = fmemopen(first, sizeof first, "w");
    config_print(&config, stream);
    fclose(stream);
    assert_non_null(strstr(first, "(from a flag)\nport = 1\n"));
    assert_non_null(strstr(first, "(default)\nhost = 127.0.0.1\n"));
    assert_non_null(strstr(first, "\nactivation = gelu\n"));
    assert_non_null(strstr(first, "\n# pool =\n"));
    write_file(first);
    unit_assert_ok(LOAD(&again, &why, "--config", file_path), why);
    assert_false(again.print || again.check);
    stream = fmemopen(second, sizeof second, "w");
    config_print(&again, stream);
    fclose(stream);
    assert_non_null(strstr(second, "(from the file)\nport = 1\n"));
    assert_string_equal(again.host, config.host);
    assert_int_equal(again.port, 1);
    assert_int_equal(again.activation, CONFIG_GELU);
    assert_null(again.pool);
    config_finish(&again);
    config_finish(&config);
    unit_assert_fails(LOAD(&config, &why, "--print-config=1"), STATUS_INVALID, why,
                      "unknown option --print-config");
    unit_assert_fails(LOAD(&config, &why, "--config"), STATUS_INVALID, why, "needs a value");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_flag_beats_environment_beats_default),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_mistakes),
        cmocka_unit_test(test_environment_beats_file_beats_default),
        cmocka_unit_test(test_mistakes_in_a_file),
        cmocka_unit_test(test_printing),
    };
    return cmocka_run_group_tests_name("config", tests, make_file, remove_file);
}
