#include "tests/unit/unit.h"

#include <float.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/buf.h"
#include "engine/safetensors.h"

static const char two_tensors[] =
    "{\"__metadata__\":{\"format\":\"pt\",\"empty\":\"\"},"
    "\"b\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[4,28]},"
    "\"a\":{\"dtype\":\"F16\",\"shape\":[2],\"data_offsets\":[0,4]},"
    "\"none\":{\"dtype\":\"I64\",\"shape\":[0,7],\"data_offsets\":[28,28]},"
    "\"one\":{\"dtype\":\"BF16\",\"shape\":[],\"data_offsets\":[28,30]}}";

enum { TWO_TENSORS_DATA = 30 };

/* The file with this header and so many bytes of data 0, 1, 2, ...; free(). */
static unsigned char *make_file(const char *header, size_t data_size, size_t *out_size)
{
    uint64_t length = strlen(header);
    *out_size = sizeof length + length + data_size;
    unsigned char *bytes = malloc(*out_size);
    memcpy(bytes, &length, sizeof length);
    memcpy(bytes + sizeof length, header, length);
    for (size_t i = 0; i < data_size; i++)
        bytes[sizeof length + length + i] = (unsigned char)i;
    return bytes;
}

static void test_tensors_are_found(void **state)
{
    (void)state;
    struct fail why;
    struct safetensors *file;
    size_t size;
    unsigned char *bytes = make_file(two_tensors, TWO_TENSORS_DATA, &size);
    unit_assert_ok(safetensors_parse(bytes, size, &file, &why), why);
    const unsigned char *data = bytes + size - TWO_TENSORS_DATA;

    assert_int_equal(safetensors_count(file), 4);
    const char *const names[] = {"a", "b", "none", "one"};
    for (size_t i = 0; i < UNIT_COUNT(names); i++) {
        assert_string_equal(safetensors_at(file, i)->name, names[i]);
        assert_ptr_equal(safetensors_find(file, names[i]), safetensors_at(file, i));
    }
    const struct safetensors_tensor *b = safetensors_find(file, "b");
    assert_int_equal(b->dtype, SAFETENSORS_F32);
    assert_int_equal(b->rank, 2);
    assert_int_equal(b->count, 6);
    assert_int_equal(b->bytes, 24);
    assert_ptr_equal(b->data, data + 4);
    assert_int_equal(safetensors_find(file, "none")->count, 0);
    assert_int_equal(safetensors_find(file, "one")->rank, 0);
    assert_int_equal(safetensors_find(file, "one")->count, 1);
    assert_null(safetensors_find(file, "c"));
    assert_null(safetensors_find(file, ""));
    assert_null(safetensors_find(file, "__metadata__"));
    assert_string_equal(safetensors_metadata(file, "format"), "pt");
    assert_string_equal(safetensors_metadata(file, "empty"), "");
    assert_null(safetensors_metadata(file, "a"));
    safetensors_close(file);
    free(bytes);
}

static void test_shape_text(void **state)
{
    (void)state;
    char text[64];
    struct safetensors_tensor tensor = {.rank = 3, .shape = {1, 20, 300}};
    assert_string_equal(safetensors_shape_text(&tensor, text, sizeof text), "[1, 20, 300]");
    assert_string_equal(safetensors_shape_text(&tensor, text, 7), "[1, 20");
    assert_string_equal(safetensors_shape_text(&tensor, text, 1), "");
    tensor.rank = 0;
    assert_string_equal(safetensors_shape_text(&tensor, text, sizeof text), "[]");
}

static void test_no_tensors(void **state)
{
    (void)state;
    struct fail why;
    struct safetensors *file;
    size_t size;
    unsigned char *bytes = make_file("{} ", 0, &size);
    unit_assert_ok(safetensors_parse(bytes, size, &file, &why), why);
    assert_int_equal(safetensors_count(file), 0);
    assert_null(safetensors_find(file, "a"));
    assert_null(safetensors_metadata(file, "a"));
    safetensors_close(file);
    safetensors_close(NULL);
    free(bytes);
}

