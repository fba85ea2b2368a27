/* What is read of a good pool file, and metadata that a file is refused for. */
#include "tests/unit/pool_parts.h"

/* ---- Good files ---- */

struct expected {
    const char *model, *variant;
    struct pool_file file; /* but for arrays */
    const char *cluster_space, *query_space, *retrieval;
};

static const struct expected expected_files[] = {
    {"deep_vision",
     "plain",
     {1, 16, 1, 24, 2, 20, NULL, NULL, NULL, 4, 1, 2, true, .metadata_count = 11},
     "raw",
     "joint",
     "distinct"},
    {"even",
     "layers",
     {3, 24, 1, 24, 3, 28, NULL, NULL, NULL, 4, 2, 3, true, .metadata_count = 12},
     "raw",
     "joint",
     "distinct"},
    {"deep_text",
     "singletons",
     {1, 24, 1, 32, 3, 28, NULL, NULL, NULL, 9, 2, 3, false, POOL_CLUSTER_LN, .metadata_count = 11},
     "ln",
     "joint",
     "distinct"},
    {"deep_text",
     "raw_queries",
     {3, 16, 1, 32, 3, 24, NULL, NULL, NULL, 4, 1, 2, false, POOL_CLUSTER_RAW, POOL_QUERY_RAW,
      .metadata_count = 11},
     "raw",
     "raw",
     "distinct"},
    {"deep_vision",
     "first",
     {1, 8, 3, 24, 2, 20, NULL, NULL, NULL, 1, 2, 1, true, POOL_CLUSTER_JOINT,
      .metadata_count = 11},
     "joint",
     "joint",
     "distinct"},
    {"deep_vision",
     "pooled",
     {1, 24, 1, 24, 2, 20, NULL, NULL, NULL, 4, 2, 1, true, .retrieval = POOL_RETRIEVAL_TOPK_POOLED,
      .has_logit_scale = true, .metadata_count = 12},
     "raw",
     "joint",
     "topk_pooled"},
};

static void check_fields(const struct pool_file *file, const struct pool_file *expected)
{
    assert_int_equal(file->groups, expected->groups);
    assert_int_equal(file->prompts, expected->prompts);
    assert_int_equal(file->tokens, expected->tokens);
    assert_int_equal(file->width, expected->width);
    assert_int_equal(file->blocks, expected->blocks);
    assert_int_equal(file->query_width, expected->query_width);
    assert_int_equal(file->clusters, expected->clusters);
    assert_int_equal(file->per_cluster, expected->per_cluster);
    assert_int_equal(file->depth, expected->depth);
    assert_int_equal(file->pos0, expected->pos0);
    assert_int_equal(file->cluster_space, expected->cluster_space);
    assert_int_equal(file->query_space, expected->query_space);
    assert_int_equal(file->retrieval, expected->retrieval);
    assert_int_equal(file->has_logit_scale, expected->has_logit_scale);
    assert_int_equal(file->metadata_count, expected->metadata_count);
}

/* Number index of a tensor as its definition has it. */
static double number_of(const struct pool_part *part, size_t index)
{
    uint16_t half;
    float single;
    if (!strcmp(part->dtype, "F32")) {
        memcpy(&single, part->data + index * sizeof single, sizeof single);
        return (double)single;
    }
    memcpy(&half, part->data + index * sizeof half, sizeof half);
    bool brain = !strcmp(part->dtype, "BF16");
    int mantissa_bits = brain ? 7 : 10, bias = brain ? 127 : 15;
    int mantissa = half & ((1 << mantissa_bits) - 1);
    int exponent = (half & 0x7fff) >> mantissa_bits;
    int whole = exponent ? mantissa + (1 << mantissa_bits) : mantissa;
    double size = ldexp(whole, (exponent ? exponent : 1) - bias - mantissa_bits);
    return half & 0x8000 ? -size : size;
}

static void check_numbers(const float *found, const struct pool_part *part)
{
    size_t count = 1;
    for (uint32_t i = 0; i < part->rank; i++)
        count *= part->shape[i];
    for (size_t i = 0; i < count; i++)
        if ((double)found[i] != number_of(part, i))
            fail_msg("%s[%zu] is %g, not %g", part->name, i, (double)found[i], number_of(part, i));
}

