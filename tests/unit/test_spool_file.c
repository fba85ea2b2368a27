#include "tests/unit/unit.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/spool_file.h"

static char folder[] = "/tmp/test_spool_file.XXXXXX", moved[64];

static int setup(void **state)
{
    (void)state;
    strcpy(folder + strlen(folder) - 6, "XXXXXX");
    snprintf(moved, sizeof moved, "%s/moved", mkdtemp(folder) ? folder : "none");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    unlink(moved);
    return rmdir(folder); /* fails if anything else was left there */
}

static size_t count_entries(void)
{
    size_t count = 0;
    DIR *directory = opendir(folder);
    assert_non_null(directory);
    while (readdir(directory))
        count++;
    closedir(directory);
    return count - 2; /* . and .. */
}

static void assert_content(const char *path, const char *expected)
{
    char bytes[64] = "";
    FILE *stream = fopen(path, "rb");
    assert_non_null(stream);
    size_t size = fread(bytes, 1, sizeof bytes - 1, stream);
    fclose(stream);
    assert_int_equal(size, strlen(expected));
    assert_string_equal(bytes, expected);
}

static void open_with(struct spool_file *file, const char *text)
{
    struct fail why;
    *file = (struct spool_file){.fd = -1};
    unit_assert_ok(spool_file_open(file, folder, &why), why);
    unit_assert_ok(spool_file_append(file, text, strlen(text), &why), why);
}

static void test_gone_at_the_end(void **state)
{
    (void)state;
    struct spool_file file, other;
    open_with(&file, "abc");
    open_with(&other, "abc");
    assert_string_not_equal(file.path, other.path);
    assert_int_equal(strncmp(file.path, folder, strlen(folder)), 0);
    assert_int_equal(count_entries(), 2);
    struct stat of;
    assert_int_equal(stat(file.path, &of), 0);
    assert_int_equal(of.st_mode & 0777, 0600);
    assert_true(fcntl(file.fd, F_GETFD) & FD_CLOEXEC);
    spool_file_finish(&other);
    assert_int_equal(count_entries(), 1);
    spool_file_close(&file);
    assert_int_equal(file.fd, -1);
    spool_file_close(&file);
    assert_content(file.path, "abc");
    spool_file_finish(&file);
    assert_int_equal(count_entries(), 0);
    spool_file_finish(&file);
    spool_file_finish(&(struct spool_file){.fd = -1});
}

static void test_piece_by_piece(void **state)
{
    (void)state;
    struct fail why;
    struct spool_file file;
    open_with(&file, "a");
    unit_assert_ok(spool_file_append(&file, "", 0, &why), why);
    unit_assert_ok(spool_file_append(&file, "bc", 2, &why), why);
    unit_assert_ok(spool_file_append(&file, "def", 3, &why), why);
    assert_content(file.path, "abcdef");
    spool_file_finish(&file);
}

/* Open or closed, and over a file that is there. */
static void test_moved_for_good(void **state)
{
    (void)state;
    struct fail why;
    struct spool_file file;
    open_with(&file, "first");
    unit_assert_ok(spool_file_move(&file, moved, &why), why);
    assert_int_equal(file.fd, -1);
    assert_int_equal(file.path[0], '\0');
    spool_file_finish(&file);
    assert_content(moved, "first");
    open_with(&file, "second");
    spool_file_close(&file);
    unit_assert_ok(spool_file_move(&file, moved, &why), why);
    spool_file_finish(&file);
    assert_content(moved, "second");
    assert_int_equal(count_entries(), 1);
}

static void test_moves_that_fail(void **state)
{
    (void)state;
    struct fail why;
    struct spool_file file;
    char nowhere[80];
    snprintf(nowhere, sizeof nowhere, "%s/no/file", folder);
    open_with(&file, "abc");
    unit_assert_fails(spool_file_move(&file, nowhere, &why), STATUS_IO, why, nowhere);
    assert_content(file.path, "abc");
    unit_assert_fails(spool_file_move(&file, folder, &why), STATUS_IO, why, folder);
    spool_file_finish(&file);
    assert_int_equal(count_entries(), 0);

    open_with(&file, "abc");
    spool_file_close(&file);
    assert_int_equal(unlink(file.path), 0);
    unit_assert_fails(spool_file_move(&file, moved, &why), STATUS_IO, why, file.path);
    spool_file_finish(&file);
    assert_int_equal(count_entries(), 0);
}

static void test_taken_by_another(void **state)
{
    (void)state;
    struct spool_file file, other;
    open_with(&file, "abc");
    spool_file_take(&other, &file);
    assert_int_equal(file.fd, -1);
    assert_int_equal(file.path[0], '\0');
    spool_file_finish(&file);
    assert_content(other.path, "abc");
    spool_file_finish(&other);
}

static void test_folders_that_cannot_be_used(void **state)
{
    (void)state;
    struct fail why;
    struct spool_file file = {.fd = -1};
    char nowhere[SPOOL_FILE_MAX_PATH + 64];
    snprintf(nowhere, sizeof nowhere, "%s/no", folder);
    unit_assert_fails(spool_file_open(&file, nowhere, &why), STATUS_IO, why, nowhere);
    assert_int_equal(file.fd, -1);
    assert_int_equal(file.path[0], '\0');
    memset(nowhere, 'x', sizeof nowhere);
    for (size_t length = sizeof nowhere - 1; length > SPOOL_FILE_MAX_PATH - 32; length--) {
        nowhere[length] = '\0';
        enum status status = spool_file_open(&file, nowhere, &why);
        /* With "/attriprompt-XXXXXX" and a NUL it is 20 bytes longer. */
        assert_int_equal(status, length + 20 > SPOOL_FILE_MAX_PATH ? STATUS_LIMIT : STATUS_IO);
    }
    spool_file_finish(&file);
}

static void test_syncing_folders(void **state)
{
    (void)state;
    struct fail why;
    char path[80];
    unit_assert_ok(spool_file_sync_folder(moved, &why), why);
    unit_assert_ok(spool_file_sync_folder("a-file-here", &why), why);
    unit_assert_ok(spool_file_sync_folder("/a-file-at-the-root", &why), why);
    snprintf(path, sizeof path, "%s/no/file", folder);
    unit_assert_fails(spool_file_sync_folder(path, &why), STATUS_IO, why, "/no/");
}

static void test_a_full_disk(void **state)
{
    (void)state;
    struct fail why;
    struct rlimit limit;
    struct spool_file file;
    open_with(&file, "0123");
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    rlim_t before = limit.rlim_cur;
    limit.rlim_cur = 6;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    enum status status = spool_file_append(&file, "456789", 6, &why);
    limit.rlim_cur = before;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    signal(SIGXFSZ, SIG_DFL);
    unit_assert_fails(status, STATUS_IO, why, file.path);
    spool_file_finish(&file);
    assert_int_equal(count_entries(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_gone_at_the_end, setup, teardown),
        cmocka_unit_test_setup_teardown(test_piece_by_piece, setup, teardown),
        cmocka_unit_test_setup_teardown(test_moved_for_good, setup, teardown),
        cmocka_unit_test_setup_teardown(test_moves_that_fail, setup, teardown),
        cmocka_unit_test_setup_teardown(test_taken_by_another, setup, teardown),
        cmocka_unit_test_setup_teardown(test_folders_that_cannot_be_used, setup, teardown),
        cmocka_unit_test_setup_teardown(test_syncing_folders, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_full_disk, setup, teardown),
    };
    return cmocka_run_group_tests_name("spool_file", tests, NULL, NULL);
}
