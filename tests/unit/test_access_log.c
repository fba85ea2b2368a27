#include "tests/unit/unit.h"

#include <fcntl.h>
#include <jansson.h>
#include <unistd.h>

#include "engine/base/quote.h"
#include "server/access_log.h"

static const struct job_timings no_timings;
static const struct job_used nothing_used;

static struct access_log_entry an_entry(void)
{
    return (struct access_log_entry){.request_id = "an-id",
                                     .method = "GET",
                                     .path = "/livez",
                                     .route = "/livez",
                                     .trace_id = "",
                                     .status = 200,
                                     .bytes_out = 18,
                                     .duration_us = 1234567,
                                     .timings = &no_timings,
                                     .used = &nothing_used};
}

struct piped {
    int ends[2];
    struct access_log *log;
    char text[1 << 16]; /* all that has been read */
    size_t size;
};

static void piped_open(struct piped *piped, enum log_format format)
{
    struct fail why;
    memset(piped, 0, sizeof *piped);
    assert_int_equal(pipe2(piped->ends, O_NONBLOCK), 0);
    unit_assert_ok(access_log_create(piped->ends[1], format, &piped->log, &why), why);
}

/* What has been written since the last call. */
static const char *piped_read(struct piped *piped)
{
    ssize_t got = read(piped->ends[0], piped->text, sizeof piped->text - 1);
    piped->size = got > 0 ? (size_t)got : 0;
    piped->text[piped->size] = '\0';
    return piped->text;
}

static void piped_close(struct piped *piped)
{
    access_log_destroy(piped->log);
    close(piped->ends[0]);
    close(piped->ends[1]);
}

static json_t *logged(const struct access_log_entry *entry)
{
    struct piped piped;
    piped_open(&piped, LOG_JSON);
    access_log_add(piped.log, entry, 1);
    access_log_flush(piped.log);
    const char *line = piped_read(&piped);
    assert_ptr_equal(strchr(line, '\n'), line + piped.size - 1);
    json_t *root = json_loads(line, JSON_REJECT_DUPLICATES, NULL);
    if (!root)
        fail_msg("%s is no JSON", line);
    piped_close(&piped);
    return root;
}

static const char *text_of(const json_t *root, const char *name)
{
    return json_string_value(json_object_get(root, name));
}

static void test_little(void **state)
{
    (void)state;
    struct access_log_entry entry = an_entry();
    entry.route = NULL;
    json_t *root = logged(&entry);
    assert_int_equal(json_object_size(root), 9);
    assert_int_equal(strlen(text_of(root, "time")), strlen("2026-01-31T23:59:59.123Z"));
    assert_string_equal(text_of(root, "level"), "info");
    assert_string_equal(text_of(root, "request_id"), "an-id");
    assert_string_equal(text_of(root, "method"), "GET");
    assert_string_equal(text_of(root, "path"), "/livez");
    assert_int_equal(json_integer_value(json_object_get(root, "status")), 200);
    assert_int_equal(json_integer_value(json_object_get(root, "bytes_in")), 0);
    assert_int_equal(json_integer_value(json_object_get(root, "bytes_out")), 18);
    unit_assert_near(json_real_value(json_object_get(root, "total_ms")), 1234.567, 1e-9);
    json_decref(root);
}

static void test_everything(void **state)
{
    (void)state;
    const struct job_timings timings = {1000, 2001, 3010, 4100, 5999};
    const struct job_used used = {"animals", "groups", UINT64_MAX, 7};
    struct access_log_entry entry = an_entry();
    entry.trace_id = "0af7651916cd43dd8448eb211c80319c";
    entry.timings = &timings;
    entry.used = &used;
    json_t *root = logged(&entry);
    assert_int_equal(json_object_size(root), 18);
    assert_string_equal(text_of(root, "route"), "/livez");
    assert_string_equal(text_of(root, "label_set"), "animals@18446744073709551615");
    assert_string_equal(text_of(root, "pool"), "groups@7");
    assert_string_equal(text_of(root, "trace_id"), entry.trace_id);
    unit_assert_near(json_real_value(json_object_get(root, "queue_ms")), 1, 1e-9);
    unit_assert_near(json_real_value(json_object_get(root, "decode_ms")), 2.001, 1e-9);
    unit_assert_near(json_real_value(json_object_get(root, "image_ms")), 3.01, 1e-9);
    unit_assert_near(json_real_value(json_object_get(root, "retrieve_ms")), 4.1, 1e-9);
    unit_assert_near(json_real_value(json_object_get(root, "text_ms")), 5.999, 1e-9);
    json_decref(root);
}

static void test_any_bytes_make_one_line_of_json(void **state)
{
    (void)state;
    char path[200];
    for (int first = 1; first < 256; first++) {
        memset(path, first, sizeof path - 1); /* longer than any should be, too */
        path[sizeof path - 1] = '\0';
        struct access_log_entry entry = an_entry();
        entry.path = entry.method = entry.request_id = entry.route = entry.trace_id = path;
        json_t *root = logged(&entry);
        if (first >= 0x80)
            assert_non_null(strstr(text_of(root, "path"), "\xef\xbf\xbd"));
        else
            assert_int_equal(text_of(root, "path")[0], first);
        json_decref(root);
    }
}

static void test_a_terminal_gets_no_control_characters(void **state)
{
    (void)state;
    struct piped piped;
    struct access_log_entry entry = an_entry();
    entry.path = "/\x1b[2J\r\n\x9b\xc2\x9b";
    piped_open(&piped, LOG_TEXT);
    access_log_add(piped.log, &entry, 1);
    access_log_flush(piped.log);
    const char *line = piped_read(&piped);
    for (size_t i = 0; i < piped.size - 1; i++)
        assert_true(line[i] >= 0x20 && line[i] < 0x7f);
    assert_non_null(strstr(line, " info  GET /?[2J??"));
    assert_non_null(strstr(line, " 200 1234.567 ms in 0 out 18 an-id\n"));
    piped_close(&piped);
}