struct hostile {
    const char *header;
    size_t data_size;
    enum status status;
    const char *part; /* of the message */
};

#define TENSOR(name, dtype, shape, offsets)                                                        \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" offsets "}"

static const struct hostile hostile_headers[] = {
    {"", 0, STATUS_FORMAT, "not valid JSON"},
    {"[]", 0, STATUS_FORMAT, "not an object"},
    {"{} {}", 0, STATUS_FORMAT, "not valid JSON"},
    {"{\"a\":", 0, STATUS_FORMAT, "not valid JSON"},
    {"{\"a\xff\":1}", 0, STATUS_FORMAT, "not valid JSON"},
    {"{\"a\":1}", 0, STATUS_FORMAT, "tensor a: its entry is not an object"},
    {"{\"a\":{}}", 0, STATUS_FORMAT, "tensor a: dtype is missing"},
    {"{" TENSOR("a", "F8_E4M3", "[1]", "[0,1]") "}", 1, STATUS_UNSUPPORTED,
     "tensor a: dtype F8_E4M3 is not supported"},
    {"{\"a\":{\"dtype\":\"U8\",\"data_offsets\":[0,1]}}", 1, STATUS_FORMAT,
     "tensor a: shape is missing"},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1]}}", 1, STATUS_FORMAT, "tensor a: data_offsets"},
    {"{" TENSOR("a", "U8", "[1]", "[0,1,1]") "}", 1, STATUS_FORMAT, "tensor a: data_offsets"},
    {"{" TENSOR("a", "U8", "[1]", "[0,1.0]") "}", 1, STATUS_FORMAT, "tensor a: data_offsets"},
    {"{" TENSOR("a", "U8", "[1]", "[-1,0]") "}", 1, STATUS_FORMAT, "tensor a: data_offsets"},
    {"{" TENSOR("a", "U8", "[1]", "[1,0]") "}", 1, STATUS_FORMAT, "[1, 0] do not lie in"},
    {"{" TENSOR("a", "U8", "[2]", "[0,2]") "}", 1, STATUS_FORMAT, "do not lie in the 1 bytes"},
    {"{" TENSOR("a", "U8", "[1]", "[9223372036854775807,9223372036854775807]") "}", 1,
     STATUS_FORMAT, "do not lie in"},
    {"{" TENSOR("a", "U8", "[1]", "[0,18446744073709551616]") "}", 1, STATUS_FORMAT, "too big"},
    {"{" TENSOR("a", "F32", "[2]", "[0,4]") "}", 4, STATUS_FORMAT,
     "data_offsets span 4 bytes, F32 of shape [2] takes 8"},
    {"{" TENSOR("a", "U8", "[-1]", "[0,1]") "}", 1, STATUS_FORMAT, "dimension 0 of its shape"},
    {"{" TENSOR("a", "U8", "[1,\"1\"]", "[0,1]") "}", 1, STATUS_FORMAT, "dimension 1 of its shape"},
    {"{" TENSOR("a", "U8", "[4294967296,4294967296]", "[0,0]") "}", 0, STATUS_FORMAT,
     "tensor a: its shape overflows"},
    {"{" TENSOR("a", "F64", "[4611686018427387904]", "[0,0]") "}", 0, STATUS_FORMAT,
     "tensor a: its shape overflows"},
    {"{" TENSOR("a", "U8", "[1,1,1,1,1,1,1,1,1]", "[0,1]") "}", 1, STATUS_LIMIT, "9 dimensions"},
    {"{" TENSOR("a", "U8", "[2]", "[0,2]") "," TENSOR("b", "U8", "[2]", "[1,3]") "}", 3,
     STATUS_FORMAT, "tensor b: its data overlaps"},
    {"{" TENSOR("a", "U8", "[2]", "[0,2]") "," TENSOR("b", "U8", "[0]", "[1,1]") "}", 2,
     STATUS_FORMAT, "tensor b: its data overlaps"},
    {"{" TENSOR("a", "U8", "[1]", "[0,1]") "," TENSOR("b", "U8", "[1]", "[2,3]") "}", 3,
     STATUS_FORMAT, "tensor b: 1 bytes before its data belong to no tensor"},
    {"{" TENSOR("a", "U8", "[1]", "[0,1]") "}", 3, STATUS_FORMAT,
     "the last 2 bytes belong to no tensor"},
    {"{" TENSOR("a", "U8", "[1]", "[0,1]") "," TENSOR("a", "U8", "[1]", "[0,1]") "}", 1,
     STATUS_FORMAT, "duplicate object key near '\"a\"'"},
    {"{" TENSOR("a\\n", "U8", "[1]", "[0,1]") "}", 1, STATUS_FORMAT, "control character 0x0a"},
    {"{\"__metadata__\":[]}", 0, STATUS_FORMAT, "__metadata__ is not an object"},
    {"{\"__metadata__\":{\"a\":1}}", 0, STATUS_FORMAT, "the value of a is not a text"},
};

