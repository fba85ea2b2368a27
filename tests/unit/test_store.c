/* Changes to a store, found again when it is opened the next time. */
#include "tests/unit/store_parts.h"

#include <dirent.h>
#include <pthread.h>
#include <sys/resource.h>

enum { BIG_BYTES = 5 << 20 };

static void test_new_store_is_empty_and_private(void **state)
{
    struct place *place = *state;
    struct stat about;
    struct store *store = open_store(place);
    expect_kept(place, store, "0 default= floor=0\n1 default= floor=0\n");
    assert_int_equal(stat(place->dir, &about), 0);
    assert_int_equal(about.st_mode & 07777, 0700);
    assert_int_equal(stat(place->file, &about), 0);
    assert_int_equal(about.st_mode & 07777, 0600);
}

static void test_only_the_file_is_left_when_closed(void **state)
{
    struct place *place = *state;
    struct store *store = open_store(place);
    put_some(store);
    store_close(store);
    size_t count = 0;
    DIR *folder = opendir(place->dir);
    assert_non_null(folder);
    while (readdir(folder))
        count++;
    closedir(folder);
    assert_int_equal(count, 3); /* with . and .. */
}

static void test_id_is_kept_and_no_other_store_has_it(void **state)
{
    struct place *place = *state;
    char ids[2][STORE_ID_BYTES];
    for (int i = 0; i < 2; i++) {
        struct store *store = open_store(place);
        snprintf(ids[i], sizeof ids[i], "%s", store_id(store));
        assert_int_equal(strlen(store_id(store)), 16);
        assert_int_equal(strspn(store_id(store), "0123456789abcdef"), 16);
        store_close(store);
        store = open_store(place);
        assert_string_equal(store_id(store), ids[i]);
        store_close(store);
        clear(place);
    }
    assert_string_not_equal(ids[0], ids[1]);
}

static void test_everything_is_found_again_in_order(void **state)
{
    struct place *place = *state;
    struct store *store = open_store(place);
    put_some(store);
    struct store_change back = {.name = "birds", .current = 1, .oldest = 1};
    put(store, "birds", 10, "");
    commit(store, back);
    struct store_change odd = putting("odd", INT64_MAX, "");
    odd.document = "a\0b";
    odd.document_bytes = 3;
    commit(store, odd);
    char expected[256];
    snprintf(expected, sizeof expected,
             "0 birds 1* [\"owl\"]\n0 birds 2 [\"owl\",\"duck\"]\n0 birds 10 \n"
             "0 odd 9223372036854775807* 3:%08x\n0 trees 1* oak\n0 default= floor=0\n"
             "1 birds 9* a pool\n1 default=birds floor=0\n",
             digest(odd.document, 3));
    expect_kept(place, store, expected);
}

static void test_big_documents_and_long_names(void **state)
{
    struct place *place = *state;
    struct store *store = open_store(place);
    char name[STORE_MAX_NAME + 2], expected[512];
    memset(name, 'n', sizeof name);
    name[STORE_MAX_NAME] = '\0';
    char *document = malloc(BIG_BYTES);
    uint32_t random = 1;
    for (size_t i = 0; i < BIG_BYTES; i++)
        document[i] = (char)('a' + unit_random(&random) % 26);
    struct store_change change = {
        .name = name,
        .added = 1,
        .document = document,
        .document_bytes = BIG_BYTES,
        .current = 1,
        .make_default = STORE_DEFAULT_SET,
    };
    commit(store, change);
    change.added = change.current = 2;
    change.document_bytes--;
    commit(store, change);
    snprintf(expected, sizeof expected,
             "0 %s 1 %d:%08x\n0 %s 2* %d:%08x\n0 default=%s floor=0\n1 default= floor=0\n", name,
             BIG_BYTES, digest(document, BIG_BYTES), name, BIG_BYTES - 1,
             digest(document, BIG_BYTES - 1), name);
    expect_kept(place, store, expected);
    free(document);
}

static void test_old_versions_go(void **state)
{
    struct place *place = *state;
    struct store *store = open_store(place);
    for (uint64_t version = 1; version <= 5; version++)
        put(store, "birds", version, "owl");
    put(store, "trees", 1, "oak");
    struct store_change change = putting("birds", 6, "owl");
    change.oldest = 4;
    change.current = 4;
    commit(store, change);
    expect_kept(place, store,
                "0 birds 4* owl\n0 birds 5 owl\n0 birds 6 owl\n0 trees 1* oak\n"
                "0 default= floor=0\n1 default= floor=0\n");
}

