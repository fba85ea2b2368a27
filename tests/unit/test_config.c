#include "tests/unit/unit.h"

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_flag_beats_environment_beats_default),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_mistakes),
    };
    return cmocka_run_group_tests_name("config", tests, NULL, NULL);
}
