#include "tests/unit/unit.h"

#include "api/rest/classify_request.h"

static const struct classify_limits limits = {.max_images = 2,
                                              .max_labels = 4,
                                              .max_label_texts = 6,
                                              .default_labels = 3,
                                              .max_timeout_ms = 1000};

static enum status read_json(struct classify_request *request, const char *text, struct fail *why)
{
    classify_request_init(request, &limits);
    return classify_request_read(request, CLASSIFY_BODY_JSON, "application/json", text,
                                 strlen(text), why);
}

static void assert_json_refused(const char *text, enum status status, const char *part)
{
    struct fail why;
    struct classify_request request;
    unit_assert_fails(read_json(&request, text, &why), status, why, part);
    classify_request_finish(&request);
}

static void test_json(void **state)
{
    (void)state;
    struct fail why;
    struct classify_request request;
    unit_assert_ok(read_json(&request,
                             "{\"images\":[{\"data\":\"Zm9v\"},"
                             "{\"data\":\"DATA:image/png;base64,Zg==\"}],"
                             "\"labels\":[\" a \",\"b,c\"],\"sentence\":[\"{}\",\"a {}\"],"
                             "\"top_k\":3,\"threshold\":0.5,\"timeout_ms\":7,\"priority\":\"low\"}",
                             &why),
                   why);
    assert_int_equal(request.image_count, 2);
    assert_int_equal(request.images[0].size, 3);
    assert_memory_equal(request.images[0].bytes, "foo", 3);
    assert_int_equal(request.images[1].size, 1);
    assert_int_equal(request.labels.count, 2);
    assert_string_equal(request.labels.texts[0], "a");
    assert_string_equal(request.labels.texts[1], "b,c");
    assert_int_equal(request.sentences.count, 2);
    assert_int_equal(request.top_k, 3);
    unit_assert_near(request.threshold, 0.5, 0);
    assert_int_equal(request.timeout_ms, 7);
    assert_true(request.low_priority);
    classify_request_finish(&request);
}

static void test_json_defaults(void **state)
{
    (void)state;
    struct fail why;
    struct classify_request request;
    unit_assert_ok(read_json(&request, "{\"images\":[{\"data\":\"Zm9v\"}]}", &why), why);
    assert_int_equal(request.labels.count, 0);
    assert_int_equal(request.sentences.count, 0);
    assert_int_equal(request.top_k, 5);
    assert_int_equal(request.timeout_ms, 0);
    assert_false(request.has_threshold);
    assert_false(request.low_priority);
    classify_request_finish(&request);
}

static void test_json_bad_base64_fails_its_picture_only(void **state)
{
    (void)state;
    struct fail why;
    struct classify_request request;
    unit_assert_ok(read_json(&request,
                             "{\"images\":[{\"data\":\"Z*\"},{\"data\":\"data:image/png,x\"}]}",
                             &why),
                   why);
    assert_int_equal(request.images[0].why.code, STATUS_FORMAT);
    assert_non_null(strstr(request.images[0].why.message, "character 2"));
    assert_int_equal(request.images[1].why.code, STATUS_FORMAT);
    assert_non_null(strstr(request.images[1].why.message, ";base64,"));
    classify_request_finish(&request);
}

static void test_json_refused(void **state)
{
    (void)state;
    assert_json_refused("", STATUS_FORMAT, "line 1");
    assert_json_refused("{\"images\":[}", STATUS_FORMAT, "line 1, column 12");
    assert_json_refused("[]", STATUS_INVALID, "not an object");
    assert_json_refused("{}", STATUS_INVALID, "no picture");
    assert_json_refused("{\"image\":1}", STATUS_INVALID, "\"image\"");
    assert_json_refused("{\"labels\":[\"a\\u0000b\"]}", STATUS_FORMAT, "line 1");
    assert_json_refused("{\"labels\":[\"a\",\"b\",\"c\",\"d\",\"e\"]}", STATUS_LIMIT, "4 items");
    assert_json_refused("{\"images\":[{\"data\":\"Zm9v\"},{\"data\":\"\"},{\"data\":\"Zg\"}]}",
                        STATUS_LIMIT, "2 images");
    assert_json_refused("{\"images\":[{\"data\":\"\"}],\"labels\":[\"a\",\"b\",\"c\",\"d\"],"
                        "\"sentence\":[\"{}\",\"a {}\"]}",
                        STATUS_LIMIT, "4 labels times 2 sentences");
    assert_json_refused("{\"images\":[{\"data\":\"\"}],\"sentence\":[\"{}\",\"a {}\",\"b {}\"]}",
                        STATUS_LIMIT, "3 labels times 3 sentences"); /* the model's own labels */
}

static void test_json_of_very_many_or_very_deep_values(void **state)
{
    (void)state;
    enum { SIZE = 1 << 20 };
    char *text = malloc(SIZE + 1);
    memset(text, '[', SIZE);
    text[SIZE] = '\0';
    assert_json_refused(text, STATUS_LIMIT, "values");
    memset(text, ',', SIZE); /* inside a string they do not count */
    memcpy(text, "{\"labels\":[\"\\\"", 14);
    memcpy(text + SIZE - 3, "\"]}", 3);
    assert_json_refused(text, STATUS_INVALID, "no picture");
    free(text);
}

