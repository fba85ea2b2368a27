/* Pool files with something wrong in a tensor, and files that are cut. */
#include "tests/unit/pool_parts.h"

enum { TENSORS = 3 };

static struct pool_part *part_at(struct pool_parts *parts, size_t index)
{
    struct pool_part *all[TENSORS] = {&parts->values, &parts->keys, &parts->mean};
    return all[index];
}

/* With the part in another shape, which is put back afterwards. */
static void refuse_shape(struct pool_parts *parts, struct pool_part *part, uint32_t rank,
                         const size_t *shape, const char *message)
{
    struct pool_part before = *part;
    part->data = NULL;
    pool_parts_reshape(part, rank, shape);
    pool_parts_refused(parts, STATUS_INVALID, message);
    free(part->data);
    *part = before;
}

static void test_missing_tensor(void **state)
{
    (void)state;
    struct pool_parts parts;
    char message[64];
    pool_parts_open(&parts, "deep_vision", "plain");
    for (size_t i = 0; i < TENSORS; i++) {
        struct pool_part *part = part_at(&parts, i);
        const char *name = part->name;
        snprintf(message, sizeof message, "tensor %s is missing", name);
        part->name = NULL;
        pool_parts_refused(&parts, STATUS_INVALID, message);
        part->name = "another";
        pool_parts_refused(&parts, STATUS_INVALID, message);
        part->name = name;
    }
    pool_parts_accepted(&parts);
    pool_parts_close(&parts);
}

/* One dimension more, one less, none at all, and each dimension in turn of length 0. */
static void test_wrong_rank(void **state)
{
    (void)state;
    static const char *const shapes[TENSORS] = {"[groups, prompts, tokens, width]",
                                                "[groups, prompts, width]", "[blocks, width]"};
    struct pool_parts parts;
    char message[128];
    pool_parts_open(&parts, "deep_vision", "plain");
    for (size_t i = 0; i < TENSORS; i++) {
        struct pool_part *part = part_at(&parts, i);
        uint32_t rank = part->rank;
        size_t shape[SAFETENSORS_MAX_RANK] = {0};
        memcpy(shape, part->shape, rank * sizeof *shape);
        shape[rank] = 1;
        snprintf(message, sizeof message, "tensor %s has shape ", part->name);
        refuse_shape(&parts, part, rank + 1, shape, message);
        refuse_shape(&parts, part, rank - 1, shape, message);
        refuse_shape(&parts, part, 0, shape, message);
        snprintf(message, sizeof message, "; expected %s", shapes[i]);
        refuse_shape(&parts, part, rank - 1, shape, message);
        for (uint32_t d = 0; d < rank; d++) {
            shape[d] = 0;
            refuse_shape(&parts, part, rank, shape, message);
            shape[d] = part->shape[d];
        }
    }
    pool_parts_close(&parts);
}

static void test_wrong_dtype(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        size_t bytes;
    } dtypes[] = {{"I64", 8}, {"F64", 8}, {"I32", 4}, {"I16", 2}, {"U8", 1}, {"BOOL", 1}};
    struct pool_parts parts;
    char message[96];
    pool_parts_open(&parts, "deep_vision", "plain");
    for (size_t i = 0; i < TENSORS; i++)
        for (size_t j = 0; j < UNIT_COUNT(dtypes); j++) {
            struct pool_part *part = part_at(&parts, i), before = *part;
            part->dtype = dtypes[j].name;
            part->bytes = before.bytes / sizeof(float) * dtypes[j].bytes;
            part->data = calloc(part->bytes, 1);
            snprintf(message, sizeof message, "tensor %s: dtype is %s; must be F32, F16 or BF16",
                     part->name, part->dtype);
            pool_parts_refused(&parts, STATUS_UNSUPPORTED, message);
            free(part->data);
            *part = before;
        }
    part_at(&parts, 0)->dtype = "F8";
    pool_parts_refused(&parts, STATUS_UNSUPPORTED, "tensor pool.values: dtype F8");
    pool_parts_close(&parts);
}

static void check_not_finite(const char *model, const char *variant, const unsigned char *bits,
                             size_t size)
{
    struct pool_parts parts;
    char message[96];
    pool_parts_open(&parts, model, variant);
    for (size_t i = 0; i < TENSORS; i++) {
        struct pool_part *part = part_at(&parts, i);
        const size_t places[] = {0, part->bytes / size / 2 * size, part->bytes - size};
        snprintf(message, sizeof message, "tensor %s: holds a value that is not finite",
                 part->name);
        for (size_t j = 0; j < UNIT_COUNT(places); j++) {
            unsigned char before[sizeof(float)];
            memcpy(before, part->data + places[j], size);
            memcpy(part->data + places[j], bits, size);
            pool_parts_refused(&parts, STATUS_INVALID, message);
            memcpy(part->data + places[j], before, size);
        }
    }
    pool_parts_accepted(&parts);
    pool_parts_close(&parts);
}