static void check_metadata(const struct pool_file *file, const struct pool_parts *parts)
{
    assert_int_equal(file->metadata_count, json_object_size(parts->metadata));
    for (size_t i = 0; i < file->metadata_count; i++) {
        const struct engine_pool_metadata *entry = &file->metadata[i];
        assert_string_equal(entry->value, pool_parts_text(parts, entry->key));
        assert_ptr_equal(pool_file_metadata(file, entry->key), entry->value);
        assert_true(!i || strcmp(entry[-1].key, entry->key) < 0);
    }
    assert_null(pool_file_metadata(file, "no such key"));
}

static void check_description(const struct pool_file *file, const struct expected *expected)
{
    struct engine_pool_info info;
    memset(&info, 0x5a, sizeof info);
    pool_file_describe(file, &info);
    assert_string_equal(info.name, expected->variant);
    assert_string_equal(info.sentence, "a photo of a {}.");
    assert_string_equal(info.cluster_space, expected->cluster_space);
    assert_string_equal(info.query_space, expected->query_space);
    assert_string_equal(info.retrieval, expected->retrieval);
    const struct pool_file told = {
        info.groups,
        info.prompts,
        info.tokens,
        info.text_width,
        info.text_blocks,
        info.query_width,
        NULL,
        NULL,
        NULL,
        info.clusters,
        info.per_cluster,
        info.depth,
        info.pos0,
        file->cluster_space,
        file->query_space,
        file->retrieval,
        file->has_logit_scale,
        .metadata_count = info.metadata_count,
    };
    check_fields(&told, &expected->file);
    assert_ptr_equal(info.metadata, file->metadata);
    assert_true(info.logit_scale == (expected->file.has_logit_scale ? (float)exp(3.25) : 0));
}

static void test_fields(void **state)
{
    (void)state;
    for (size_t i = 0; i < UNIT_COUNT(expected_files); i++) {
        const struct expected *expected = &expected_files[i];
        struct pool_parts parts;
        pool_parts_open(&parts, expected->model, expected->variant);
        struct pool_file file = pool_parts_good(&parts);
        check_fields(&file, &expected->file);
        check_numbers(file.keys, &parts.keys);
        check_numbers(file.values, &parts.values);
        check_numbers(file.query_mean, &parts.mean);
        check_metadata(&file, &parts);
        check_description(&file, expected);
        pool_file_finish(&file);
        pool_file_finish(&file);
        pool_parts_close(&parts);
    }
    pool_file_finish(NULL);
}

static void test_names_of_files(void **state)
{
    (void)state;
    static const struct {
        const char *path, *name;
    } names[] = {
        {"birds.safetensors", "birds"},
        {"a/b.c/birds.v2.safetensors", "birds.v2"},
        {"/birds", "birds"},
        {"birds.SAFETENSORS", "birds.SAFETENSORS"},
        {".safetensors", ".safetensors"},
        {"a/.safetensors", ".safetensors"},
        {"birds.safetensors.old", "birds.safetensors.old"},
        {"birds.pool.safetensors", "birds.pool"},
    };
    for (size_t i = 0; i < UNIT_COUNT(names); i++) {
        char *name = pool_file_name(names[i].path);
        assert_string_equal(name, names[i].name);
        free(name);
    }
    char path[POOL_FILE_MAX_NAME + 2] = {0};
    memset(path, 'x', sizeof path - 1);
    char *name = pool_file_name(path);
    assert_int_equal(strlen(name), POOL_FILE_MAX_NAME);
    free(name);
    memcpy(path + POOL_FILE_MAX_NAME - 1, "\xc3\xa9", 2); /* would be cut in two */
    name = pool_file_name(path);
    assert_int_equal(strlen(name), POOL_FILE_MAX_NAME - 1);
    free(name);
    name = pool_file_name("birds \xc3\xa9\xff\n.safetensors");
    assert_string_equal(name, "birds \xc3\xa9??");
    free(name);
}

/* ---- Bad metadata ---- */