static void test_default_is_set_and_cleared(void **state)
{
    struct place *place = *state;
    struct store *store = open_store(place);
    put(store, "trees", 1, "oak");
    struct store_change birds = putting("birds", 1, "owl");
    birds.make_default = STORE_DEFAULT_SET;
    commit(store, birds);
    put(store, "birds", 2, "owl"); /* KEEP */
    struct store_change clear_other = {
        .name = "trees", .current = 1, .make_default = STORE_DEFAULT_CLEAR};
    commit(store, clear_other);
    const char *with = "0 birds 1 owl\n0 birds 2* owl\n0 trees 1* oak\n0 default=birds floor=0\n"
                       "1 default= floor=0\n";
    expect_kept(place, store, with);

    store = open_store(place);
    struct store_change same_of_other_kind = putting("birds", 1, "pool");
    same_of_other_kind.kind = STORE_POOL;
    same_of_other_kind.make_default = STORE_DEFAULT_CLEAR;
    commit(store, same_of_other_kind);
    commit(store, (struct store_change){.kind = STORE_POOL, .name = "birds"});
    struct store_change trees = {.name = "trees", .current = 1, .make_default = STORE_DEFAULT_SET};
    commit(store, trees);
    struct store_change clear_trees = {
        .name = "trees", .current = 1, .make_default = STORE_DEFAULT_CLEAR};
    char name[STORE_MAX_NAME + 1];
    struct fail why;
    unit_assert_ok(store_get_default(store, STORE_LABEL_SET, name, &why), why);
    assert_string_equal(name, "trees");
    commit(store, clear_trees);
    expect_kept(place, store,
                "0 birds 1 owl\n0 birds 2* owl\n0 trees 1* oak\n0 default= floor=0\n"
                "1 default= floor=1\n");
}

static void test_default_goes_with_its_name(void **state)
{
    struct place *place = *state;
    struct store *store = open_store(place);
    put(store, "trees", 1, "oak");
    struct store_change birds = putting("birds", 1, "owl");
    birds.make_default = STORE_DEFAULT_SET;
    commit(store, birds);
    commit(store, removing("trees"));
    char name[STORE_MAX_NAME + 1];
    struct fail why;
    unit_assert_ok(store_get_default(store, STORE_LABEL_SET, name, &why), why);
    assert_string_equal(name, "birds");
    commit(store, removing("birds"));
    expect_kept(place, store, "0 default= floor=1\n1 default= floor=0\n");
}

static void test_floor_is_the_greatest_version_that_went(void **state)
{
    struct place *place = *state;
    struct store *store = open_store(place);
    put(store, "birds", 7, "owl");
    put(store, "trees", 3, "oak");
    put(store, "trees", 4, "oak");
    struct store_change back = {.name = "trees", .current = 3};
    commit(store, back);
    commit(store, removing("trees"));
    expect(store, "0 birds 7* owl\n0 default= floor=4\n1 default= floor=0\n");
    commit(store, removing("nothing"));
    put(store, "grass", 2, "reed");
    commit(store, removing("grass"));
    expect_kept(place, store, "0 birds 7* owl\n0 default= floor=4\n1 default= floor=0\n");
    store = open_store(place);
    struct store_change last = putting("birds", 8, "owl");
    last.current = 0;
    last.oldest = 8;
    commit(store, last);
    expect_kept(place, store, "0 default= floor=8\n1 default= floor=0\n");
}

static void refuse(struct store *store, struct store_change change, const char *part)
{
    struct fail why;
    struct buf before = list(store);
    unit_assert_fails(store_commit(store, &change, &why), STATUS_INVALID, why, part);
    expect(store, before.data);
    buf_finish(&before);
}

static void test_bad_changes_change_nothing(void **state)
{
    struct place *place = *state;
    struct store *store = open_store(place);
    put_some(store);
    char name[STORE_MAX_NAME + 2] = "";
    refuse(store, putting(name, 1, "x"), "a name has 1 to 64 bytes");
    memset(name, 'n', STORE_MAX_NAME + 1);
    refuse(store, putting(name, 1, "x"), "a name has 1 to 64 bytes");
    refuse(store, (struct store_change){.added = 1, .current = 1}, "a name has 1 to 64 bytes");
    refuse(store, putting("birds", 2, "x"), "version 2 of 'birds' exists already");
    refuse(store, putting("birds", 1, "x"), "version 1 of 'birds' exists already");
    refuse(store, (struct store_change){.name = "birds", .current = 3},
           "there is no version 3 of 'birds'");
    refuse(store, (struct store_change){.name = "fish", .current = 1},
           "there is no version 1 of 'fish'");
    refuse(store, putting("birds", (uint64_t)INT64_MAX + 1, "x"), "greatest version");
    struct store_change change = putting("birds", 3, "x");
    change.current = 4;
    change.make_default = STORE_DEFAULT_SET;
    refuse(store, change, "there is no version 4 of 'birds'");
    change.current = 3;
    change.oldest = 4;
    refuse(store, change, "there is no version 3 of 'birds'");
    change.oldest = UINT64_MAX;
    refuse(store, change, "greatest version");
    change.oldest = 0;
    change.current = UINT64_MAX;
    refuse(store, change, "greatest version");
    change.current = 0;
    refuse(store, change, "cannot be the default");
    change = putting("birds", 1, "x");
    change.kind = (enum store_kind)2;
    refuse(store, change, "constraint");
    put(store, "birds", 3, "fine");
    expect_kept(place, store,
                "0 birds 1 [\"owl\"]\n0 birds 2 [\"owl\",\"duck\"]\n0 birds 3* fine\n"
                "0 trees 1* oak\n0 default= floor=0\n1 birds 9* a pool\n1 default=birds floor=0\n");
}

