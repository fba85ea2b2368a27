#include "tests/unit/unit.h"

#include "api/rest/label_set_request.h"
#include "engine/base/buf.h"

static const struct label_set_limits limits = {
    .max_labels = 40, .max_texts = 60, .max_timeout_ms = 1000};

static enum status read_bytes(struct label_set_request *request, bool is_patch, const char *body,
                              size_t size, struct fail *why)
{
    return label_set_request_read(request, is_patch, body, size, &limits, why);
}

static void read_ok(struct label_set_request *request, bool is_patch, const char *body)
{
    struct fail why;
    unit_assert_ok(read_bytes(request, is_patch, body, strlen(body), &why), why);
}

static void assert_refused(bool is_patch, const char *body, enum status status, const char *part)
{
    struct fail why;
    struct label_set_request request;
    unit_assert_fails(read_bytes(&request, is_patch, body, strlen(body), &why), status, why, part);
    label_set_request_finish(&request);
}

/* "a|b|" */
static void assert_texts(const struct text_list *list, const char *expected)
{
    char texts[1024] = "";
    for (size_t i = 0; i < list->count; i++) {
        strncat(texts, list->texts[i], sizeof texts - strlen(texts) - 1);
        strncat(texts, "|", sizeof texts - strlen(texts) - 1);
    }
    assert_string_equal(texts, expected);
}

static void test_every_field_of_a_put(void **state)
{
    (void)state;
    struct label_set_request request;
    read_ok(&request, false,
            "{\"labels\":[\" cat\\n\",\"dog\"],\"sentence\":[\"a {} \",\"{}\"],"
            "\"pool\":\"groups\",\"default\":true,\"timeout_ms\":1000}");
    assert_texts(&request.names, "cat|dog|");
    assert_int_equal(request.aliases.count, 0);
    assert_texts(&request.sentences, "a {}|{}|");
    assert_string_equal(request.pool, "groups");
    assert_int_equal(request.make_default, STORE_DEFAULT_SET);
    assert_int_equal(request.timeout_ms, 1000);
    assert_int_equal(request.removed.count, 0);
    label_set_request_finish(&request);

    read_ok(&request, false, "{\"sentence\":\"the {}\",\"default\":false,\"labels\":[\"cat\"]}");
    assert_texts(&request.sentences, "the {}|");
    assert_int_equal(request.make_default, STORE_DEFAULT_CLEAR);
    label_set_request_finish(&request);

    read_ok(&request, false, "{\"labels\":[\"cat\"]}");
    assert_string_equal(request.pool, "");
    assert_int_equal(request.make_default, STORE_DEFAULT_KEEP);
    assert_int_equal(request.timeout_ms, 0);
    assert_int_equal(request.sentences.count, 0);
    label_set_request_finish(&request);
}

static void test_every_field_of_a_patch(void **state)
{
    (void)state;
    struct label_set_request request;
    read_ok(&request, true,
            "{\"remove\":[\"dog \",\"ox\"],\"add\":[\"cat\",{\"name\":\"cow\","
            "\"aliases\":[\"calf\"]}],\"default\":true,\"timeout_ms\":1}");
    assert_texts(&request.names, "cat|cow|");
    assert_texts(&request.aliases, "calf|");
    assert_int_equal(request.alias_of[0], 1);
    assert_texts(&request.removed, "dog|ox|");
    assert_int_equal(request.make_default, STORE_DEFAULT_SET);
    assert_int_equal(request.timeout_ms, 1);
    label_set_request_finish(&request);

    read_ok(&request, true, "{\"default\":false}");
    assert_int_equal(request.make_default, STORE_DEFAULT_CLEAR);
    assert_int_equal(request.names.count + request.removed.count, 0);
    label_set_request_finish(&request);

    read_ok(&request, true, "{\"remove\":[\"cat\"],\"add\":[\"cat\"]}");
    assert_texts(&request.names, "cat|");
    assert_texts(&request.removed, "cat|");
    label_set_request_finish(&request);
}