static void test_missing_metadata(void **state)
{
    (void)state;
    static const char *const required[] = {"format",        "clusters",    "per_cluster",
                                           "depth",         "pos0",        "sentence",
                                           "cluster_space", "query_space", "retrieval"};
    static const char *const optional[] = {"name", "model_fingerprint", "logit_scale"};
    struct pool_parts parts;
    char part[64];
    pool_parts_open(&parts, "deep_vision", "pooled");
    for (size_t i = 0; i < UNIT_COUNT(required); i++) {
        snprintf(part, sizeof part, "metadata \"%s\" is missing", required[i]);
        pool_parts_refuse_text(&parts, required[i], NULL, STATUS_INVALID, part);
    }
    for (size_t i = 0; i < UNIT_COUNT(optional); i++) {
        pool_parts_set(&parts, optional[i], NULL);
        struct pool_file file = pool_parts_good(&parts);
        assert_null(pool_file_metadata(&file, optional[i]));
        pool_file_finish(&file);
    }
    json_object_clear(parts.metadata);
    pool_parts_refused(&parts, STATUS_INVALID, "metadata \"format\" is missing");
    pool_parts_close(&parts);
}

static void test_numbers(void **state)
{
    (void)state;
    static const char *const wrong[] = {"",
                                        "x",
                                        "-1",
                                        "+1",
                                        " 1",
                                        "1 ",
                                        "1x",
                                        "1.0",
                                        "0x1",
                                        "1e0",
                                        "\t1",
                                        "{}",
                                        "١",
                                        "18446744073709551615",
                                        "18446744073709551617",
                                        "99999999999999999999999999"};
    static const struct {
        const char *key, *range, *outside[3];
    } fields[] = {{"clusters", "from 1 to 65535", {"0", "65536", "4294967297"}},
                  {"per_cluster", "from 1 to 65535", {"0", "65536", "4294967297"}},
                  {"depth", "from 0 to 2", {"3", "65536", "4294967296"}},
                  {"pos0", "from 0 to 1", {"2", "256", "4294967296"}}};
    struct pool_parts parts;
    char part[160];
    pool_parts_open(&parts, "deep_vision", "plain");
    for (size_t i = 0; i < UNIT_COUNT(fields); i++) {
        for (size_t j = 0; j < UNIT_COUNT(wrong) + UNIT_COUNT(fields[i].outside); j++) {
            const char *value =
                j < UNIT_COUNT(wrong) ? wrong[j] : fields[i].outside[j - UNIT_COUNT(wrong)];
            snprintf(part, sizeof part, "metadata \"%s\" is \"%s\"; must be a whole number %s",
                     fields[i].key, strcmp(value, "\t1") ? value : "?1", fields[i].range);
            pool_parts_refuse_text(&parts, fields[i].key, value, STATUS_INVALID, part);
        }
    }
    pool_parts_close(&parts);
}

static void test_number_ranges(void **state)
{
    (void)state;
    static const char *const good[][2] = {{"depth", "0"},    {"depth", "1"}, {"depth", "2"},
                                          {"pos0", "0"},     {"pos0", "1"},  {"clusters", "1"},
                                          {"clusters", "16"}};
    struct pool_parts parts;
    pool_parts_open(&parts, "deep_vision", "plain");
    for (size_t i = 0; i < UNIT_COUNT(good); i++) {
        pool_parts_set(&parts, good[i][0], good[i][1]);
        struct pool_file file = pool_parts_good(&parts);
        size_t found = good[i][0][0] == 'd'   ? file.depth
                       : good[i][0][0] == 'p' ? file.pos0
                                              : file.clusters;
        assert_int_equal(found, strtoul(good[i][1], NULL, 10));
        pool_file_finish(&file);
    }
    pool_parts_refuse_text(
        &parts, "clusters", "17", STATUS_INVALID,
        "metadata \"clusters\" times \"per_cluster\" is 17, more than the 16 prompts");
    pool_parts_refuse_text(&parts, "per_cluster", "2", STATUS_INVALID,
                           "\"per_cluster\" is 32, more than");
    pool_parts_set(&parts, "clusters", "65535");
    pool_parts_refuse_text(&parts, "per_cluster", "65535", STATUS_INVALID,
                           "is 4294836225, more than");
    pool_parts_close(&parts);
}

