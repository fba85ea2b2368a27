/* Pool files written and read again, and paths that cannot be read or written. */
#include "tests/unit/pool_parts.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

enum { NOBODY = 65534, SMALLEST_DISK = 1000 };

struct folder {
    char path[64];
    char file[96]; /* in it; need not exist */
};

static void open_folder(struct folder *folder)
{
    strcpy(folder->path, "/tmp/test_pool_save.XXXXXX");
    assert_non_null(mkdtemp(folder->path));
    snprintf(folder->file, sizeof folder->file, "%s/birds.safetensors", folder->path);
}

static void close_folder(struct folder *folder)
{
    unlink(folder->file);
    assert_int_equal(rmdir(folder->path), 0);
}

static size_t count_entries(const struct folder *folder)
{
    size_t count = 0;
    DIR *directory = opendir(folder->path);
    assert_non_null(directory);
    while (readdir(directory))
        count++;
    closedir(directory);
    return count - 2; /* . and .. */
}

static struct buf read_bytes(const char *path)
{
    struct fail why;
    struct buf bytes;
    buf_init(&bytes, POOL_PARTS_MOST_BYTES);
    unit_assert_ok(buf_read_file(&bytes, path, &why), why);
    return bytes;
}

static struct pool_file load_golden(const char *model, const char *variant)
{
    struct fail why;
    struct pool_file file;
    char path[128];
    snprintf(path, sizeof path, PROMPTED "%s/%s.pool.safetensors", model, variant);
    unit_assert_ok(pool_file_load(path, &file, &why), why);
    return file;
}

static void check_same(const struct pool_file *a, const struct pool_file *b)
{
    assert_int_equal(a->groups, b->groups);
    assert_int_equal(a->prompts, b->prompts);
    assert_int_equal(a->tokens, b->tokens);
    assert_int_equal(a->width, b->width);
    assert_int_equal(a->blocks, b->blocks);
    assert_int_equal(a->query_width, b->query_width);
    assert_int_equal(a->clusters, b->clusters);
    assert_int_equal(a->per_cluster, b->per_cluster);
    assert_int_equal(a->depth, b->depth);
    assert_int_equal(a->pos0, b->pos0);
    assert_int_equal(a->cluster_space, b->cluster_space);
    assert_int_equal(a->query_space, b->query_space);
    assert_int_equal(a->retrieval, b->retrieval);
    assert_int_equal(a->has_logit_scale, b->has_logit_scale);
    assert_true(a->logit_scale == b->logit_scale);
    size_t keys = a->groups * a->prompts;
    assert_memory_equal(a->keys, b->keys, keys * a->query_width * sizeof(float));
    assert_memory_equal(a->values, b->values, keys * a->tokens * a->width * sizeof(float));
    assert_memory_equal(a->query_mean, b->query_mean, a->blocks * a->query_width * sizeof(float));
    assert_int_equal(a->metadata_count, b->metadata_count);
    for (size_t i = 0; i < a->metadata_count; i++) {
        assert_string_equal(a->metadata[i].key, b->metadata[i].key);
        assert_string_equal(a->metadata[i].value, b->metadata[i].value);
    }
}

static void save(const struct pool_file *file, const char *path)
{
    struct fail why;
    unit_assert_ok(pool_file_save(file, path, &why), why);
}

/* ---- Round trips ---- */

static void check_round_trip(const struct folder *folder, const struct pool_file *file)
{
    struct fail why;
    struct pool_file again;
    struct stat about;
    save(file, folder->file);
    assert_int_equal(count_entries(folder), 1);
    assert_int_equal(stat(folder->file, &about), 0);
    assert_int_equal(about.st_mode & 07777, 0644);
    struct buf first = read_bytes(folder->file);
    unit_assert_ok(pool_file_load(folder->file, &again, &why), why);
    check_same(file, &again);
    save(&again, folder->file);
    struct buf second = read_bytes(folder->file);
    assert_int_equal(first.size, second.size);
    assert_memory_equal(first.data, second.data, first.size);
    assert_int_equal(count_entries(folder), 1);
    buf_finish(&first);
    buf_finish(&second);
    pool_file_finish(&again);
}

static void test_round_trips(void **state)
{
    (void)state;
    struct folder folder;
    open_folder(&folder);
    for (size_t i = 0; i < UNIT_COUNT(prompted_cases); i++) {
        struct pool_file file = load_golden(prompted_cases[i].model, prompted_cases[i].variant);
        check_round_trip(&folder, &file);
        pool_file_finish(&file);
    }
    close_folder(&folder);
}