static void test_value_not_finite(void **state)
{
    (void)state;
    static const uint32_t singles[] = {0x7fc00000, 0xffc00000, 0x7f800001, 0x7f800000, 0xff800000};
    static const uint16_t brains[] = {0x7fc0, 0x7f81, 0x7f80, 0xff80};
    static const uint16_t halves[] = {0x7e00, 0x7c01, 0x7c00, 0xfc00};
    for (size_t i = 0; i < UNIT_COUNT(singles); i++)
        check_not_finite("deep_vision", "plain", (const void *)&singles[i], sizeof singles[i]);
    for (size_t i = 0; i < UNIT_COUNT(brains); i++)
        check_not_finite("even", "layers", (const void *)&brains[i], sizeof brains[i]);
    for (size_t i = 0; i < UNIT_COUNT(halves); i++)
        check_not_finite("deep_text", "singletons", (const void *)&halves[i], sizeof halves[i]);
}

static void test_shapes_that_do_not_match(void **state)
{
    (void)state;
    static const struct {
        size_t tensor, shape[4];
        const char *message;
    } wrong[] = {
        {1,
         {2, 16, 20},
         "tensor pool.keys has shape [2, 16, 20]; pool.values wants [1, 16, width]"},
        {1, {1, 17, 20}, "tensor pool.keys has shape [1, 17, 20]; pool.values wants"},
        {1, {1, 15, 20}, "tensor pool.keys has shape [1, 15, 20]; pool.values wants"},
        {1, {16, 1, 20}, "tensor pool.keys has shape [16, 1, 20]; pool.values wants"},
        {0, {1, 20, 1, 24}, "tensor pool.keys has shape [1, 16, 20]; pool.values wants [1, 20, "},
        {0, {2, 16, 1, 24}, "tensor pool.keys has shape [1, 16, 20]; pool.values wants [2, 16, "},
        {2, {2, 19}, "tensor query_mean has shape [2, 19]; pool.keys wants [blocks, 20]"},
        {2, {20, 2}, "tensor query_mean has shape [20, 2]; pool.keys wants [blocks, 20]"},
        {1, {1, 16, 21}, "tensor query_mean has shape [2, 20]; pool.keys wants [blocks, 21]"},
    };
    struct pool_parts parts;
    pool_parts_open(&parts, "deep_vision", "plain");
    for (size_t i = 0; i < UNIT_COUNT(wrong); i++) {
        struct pool_part *part = part_at(&parts, wrong[i].tensor);
        refuse_shape(&parts, part, part->rank, wrong[i].shape, wrong[i].message);
    }
    pool_parts_close(&parts);
}

static void test_groups(void **state)
{
    (void)state;
    struct pool_parts parts;
    pool_parts_open(&parts, "deep_vision", "plain");
    for (size_t groups = 1; groups <= 5; groups++)
        for (size_t blocks = 2; blocks <= 4; blocks++) {
            char message[128];
            POOL_PARTS_RESHAPE(&parts.values, groups, 16, 1, 24);
            POOL_PARTS_RESHAPE(&parts.keys, groups, 16, 20);
            POOL_PARTS_RESHAPE(&parts.mean, blocks, 20);
            snprintf(message, sizeof message,
                     "tensor pool.values has %zu groups; must be 1, or %zu as query_mean", groups,
                     blocks);
            if (groups == 1 || groups == blocks)
                pool_parts_accepted(&parts);
            else
                pool_parts_refused(&parts, STATUS_INVALID, message);
        }
    pool_parts_close(&parts);
}

static void test_most_prompts(void **state)
{
    (void)state;
    struct pool_parts parts;
    pool_parts_open(&parts, "deep_vision", "plain");
    POOL_PARTS_RESHAPE(&parts.values, 1, POOL_FILE_MAX_PROMPTS, 1, 1);
    POOL_PARTS_RESHAPE(&parts.keys, 1, POOL_FILE_MAX_PROMPTS, 2);
    POOL_PARTS_RESHAPE(&parts.mean, 2, 2);
    pool_parts_set(&parts, "clusters", "65535");
    struct pool_file file = pool_parts_good(&parts);
    assert_int_equal(file.prompts, POOL_FILE_MAX_PROMPTS);
    assert_int_equal(file.clusters, 65535);
    pool_file_finish(&file);
    POOL_PARTS_RESHAPE(&parts.values, 1, POOL_FILE_MAX_PROMPTS + 1, 1, 1);
    POOL_PARTS_RESHAPE(&parts.keys, 1, POOL_FILE_MAX_PROMPTS + 1, 2);
    pool_parts_refused(&parts, STATUS_LIMIT,
                       "tensor pool.values holds 65536 prompts in a group; at most 65535");
    pool_parts_close(&parts);
}