static void test_choices(void **state)
{
    (void)state;
    static const struct {
        const char *key, *choices, *wrong[4];
    } fields[] = {
        {"cluster_space", "raw, ln, joint", {"", "RAW", "raw ", "cosine"}},
        {"query_space", "joint, raw", {"", "ln", "jointly", "1"}},
        {"retrieval", "distinct, topk_pooled", {"", "topk", "distinc", "distinct,topk_pooled"}},
    };
    struct pool_parts parts;
    char part[160];
    pool_parts_open(&parts, "deep_vision", "plain");
    for (size_t i = 0; i < UNIT_COUNT(fields); i++)
        for (size_t j = 0; j < UNIT_COUNT(fields[i].wrong); j++) {
            snprintf(part, sizeof part, "metadata \"%s\" is \"%s\"; must be one of %s",
                     fields[i].key, fields[i].wrong[j], fields[i].choices);
            pool_parts_refuse_text(&parts, fields[i].key, fields[i].wrong[j], STATUS_INVALID, part);
        }
    static const char *const formats[] = {"", "attriprompt.pool/2", "attriprompt.pool/1 ", "pt"};
    for (size_t i = 0; i < UNIT_COUNT(formats); i++)
        pool_parts_refuse_text(&parts, "format", formats[i], STATUS_UNSUPPORTED,
                               "this program reads \"" POOL_FILE_FORMAT "\"");
    pool_parts_close(&parts);
}

static void test_texts(void **state)
{
    (void)state;
#define DIGITS "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcde" /* 63 */
    static const char *const sentences[] = {"", "no place", "{ }", "{} or {}", "{}{}", "}{"};
    static const char *const fingerprints[] = {"",         DIGITS,     DIGITS "fx",   DIGITS "F",
                                               DIGITS "g", DIGITS " ", ("0x" DIGITS), "none"};
    struct pool_parts parts;
    char name[POOL_FILE_MAX_NAME + 2] = {0};
    pool_parts_open(&parts, "deep_vision", "plain");
    for (size_t i = 0; i < UNIT_COUNT(sentences); i++)
        pool_parts_refuse_text(&parts, "sentence", sentences[i], STATUS_INVALID,
                               "metadata: sentence \"");
    for (size_t i = 0; i < UNIT_COUNT(fingerprints); i++)
        pool_parts_refuse_text(&parts, "model_fingerprint", fingerprints[i], STATUS_INVALID,
                               "metadata \"model_fingerprint\" is not 64 digits");
    pool_parts_refuse_text(&parts, "name", "", STATUS_INVALID,
                           "metadata \"name\" must have 1 to 64 bytes");
    memset(name, 'x', sizeof name - 1);
    pool_parts_refuse_text(&parts, "name", name, STATUS_INVALID,
                           "metadata \"name\" must have 1 to 64 bytes");
    pool_parts_set(&parts, "name", name + 1);
    pool_parts_accepted(&parts);
    pool_parts_set(&parts, "name", "x");
    pool_parts_set(&parts, "sentence", "{}");
    pool_parts_set(&parts, "model_fingerprint", DIGITS "f");
    pool_parts_accepted(&parts);
    pool_parts_close(&parts);
#undef DIGITS
}

static void test_logit_scale(void **state)
{
    (void)state;
    static const char *const wrong[] = {"",          "nan",   "NAN(1)", "inf",  "-infinity", "11",
                                        "10.000001", "-10.5", "1e400",  "text", "1x",        "1 ",
                                        " 1",        "0x1p1", "1,5",    "--1"};
    static const char *const good[] = {"0", "-0", "4.6052", "10", "-10", "1e-400", "3.25"};
    struct pool_parts parts;
    pool_parts_open(&parts, "deep_vision", "plain");
    for (size_t i = 0; i < UNIT_COUNT(wrong); i++) {
        char part[96];
        snprintf(part, sizeof part, "metadata \"logit_scale\" is \"%s\"; must be a number",
                 wrong[i]);
        pool_parts_refuse_text(&parts, "logit_scale", wrong[i], STATUS_INVALID, part);
    }
    for (size_t i = 0; i < UNIT_COUNT(good); i++) {
        pool_parts_set(&parts, "logit_scale", good[i]);
        struct pool_file file = pool_parts_good(&parts);
        assert_true(file.has_logit_scale);
        assert_true(file.logit_scale == (float)exp(atof(good[i])));
        pool_file_finish(&file);
    }
    pool_parts_close(&parts);
}