/* Keys that mean nothing here, and characters that JSON or a file must not stumble over. */
static void test_metadata_is_kept(void **state)
{
    (void)state;
    static const char *const texts[][2] = {
        {"colour", "blue; \"x\""},           {"", ""},
        {"Zebra", "back\\slash / slash"},    {"lines", "one\ntwo\r\n\ttab"},
        {"control", "\x01\x1f\x7f"},         {"\xc3\xa9t\xc3\xa9", "\xe6\xb0\xb4 \xf0\x9f\x90\xa6"},
        {"training", "{\"shots\": [1, 2]}"}, {"dtype", "F16"},
    };
    struct pool_parts parts;
    struct folder folder;
    open_folder(&folder);
    pool_parts_open(&parts, "even", "plain");
    for (size_t i = 0; i < UNIT_COUNT(texts); i++)
        pool_parts_set(&parts, texts[i][0], texts[i][1]);
    struct pool_file file = pool_parts_good(&parts);
    for (size_t i = 0; i < UNIT_COUNT(texts); i++)
        assert_string_equal(pool_file_metadata(&file, texts[i][0]), texts[i][1]);
    check_round_trip(&folder, &file);
    pool_file_finish(&file);
    pool_parts_close(&parts);
    close_folder(&folder);
}

/* The data begin at a multiple of 8, however long the header is. */
static void test_data_are_aligned(void **state)
{
    (void)state;
    struct folder folder;
    open_folder(&folder);
    for (size_t length = 0; length < 9; length++) {
        char text[16] = {0};
        uint64_t header;
        struct pool_parts parts;
        pool_parts_open(&parts, "deep_vision", "first");
        memset(text, 'x', length);
        pool_parts_set(&parts, "colour", text);
        struct pool_file file = pool_parts_good(&parts);
        check_round_trip(&folder, &file);
        struct buf bytes = read_bytes(folder.file);
        memcpy(&header, bytes.data, sizeof header);
        assert_int_equal(header % 8, 0);
        buf_finish(&bytes);
        pool_file_finish(&file);
        pool_parts_close(&parts);
    }
    close_folder(&folder);
}

/* Who has the old file open keeps it; the name has the new one. */
static void test_replaces_a_file(void **state)
{
    (void)state;
    struct folder folder;
    open_folder(&folder);
    struct pool_file old = load_golden("even", "layers"), new = load_golden("deep_text", "all");
    save(&old, folder.file);
    struct buf before = read_bytes(folder.file);
    int descriptor = open(folder.file, O_RDONLY);
    assert_true(descriptor >= 0);
    check_round_trip(&folder, &new);
    char *kept = malloc(before.size + 1);
    assert_int_equal(read(descriptor, kept, before.size + 1), before.size);
    assert_memory_equal(kept, before.data, before.size);
    free(kept);
    close(descriptor);
    buf_finish(&before);
    pool_file_finish(&old);
    pool_file_finish(&new);
    close_folder(&folder);
}

/* ---- What cannot be written ---- */

static void expect_unsaved(const struct pool_file *file, const char *path, enum status status)
{
    struct fail why = {0};
    unit_assert_fails(pool_file_save(file, path, &why), status, why, path);
    assert_true(strlen(why.message) > strlen(path) + 2);
    assert_int_equal(pool_file_save(file, path, NULL), status);
}

static void test_bad_paths(void **state)
{
    (void)state;
    struct folder folder;
    char path[512];
    open_folder(&folder);
    struct pool_file file = load_golden("deep_vision", "plain");
    snprintf(path, sizeof path, "%s/none/birds.safetensors", folder.path);
    expect_unsaved(&file, path, STATUS_IO);
    snprintf(path, sizeof path, "%s/%0300d", folder.path, 1);
    expect_unsaved(&file, path, STATUS_IO);
    assert_int_equal(count_entries(&folder), 0);
    save(&file, folder.file);
    snprintf(path, sizeof path, "%s/birds.safetensors", folder.file);
    expect_unsaved(&file, path, STATUS_IO);
    snprintf(path, sizeof path, "%s/folder", folder.path);
    assert_int_equal(mkdir(path, 0755), 0);
    expect_unsaved(&file, path, STATUS_IO);
    assert_int_equal(count_entries(&folder), 2);
    rmdir(path);
    pool_file_finish(&file);
    close_folder(&folder);
}

/* Root may write anywhere, so it steps down for a moment. */
static void test_folder_that_is_not_writable(void **state)
{
    (void)state;
    struct folder folder;
    open_folder(&folder);
    struct pool_file file = load_golden("deep_vision", "plain");
    assert_int_equal(chmod(folder.path, 0555), 0);
    uid_t user = geteuid();
    bool stepped_down = !user && !seteuid(NOBODY);
    if (user || stepped_down)
        expect_unsaved(&file, folder.file, STATUS_IO);
    if (stepped_down)
        assert_int_equal(seteuid(user), 0);
    chmod(folder.path, 0755);
    assert_int_equal(count_entries(&folder), 0);
    pool_file_finish(&file);
    close_folder(&folder);
    if (!user && !stepped_down)
        skip();
}

