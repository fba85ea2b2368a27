#include "tests/unit/unit.h"

#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/arena.h"
#include "engine/base/buf.h"
#include "engine/base/mem.h"

/* There in a build with AddressSanitizer only. */
int __asan_address_is_poisoned(const volatile void *address) __attribute__((weak));

static void test_status_messages(void **state)
{
    (void)state;
    struct fail why;
    assert_int_equal(status_fail(&why, STATUS_LIMIT, "%d labels, at most %d", 7, 5), STATUS_LIMIT);
    assert_int_equal(why.code, STATUS_LIMIT);
    assert_string_equal(why.message, "7 labels, at most 5");
    assert_int_equal(status_context(&why, why.code, "request %s", "a"), STATUS_LIMIT);
    assert_string_equal(why.message, "request a: 7 labels, at most 5");
    assert_int_equal(status_fail(NULL, STATUS_IO, "nobody listens"), STATUS_IO);
}

static void test_status_messages_are_printable_utf8(void **state)
{
    (void)state;
    struct fail why;
    status_fail(&why, STATUS_INVALID, "%s", "caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80");
    assert_string_equal(why.message, "caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80");
    status_fail(&why, STATUS_INVALID, "%s", "\x1b[31m\xff\xc3(\xed\xa0\x80\xc0\x80\xe2\x82");
    assert_string_equal(why.message, "?[31m?"
                                     "?("
                                     "???????");
    status_fail(&why, STATUS_INVALID, "%.4s", "abc\xc3\xa9");
    assert_string_equal(why.message, "abc?");
}

static void test_status_messages_are_cut(void **state)
{
    (void)state;
    struct fail why;
    char text[2 * sizeof why.message];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    status_fail(&why, STATUS_INVALID, "%s", text);
    assert_int_equal(strlen(why.message), sizeof why.message - 1);
    status_context(&why, STATUS_INVALID, "%s", text);
    assert_int_equal(strlen(why.message), sizeof why.message - 1);
}

static void test_mem_never_wraps(void **state)
{
    (void)state;
    size_t out = 42;
    assert_false(mem_multiply((size_t)-1, 2, &out));
    assert_false(mem_add((size_t)-1, 1, &out));
    assert_int_equal(out, 42);
    assert_true(mem_multiply(6, 7, &out));
    assert_int_equal(out, 42);
    assert_null(mem_aligned((size_t)-1, 1));
    assert_null(mem_aligned((size_t)-1 / 4 + 1, 4));
    assert_null(mem_resize(NULL, (size_t)-1, 2));
    void *aligned = mem_aligned(3, 5), *empty = mem_zeroed(0, 8);
    assert_int_equal((uintptr_t)aligned % 64, 0);
    assert_non_null(empty);
    free(aligned);
    free(empty);
}

static void test_arena(void **state)
{
    (void)state;
    struct fail why;
    struct arena arena;
    size_t bytes = arena_floats_bytes(3) + arena_floats_bytes(100);
    unit_assert_ok(arena_init(&arena, bytes, &why), why);
    float *a = arena_floats(&arena, 3), *b = arena_floats(&arena, 100);
    assert_non_null(a);
    assert_non_null(b);
    assert_int_equal((uintptr_t)b % 64, 0);
    assert_true(b >= a + 3);
    assert_null(arena_floats(&arena, 1));
    arena_rewind(&arena, 0);
    assert_ptr_equal(arena_floats(&arena, 3), a);
    assert_null(arena_floats(&arena, (size_t)-1));
    arena_finish(&arena);
    arena_finish(NULL);
}

static void test_arena_under_address_sanitizer(void **state)
{
    (void)state;
    if (!__asan_address_is_poisoned)
        skip();
    struct fail why;
    struct arena arena;
    size_t bytes = arena_floats_bytes(3) + arena_floats_bytes(16);
    unit_assert_ok(arena_init(&arena, bytes, &why), why);
    unsigned char *block = arena.base;
    assert_true(__asan_address_is_poisoned(block));
    float *a = arena_floats(&arena, 3);
    size_t used = arena.used_bytes;
    float *b = arena_floats(&arena, 16);
    assert_false(__asan_address_is_poisoned(a + 2));
    assert_true(__asan_address_is_poisoned(a + 3));
    assert_true(__asan_address_is_poisoned((unsigned char *)b - 1));
    assert_false(__asan_address_is_poisoned(b));
    assert_false(__asan_address_is_poisoned(b + 15));
    assert_true(__asan_address_is_poisoned(b + 16));
    arena_rewind(&arena, used);
    assert_false(__asan_address_is_poisoned(a + 2));
    assert_true(__asan_address_is_poisoned(b));
    arena_finish(&arena);
}

static void test_buf_grows_to_its_limit(void **state)
{
    (void)state;
    struct fail why;
    struct buf buf;
    buf_init(&buf, 1000);
    for (int i = 0; i < 100; i++)
        unit_assert_ok(buf_append(&buf, "0123456789", 10, &why), why);
    assert_int_equal(buf.size, 1000);
    assert_int_equal(strlen(buf.data), 1000);
    unit_assert_fails(buf_append(&buf, "x", 1, &why), STATUS_LIMIT, why, "more than 1000 bytes");
    assert_int_equal(buf.size, 1000);
    buf_finish(&buf);
    buf_init(&buf, 16);
    unit_assert_ok(buf_printf(&buf, &why, "%s-%d", "ab", 12), why);
    unit_assert_ok(buf_append_text(&buf, "!", &why), why);
    assert_string_equal(buf.data, "ab-12!");
    unit_assert_fails(buf_printf(&buf, &why, "%20d", 1), STATUS_LIMIT, why, "16");
    assert_string_equal(buf.data, "ab-12!");
    buf_finish(&buf);
    buf_finish(NULL);
}

static void test_buf_reads_files(void **state)
{
    (void)state;
    struct fail why;
    struct buf buf;
    buf_init(&buf, 100000);
    unit_assert_ok(buf_read_file(&buf, "LICENSE", &why), why);
    assert_memory_equal(buf.data, "MIT License", 11);
    unit_assert_fails(buf_read_file(&buf, "no/such/file", &why), STATUS_NOT_FOUND, why,
                      "no/such/file");
    unit_assert_fails(buf_read_file(&buf, "tests", &why), STATUS_IO, why, "tests: not a regular");
    char pipe[] = "/tmp/attriprompt-pipe-XXXXXX";
    assert_non_null(mkdtemp(pipe));
    rmdir(pipe);
    assert_int_equal(mkfifo(pipe, 0600), 0); /* nobody ever writes to it */
    unit_assert_fails(buf_read_file(&buf, pipe, &why), STATUS_IO, why, "not a regular");
    unlink(pipe);
    buf_finish(&buf);
    buf_init(&buf, 10);
    unit_assert_fails(buf_read_file(&buf, "LICENSE", &why), STATUS_LIMIT, why, "LICENSE");
    assert_int_equal(buf.size, 0);
    buf_finish(&buf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_status_messages),
        cmocka_unit_test(test_status_messages_are_printable_utf8),
        cmocka_unit_test(test_status_messages_are_cut),
        cmocka_unit_test(test_mem_never_wraps),
        cmocka_unit_test(test_arena),
        cmocka_unit_test(test_arena_under_address_sanitizer),
        cmocka_unit_test(test_buf_grows_to_its_limit),
        cmocka_unit_test(test_buf_reads_files),
    };
    return cmocka_run_group_tests_name("base", tests, NULL, NULL);
}