/* Texts end up in messages, which stay short. */
static void test_long_texts(void **state)
{
    (void)state;
    static const char *const keys[] = {"format",      "clusters",  "depth",       "pos0",    "name",
                                       "query_space", "retrieval", "logit_scale", "sentence"};
    struct pool_parts parts;
    char *text = calloc(100001, 1), part[32];
    memset(text, 'y', 100000);
    pool_parts_open(&parts, "deep_vision", "plain");
    for (size_t i = 0; i < UNIT_COUNT(keys); i++) {
        snprintf(part, sizeof part, strcmp(keys[i], "sentence") ? "\"%s\"" : "%s", keys[i]);
        pool_parts_refuse_text(&parts, keys[i], text,
                               strcmp(keys[i], "format") ? STATUS_INVALID : STATUS_UNSUPPORTED,
                               part);
    }
    pool_parts_set(&parts, "colour", text);
    pool_parts_set(&parts, "", "no key");
    struct pool_file file = pool_parts_good(&parts);
    assert_string_equal(pool_file_metadata(&file, "colour"), text);
    assert_string_equal(pool_file_metadata(&file, ""), "no key");
    pool_file_finish(&file);
    pool_parts_close(&parts);
    free(text);
}

/* Each changes bytes of the file to as many others. */
static void test_metadata_in_the_file(void **state)
{
    (void)state;
    static const struct {
        const char *from, *to;
        enum status status;
        const char *part;
    } edits[] = {
        {"\"clusters\":\"4\"", "\"clusters\": 4 ", STATUS_FORMAT,
         "value of clusters is not a text"},
        {"\"pos0\":\"1\"", "\"pos0\":[ ]", STATUS_FORMAT, "value of pos0 is not a text"},
        {"a photo of",
         "a ph\xfft"
         "o of",
         STATUS_FORMAT, "not valid JSON"},
        {"a photo of", "a \\u0000of", STATUS_FORMAT, "not valid JSON"},
        {"\"__metadata__\"", "\"__Metadata__\"", STATUS_FORMAT, "tensor __Metadata__"},
        {"\"clusters\":", "\"Clusters\":", STATUS_INVALID, "metadata \"clusters\" is missing"},
        {"\"depth\":", "\"pos0\" :", STATUS_FORMAT, "not valid JSON"},
    };
    struct pool_parts parts;
    pool_parts_open(&parts, "deep_vision", "plain");
    for (size_t i = 0; i < UNIT_COUNT(edits); i++) {
        struct fail why;
        struct buf bytes;
        struct pool_file file;
        size_t length = strlen(edits[i].from);
        pool_parts_build(&parts, &bytes);
        char *place = memmem(bytes.data, bytes.size, edits[i].from, length);
        assert_non_null(place);
        assert_int_equal(strlen(edits[i].to), length);
        memcpy(place, edits[i].to, length);
        unit_assert_fails(pool_parts_parse_bytes(bytes.data, bytes.size, &file, &why),
                          edits[i].status, why, edits[i].part);
        buf_finish(&bytes);
    }
    pool_parts_close(&parts);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fields),
        cmocka_unit_test(test_names_of_files),
        cmocka_unit_test(test_missing_metadata),
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_number_ranges),
        cmocka_unit_test(test_choices),
        cmocka_unit_test(test_texts),
        cmocka_unit_test(test_logit_scale),
        cmocka_unit_test(test_long_texts),
        cmocka_unit_test(test_metadata_in_the_file),
    };
    return cmocka_run_group_tests_name("pool file", tests, NULL, NULL);
}