static void test_hostile_headers(void **state)
{
    (void)state;
    for (size_t i = 0; i < UNIT_COUNT(hostile_headers); i++) {
        const struct hostile *hostile = &hostile_headers[i];
        struct fail why = {0};
        struct safetensors *file = NULL;
        size_t size;
        unsigned char *bytes = make_file(hostile->header, hostile->data_size, &size);
        unit_assert_fails(safetensors_parse(bytes, size, &file, &why), hostile->status, why,
                          hostile->part);
        assert_null(file);
        assert_int_equal(safetensors_parse(bytes, size, &file, NULL), hostile->status);
        free(bytes);
    }
}

static void test_long_name(void **state)
{
    (void)state;
    struct fail why;
    struct safetensors *file;
    char header[400] = "{\"";
    size_t size;
    memset(header + 2, 'n', 257);
    strcpy(header + 259, "\":{}}");
    unsigned char *bytes = make_file(header, 0, &size);
    unit_assert_fails(safetensors_parse(bytes, size, &file, &why), STATUS_LIMIT, why, "257 bytes");
    free(bytes);
}

static void test_deep_nesting(void **state)
{
    (void)state;
    enum { DEPTH = 1000000 };
    struct fail why;
    struct safetensors *file;
    size_t size;
    char *header = malloc(DEPTH + 1);
    memset(header, '[', DEPTH);
    header[DEPTH] = '\0';
    unsigned char *bytes = make_file(header, 0, &size);
    unit_assert_fails(safetensors_parse(bytes, size, &file, &why), STATUS_FORMAT, why, "depth");
    free(header);
    free(bytes);
}

static void test_header_length(void **state)
{
    (void)state;
    struct fail why;
    struct safetensors *file;
    const struct {
        uint64_t length;
        enum status status;
        const char *part;
    } cases[] = {{3, STATUS_FORMAT, "header length 3 goes beyond the file, which has 10 bytes"},
                 {8388608, STATUS_FORMAT, "header length 8388608 goes beyond the file"},
                 {8388609, STATUS_LIMIT, "header length 8388609 is over 8388608 bytes"},
                 {UINT64_MAX, STATUS_LIMIT, "header length 18446744073709551615"}};
    for (size_t i = 0; i < UNIT_COUNT(cases); i++) {
        size_t size;
        unsigned char *bytes = make_file("{}", 0, &size);
        memcpy(bytes, &cases[i].length, sizeof cases[i].length);
        unit_assert_fails(safetensors_parse(bytes, size, &file, &why), cases[i].status, why,
                          cases[i].part);
        free(bytes);
    }
}