static void test_aliases(void **state)
{
    (void)state;
    struct label_set_request request;
    read_ok(&request, false,
            "{\"labels\":[{\"name\":\" cat \",\"aliases\":[\"kitten \",\"tomcat\"]},\"dog\","
            "{\"aliases\":[],\"name\":\"ox\"},{\"name\":\"hen\"},"
            "{\"aliases\":[\"foal\"],\"name\":\"horse\"}]}");
    assert_texts(&request.names, "cat|dog|ox|hen|horse|");
    assert_texts(&request.aliases, "kitten|tomcat|foal|");
    assert_int_equal(request.alias_of[0], 0);
    assert_int_equal(request.alias_of[1], 0);
    assert_int_equal(request.alias_of[2], 4);
    label_set_request_finish(&request);
}

/* More than the lists have room for at first, several times. */
static void test_many_aliases(void **state)
{
    (void)state;
    struct fail why;
    struct buf body;
    struct label_set_request request;
    const struct label_set_limits many = {
        .max_labels = 1000, .max_texts = 1000, .max_timeout_ms = 1};
    buf_init(&body, 1 << 20);
    unit_assert_ok(buf_append_text(&body, "{\"labels\":[", &why), why);
    for (int i = 0; i < 100; i++)
        unit_assert_ok(buf_printf(&body, &why,
                                  "%s{\"name\":\"n %d\",\"aliases\":[\"a %d\",\"b %d\",\"c %d\"]}",
                                  i ? "," : "", i, i, i, i),
                       why);
    unit_assert_ok(buf_append_text(&body, "]}", &why), why);
    unit_assert_ok(label_set_request_read(&request, false, body.data, body.size, &many, &why), why);
    assert_int_equal(request.names.count, 100);
    assert_int_equal(request.aliases.count, 300);
    for (size_t i = 0; i < 300; i++) {
        char expected[16];
        snprintf(expected, sizeof expected, "%c %zu", "abc"[i % 3], i / 3);
        assert_string_equal(request.aliases.texts[i], expected);
        assert_int_equal(request.alias_of[i], i / 3);
    }
    label_set_request_finish(&request);
    buf_finish(&body);
}

static void test_labels_that_are_none(void **state)
{
    (void)state;
    static const struct {
        const char *item, *part;
    } cases[] = {
        {"1", "item 2"},
        {"null", "item 2"},
        {"[\"a\"]", "item 2"},
        {"\"\"", "item 2 is blank"},
        {"\" \\t\"", "item 2 is blank"},
        {"{}", "item 2"},
        {"{\"aliases\":[\"a\"]}", "item 2"},
        {"{\"name\":1}", "item 2"},
        {"{\"name\":\" \"}", "item 2 is blank"},
        {"{\"name\":\"a\",\"aliases\":null}", "item 2"},
        {"{\"name\":\"a\",\"aliases\":\"b\"}", "item 2"},
        {"{\"name\":\"a\",\"aliases\":{}}", "item 2"},
        {"{\"name\":\"a\",\"other\":1}", "item 2"},
        {"{\"name\":\"a\",\"aliases\":[],\"other\":1}", "item 2"},
        {"{\"name\":\"a\",\"aliases\":[\"b\",2]}", "\"aliases\""},
        {"{\"name\":\"a\",\"aliases\":[\"\"]}", "\"aliases\": item 1 is blank"},
        {"{\"name\":\"a\",\"aliases\":[{\"name\":\"b\"}]}", "\"aliases\""},
    };
    for (size_t i = 0; i < UNIT_COUNT(cases); i++)
        for (int is_patch = 0; is_patch < 2; is_patch++) {
            char body[128];
            snprintf(body, sizeof body, "{\"%s\":[\"first\",%s]}", is_patch ? "add" : "labels",
                     cases[i].item);
            assert_refused(is_patch, body, STATUS_INVALID, cases[i].part);
        }
}