/* Fails while it is written. */
static void test_no_room(void **state)
{
    (void)state;
    struct folder folder;
    struct rlimit before, small;
    open_folder(&folder);
    struct pool_file old = load_golden("even", "layers"), new = load_golden("deep_text", "all");
    save(&old, folder.file);
    struct buf bytes = read_bytes(folder.file);
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small = before;
    small.rlim_cur = SMALLEST_DISK;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    struct fail why;
    enum status status = pool_file_save(&new, folder.file, &why);
    setrlimit(RLIMIT_FSIZE, &before);
    signal(SIGXFSZ, handler);
    unit_assert_fails(status, STATUS_IO, why, folder.file);
    assert_int_equal(count_entries(&folder), 1);
    struct buf after = read_bytes(folder.file);
    assert_int_equal(after.size, bytes.size);
    assert_memory_equal(after.data, bytes.data, bytes.size);
    buf_finish(&after);
    buf_finish(&bytes);
    pool_file_finish(&old);
    pool_file_finish(&new);
    close_folder(&folder);
}

static void test_metadata_that_is_not_text(void **state)
{
    (void)state;
    struct folder folder;
    open_folder(&folder);
    struct pool_file file = load_golden("deep_vision", "plain");
    char **value = (char **)&file.metadata[0].value, *before = *value, wrong[] = "\xff";
    save(&file, folder.file);
    struct buf bytes = read_bytes(folder.file);
    *value = wrong;
    expect_unsaved(&file, folder.file, STATUS_INVALID);
    *value = before;
    assert_int_equal(count_entries(&folder), 1);
    struct buf after = read_bytes(folder.file);
    assert_int_equal(after.size, bytes.size);
    assert_memory_equal(after.data, bytes.data, bytes.size);
    buf_finish(&after);
    buf_finish(&bytes);
    pool_file_finish(&file);
    close_folder(&folder);
}

/* ---- What cannot be read ---- */

static void expect_unread(const char *path, enum status status, const char *part)
{
    struct fail why = {0};
    struct pool_file file, untouched;
    memset(&file, 0x5a, sizeof file);
    memcpy(&untouched, &file, sizeof file);
    unit_assert_fails(pool_file_load(path, &file, &why), status, why, path);
    assert_non_null(strstr(why.message, part));
    assert_memory_equal(&file, &untouched, sizeof file);
    assert_int_equal(pool_file_load(path, &file, NULL), status);
}

static void test_files_that_cannot_be_read(void **state)
{
    (void)state;
    struct folder folder;
    struct pool_parts parts;
    open_folder(&folder);
    expect_unread(folder.file, STATUS_NOT_FOUND, "No such file");
    expect_unread(folder.path, STATUS_IO, "not a regular file");
    assert_int_equal(mkfifo(folder.file, 0600), 0);
    expect_unread(folder.file, STATUS_IO, "not a regular file");
    unlink(folder.file);
    pool_parts_write_bytes(folder.file, "", 0);
    expect_unread(folder.file, STATUS_FORMAT, "0 bytes are too short");
    pool_parts_write_bytes(folder.file, "birds\n", 6);
    expect_unread(folder.file, STATUS_FORMAT, "6 bytes are too short");
    pool_parts_write_bytes(folder.file, "birds and cats and dogs\n", 24);
    expect_unread(folder.file, STATUS_LIMIT, "not a safetensors file?");
    pool_parts_open(&parts, "deep_vision", "plain");
    pool_parts_set(&parts, "depth", "3");
    pool_parts_write(&parts, folder.file);
    expect_unread(folder.file, STATUS_INVALID, "metadata \"depth\"");
    pool_parts_close(&parts);
    expect_unread(PROMPTED "even/model.safetensors", STATUS_INVALID, "metadata \"format\"");
    close_folder(&folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trips),
        cmocka_unit_test(test_metadata_is_kept),
        cmocka_unit_test(test_data_are_aligned),
        cmocka_unit_test(test_replaces_a_file),
        cmocka_unit_test(test_bad_paths),
        cmocka_unit_test(test_folder_that_is_not_writable),
        cmocka_unit_test(test_no_room),
        cmocka_unit_test(test_metadata_that_is_not_text),
        cmocka_unit_test(test_files_that_cannot_be_read),
    };
    return cmocka_run_group_tests_name("pool save", tests, NULL, NULL);
}
