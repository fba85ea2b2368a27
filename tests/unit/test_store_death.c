/* What was reported as done is there again, whoever dies and whatever fails in between. */
#include "tests/unit/store_parts.h"

#include <sqlite3.h>

enum { KILLS = 30, KEPT_VERSIONS = 3 };

/* ---- Death ---- */

static size_t death_bytes(uint64_t version)
{
    return (size_t)(version * 7919 % 30000);
}

static char death_byte(uint64_t version)
{
    return (char)('a' + version % 26);
}

static enum status find_last(void *argument, const struct store_entry *entry, struct fail *why)
{
    uint64_t *last = argument;
    (void)why;
    if (strcmp(entry->name, "birds") == 0 && entry->is_current)
        *last = entry->version;
    return STATUS_OK;
}

/* Version after version of "birds", and each time "shadow" goes or comes back; says which are done.
 */
static int commit_for_ever(const struct place *place, int from, int to)
{
    struct store *store = NULL;
    uint64_t version = 0;
    (void)from;
    if (store_open(place->dir, &store, NULL) ||
        store_each(store, STORE_LABEL_SET, find_last, &version, NULL))
        return 1;
    char *document = malloc(30000);
    if (!document)
        return 1;
    for (;;) {
        version++;
        memset(document, death_byte(version), 30000);
        struct store_change change = {.name = "birds",
                                      .added = version,
                                      .document = document,
                                      .document_bytes = death_bytes(version),
                                      .current = version,
                                      .make_default = STORE_DEFAULT_SET};
        if (version > KEPT_VERSIONS)
            change.oldest = version - KEPT_VERSIONS + 1;
        if (store_commit(store, &change, NULL) || !send_number(to, version))
            return 2;
    }
}

struct found {
    uint64_t last, count;
};

static enum status check_death_entry(void *argument, const struct store_entry *entry,
                                     struct fail *why)
{
    struct found *found = argument;
    (void)why;
    assert_string_equal(entry->name, "birds");
    if (found->count)
        assert_int_equal(entry->version, found->last + 1);
    found->last = entry->version;
    found->count++;
    assert_int_equal(entry->document_bytes, death_bytes(entry->version));
    for (size_t i = 0; i < entry->document_bytes; i++)
        if (entry->document[i] != death_byte(entry->version))
            fail_msg("byte %zu of version %" PRIu64, i, entry->version);
    return STATUS_OK;
}

static void test_whatever_was_done_survives_a_kill(void **state)
{
    struct place *place = *state;
    uint32_t random = (uint32_t)getpid();
    uint64_t done = 0;
    for (int i = 0; i < KILLS; i++) {
        struct child child = start(place, commit_for_ever);
        uint64_t wanted = unit_random(&random) % 20;
        for (uint64_t j = 0; j < wanted; j++)
            assert_true(receive_number(child.from, &done));
        usleep(unit_random(&random) % 3000);
        kill(child.pid, SIGKILL);
        while (receive_number(child.from, &done))
            continue;
        assert_int_equal(finish(&child), -SIGKILL);

        struct fail why;
        struct found found = {0};
        char name[STORE_MAX_NAME + 1];
        struct store *store = open_store(place);
        unit_assert_ok(store_each(store, STORE_LABEL_SET, check_death_entry, &found, &why), why);
        assert_in_range(found.last, done, done + 1);
        assert_int_equal(found.count, found.last < KEPT_VERSIONS ? found.last : KEPT_VERSIONS);
        unit_assert_ok(store_get_default(store, STORE_LABEL_SET, name, &why), why);
        assert_string_equal(name, found.last ? "birds" : "");
        uint64_t last = 0;
        unit_assert_ok(store_each(store, STORE_LABEL_SET, find_last, &last, &why), why);
        assert_int_equal(last, found.last);
        store_close(store);
        done = found.last;
    }
    assert_true(done > 0);
}

static int just_open(const struct place *place, int from, int to)
{
    struct store *store = NULL;
    (void)from;
    send_number(to, 1);
    if (store_open(place->dir, &store, NULL))
        return 1;
    pause();
    return 0;
}