static void test_fields_that_are_refused(void **state)
{
    (void)state;
    static const char *const bodies[] = {
        "\"labels\":[]",
        "\"labels\":\"a\"",
        "\"labels\":null",
        "\"labels\":{}",
        "\"sentence\":1",
        "\"sentence\":[]",
        "\"sentence\":[\"a\",1]",
        "\"sentence\":\" \"",
        "\"pool\":\"\"",
        "\"pool\":1",
        "\"pool\":null",
        "\"pool\":[\"a\"]",
        "\"default\":1",
        "\"default\":\"true\"",
        "\"default\":null",
        "\"timeout_ms\":0",
        "\"timeout_ms\":-1",
        "\"timeout_ms\":1001",
        "\"timeout_ms\":1.5",
        "\"timeout_ms\":5.0",
        "\"timeout_ms\":\"5\"",
        "\"timeout_ms\":true",
        "\"timeout_ms\":null",
        "\"timeout_ms\":9223372036854775807",
        "\"timeout_ms\":1e30",
        "\"add\":[\"b\"]",
        "\"remove\":[\"b\"]",
        "\"Labels\":[\"b\"]",
        "\"\":1",
    };
    for (size_t i = 0; i < UNIT_COUNT(bodies); i++) {
        char body[128], field[32];
        bool has_labels = !strncmp(bodies[i], "\"labels\"", 8);
        snprintf(body, sizeof body, "{%s%s}", has_labels ? "" : "\"labels\":[\"x\"],", bodies[i]);
        snprintf(field, sizeof field, "%.*s\"", (int)strcspn(bodies[i] + 1, "\"") + 1, bodies[i]);
        assert_refused(false, body, STATUS_INVALID, field);
    }
    static const char *const patches[] = {
        "\"remove\":[]",      "\"remove\":\"a\"",   "\"remove\":null",
        "\"remove\":[1]",     "\"remove\":[\"\"]",  "\"remove\":[{\"name\":\"a\"}]",
        "\"labels\":[\"a\"]", "\"sentence\":\"a\"", "\"pool\":\"none\"",
        "\"timeout_ms\":0",   "\"default\":0",
    };
    for (size_t i = 0; i < UNIT_COUNT(patches); i++) {
        char body[128], field[32];
        snprintf(body, sizeof body, "{\"add\":[\"x\"],%s}", patches[i]);
        snprintf(field, sizeof field, "%.*s\"", (int)strcspn(patches[i] + 1, "\"") + 1, patches[i]);
        assert_refused(true, body, STATUS_INVALID, field);
    }
}

static void test_pools_by_their_length(void **state)
{
    (void)state;
    struct label_set_request request;
    char body[128], name[LABEL_SET_REQUEST_MAX_POOL_NAME + 2] = "";
    memset(name, 'p', LABEL_SET_REQUEST_MAX_POOL_NAME);
    snprintf(body, sizeof body, "{\"labels\":[\"a\"],\"pool\":\"%s\"}", name);
    read_ok(&request, false, body);
    assert_string_equal(request.pool, name);
    label_set_request_finish(&request);
    name[LABEL_SET_REQUEST_MAX_POOL_NAME] = 'p';
    snprintf(body, sizeof body, "{\"labels\":[\"a\"],\"pool\":\"%s\"}", name);
    assert_refused(false, body, STATUS_INVALID, "1 to 64");
}

static void test_what_must_be_there(void **state)
{
    (void)state;
    assert_refused(false, "{}", STATUS_INVALID, "\"labels\" is missing");
    assert_refused(false, "{\"default\":true}", STATUS_INVALID, "\"labels\" is missing");
    assert_refused(true, "{}", STATUS_INVALID, "\"add\", \"remove\" and \"default\"");
    assert_refused(true, "{\"timeout_ms\":5}", STATUS_INVALID, "\"default\"");
}

