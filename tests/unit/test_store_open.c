/* Who may open a store, and where there can be none. */
#include "tests/unit/store_parts.h"

#include <limits.h>

enum { NOBODY = 65534 };

static void test_second_open_in_the_process_is_refused(void **state)
{
    struct place *place = *state;
    struct store *store = open_store(place);
    expect_refused(place, STATUS_IO, "in use by another process");
    put(store, "birds", 1, "owl");
    expect_refused(place, STATUS_IO, "in use by another process");
    store_close(store);
    store = open_store(place);
    expect(store, "0 birds 1* owl\n0 default= floor=0\n1 default= floor=0\n");
    store_close(store);
}

/* Opens when told to; answers with the status, or 100 for a message that says something else. */
static int open_when_told(const struct place *place, int from, int to)
{
    uint64_t number;
    while (receive_number(from, &number)) {
        struct fail why;
        struct store *store = NULL;
        enum status status = store_open(place->dir, &store, &why);
        if (status == STATUS_IO && !strstr(why.message, "in use by another process"))
            send_number(to, 100);
        send_number(to, (uint64_t)status);
        store_close(store);
    }
    return 0;
}

static uint64_t tell(struct child *child)
{
    uint64_t answer = UINT64_MAX;
    assert_true(send_number(child->to, 1));
    assert_true(receive_number(child->from, &answer));
    return answer;
}

static void test_open_here_is_refused_to_others(void **state)
{
    struct place *place = *state;
    struct child child = start(place, open_when_told);
    struct store *store = open_store(place);
    assert_int_equal(tell(&child), STATUS_IO);
    put(store, "birds", 1, "owl");
    assert_int_equal(tell(&child), STATUS_IO);
    expect_refused(place, STATUS_IO, "in use"); /* which must not let go of the first one's lock */
    assert_int_equal(tell(&child), STATUS_IO);
    store_close(store);
    assert_int_equal(tell(&child), STATUS_OK);
    assert_int_equal(finish(&child), 0);
}

static int hold_open(const struct place *place, int from, int to)
{
    struct store *store = NULL;
    uint64_t number;
    if (store_open(place->dir, &store, NULL))
        return 1;
    send_number(to, 1);
    receive_number(from, &number);
    return 0;
}

static void test_open_elsewhere_is_refused_until_that_dies(void **state)
{
    struct place *place = *state;
    struct child child = start(place, hold_open);
    uint64_t number;
    assert_true(receive_number(child.from, &number));
    expect_refused(place, STATUS_IO, "in use by another process");
    kill(child.pid, SIGKILL);
    assert_int_equal(finish(&child), -SIGKILL);
    store_close(open_store(place));
}

/* 0: opened, and a name committed; 1: another one has it; 2: anything else. */
static int open_and_put_pid(const struct place *place, int from, int to)
{
    struct fail why;
    struct store *store = NULL;
    uint64_t number;
    (void)to;
    receive_number(from, &number); /* until the parent lets all go at once */
    enum status status = store_open(place->dir, &store, &why);
    if (status)
        return status == STATUS_IO && strstr(why.message, "in use by another process") ? 1 : 2;
    char name[16];
    snprintf(name, sizeof name, "%d", (int)getpid());
    struct store_change change = putting(name, 1, name);
    return store_commit(store, &change, &why) ? 2 : 0;
}

static void test_first_open_by_many_at_once_makes_one_store(void **state)
{
    enum { MANY = 6, ROUNDS = 20 };
    struct place *place = *state;
    size_t winners = 0;
    for (int round = 0; round < ROUNDS; round++) {
        struct child children[MANY];
        for (int i = 0; i < MANY; i++)
            children[i] = start(place, open_and_put_pid);
        for (int i = 0; i < MANY; i++)
            send_number(children[i].to, 1);
        int results[MANY];
        for (int i = 0; i < MANY; i++)
            results[i] = finish(&children[i]);
        struct store *store = open_store(place);
        struct buf said = list(store);
        for (int i = 0; i < MANY; i++) {
            char line[32];
            snprintf(line, sizeof line, "0 %d 1*", (int)children[i].pid);
            assert_in_range(results[i], 0, 1);
            assert_int_equal(strstr(said.data, line) != NULL, results[i] == 0);
            winners += results[i] == 0;
        }
        buf_finish(&said);
        store_close(store);
        clear(place);
    }
    assert_true(winners > 0);
}

static void test_folders_that_cannot_be_used(void **state)
{
    struct place *place = *state, bad = *place;
    struct fail why;
    struct store *store = NULL;
    char long_name[PATH_MAX + 1];
    write_bytes(place->dir, "x", 1);
    expect_refused(place, STATUS_IO, "Not a directory");
    assert_int_equal(unlink(place->dir), 0);
    snprintf(bad.dir, sizeof bad.dir, "%.200s/no/folder", place->root);
    expect_refused(&bad, STATUS_IO, "No such file");
    unit_assert_fails(store_open("", &store, &why), STATUS_INVALID, why, "empty or too long");
    memset(long_name, 'n', PATH_MAX);
    long_name[PATH_MAX] = '\0';
    unit_assert_fails(store_open(long_name, &store, &why), STATUS_INVALID, why,
                      "empty or too long");
    long_name[PATH_MAX - 40] = '\0';
    unit_assert_fails(store_open(long_name, &store, &why), STATUS_IO, why, "nnn"); /* the system */
    assert_null(store);
}

static void test_files_that_are_none(void **state)
{
    struct place *place = *state;
    assert_int_equal(mkdir(place->dir, 0700), 0);
    assert_int_equal(mkdir(place->file, 0700), 0);
    expect_refused(place, STATUS_FORMAT, "not a regular file");
    assert_int_equal(rmdir(place->file), 0);
    assert_int_equal(mkfifo(place->file, 0600), 0);
    expect_refused(place, STATUS_FORMAT, "not a regular file");
    assert_int_equal(unlink(place->file), 0);
    assert_int_equal(symlink("nowhere", place->file), 0);
    expect_refused(place, STATUS_IO, "No such file");
    struct stat about;
    assert_int_equal(lstat(place->file, &about), 0);
    assert_true(S_ISLNK(about.st_mode));
}

/* Root may write anywhere, so it steps down for a moment. */
static void test_folder_or_file_that_is_not_writable(void **state)
{
    struct place *place = *state;
    store_close(open_store(place));
    uid_t user = geteuid();
    if (!user && (chown(place->root, NOBODY, (gid_t)-1) || chown(place->dir, NOBODY, (gid_t)-1) ||
                  chown(place->file, NOBODY, (gid_t)-1) || seteuid(NOBODY)))
        skip();
    chmod(place->file, 0400);
    expect_refused(place, STATUS_IO, "cannot be written");
    chmod(place->file, 0600);
    chmod(place->dir, 0500);
    expect_refused(place, STATUS_IO, place->file);
    chmod(place->dir, 0700);
    unlink(place->file);
    chmod(place->dir, 0500);
    expect_refused(place, STATUS_IO, "Permission denied");
    chmod(place->dir, 0000);
    expect_refused(place, STATUS_IO, "Permission denied");
    chmod(place->dir, 0700);
    assert_int_equal(seteuid(user), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_second_open_in_the_process_is_refused),
        TEST(test_open_here_is_refused_to_others),
        TEST(test_open_elsewhere_is_refused_until_that_dies),
        TEST(test_first_open_by_many_at_once_makes_one_store),
        TEST(test_folders_that_cannot_be_used),
        TEST(test_files_that_are_none),
        TEST(test_folder_or_file_that_is_not_writable),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