static void test_killed_first_open_leaves_what_opens(void **state)
{
    struct place *place = *state;
    uint32_t random = (uint32_t)getpid();
    for (int i = 0; i < 2 * KILLS; i++) {
        struct child child = start(place, just_open);
        uint64_t number;
        assert_true(receive_number(child.from, &number));
        usleep(unit_random(&random) % 4000);
        kill(child.pid, SIGKILL);
        assert_int_equal(finish(&child), -SIGKILL);
        struct store *store = open_store(place);
        put(store, "birds", 1, "owl");
        expect_kept(place, store, "0 birds 1* owl\n0 default= floor=0\n1 default= floor=0\n");
        clear(place);
    }
}

static void test_trace_of_a_killed_first_open_is_used_up(void **state)
{
    struct place *place = *state;
    char trace[360];
    snprintf(trace, sizeof trace, "%s.new", place->file);
    assert_int_equal(mkdir(place->dir, 0700), 0);
    char bytes[10 * PAGE_BYTES];
    memset(bytes, 'x', sizeof bytes);
    write_bytes(trace, bytes, sizeof bytes);
    store_close(open_store(place));
    assert_int_equal(access(trace, F_OK), -1);
    store_close(open_store(place));
}

/* ---- A disk that fails once ---- */

static sqlite3_io_methods faulty_methods[2];
static const sqlite3_io_methods *sound_methods[2]; /* of the file, and of the others */
static sqlite3_vfs faulty_vfs;
static const sqlite3_vfs *sound_vfs;
static int faulty_countdown = -1; /* 0: the next call fails */

static bool is_faulty(void)
{
    return faulty_countdown >= 0 && faulty_countdown-- == 0;
}

static const sqlite3_io_methods *sound_of(const sqlite3_file *file)
{
    return sound_methods[file->pMethods - faulty_methods];
}

/* Half of it gets there. */
static int faulty_write(sqlite3_file *file, const void *bytes, int size, sqlite3_int64 at)
{
    bool faulty = is_faulty();
    int code = sound_of(file)->xWrite(file, bytes, faulty ? size / 2 : size, at);
    return faulty ? SQLITE_IOERR_WRITE : code;
}

static int faulty_sync(sqlite3_file *file, int flags)
{
    return is_faulty() ? SQLITE_IOERR_FSYNC : sound_of(file)->xSync(file, flags);
}

static int faulty_truncate(sqlite3_file *file, sqlite3_int64 size)
{
    return is_faulty() ? SQLITE_IOERR_TRUNCATE : sound_of(file)->xTruncate(file, size);
}

static int faulty_read(sqlite3_file *file, void *bytes, int size, sqlite3_int64 at)
{
    return is_faulty() ? SQLITE_IOERR_READ : sound_of(file)->xRead(file, bytes, size, at);
}

static int faulty_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags, int *out)
{
    (void)vfs;
    int code = sound_vfs->xOpen((sqlite3_vfs *)(uintptr_t)sound_vfs, name, file, flags, out);
    if (code || !file->pMethods)
        return code;
    int which = flags & SQLITE_OPEN_MAIN_DB ? 0 : 1;
    sound_methods[which] = file->pMethods;
    faulty_methods[which] = *file->pMethods;
    faulty_methods[which].iVersion = 1;
    faulty_methods[which].xWrite = faulty_write;
    faulty_methods[which].xSync = faulty_sync;
    faulty_methods[which].xTruncate = faulty_truncate;
    faulty_methods[which].xRead = faulty_read;
    file->pMethods = &faulty_methods[which];
    return code;
}

static void use_faulty_disk(void)
{
    sound_vfs = sqlite3_vfs_find(NULL);
    faulty_vfs = *sound_vfs;
    faulty_vfs.zName = "faulty";
    faulty_vfs.xOpen = faulty_open;
    sqlite3_vfs_register(&faulty_vfs, 1);
}

enum { FAULT_DONE, FAULT_REPORTED, FAULT_NONE_LEFT, FAULT_SURPRISE, FAULT_MOST_CALLS = 1000 };