static void test_twins(void **state)
{
    (void)state;
    assert_refused(false, "{\"labels\":[\"cat\",\"dog\",\" cat\"]}", STATUS_CANCELLED,
                   "1 label is there more than once: \"cat\"");
    assert_refused(false, "{\"labels\":[\"b\",\"a\",\"b\",\"c\",\"a\"]}", STATUS_CANCELLED,
                   "2 labels are there more than once: \"a\", \"b\"");
    assert_refused(false, "{\"labels\":[{\"name\":\"cat\",\"aliases\":[\"cat\"]}]}",
                   STATUS_CANCELLED, "\"cat\"");
    assert_refused(false, "{\"labels\":[{\"name\":\"cat\",\"aliases\":[\"dog\"]},\"dog\"]}",
                   STATUS_CANCELLED, "\"dog\"");
    assert_refused(false, "{\"labels\":[{\"name\":\"cat\",\"aliases\":[\"pet\",\"pet\"]}]}",
                   STATUS_CANCELLED, "\"pet\"");
    assert_refused(true,
                   "{\"add\":[{\"name\":\"cat\",\"aliases\":[\"pet\"]},"
                   "{\"name\":\"dog\",\"aliases\":[\"pet \"]}]}",
                   STATUS_CANCELLED, "\"pet\"");
    assert_refused(true, "{\"remove\":[\"cat\",\"cat\"]}", STATUS_CANCELLED, "\"cat\"");
    assert_refused(true,
                   "{\"add\":[\"1\",\"2\",\"3\",\"4\",\"5\",\"6\",\"1\",\"2\",\"3\",\"4\","
                   "\"5\",\"6\"]}",
                   STATUS_CANCELLED, "\"1\", \"2\", \"3\", \"4\", \"5\", ...");

    struct fail why;
    const char *texts[] = {"b", "a", "c"};
    unit_assert_ok(label_set_request_check_twins(texts, 3, &why), why);
    unit_assert_ok(label_set_request_check_twins(texts, 0, &why), why);
    texts[2] = "b";
    unit_assert_fails(label_set_request_check_twins(texts, 3, &why), STATUS_CANCELLED, why,
                      "\"b\"");
}

/* {"labels":[...]} of so many names and aliases, and so many sentences. */
static enum status read_many(bool is_patch, int names, int aliases, int sentences, struct fail *why)
{
    struct buf body;
    struct label_set_request request;
    buf_init(&body, 1 << 16);
    buf_printf(&body, NULL, "{\"%s\":[{\"name\":\"n\",\"aliases\":[", is_patch ? "add" : "labels");
    for (int i = 0; i < aliases; i++)
        buf_printf(&body, NULL, "%s\"a%d\"", i ? "," : "", i);
    buf_append_text(&body, "]}", NULL);
    for (int i = 1; i < names; i++)
        buf_printf(&body, NULL, ",\"n%d\"", i);
    buf_append_text(&body, "]", NULL);
    for (int i = 0; i < sentences; i++)
        buf_printf(&body, NULL, "%s\"{} %d\"", i ? "," : ",\"sentence\":[", i);
    buf_append_text(&body, sentences ? "]}" : "}", NULL);
    enum status status = read_bytes(&request, is_patch, body.data, body.size, why);
    label_set_request_finish(&request);
    buf_finish(&body);
    return status;
}

static void test_limits_count_aliases(void **state)
{
    (void)state;
    struct fail why;
    for (int is_patch = 0; is_patch < 2; is_patch++) {
        unit_assert_ok(read_many(is_patch, 40, 0, 0, &why), why);
        unit_assert_ok(read_many(is_patch, 1, 39, 0, &why), why);
        unit_assert_ok(read_many(is_patch, 20, 20, 0, &why), why);
        unit_assert_fails(read_many(is_patch, 41, 0, 0, &why), STATUS_LIMIT, why, "40");
        unit_assert_fails(read_many(is_patch, 1, 40, 0, &why), STATUS_LIMIT, why, "40 labels");
        unit_assert_fails(read_many(is_patch, 1, 41, 0, &why), STATUS_LIMIT, why, "40");
        unit_assert_fails(read_many(is_patch, 20, 21, 0, &why), STATUS_LIMIT, why, "40 labels");
    }
    unit_assert_ok(read_many(false, 10, 20, 2, &why), why);
    unit_assert_ok(read_many(false, 1, 0, 60, &why), why);
    unit_assert_fails(read_many(false, 10, 21, 2, &why), STATUS_LIMIT, why,
                      "31 labels times 2 sentences are more than 60 texts");
    unit_assert_fails(read_many(false, 1, 0, 61, &why), STATUS_LIMIT, why, "60");
}

