#include "tests/unit/unit.h"

#include <jansson.h>

#include "server/reply.h"

static void assert_detail(const char *detail, const char *expected)
{
    struct reply reply = {0};
    reply_set_problem(&reply, 422, "a_code", detail, "an-id");
    json_t *root = json_loadb(reply.body.data, reply.body.size, 0, NULL);
    assert_non_null(root);
    assert_string_equal(json_string_value(json_object_get(root, "detail")), expected);
    assert_string_equal(json_string_value(json_object_get(root, "error")), expected);
    assert_string_equal(json_string_value(json_object_get(root, "code")), "a_code");
    assert_string_equal(json_string_value(json_object_get(root, "request_id")), "an-id");
    assert_string_equal(json_string_value(json_object_get(root, "title")), "Unprocessable Content");
    assert_int_equal(json_integer_value(json_object_get(root, "status")), 422);
    json_decref(root);
    reply_finish(&reply);
}

static void test_any_bytes_make_valid_json(void **state)
{
    (void)state;
    assert_detail("plain", "plain");
    assert_detail("\"quoted\" \\ \n\x01\x7f", "\"quoted\" \\ \n\x01\x7f");
    assert_detail("ü€😀", "ü€😀");
    assert_detail("cut \xe2\x82", "cut \xef\xbf\xbd\xef\xbf\xbd");
    assert_detail("\xff\x80\xc0\xaf", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");
    assert_detail("\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"); /* a surrogate */
    assert_detail("\xf4\x90\x80\x80",
                  "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"); /* past U+10FFFF */
    for (int first = 1; first < 256; first++)
        for (int second = 1; second < 256; second++) {
            char text[] = {(char)first, (char)second, '\0'};
            struct reply reply = {0};
            reply_set_problem(&reply, 400, "c", text, "i");
            json_t *root = json_loadb(reply.body.data, reply.body.size, 0, NULL);
            assert_non_null(root);
            json_decref(root);
            reply_finish(&reply);
        }
}

static void test_retry_after(void **state)
{
    (void)state;
    struct reply reply = {0}, moved = {0};
    reply_set_problem(&reply, 429, "queue_full", "x", "y");
    assert_int_equal(reply.retry_after_s, 1);
    reply_move(&moved, &reply);
    assert_int_equal(reply.status, 0);
    assert_null(reply.body.data);
    assert_int_equal(moved.status, 429);
    reply_set_problem(&moved, 404, "not_found", "x", "y");
    assert_int_equal(moved.retry_after_s, 0);
    reply_finish(&moved);
    reply_finish(NULL);
}

static void test_answers_without_a_body(void **state)
{
    (void)state;
    struct reply reply = {0};
    reply_set_nothing(&reply);
    assert_int_equal(reply.status, 204);
    assert_null(reply.content_type);
    assert_string_equal(reply.etag, "");
    reply_set_problem(&reply, 429, "queue_full", "x", "y");
    reply_set_not_modified(&reply, "\"1-a\"");
    assert_int_equal(reply.status, 304);
    assert_null(reply.content_type);
    assert_int_equal(reply.body.size, 0);
    assert_string_equal(reply.etag, "\"1-a\"");
    struct reply moved = {0};
    reply_move(&moved, &reply);
    assert_string_equal(moved.etag, "\"1-a\"");
    reply_finish(&moved);
}

static void test_a_file_is_sent_to_who_does_not_have_it(void **state)
{
    (void)state;
    static const struct reply_file file = {
        .content_type = "text/plain", .bytes = "x", .size = 1, .etag = "\"abc\""};
    static const char *const having[] = {"*", "\"abc\"", "W/\"abc\"", "\"d\", \"abc\""};
    static const char *const lacking[] = {NULL, "", "abc", "\"d\""};
    struct reply reply = {0};
    for (size_t i = 0; i < sizeof having / sizeof having[0]; i++) {
        reply_set_file(&reply, &file, having[i]);
        assert_int_equal(reply.status, 304);
        assert_null(reply.content_type);
        assert_ptr_equal(reply.file, &file);
        assert_string_equal(reply.etag, file.etag);
    }
    for (size_t i = 0; i < sizeof lacking / sizeof lacking[0]; i++) {
        reply_set_file(&reply, &file, lacking[i]);
        assert_int_equal(reply.status, 200);
        assert_string_equal(reply.content_type, "text/plain");
        assert_ptr_equal(reply.file, &file);
        assert_string_equal(reply.etag, file.etag);
    }
    reply_set_problem(&reply, 404, "not_found", "x", "y");
    assert_null(reply.file);
    reply_finish(&reply);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_any_bytes_make_valid_json),
        cmocka_unit_test(test_retry_after),
        cmocka_unit_test(test_answers_without_a_body),
        cmocka_unit_test(test_a_file_is_sent_to_who_does_not_have_it),
    };
    return cmocka_run_group_tests_name("reply", tests, NULL, NULL);
}