/* Smallest shapes that there are. */
static void test_one_of_everything(void **state)
{
    (void)state;
    struct pool_parts parts;
    pool_parts_open(&parts, "deep_vision", "plain");
    POOL_PARTS_RESHAPE(&parts.values, 1, 1, 1, 1);
    POOL_PARTS_RESHAPE(&parts.keys, 1, 1, 1);
    POOL_PARTS_RESHAPE(&parts.mean, 1, 1);
    pool_parts_put(&parts.values, 0, 7);
    pool_parts_put(&parts.keys, 0, -8);
    pool_parts_put(&parts.mean, 0, 9);
    pool_parts_set(&parts, "clusters", "1");
    pool_parts_set(&parts, "depth", "1");
    struct pool_file file = pool_parts_good(&parts);
    assert_true(file.values[0] == 7 && file.keys[0] == -8 && file.query_mean[0] == 9);
    pool_file_finish(&file);
    pool_parts_close(&parts);
}

static void fill_key(struct pool_parts *parts, size_t key, float value)
{
    size_t width = parts->keys.shape[2];
    for (size_t d = 0; d < width; d++)
        pool_parts_put(&parts->keys, key * width + d, value);
}

static void test_key_of_length_zero(void **state)
{
    (void)state;
    static const size_t keys[] = {0, 5, 23, 24, 47};
    struct pool_parts parts;
    char message[96];
    for (size_t i = 0; i < UNIT_COUNT(keys); i++) {
        pool_parts_open(&parts, "deep_vision", "singletons");
        snprintf(message, sizeof message,
                 "tensor pool.keys: the key of prompt %zu in group %zu is zero", keys[i] % 24,
                 keys[i] / 24);
        fill_key(&parts, keys[i], i % 2 ? -0.0f : 0.0f);
        pool_parts_refused(&parts, STATUS_INVALID, message);
        pool_parts_put(&parts.keys, keys[i] * 20 + 19, 1e-45f);
        pool_parts_accepted(&parts);
        fill_key(&parts, keys[i], 3.4e38f);
        pool_parts_accepted(&parts);
        pool_parts_close(&parts);
    }
}

/* ---- Cut files ---- */

static void expect_bytes_refused(const char *bytes, size_t size, const char *what, size_t where)
{
    struct fail why = {.message = ""};
    struct pool_file file;
    enum status status = pool_parts_parse_bytes(bytes, size, &file, &why);
    if (!status || status == STATUS_NO_MEMORY || status == STATUS_INTERNAL)
        fail_msg("%s %zu: status %d", what, where, status);
    assert_int_equal(why.code, status);
    assert_true(strlen(why.message) > 8);
}

static void test_cut_at_every_byte(void **state)
{
    (void)state;
    static const char *const files[][2] = {{"deep_text", "singletons"}, {"deep_vision", "plain"}};
    for (size_t i = 0; i < UNIT_COUNT(files); i++) {
        struct pool_parts parts;
        struct buf bytes;
        pool_parts_open(&parts, files[i][0], files[i][1]);
        pool_parts_build(&parts, &bytes);
        for (size_t size = 0; size < bytes.size; size++)
            expect_bytes_refused(bytes.data, size, "cut at byte", size);
        unit_assert_ok(buf_append(&bytes, "\0", 1, NULL), (struct fail){.message = "memory"});
        expect_bytes_refused(bytes.data, bytes.size, "longer than", bytes.size - 1);
        buf_finish(&bytes);
        pool_parts_close(&parts);
    }
}

/* Whatever it becomes, it is refused with a reason or its numbers are within bounds. */
static void test_every_byte_of_the_header_changed(void **state)
{
    (void)state;
    static const char changes[] = {0, '0', '9', '"', ',', '}', '[', ' ', '\\', '\x80'};
    struct pool_parts parts;
    struct buf bytes;
    pool_parts_open(&parts, "deep_text", "singletons");
    pool_parts_build(&parts, &bytes);
    uint64_t header;
    size_t good = 0;
    memcpy(&header, bytes.data, sizeof header);
    for (size_t at = 0; at < sizeof header + header; at++)
        for (size_t i = 0; i < sizeof changes; i++) {
            struct fail why = {.message = ""};
            struct pool_file file;
            char before = bytes.data[at];
            bytes.data[at] = changes[i];
            enum status status = pool_parts_parse_bytes(bytes.data, bytes.size, &file, &why);
            bytes.data[at] = before;
            assert_true(!status || strlen(why.message) > 8);
            if (status)
                continue;
            good++;
            assert_true(file.clusters * file.per_cluster <= file.prompts);
            assert_true(file.clusters && file.per_cluster && file.depth <= file.blocks);
            pool_file_finish(&file);
        }
    assert_true(good > 100 && good < sizeof changes * header / 2);
    buf_finish(&bytes);
    pool_parts_close(&parts);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_missing_tensor),
        cmocka_unit_test(test_wrong_rank),
        cmocka_unit_test(test_wrong_dtype),
        cmocka_unit_test(test_value_not_finite),
        cmocka_unit_test(test_shapes_that_do_not_match),
        cmocka_unit_test(test_groups),
        cmocka_unit_test(test_most_prompts),
        cmocka_unit_test(test_one_of_everything),
        cmocka_unit_test(test_key_of_length_zero),
        cmocka_unit_test(test_cut_at_every_byte),
        cmocka_unit_test(test_every_byte_of_the_header_changed),
    };
    return cmocka_run_group_tests_name("pool tensors", tests, NULL, NULL);
}