static void test_fields_as_text(void **state)
{
    (void)state;
    struct fail why;
    struct classify_request request;
    classify_request_init(&request, &limits);
    unit_assert_ok(classify_request_set(&request, "labels", "a, b", 4, &why), why);
    unit_assert_ok(classify_request_set(&request, "labels", "c", 1, &why), why);
    assert_int_equal(request.labels.count, 3);
    assert_string_equal(request.labels.texts[1], "b");
    unit_assert_ok(classify_request_set(&request, "top_k", "12", 2, &why), why);
    assert_int_equal(request.top_k, 12);
    unit_assert_ok(classify_request_set(&request, "threshold", "0.25", 4, &why), why);
    unit_assert_near(request.threshold, 0.25, 0);
    unit_assert_ok(classify_request_set(&request, "pool", "birds", 5, &why), why);
    assert_string_equal(request.pool, "birds");
    unit_assert_fails(classify_request_set(&request, "explain", "maybe", 5, &why), STATUS_INVALID,
                      why, "true or false");
    unit_assert_ok(classify_request_set(&request, "explain", "1", 1, &why), why);
    assert_true(request.explain);
    unit_assert_fails(classify_request_set(&request, "shortlist", "-1", 2, &why), STATUS_INVALID,
                      why, "at least 0");
    unit_assert_ok(classify_request_set(&request, "shortlist", "20", 2, &why), why);
    assert_int_equal(request.shortlist, 20);
    static const struct {
        const char *name, *value, *part;
    } wrong[] = {
        {"top_k", "1", "twice"},          {"threshold", "0.5", "twice"},
        {"timeout_ms", "0", "1 to 1000"}, {"timeout_ms", "1001", "1 to 1000"},
        {"timeout_ms", "", "1 to 1000"},  {"timeout_ms", "1e2", "1 to 1000"},
        {"labels", "", "blank"},          {"labels", "\xff", "UTF-8"},
        {"sentence", " ", "blank"},       {"colour", "x", "unknown field \"colour\""},
        {"pool", "x", "twice"},           {"explain", "true", "twice"},
        {"shortlist", "1", "twice"},
    };
    for (size_t i = 0; i < UNIT_COUNT(wrong); i++)
        unit_assert_fails(classify_request_set(&request, wrong[i].name, wrong[i].value,
                                               strlen(wrong[i].value), &why),
                          STATUS_INVALID, why, wrong[i].part);
    classify_request_finish(&request);
}

static void test_priority(void **state)
{
    (void)state;
    static const char *const wrong[] = {"", "high", "Low", "lowest", "normal "};
    static const char values[] = "\"priority\" must be \"normal\" or \"low\"";
    struct fail why;
    struct classify_request request;
    classify_request_init(&request, &limits);
    for (size_t i = 0; i < UNIT_COUNT(wrong); i++)
        unit_assert_fails(
            classify_request_set(&request, "priority", wrong[i], strlen(wrong[i]), &why),
            STATUS_INVALID, why, values);
    unit_assert_ok(classify_request_set(&request, "priority", "normal", 6, &why), why);
    assert_false(request.low_priority);
    unit_assert_fails(classify_request_set(&request, "priority", "low", 3, &why), STATUS_INVALID,
                      why, "twice");
    assert_false(request.low_priority);
    classify_request_finish(&request);
    assert_json_refused("{\"priority\":1}", STATUS_INVALID, values);
    assert_json_refused("{\"priority\":\"high\"}", STATUS_INVALID, values);
    assert_json_refused("{\"priority\":null}", STATUS_INVALID, values);
}

static void test_body_kinds(void **state)
{
    (void)state;
    static const struct {
        const char *type;
        enum classify_body kind;
    } known[] = {
        {"image/jpeg", CLASSIFY_BODY_RAW},
        {"IMAGE/PNG", CLASSIFY_BODY_RAW},
        {"application/octet-stream", CLASSIFY_BODY_RAW},
        {"multipart/form-data; boundary=x", CLASSIFY_BODY_FORM},
        {"application/json;charset=utf-8", CLASSIFY_BODY_JSON},
    };
    struct fail why;
    enum classify_body kind;
    for (size_t i = 0; i < UNIT_COUNT(known); i++) {
        unit_assert_ok(classify_request_body_kind(known[i].type, &kind, &why), why);
        assert_int_equal(kind, known[i].kind);
    }
    static const char *const unknown[] = {"", "text/json", "application/jsonx", "multipart/mixed"};
    for (size_t i = 0; i < UNIT_COUNT(unknown); i++)
        unit_assert_fails(classify_request_body_kind(unknown[i], &kind, &why), STATUS_UNSUPPORTED,
                          why, unknown[i]);
    unit_assert_fails(classify_request_body_kind(NULL, &kind, &why), STATUS_UNSUPPORTED, why,
                      "(missing)");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_json),
        cmocka_unit_test(test_json_defaults),
        cmocka_unit_test(test_json_bad_base64_fails_its_picture_only),
        cmocka_unit_test(test_json_refused),
        cmocka_unit_test(test_json_of_very_many_or_very_deep_values),
        cmocka_unit_test(test_fields_as_text),
        cmocka_unit_test(test_priority),
        cmocka_unit_test(test_body_kinds),
    };
    return cmocka_run_group_tests_name("classify_request", tests, NULL, NULL);
}
