#include "tests/unit/unit.h"

#include "api/cli/response.h"

enum { KEEP = 16 };

/* Feeds text in steps of at most `step` bytes, each a copy of just its size, so that a sanitizer
 * sees a byte too far. */
static enum status feed(struct response *response, const char *text, size_t size, size_t step,
                        size_t *out_used, struct fail *why)
{
    enum status status = STATUS_OK;
    size_t used = 0;
    while (used < size && !status && !response_is_complete(response)) {
        size_t now = size - used < step ? size - used : step, taken = 0;
        char *copy = malloc(now);
        memcpy(copy, text + used, now);
        status = response_feed(response, copy, now, &taken, why);
        free(copy);
        used += taken;
        if (!status && !response_is_complete(response))
            assert_int_equal(taken, now);
    }
    *out_used = used;
    return status;
}

struct expected {
    const char *text;
    int status;
    const char *body; /* as far as it is kept */
    size_t left;      /* bytes after the answer */
    bool keeps_alive, ends_with_connection;
};

static void assert_read(const struct expected *expected, size_t step)
{
    struct fail why;
    struct response response;
    size_t used, size = strlen(expected->text);
    response_init(&response, KEEP);
    for (int again = 0; again < 2; again++) {
        response_start(&response);
        assert_true(response_is_untouched(&response));
        unit_assert_ok(feed(&response, expected->text, size, step, &used, &why), why);
        assert_false(response_is_untouched(&response));
        assert_int_equal(response_is_complete(&response), !expected->ends_with_connection);
        unit_assert_ok(response_end(&response, &why), why);
        assert_true(response_is_complete(&response));
        assert_int_equal(size - used, expected->left);
        assert_int_equal(response.status, expected->status);
        assert_int_equal(response.keeps_alive, expected->keeps_alive);
        assert_int_equal(response.body.size, strlen(expected->body));
        assert_memory_equal(response.body.data ? response.body.data : "", expected->body,
                            response.body.size);
    }
    response_finish(&response);
}

static void test_answers(void **state)
{
    (void)state;
    static const struct expected cases[] = {
        {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", 200, "hello", 0, true, false},
        {"HTTP/1.1 200\r\ncontent-length:\t5 \r\n\r\nhelloHTTP", 200, "hello", 4, true, false},
        {"HTTP/1.1 404 \r\nContent-Length: 0\r\n\r\n", 404, "", 0, true, false},
        {"HTTP/1.1 200 OK\nContent-Length: 2\nContent-Length: 2\n\nok", 200, "ok", 0, true, false},
        {"HTTP/1.1 204 No Content\r\nContent-Length: 9\r\n\r\n", 204, "", 0, true, false},
        {"HTTP/1.1 304 Not Modified\r\n\r\nHT", 304, "", 2, true, false},
        {"HTTP/1.1 200 OK\r\nContent-Length: 20\r\nConnection: x, Close\r\n\r\n"
         "12345678901234567890",
         200, "1234567890123456", 0, false, false},
        {"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n1", 200, "1", 0, false, false},
        {"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\n1", 200, "1", 0,
         true, false},
        {"HTTP/1.1 200 OK\r\n\r\nto the end", 200, "to the end", 0, false, true},
        {"HTTP/1.1 200 OK\r\n\r\n", 200, "", 0, false, true},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n"
         "5\r\nhello\r\n6 ;x=y\r\n, you!\r\n0\r\nTrailer: x\r\n\r\nHTTP",
         200, "hello, you!", 4, true, false},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 200, "", 0, true, false},
        {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nContent-Length: 7\r\nConnection: "
         "close\r\n\r\nHTTP/1.1 201 Made\r\nContent-Length: 1\r\n\r\n1",
         201, "1", 0, true, false},
    };
    for (size_t i = 0; i < UNIT_COUNT(cases); i++)
        for (size_t step = 1; step < 9; step++)
            assert_read(&cases[i], step == 8 ? SIZE_MAX : step);
}

static void test_headers_that_are_wanted(void **state)
{
    (void)state;
    struct fail why;
    struct response response;
    size_t used;
    static const char refused[] = "HTTP/1.1 429 Busy\r\nRETRY-AFTER: 3\r\nServer-Timing: "
                                  "total;dur=0.2, a;dur=1\r\nContent-Length: 0\r\n\r\n";
    static const char plain[] = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    response_init(&response, 0);
    response_start(&response);
    unit_assert_ok(feed(&response, refused, strlen(refused), 3, &used, &why), why);
    assert_true(response.has_retry_after);
    assert_string_equal(response.server_timing, "total;dur=0.2, a;dur=1");
    response_start(&response);
    unit_assert_ok(feed(&response, plain, strlen(plain), 3, &used, &why), why);
    assert_false(response.has_retry_after);
    assert_string_equal(response.server_timing, "");
    response_finish(&response);
}

static void assert_refused(const char *text, size_t size, size_t step, const char *part)
{
    struct fail why = {0};
    struct response response;
    size_t used;
    response_init(&response, KEEP);
    response_start(&response);
    unit_assert_fails(feed(&response, text, size, step, &used, &why), STATUS_FORMAT, why, part);
    response_finish(&response);
}

