#include "tests/unit/unit.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/file_digest.h"

#define OF_NOTHING   "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define OF_ABC       "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
#define OF_A_MILLION "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"

enum { MILLION = 1000000 };

static char folder[] = "/tmp/test_file_digest.XXXXXX", file[64];

static int setup(void **state)
{
    (void)state;
    strcpy(folder + strlen(folder) - 6, "XXXXXX");
    if (!mkdtemp(folder))
        return -1;
    snprintf(file, sizeof file, "%s/file", folder);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    unlink(file);
    return rmdir(folder);
}

static void write_file(const char *bytes, size_t size)
{
    FILE *stream = fopen(file, "wb");
    assert_non_null(stream);
    assert_int_equal(fwrite(bytes, 1, size, stream), size);
    assert_int_equal(fclose(stream), 0);
}

static void write_a_million(void)
{
    char *bytes = malloc(MILLION);
    assert_non_null(bytes);
    memset(bytes, 'a', MILLION);
    write_file(bytes, MILLION);
    free(bytes);
}

static void assert_digest(const char *expected)
{
    struct fail why;
    char sum[FILE_DIGEST_BYTES];
    unit_assert_ok(file_digest_read(file, NULL, sum, &why), why);
    assert_string_equal(sum, expected);
}

static void test_files_of_any_size(void **state)
{
    (void)state;
    write_file("", 0);
    assert_digest(OF_NOTHING);
    write_file("abc", 3);
    assert_digest(OF_ABC);
    write_a_million();
    assert_digest(OF_A_MILLION);
}

static void test_a_copy_is_the_same(void **state)
{
    (void)state;
    struct fail why;
    char sum[FILE_DIGEST_BYTES];
    write_a_million();
    struct spool_file copied;
    unit_assert_ok(spool_file_open(&copied, folder, &why), why);
    unit_assert_ok(file_digest_read(file, &copied, sum, &why), why);
    assert_string_equal(sum, OF_A_MILLION);
    unit_assert_ok(file_digest_read(copied.path, NULL, sum, &why), why);
    assert_string_equal(sum, OF_A_MILLION);
    struct stat of;
    assert_int_equal(stat(copied.path, &of), 0);
    assert_int_equal(of.st_size, MILLION);
    spool_file_finish(&copied);
}

static void test_a_copy_that_does_not_fit(void **state)
{
    (void)state;
    struct fail why;
    struct rlimit limit;
    char sum[FILE_DIGEST_BYTES];
    write_a_million();
    struct spool_file copied;
    unit_assert_ok(spool_file_open(&copied, folder, &why), why);
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    rlim_t before = limit.rlim_cur;
    limit.rlim_cur = 100000; /* in the middle of a piece */
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    enum status status = file_digest_read(file, &copied, sum, &why);
    limit.rlim_cur = before;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    signal(SIGXFSZ, SIG_DFL);
    spool_file_finish(&copied);
    unit_assert_fails(status, STATUS_IO, why, "cannot copy");
}

static void test_what_is_no_file(void **state)
{
    (void)state;
    struct fail why;
    char sum[FILE_DIGEST_BYTES];
    unit_assert_fails(file_digest_read(file, NULL, sum, &why), STATUS_NOT_FOUND, why, file);
    unit_assert_fails(file_digest_read(folder, NULL, sum, &why), STATUS_INVALID, why,
                      "regular file");
    assert_int_equal(mkfifo(file, 0600), 0); /* which nobody ever writes to */
    unit_assert_fails(file_digest_read(file, NULL, sum, &why), STATUS_INVALID, why, "regular file");
    unit_assert_fails(file_digest_read("/dev/zero", NULL, sum, &why), STATUS_INVALID, why,
                      "/dev/zero");
    assert_int_equal(file_digest_read("", NULL, sum, NULL), STATUS_NOT_FOUND);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_files_of_any_size, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_copy_is_the_same, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_copy_that_does_not_fit, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_is_no_file, setup, teardown),
    };
    return cmocka_run_group_tests_name("file_digest", tests, NULL, NULL);
}
