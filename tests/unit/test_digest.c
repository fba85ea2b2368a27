#include "tests/unit/unit.h"

#include "engine/base/digest.h"

/* FIPS 180-4's own examples and some lengths around a block's end. */
static const struct {
    const char *unit; /* repeated */
    size_t times;
    const char *sum;
} vectors[] = {
    {"", 0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
    {"abc", 1, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
    {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 1,
     "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
    {"a", 55, "9f4390f8d30c2dd92ec9f095b65e2b9ae9b0a925a5258e241c9f1e910f734318"},
    {"a", 56, "b35439a4ac6f0948b6d6f9e3c6af0f5f590ce20f1bde7090ef7970686ec6738a"},
    {"a", 64, "ffe054fe7ae0cb6dc65c3af9b61d5209f439851db43d0ba5997337df154668eb"},
    {"a", 1000000, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"},
};

static char *repeat(const char *unit, size_t times, size_t *out_size)
{
    size_t length = strlen(unit);
    char *text = malloc(length * times + 1);
    assert_non_null(text);
    for (size_t i = 0; i < times; i++)
        memcpy(text + i * length, unit, length);
    *out_size = length * times;
    return text;
}

static void assert_sum(const char *bytes, size_t size, size_t piece, const char *expected)
{
    struct digest digest;
    char sum[DIGEST_TEXT_BYTES];
    digest_init(&digest);
    for (size_t at = 0; at < size; at += piece)
        digest_append(&digest, bytes + at, size - at < piece ? size - at : piece);
    digest_write(&digest, sum);
    assert_string_equal(sum, expected);
}

static void test_known_sums(void **state)
{
    (void)state;
    for (size_t i = 0; i < UNIT_COUNT(vectors); i++) {
        size_t size;
        char *bytes = repeat(vectors[i].unit, vectors[i].times, &size);
        assert_sum(bytes, size, size ? size : 1, vectors[i].sum);
        free(bytes);
    }
}

static void test_pieces_of_any_size_give_the_same(void **state)
{
    (void)state;
    static const size_t pieces[] = {1, 3, 7, 55, 56, 63, 64, 65, 127, 128, 4096};
    for (size_t i = 0; i < UNIT_COUNT(vectors); i++) {
        size_t size;
        char *bytes = repeat(vectors[i].unit, vectors[i].times, &size);
        for (size_t k = 0; k < UNIT_COUNT(pieces); k++)
            assert_sum(bytes, size, pieces[k], vectors[i].sum);
        free(bytes);
    }
}

static void test_empty_pieces_change_nothing(void **state)
{
    (void)state;
    struct digest digest;
    char sum[DIGEST_TEXT_BYTES];
    digest_init(&digest);
    digest_append(&digest, "", 0);
    digest_append(&digest, "abc", 3);
    digest_append(&digest, "", 0);
    digest_write(&digest, sum);
    assert_string_equal(sum, vectors[1].sum);
}

static void test_two_at_once(void **state)
{
    (void)state;
    struct digest one, other;
    char sums[2][DIGEST_TEXT_BYTES];
    digest_init(&one);
    digest_append(&one, "a", 1);
    digest_init(&other);
    digest_append(&other, "abc", 3);
    digest_append(&one, "bc", 2);
    digest_write(&one, sums[0]);
    digest_write(&other, sums[1]);
    assert_string_equal(sums[0], vectors[1].sum);
    assert_string_equal(sums[1], vectors[1].sum);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known_sums),
        cmocka_unit_test(test_pieces_of_any_size_give_the_same),
        cmocka_unit_test(test_empty_pieces_change_nothing),
        cmocka_unit_test(test_two_at_once),
    };
    return cmocka_run_group_tests_name("digest", tests, NULL, NULL);
}