static void test_malformed(void **state)
{
    (void)state;
#define HEAD    "HTTP/1.1 200 OK\r\n"
#define CHUNKED HEAD "Transfer-Encoding: chunked\r\n\r\n"
    static const struct {
        const char *text, *part;
    } cases[] = {
        {"\r\n", "no HTTP/1"},
        {"SSH-2.0-OpenSSH_9.2\r\n", "SSH-2.0"},
        {"HTTP/2 200 OK\r\n", "HTTP/2"},
        {"HTTP/1.1 20 OK\r\n", "20 OK"},
        {"HTTP/1.1 2000 OK\r\n", "2000"},
        {"HTTP/1.1 099 OK\r\n", "099"},
        {"HTTP/1.1 600 OK\r\n", "600"},
        {"HTTP/1.1  200 OK\r\n", "no HTTP/1"},
        {"HTTP/1.1\r\n", "no HTTP/1"},
        {"HTTP/1.1 101 Switching Protocols\r\n", "101"},
        {HEAD "no colon\r\n", "no colon"},
        {HEAD ": nameless\r\n", "nameless"},
        {HEAD "a b: c\r\n", "a b"},
        {HEAD "a: b\r\n folded\r\n", "folded"},
        {HEAD "Content-Length:\r\n", "Content-Length"},
        {HEAD "Content-Length: -1\r\n", "'-1'"},
        {HEAD "Content-Length: +1\r\n", "'+1'"},
        {HEAD "Content-Length: 1, 1\r\n", "'1, 1'"},
        {HEAD "Content-Length: 9999999999999999999\r\n", "9999"},
        {HEAD "Content-Length: 1\r\nContent-Length: 2\r\n", "'2'"},
        {HEAD "Transfer-Encoding: gzip\r\n", "'gzip'"},
        {HEAD "Transfer-Encoding: gzip, chunked\r\n", "gzip"},
        {HEAD "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "chunked"},
        {HEAD "Transfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n", "both"},
        {CHUNKED "\r\n", "chunk size"},
        {CHUNKED "g\r\n", "'g'"},
        {CHUNKED "-1\r\n", "'-1'"},
        {CHUNKED "0x1\r\n", "'0x1'"},
        {CHUNKED "1000000000000000\r\n", "chunk size"},
        {CHUNKED "1\r\nab\r\n", "longer"},
        {CHUNKED "0\r\nno trailer\r\n", "no trailer"},
        {"HTTP/1.1 100 Continue\r\n\r\nHTTP/2 200 OK\r\n", "HTTP/2"},
    };
    for (size_t i = 0; i < UNIT_COUNT(cases); i++)
        for (size_t step = 1; step < 4; step++)
            assert_refused(cases[i].text, strlen(cases[i].text), step == 3 ? SIZE_MAX : step,
                           cases[i].part);
    assert_refused("HTTP/1.1 200 OK\r\nX: a\0b\r\n", 25, SIZE_MAX, "NUL");
}

/* Cut at every byte: waits for more, and then says that the connection was closed. */
static void test_cut_anywhere(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        CHUNKED "5\r\nhello\r\n0\r\nA: b\r\n\r\n",
    };
    for (size_t i = 0; i < UNIT_COUNT(texts); i++)
        for (size_t size = 0; size < strlen(texts[i]); size++) {
            struct fail why;
            struct response response;
            size_t used;
            response_init(&response, KEEP);
            response_start(&response);
            unit_assert_ok(feed(&response, texts[i], size, SIZE_MAX, &used, &why), why);
            assert_int_equal(used, size);
            assert_false(response_is_complete(&response));
            unit_assert_fails(response_end(&response, &why), STATUS_FORMAT, why,
                              size ? "in the middle" : "without an answer");
            response_finish(&response);
        }
}

/* The head followed by `text` over and over: refused before it has cost more than the limits. */
static void assert_endless(const char *head, const char *text, const char *part)
{
    struct fail why;
    struct response response;
    enum status status;
    size_t used, total = 0;
    response_init(&response, KEEP);
    response_start(&response);
    unit_assert_ok(feed(&response, head, strlen(head), SIZE_MAX, &used, &why), why);
    do {
        status = feed(&response, text, strlen(text), SIZE_MAX, &used, &why);
        total += used;
        assert_true(response.line.capacity <= 2 * RESPONSE_MAX_LINE);
    } while (!status && total < 1u << 20);
    unit_assert_fails(status, STATUS_FORMAT, why, part);
    assert_true(total <= RESPONSE_MAX_HEAD + strlen(text));
    response_finish(&response);
}

static void test_endless(void **state)
{
    (void)state;
    assert_endless("HTTP/1.1 200 ", "aaaaaaaaaaaaaaaa", "a line of more than 8192");
    assert_endless(HEAD, "a: b\r\n", "a head of more than 65536");
    assert_endless("HTTP/1.1 100 Go\r\n", "\r\nHTTP/1.1 100 Go\r\n", "a head of more than 65536");
    assert_endless(CHUNKED "0\r\n", "a: b\r\n", "a head of more than 65536");
    assert_endless(CHUNKED "1;", "aaaaaaaaaaaaaaaa", "a line of more than 8192");
}

/* However long a body is, only its beginning is kept. */
static void test_long_body(void **state)
{
    (void)state;
    struct fail why;
    struct response response;
    static char zeros[65536];
    static const char head[] = HEAD "Content-Length: 655360000\r\n\r\n";
    size_t used;
    response_init(&response, KEEP);
    response_start(&response);
    unit_assert_ok(response_feed(&response, head, strlen(head), &used, &why), why);
    for (int i = 0; i < 10000; i++)
        unit_assert_ok(response_feed(&response, zeros, sizeof zeros, &used, &why), why);
    assert_true(response_is_complete(&response));
    assert_int_equal(response.body.size, KEEP);
    response_finish(&response);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answers),   cmocka_unit_test(test_headers_that_are_wanted),
        cmocka_unit_test(test_malformed), cmocka_unit_test(test_cut_anywhere),
        cmocka_unit_test(test_endless),   cmocka_unit_test(test_long_body),
    };
    return cmocka_run_group_tests_name("response", tests, NULL, NULL);
}