/* from: after how many calls the disk fails; and whether a sound change follows. */
static int commit_on_faulty_disk(const struct place *place, int from, int to)
{
    struct store *store = NULL;
    uint64_t countdown, again;
    (void)to;
    use_faulty_disk();
    if (!receive_number(from, &countdown) || !receive_number(from, &again) ||
        store_open(place->dir, &store, NULL))
        return FAULT_SURPRISE;
    char *document = calloc(1, 50000);
    struct store_change change = {.name = "birds",
                                  .added = 3,
                                  .document = document,
                                  .document_bytes = 50000,
                                  .current = 3,
                                  .oldest = 2};
    faulty_countdown = (int)countdown;
    enum status status = store_commit(store, &change, NULL);
    bool none_left = faulty_countdown >= 0;
    faulty_countdown = -1;
    if (status && status != STATUS_IO)
        return FAULT_SURPRISE;
    struct store_change sound = putting("trees", 2, "oak");
    if (again && store_commit(store, &sound, NULL))
        return FAULT_SURPRISE;
    return status ? FAULT_REPORTED : none_left ? FAULT_NONE_LEFT : FAULT_DONE;
}

/* Whether the process dies right after the failure or goes on. */
static void test_change_that_failed_has_not_happened(void **state)
{
    struct place *place = *state;
    size_t reported = 0, done = 0;
    struct store *store = open_store(place);
    put_some(store);
    store_close(store);
    struct buf before = read_bytes(place->file);
    for (uint64_t again = 0; again < 2; again++) {
        int result = FAULT_DONE;
        for (uint64_t countdown = 0; result != FAULT_NONE_LEFT; countdown++) {
            assert_true(countdown < FAULT_MOST_CALLS);
            write_bytes(place->file, before.data, before.size);
            struct child child = start(place, commit_on_faulty_disk);
            send_number(child.to, countdown);
            send_number(child.to, again);
            result = finish(&child);
            assert_in_range(result, FAULT_DONE, FAULT_NONE_LEFT);
            reported += result == FAULT_REPORTED;
            done += result == FAULT_DONE;

            store = open_store(place);
            struct buf said = list(store);
            bool there = strstr(said.data, "0 birds 3* 50000:") != NULL;
            bool old = strstr(said.data, "0 birds 1 [") && strstr(said.data, "0 birds 2* [");
            if (there != (result != FAULT_REPORTED) || old != (result == FAULT_REPORTED))
                fail_msg("after %" PRIu64 " calls: reported %d, yet %s", countdown, result,
                         said.data);
            assert_int_equal(strstr(said.data, "0 trees 2* oak") != NULL, again);
            buf_finish(&said);
            store_close(store);
        }
    }
    buf_finish(&before);
    assert_true(reported > 10);
    assert_true(done > 10); /* when the copying from the log failed, which can wait */
}

/* Reports a store that cannot be read or opens it; never anything else. */
static int open_on_faulty_disk(const struct place *place, int from, int to)
{
    struct fail why;
    struct store *store = NULL;
    uint64_t countdown;
    (void)to;
    use_faulty_disk();
    if (!receive_number(from, &countdown))
        return FAULT_SURPRISE;
    faulty_countdown = (int)countdown;
    enum status status = store_open(place->dir, &store, &why);
    bool none_left = faulty_countdown >= 0;
    faulty_countdown = -1;
    if (status)
        return status == STATUS_IO || status == STATUS_FORMAT ? FAULT_REPORTED : FAULT_SURPRISE;
    return none_left ? FAULT_NONE_LEFT : FAULT_DONE;
}

static void test_open_that_failed_has_lost_nothing(void **state)
{
    struct place *place = *state;
    struct store *store = open_store(place);
    put_some(store);
    struct buf said = list(store);
    store_close(store);
    size_t reported = 0;
    int result = FAULT_DONE;
    for (uint64_t countdown = 0; result != FAULT_NONE_LEFT; countdown++) {
        assert_true(countdown < FAULT_MOST_CALLS);
        struct child child = start(place, open_on_faulty_disk);
        send_number(child.to, countdown);
        result = finish(&child);
        assert_in_range(result, FAULT_DONE, FAULT_NONE_LEFT);
        reported += result == FAULT_REPORTED;
        store = open_store(place);
        expect(store, said.data);
        store_close(store);
    }
    assert_true(reported > 3);
    buf_finish(&said);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_whatever_was_done_survives_a_kill),
        TEST(test_killed_first_open_leaves_what_opens),
        TEST(test_trace_of_a_killed_first_open_is_used_up),
        TEST(test_change_that_failed_has_not_happened),
        TEST(test_open_that_failed_has_lost_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