/* In memory of exactly the size, so that a sanitizer sees any read past the end. */
static void test_cut_at_every_byte(void **state)
{
    (void)state;
    struct fail why;
    struct safetensors *file = NULL;
    size_t size;
    unsigned char *bytes = make_file(two_tensors, TWO_TENSORS_DATA, &size);
    for (size_t cut = 0; cut < size; cut++) {
        unsigned char *start = malloc(cut);
        memcpy(start, bytes, cut);
        why.message[0] = '\0';
        assert_int_equal(safetensors_parse(start, cut, &file, &why), STATUS_FORMAT);
        assert_true(why.message[0] != '\0');
        assert_null(file);
        free(start);
    }
    free(bytes);
}

static void cut_at_every_1000th_byte(const char *path)
{
    struct fail why;
    struct safetensors *file = NULL;
    struct buf whole;
    buf_init(&whole, (size_t)1 << 30);
    if (buf_read_file(&whole, path, &why) == STATUS_NOT_FOUND)
        skip();
    for (size_t cut = 0; cut < whole.size; cut += 1000)
        assert_int_equal(safetensors_parse((const unsigned char *)whole.data, cut, &file, &why),
                         STATUS_FORMAT);
    unit_assert_ok(safetensors_parse((const unsigned char *)whole.data, whole.size, &file, &why),
                   why);
    safetensors_close(file);
    buf_finish(&whole);
}

static void test_cut_of_a_model(void **state)
{
    (void)state;
    cut_at_every_1000th_byte("tests/golden/towers/openai/model.safetensors");
}

static void test_cut_of_the_shipped_model(void **state)
{
    (void)state;
    cut_at_every_1000th_byte("engine/models/emoji-clip/model.safetensors");
}

static void test_files(void **state)
{
    (void)state;
    struct fail why;
    struct safetensors *file;
    char folder[] = "/tmp/test_safetensors.XXXXXX", path[64];
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/file", folder);
    unit_assert_fails(safetensors_open(path, &file, &why), STATUS_NOT_FOUND, why, path);
    unit_assert_fails(safetensors_open(folder, &file, &why), STATUS_FORMAT, why,
                      "not a regular file");
    assert_int_equal(mkfifo(path, 0600), 0);
    unit_assert_fails(safetensors_open(path, &file, &why), STATUS_FORMAT, why,
                      "not a regular file");
    unlink(path);

    FILE *stream = fopen(path, "wb");
    fclose(stream);
    unit_assert_fails(safetensors_open(path, &file, &why), STATUS_FORMAT, why, "the file is empty");
    stream = fopen(path, "wb");
    fwrite("12345", 1, 5, stream);
    fclose(stream);
    unit_assert_fails(safetensors_open(path, &file, &why), STATUS_FORMAT, why,
                      "5 bytes are too short");
    assert_non_null(strstr(why.message, path));

    size_t size;
    unsigned char *bytes = make_file(two_tensors, TWO_TENSORS_DATA, &size);
    stream = fopen(path, "wb");
    fwrite(bytes, 1, size, stream);
    fclose(stream);
    unit_assert_ok(safetensors_open(path, &file, &why), why);
    assert_memory_equal(safetensors_find(file, "b")->data, bytes + size - TWO_TENSORS_DATA + 4, 24);
    safetensors_close(file);
    free(bytes);
    unlink(path);
    rmdir(folder);
}

static bool widen(enum safetensors_dtype dtype, const void *bits, size_t bytes, size_t count,
                  float *out)
{
    struct fail why;
    unsigned char *unaligned = malloc(bytes + 1);
    memcpy(unaligned + 1, bits, bytes);
    const struct safetensors_tensor tensor = {
        .name = "weights", .dtype = dtype, .count = count, .data = unaligned + 1, .bytes = bytes};
    enum status status = safetensors_to_f32(&tensor, out, &why);
    free(unaligned);
    if (status)
        unit_assert_fails(status, STATUS_INVALID, why, "tensor weights: holds a value that is not");
    return status == STATUS_OK;
}

static double half_value(uint16_t bits)
{
    int exponent = bits >> 10 & 31, mantissa = bits & 1023;
    double value = exponent ? ldexp(1024 + mantissa, exponent - 25) : ldexp(mantissa, -24);
    return bits & 0x8000 ? -value : value;
}