/* By a clock that the test moves. */
static void test_lines_are_held_back_for_a_while_only(void **state)
{
    (void)state;
    struct piped piped;
    struct access_log_entry entry = an_entry();
    piped_open(&piped, LOG_TEXT);
    assert_true(access_log_run(piped.log, 1000) == UINT64_MAX);
    access_log_add(piped.log, &entry, 1000);
    access_log_add(piped.log, &entry, 2000);
    uint64_t end_us = 1000 + ACCESS_LOG_DELAY_US;
    assert_int_equal(access_log_run(piped.log, end_us - 1), end_us);
    assert_string_equal(piped_read(&piped), "");
    assert_true(access_log_run(piped.log, end_us) == UINT64_MAX);
    assert_non_null(strstr(piped_read(&piped), "\n2"));
    access_log_add(piped.log, &entry, end_us + 5);
    assert_int_equal(access_log_run(piped.log, end_us + 5), end_us + 5 + ACCESS_LOG_DELAY_US);
    access_log_destroy(piped.log);
    piped.log = NULL;
    assert_int_equal(piped_read(&piped)[0], '2');
    piped_close(&piped);
}

static void test_a_full_buffer_is_written_at_once(void **state)
{
    (void)state;
    struct piped piped;
    struct access_log_entry entry = an_entry();
    piped_open(&piped, LOG_TEXT);
    for (size_t i = 0; i < ACCESS_LOG_BYTES / 64; i++)
        access_log_add(piped.log, &entry, 1000);
    assert_true(strlen(piped_read(&piped)) > 0);
    piped_close(&piped);
}

/* Nobody reads: no call waits, memory stays as it is, and what is lost is counted. Afterwards every
 * line is whole. */
static void test_a_reader_that_does_not_read(void **state)
{
    (void)state;
    enum { LINES = 10000 };
    struct piped piped;
    struct access_log_entry entry = an_entry();
    piped_open(&piped, LOG_JSON);
    int flags = fcntl(piped.ends[1], F_GETFL);
    assert_int_equal(fcntl(piped.ends[1], F_SETFL, flags & ~O_NONBLOCK), 0);
    for (size_t i = 0; i < LINES; i++)
        access_log_add(piped.log, &entry, 1000);
    uint64_t dropped = access_log_dropped(piped.log);
    assert_true(dropped > 0 && dropped < LINES);
    size_t lines = 0, left = 0;
    char all[2 * sizeof piped.text];
    for (const char *text = piped_read(&piped); *text; text = piped_read(&piped)) {
        memcpy(all + left, text, piped.size + 1);
        char *line = all;
        for (char *end; (end = strchr(line, '\n')); line = end + 1, lines++) {
            json_t *root = json_loadb(line, (size_t)(end - line), 0, NULL);
            assert_non_null(root);
            json_decref(root);
        }
        left = strlen(line);
        memmove(all, line, left + 1);
        access_log_flush(piped.log);
    }
    assert_int_equal(left, 0);
    assert_int_equal(lines + dropped, LINES);
    piped_close(&piped);
}

/* Others write to the same descriptor in between. A pipe of packets gives back what was one write.
 */
static void test_no_write_ends_within_a_line(void **state)
{
    (void)state;
    enum { LINES = 60 };
    struct piped piped;
    struct access_log_entry entry = an_entry();
    size_t writes = 0, lines = 0;
    piped_open(&piped, LOG_JSON);
    assert_int_equal(fcntl(piped.ends[1], F_SETFL, O_DIRECT | O_NONBLOCK), 0);
    for (size_t i = 0; i < LINES; i++)
        access_log_add(piped.log, &entry, 0);
    access_log_flush(piped.log);
    while (*piped_read(&piped)) {
        writes++;
        assert_int_equal(piped.text[piped.size - 1], '\n');
        for (size_t i = 0; i < piped.size; i++)
            lines += piped.text[i] == '\n';
    }
    assert_true(writes > 1);
    assert_int_equal(lines, LINES);
    piped_close(&piped);
}

static void test_quoting_never_overflows(void **state)
{
    (void)state;
    static const char text[] = "a\"\\\n\x7f\xc3\xbc\xf0\x9f\x98\x80\xff\xe2\x82";
    for (size_t capacity = 3; capacity < 64; capacity++) {
        char *out = malloc(capacity);
        assert_non_null(out);
        size_t length = quote_json(out, capacity, text);
        assert_true(length < capacity);
        assert_int_equal(strlen(out), length);
        json_t *value = json_loadb(out, length, JSON_DECODE_ANY, NULL);
        assert_non_null(value);
        if (capacity == 63)
            assert_string_equal(json_string_value(value),
                                "a\"\\\n\x7f\xc3\xbc\xf0\x9f\x98\x80\xef\xbf\xbd"
                                "\xef\xbf\xbd\xef\xbf\xbd");
        json_decref(value);
        free(out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_little),
        cmocka_unit_test(test_everything),
        cmocka_unit_test(test_any_bytes_make_one_line_of_json),
        cmocka_unit_test(test_a_terminal_gets_no_control_characters),
        cmocka_unit_test(test_lines_are_held_back_for_a_while_only),
        cmocka_unit_test(test_a_full_buffer_is_written_at_once),
        cmocka_unit_test(test_a_reader_that_does_not_read),
        cmocka_unit_test(test_no_write_ends_within_a_line),
        cmocka_unit_test(test_quoting_never_overflows),
    };
    return cmocka_run_group_tests_name("access_log", tests, NULL, NULL);
}
