#include "tests/unit/unit.h"

#include "api/rest/base64.h"

static void assert_decodes(const char *text, const char *expected)
{
    struct fail why;
    uint8_t *bytes;
    size_t size;
    unit_assert_ok(base64_decode(text, strlen(text), &bytes, &size, &why), why);
    assert_int_equal(size, strlen(expected));
    assert_memory_equal(bytes, expected, size);
    free(bytes);
}

static void assert_refused(const char *text, const char *part)
{
    struct fail why;
    uint8_t *bytes = NULL;
    size_t size;
    unit_assert_fails(base64_decode(text, strlen(text), &bytes, &size, &why), STATUS_FORMAT, why,
                      part);
    assert_null(bytes);
}

static void test_decodes(void **state)
{
    (void)state;
    /* The vectors of RFC 4648. */
    assert_decodes("", "");
    assert_decodes("Zg==", "f");
    assert_decodes("Zm8=", "fo");
    assert_decodes("Zm9v", "foo");
    assert_decodes("Zm9vYg==", "foob");
    assert_decodes("Zm9vYmE=", "fooba");
    assert_decodes("Zm9vYmFy", "foobar");
    assert_decodes("+/+/", "\xfb\xff\xbf");
    assert_decodes("Zm9vYg", "foob");
    assert_decodes("Zm9v\r\nYmE=\n", "fooba");
}

static void test_every_byte(void **state)
{
    (void)state;
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (unsigned value = 0; value < 1u << 24; value += 257) {
        char text[] = {alphabet[value >> 18], alphabet[value >> 12 & 63], alphabet[value >> 6 & 63],
                       alphabet[value & 63]};
        uint8_t *bytes;
        size_t size;
        assert_int_equal(base64_decode(text, sizeof text, &bytes, &size, NULL), STATUS_OK);
        assert_int_equal(size, 3);
        assert_int_equal((unsigned)bytes[0] << 16 | bytes[1] << 8 | bytes[2], value);
        free(bytes);
    }
}

static void test_refuses(void **state)
{
    (void)state;
    assert_refused("Zm9*", "character 4");
    assert_refused("Zm-v", "character 3");
    assert_refused("Zm 9v", "character 3");
    assert_refused("Z", "cut short");
    assert_refused("Zm9vY", "cut short");
    assert_refused("Zg=", "cut short");
    assert_refused("Z===", "character 2");
    assert_refused("Zg===", "character 5");
    assert_refused("Zm9v=", "character 5");
    assert_refused("Zg==Zg==", "character 5");
    assert_refused("=", "character 1");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_decodes),
        cmocka_unit_test(test_every_byte),
        cmocka_unit_test(test_refuses),
    };
    return cmocka_run_group_tests_name("base64", tests, NULL, NULL);
}