static void test_every_half(void **state)
{
    (void)state;
    enum { FINITE = 2 * 31 * 1024 };
    uint16_t *bits = malloc(FINITE * sizeof *bits);
    float *values = malloc(FINITE * sizeof *values);
    for (size_t i = 0; i < FINITE; i++)
        bits[i] = (uint16_t)(i < FINITE / 2 ? i : i - FINITE / 2 + 0x8000);
    assert_true(widen(SAFETENSORS_F16, bits, FINITE * sizeof *bits, FINITE, values));
    for (size_t i = 0; i < FINITE; i++) {
        assert_true((double)values[i] == half_value(bits[i]));
        assert_int_equal(signbit(values[i]) != 0, bits[i] >> 15);
    }
    for (uint32_t i = 0x7c00; i < 0x8000; i++) {
        const uint16_t pair[] = {(uint16_t)i, (uint16_t)(i | 0x8000)};
        assert_false(widen(SAFETENSORS_F16, &pair[0], 2, 1, values));
        assert_false(widen(SAFETENSORS_F16, &pair[1], 2, 1, values));
    }
    free(bits);
    free(values);
}

static void test_every_bfloat(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 0x10000; i++) {
        const uint16_t bits = (uint16_t)i;
        const uint32_t expected = i << 16;
        float value;
        if ((i & 0x7f80) == 0x7f80) {
            assert_false(widen(SAFETENSORS_BF16, &bits, 2, 1, &value));
        } else {
            assert_true(widen(SAFETENSORS_BF16, &bits, 2, 1, &value));
            assert_memory_equal(&value, &expected, sizeof value);
        }
    }
}

static void test_singles(void **state)
{
    (void)state;
    enum { COUNT = 3001 }; /* several blocks and an odd rest */
    float values[COUNT], copy[COUNT];
    uint32_t seed = 1;
    for (size_t i = 0; i < COUNT; i++)
        values[i] = unit_random_float(&seed, 1e3f);
    values[0] = FLT_MAX;
    values[1] = -FLT_MIN / 2;
    assert_true(widen(SAFETENSORS_F32, values, sizeof values, COUNT, copy));
    assert_memory_equal(values, copy, sizeof values);
    const size_t places[] = {0, 1023, 1024, COUNT - 1};
    for (size_t i = 0; i < UNIT_COUNT(places); i++) {
        const float before = values[places[i]];
        values[places[i]] = NAN;
        assert_false(widen(SAFETENSORS_F32, values, sizeof values, COUNT, copy));
        values[places[i]] = -INFINITY;
        assert_false(widen(SAFETENSORS_F32, values, sizeof values, COUNT, copy));
        values[places[i]] = before;
    }
}

static void test_other_dtypes_are_refused(void **state)
{
    (void)state;
    struct fail why;
    float out;
    const unsigned char data[8] = {0};
    const struct safetensors_tensor tensor = {
        .name = "ids", .dtype = SAFETENSORS_I64, .count = 1, .data = data, .bytes = 8};
    unit_assert_fails(safetensors_to_f32(&tensor, &out, &why), STATUS_UNSUPPORTED, why,
                      "tensor ids: dtype is I64; must be F32, F16 or BF16");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tensors_are_found),
        cmocka_unit_test(test_shape_text),
        cmocka_unit_test(test_no_tensors),
        cmocka_unit_test(test_hostile_headers),
        cmocka_unit_test(test_long_name),
        cmocka_unit_test(test_deep_nesting),
        cmocka_unit_test(test_header_length),
        cmocka_unit_test(test_cut_at_every_byte),
        cmocka_unit_test(test_cut_of_a_model),
        cmocka_unit_test(test_cut_of_the_shipped_model),
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_every_half),
        cmocka_unit_test(test_every_bfloat),
        cmocka_unit_test(test_singles),
        cmocka_unit_test(test_other_dtypes_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