static void test_too_many_values_are_not_even_parsed(void **state)
{
    (void)state;
    struct fail why;
    struct label_set_request request;
    enum { SIZE = 4000 };
    char body[SIZE];
    memset(body, '[', sizeof body); /* no JSON, but nobody looks */
    unit_assert_fails(read_bytes(&request, false, body, sizeof body, &why), STATUS_LIMIT, why,
                      "1184 values");
    label_set_request_finish(&request);
}

static void test_every_way_to_cut_a_body(void **state)
{
    (void)state;
    static const char *const bodies[] = {
        "{\"labels\":[\"c\xc3\xa4t\",{\"name\":\"d\\u00e4g\",\"aliases\":[\"p\\n\"]}],"
        "\"sentence\":\"{}\",\"pool\":\"p\",\"default\":true,\"timeout_ms\":10}",
        "{\"add\":[{\"name\":\"d\",\"aliases\":[\"e\",\"f\"]}],\"remove\":[\"x\"],"
        "\"default\":false}"};
    for (int is_patch = 0; is_patch < 2; is_patch++)
        for (size_t size = 0; size < strlen(bodies[is_patch]); size++) {
            struct fail why;
            struct label_set_request request;
            char *cut = malloc(size + 1); /* of its own, so that ASan sees a read past it */
            assert_non_null(cut);
            memcpy(cut, bodies[is_patch], size);
            cut = realloc(cut, size ? size : 1);
            unit_assert_fails(read_bytes(&request, is_patch, cut, size, &why), STATUS_FORMAT, why,
                              "JSON");
            label_set_request_finish(&request);
            free(cut);
        }
}

static void test_hostile_bodies(void **state)
{
    (void)state;
    static const struct {
        const char *body;
        enum status status;
    } cases[] = {
        {"[]", STATUS_INVALID},
        {"[\"a\"]", STATUS_INVALID},
        {"\"a\"", STATUS_FORMAT},
        {"null", STATUS_FORMAT},
        {"1", STATUS_FORMAT},
        {"{\"labels\":[\"a\"]} x", STATUS_FORMAT},
        {"{\"labels\":[\"a\"],\"labels\":[\"b\"]}", STATUS_FORMAT},
        {"{\"labels\":[{\"name\":\"a\",\"name\":\"b\"}]}", STATUS_FORMAT},
        {"{\"labels\":[\"a\xff\"]}", STATUS_FORMAT},
        {"{\"labels\":[\"a\\u0000b\"]}", STATUS_FORMAT},
        {"{\"labels\":[\"a\\ud800\"]}", STATUS_FORMAT},
        {"{\"lab\\u0000els\":[\"a\"]}", STATUS_FORMAT},
        {"{\"labels\":[\"a\"],\"timeout_ms\":99999999999999999999}", STATUS_FORMAT},
        {"{\"labels\":[\"a\"],\"timeout_ms\":1e999}", STATUS_FORMAT},
    };
    for (size_t i = 0; i < UNIT_COUNT(cases); i++)
        assert_refused(false, cases[i].body, cases[i].status, "JSON");

    char deep[1100], *end = deep + sprintf(deep, "{\"labels\":");
    memset(end, '[', 1000);
    end[1000] = '\0';
    assert_refused(false, deep, STATUS_FORMAT, "JSON");
    struct fail why;
    struct label_set_request request;
    unit_assert_fails(read_bytes(&request, false, "{\"labels\":[\"a\"]}\0", 17, &why),
                      STATUS_FORMAT, why, "JSON");
    label_set_request_finish(&request);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_field_of_a_put),
        cmocka_unit_test(test_every_field_of_a_patch),
        cmocka_unit_test(test_aliases),
        cmocka_unit_test(test_many_aliases),
        cmocka_unit_test(test_labels_that_are_none),
        cmocka_unit_test(test_fields_that_are_refused),
        cmocka_unit_test(test_pools_by_their_length),
        cmocka_unit_test(test_what_must_be_there),
        cmocka_unit_test(test_twins),
        cmocka_unit_test(test_limits_count_aliases),
        cmocka_unit_test(test_too_many_values_are_not_even_parsed),
        cmocka_unit_test(test_every_way_to_cut_a_body),
        cmocka_unit_test(test_hostile_bodies),
    };
    return cmocka_run_group_tests_name("label_set_request", tests, NULL, NULL);
}