static enum status count_two(void *argument, const struct store_entry *entry, struct fail *why)
{
    size_t *count = argument;
    (void)entry;
    return ++*count == 2 ? status_fail(why, STATUS_CANCELLED, "two are enough") : STATUS_OK;
}

static void test_visit_that_fails_ends_the_round(void **state)
{
    struct fail why;
    size_t count = 0;
    struct store *store = open_store(*state);
    put_some(store);
    unit_assert_fails(store_each(store, STORE_LABEL_SET, count_two, &count, &why), STATUS_CANCELLED,
                      why, "two are enough");
    assert_int_equal(count, 2);
    put(store, "birds", 3, "the store is as usable as before");
    store_close(store);
}

static void test_no_room_changes_nothing(void **state)
{
    struct place *place = *state;
    struct rlimit before, small;
    struct fail why;
    struct store *store = open_store(place);
    put_some(store);
    struct buf said = list(store);
    char *document = calloc(1, BIG_BYTES);
    struct store_change change = {.name = "birds",
                                  .added = 3,
                                  .document = document,
                                  .document_bytes = BIG_BYTES,
                                  .current = 3,
                                  .oldest = 3};
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small = before;
    small.rlim_cur = 1 << 20;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    enum status status = store_commit(store, &change, &why);
    setrlimit(RLIMIT_FSIZE, &before);
    signal(SIGXFSZ, handler);
    unit_assert_fails(status, STATUS_IO, why, place->file);
    expect_kept(place, store, said.data);
    store = open_store(place);
    commit(store, change);
    store_close(store);
    free(document);
    buf_finish(&said);
}

/* ---- Threads ---- */

struct writer {
    struct store *store;
    char name[8];
    enum status status;
};

static void *write_versions(void *argument)
{
    struct writer *writer = argument;
    for (uint64_t version = 1; version <= 20 && !writer->status; version++) {
        uint64_t floor;
        struct store_change change = putting(writer->name, version, writer->name);
        change.oldest = version;
        writer->status = store_commit(writer->store, &change, NULL);
        if (!writer->status)
            writer->status = store_get_floor(writer->store, STORE_LABEL_SET, &floor, NULL);
    }
    return NULL;
}

static void test_threads_wait_for_each_other(void **state)
{
    struct place *place = *state;
    struct store *store = open_store(place);
    struct writer writers[4] = {{.name = "a"}, {.name = "b"}, {.name = "c"}, {.name = "d"}};
    pthread_t threads[4];
    for (size_t i = 0; i < UNIT_COUNT(writers); i++) {
        writers[i].store = store;
        assert_int_equal(pthread_create(&threads[i], NULL, write_versions, &writers[i]), 0);
    }
    for (size_t i = 0; i < UNIT_COUNT(writers); i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(writers[i].status, STATUS_OK);
    }
    expect_kept(place, store,
                "0 a 20* a\n0 b 20* b\n0 c 20* c\n0 d 20* d\n0 default= floor=0\n"
                "1 default= floor=0\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_new_store_is_empty_and_private),
        TEST(test_only_the_file_is_left_when_closed),
        TEST(test_id_is_kept_and_no_other_store_has_it),
        TEST(test_everything_is_found_again_in_order),
        TEST(test_big_documents_and_long_names),
        TEST(test_old_versions_go),
        TEST(test_default_is_set_and_cleared),
        TEST(test_default_goes_with_its_name),
        TEST(test_floor_is_the_greatest_version_that_went),
        TEST(test_bad_changes_change_nothing),
        TEST(test_visit_that_fails_ends_the_round),
        TEST(test_no_room_changes_nothing),
        TEST(test_threads_wait_for_each_other),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
