/* Files that are damaged or something else: refused, and left as they are. */
#include "tests/unit/store_parts.h"

#include <sqlite3.h>

/* ... twice, and nothing happens to the file. */
static void expect_left_alone(const struct place *place, enum status status, const char *part)
{
    struct fail why;
    struct buf before = read_bytes(place->file);
    for (int i = 0; i < 2; i++) {
        struct store *store = NULL;
        unit_assert_fails(store_open(place->dir, &store, &why), status, why, part);
        unit_assert_fails(why.code, status, why, place->file);
        unit_assert_fails(why.code, status, why, "left as it is");
        struct buf after = read_bytes(place->file);
        assert_int_equal(before.size, after.size);
        if (before.size)
            assert_memory_equal(before.data, after.data, before.size);
        buf_finish(&after);
    }
    buf_finish(&before);
}

/* What another program may do to the file. */
static void edit(const struct place *place, const char *sql)
{
    sqlite3 *base;
    char *error = NULL;
    assert_int_equal(sqlite3_open(place->file, &base), SQLITE_OK);
    if (sqlite3_exec(base, sql, NULL, NULL, &error))
        fail_msg("%s", error);
    assert_int_equal(sqlite3_close(base), SQLITE_OK);
}

static int64_t ask(const struct place *place, const char *sql)
{
    sqlite3 *base;
    sqlite3_stmt *statement;
    assert_int_equal(sqlite3_open(place->file, &base), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(base, sql, -1, &statement, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
    int64_t number = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    sqlite3_close(base);
    return number;
}

static void make_some(const struct place *place)
{
    struct store *store = open_store(place);
    put_some(store);
    char *document = calloc(1, 3 * PAGE_BYTES);
    memset(document, 'd', 3 * PAGE_BYTES - 1);
    char name[16];
    for (int i = 0; i < 90; i++) {
        snprintf(name, sizeof name, "name-%d", i);
        put(store, name, 1, i % 30 ? "x" : document);
    }
    free(document);
    store_close(store);
}

static void test_other_bytes_are_refused(void **state)
{
    struct place *place = *state;
    uint32_t random = 7;
    char bytes[3 * PAGE_BYTES];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (char)unit_random(&random);
    assert_int_equal(mkdir(place->dir, 0700), 0);
    write_bytes(place->file, bytes, sizeof bytes);
    expect_left_alone(place, STATUS_FORMAT, "file is not a database");
    write_bytes(place->log, bytes, sizeof bytes);
    for (size_t size = 0; size < 3; size++) { /* SQLite would remove the log beside 0 or 1 */
        write_bytes(place->file, bytes, size);
        expect_left_alone(place, STATUS_FORMAT, "is empty");
        struct buf log = read_bytes(place->log);
        assert_int_equal(log.size, sizeof bytes);
        buf_finish(&log);
    }
}

static void test_files_cut_short_are_refused(void **state)
{
    struct place *place = *state;
    make_some(place);
    struct buf whole = read_bytes(place->file);
    size_t sizes[] = {1,
                      15,
                      16,
                      99,
                      100,
                      511,
                      512,
                      PAGE_BYTES - 1,
                      PAGE_BYTES,
                      PAGE_BYTES * 3,
                      whole.size / 2 / PAGE_BYTES * PAGE_BYTES + PAGE_BYTES / 2,
                      whole.size - PAGE_BYTES,
                      whole.size - 1};
    for (size_t i = 0; i < UNIT_COUNT(sizes); i++) {
        write_bytes(place->file, whole.data, sizes[i]);
        expect_left_alone(place, STATUS_FORMAT, "move it");
    }
    write_bytes(place->file, whole.data, whole.size);
    store_close(open_store(place));
    buf_finish(&whole);
}

static void test_flipped_bytes_of_an_index_are_refused(void **state)
{
    struct place *place = *state;
    make_some(place);
    size_t page = (size_t)ask(place, "SELECT rootpage FROM sqlite_schema "
                                     "WHERE name = 'sqlite_autoindex_versions_1'");
    struct buf whole = read_bytes(place->file);
    char *index = whole.data + (page - 1) * PAGE_BYTES;
    for (size_t i = 0; i < PAGE_BYTES; i += i < 16 ? 1 : PAGE_BYTES - 17) {
        index[i] ^= 0x55;
        write_bytes(place->file, whole.data, whole.size);
        index[i] ^= 0x55;
        if (i != 1 && i != 2 && i != 7) /* free blocks and fragments, which nothing hangs on */
            expect_left_alone(place, STATUS_FORMAT, "move it");
    }
    buf_finish(&whole);
}

/* Some bytes mean nothing, or are text of a document. */
static void test_flipped_bytes_anywhere_are_refused_or_harmless(void **state)
{
    struct place *place = *state;
    make_some(place);
    struct buf whole = read_bytes(place->file);
    size_t refused = 0;
    for (size_t i = 0; i < whole.size; i += i < 100 ? 1 : 97) {
        struct fail why;
        struct store *store = NULL;
        whole.data[i] ^= 0x81;
        write_bytes(place->file, whole.data, whole.size);
        if (store_open(place->dir, &store, &why)) {
            refused++;
            struct buf after = read_bytes(place->file);
            assert_int_equal(after.size, whole.size);
            assert_memory_equal(after.data, whole.data, whole.size);
            buf_finish(&after);
        } else {
            struct buf said = list(store);
            buf_finish(&said);
        }
        whole.data[i] ^= 0x81;
        store_close(store);
        unlink(place->log);
    }
    assert_true(refused > 50);
    buf_finish(&whole);
}

static void test_databases_that_are_no_stores_are_refused(void **state)
{
    static const struct {
        const char *sql;
        enum status status;
        const char *part;
    } cases[] = {
        {"PRAGMA application_id = 7", STATUS_FORMAT, "another program"},
        {"PRAGMA user_version = 0", STATUS_FORMAT, "another program"},
        {"PRAGMA user_version = -1", STATUS_FORMAT, "another program"},
        {"PRAGMA user_version = 2", STATUS_UNSUPPORTED, "newer version"},
        {"CREATE TABLE more(x)", STATUS_FORMAT, "tables are not those"},
        {"CREATE TRIGGER t AFTER INSERT ON names BEGIN DELETE FROM kinds; END", STATUS_FORMAT,
         "tables are not those"},
        {"DROP TABLE kinds", STATUS_FORMAT, "tables are not those"},
        {"ALTER TABLE versions ADD COLUMN x TEXT", STATUS_FORMAT, "tables are not those"},
        {"DELETE FROM kinds WHERE kind = 1", STATUS_FORMAT, "a row is missing"},
        {"DELETE FROM store", STATUS_FORMAT, "a row is missing"},
        {"UPDATE store SET id = '0123456789ABCDEF'", STATUS_FORMAT, "id is malformed"},
        {"DELETE FROM versions WHERE name = 'birds' AND version = 2", STATUS_FORMAT, "contradict"},
        {"DELETE FROM names WHERE name = 'birds'", STATUS_FORMAT, "contradict"},
        {"UPDATE kinds SET default_name = 'fish'", STATUS_FORMAT, "contradict"},
        {"PRAGMA ignore_check_constraints = ON;"
         "UPDATE names SET name = hex(zeroblob(33)) WHERE name = 'trees';"
         "UPDATE versions SET name = hex(zeroblob(33)) WHERE name = 'trees'",
         STATUS_FORMAT, "CHECK constraint failed in names"},
        {"PRAGMA ignore_check_constraints = ON; UPDATE versions SET version = -1 WHERE version = 1;"
         "UPDATE names SET current = -1 WHERE current = 1",
         STATUS_FORMAT, "CHECK constraint failed in versions"},
    };
    struct place *place = *state;
    for (size_t i = 0; i < UNIT_COUNT(cases); i++) {
        struct store *store = open_store(place);
        put_some(store);
        store_close(store);
        edit(place, cases[i].sql);
        expect_left_alone(place, cases[i].status, cases[i].part);
        clear(place);
    }
}

/* Values that the tables do not allow, by way of tables that do. */
static void test_values_of_the_wrong_type_are_refused(void **state)
{
    static const char *const values[] = {"NULL", "x'00'", "7"};
    struct place *place = *state;
    for (size_t i = 0; i < UNIT_COUNT(values); i++) {
        struct store *store = open_store(place);
        put_some(store);
        store_close(store);
        char sql[128];
        snprintf(sql, sizeof sql, "UPDATE versions SET document = %s WHERE version = 2", values[i]);
        edit(place, "CREATE TABLE kept(sql); INSERT INTO kept SELECT sql FROM sqlite_schema "
                    "WHERE name = 'versions'; PRAGMA writable_schema = ON; UPDATE sqlite_schema "
                    "SET sql = replace(replace(sql, 'document TEXT NOT NULL', 'document'), "
                    "'STRICT', '') WHERE name = 'versions'");
        edit(place, sql);
        edit(place, "PRAGMA writable_schema = ON; UPDATE sqlite_schema SET sql = "
                    "(SELECT sql FROM kept) WHERE name = 'versions'; DROP TABLE kept");
        expect_left_alone(place, STATUS_FORMAT, "versions.document");
        clear(place);
    }
}

static enum status ignore_entry(void *argument, const struct store_entry *entry, struct fail *why)
{
    (void)argument;
    (void)entry;
    (void)why;
    return STATUS_OK;
}

static void test_names_with_a_nul_are_refused_when_read(void **state)
{
    struct place *place = *state;
    struct fail why;
    struct store *store = open_store(place);
    put_some(store);
    store_close(store);
    edit(place, "UPDATE names SET name = 'a' || char(0) || 'b' WHERE name = 'trees';"
                "UPDATE versions SET name = 'a' || char(0) || 'b' WHERE name = 'trees'");
    store = open_store(place);
    unit_assert_fails(store_each(store, STORE_LABEL_SET, ignore_entry, NULL, &why), STATUS_FORMAT,
                      why, "a name is malformed");
    store_close(store);
}

/* The log of a store that was killed, next to a file that is not its own any more. */
static int put_and_die(const struct place *place, int from, int to)
{
    struct store *store = NULL;
    (void)from;
    (void)to;
    if (store_open(place->dir, &store, NULL))
        return 1;
    struct store_change change = putting("birds", 3, "owl");
    if (store_commit(store, &change, NULL))
        return 2;
    return raise(SIGKILL);
}

static void test_log_of_a_damaged_file_is_left_alone(void **state)
{
    struct place *place = *state;
    make_some(place);
    struct child child = start(place, put_and_die);
    assert_int_equal(finish(&child), -SIGKILL);
    struct buf file = read_bytes(place->file), log = read_bytes(place->log);
    assert_true(log.size > PAGE_BYTES);
    file.data[68] ^= 1; /* the application's number */
    write_bytes(place->file, file.data, file.size);
    expect_left_alone(place, STATUS_FORMAT, "another program");
    struct buf after = read_bytes(place->log);
    assert_int_equal(log.size, after.size);
    assert_memory_equal(log.data, after.data, log.size);
    buf_finish(&after);
    buf_finish(&log);
    buf_finish(&file);
}

static void test_log_without_its_file_is_not_taken_for_a_new_ones(void **state)
{
    struct place *place = *state;
    struct child child = start(place, put_and_die);
    assert_int_equal(finish(&child), -SIGKILL);
    struct buf file = read_bytes(place->file);
    assert_int_equal(unlink(place->file), 0);
    expect_refused(place, STATUS_FORMAT, "store.sqlite3-wal is there");
    write_bytes(place->file, file.data, file.size);
    struct store *store = open_store(place);
    expect(store, "0 birds 3* owl\n0 default= floor=0\n1 default= floor=0\n");
    store_close(store);
    assert_int_equal(unlink(place->file), 0);
    store = open_store(place);
    expect(store, "0 default= floor=0\n1 default= floor=0\n");
    store_close(store);
    buf_finish(&file);
}

/* So a copy of it is a backup, and the log is needed for no more than the last change. */
static void test_file_alone_has_every_change(void **state)
{
    struct place *place = *state, copy = *place;
    struct store *store = open_store(place);
    put_some(store);
    struct buf said = list(store), file = read_bytes(place->file);
    store_close(store);
    snprintf(copy.dir, sizeof copy.dir, "%.200s/copy", place->root);
    snprintf(copy.file, sizeof copy.file, "%.250s/store.sqlite3", copy.dir);
    assert_int_equal(mkdir(copy.dir, 0700), 0);
    write_bytes(copy.file, file.data, file.size);
    expect_kept(&copy, open_store(&copy), said.data);
    buf_finish(&file);
    buf_finish(&said);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_other_bytes_are_refused),
        TEST(test_files_cut_short_are_refused),
        TEST(test_flipped_bytes_of_an_index_are_refused),
        TEST(test_flipped_bytes_anywhere_are_refused_or_harmless),
        TEST(test_databases_that_are_no_stores_are_refused),
        TEST(test_values_of_the_wrong_type_are_refused),
        TEST(test_names_with_a_nul_are_refused_when_read),
        TEST(test_log_of_a_damaged_file_is_left_alone),
        TEST(test_log_without_its_file_is_not_taken_for_a_new_ones),
        TEST(test_file_alone_has_every_change),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
