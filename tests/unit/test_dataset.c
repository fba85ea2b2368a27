/* Data sets in folders and in files of the CoOp protocol. */
#include "tests/unit/unit.h"

#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/buf.h"
#include "engine/train/dataset.h"

static char scratch[64];

static int make_scratch(void **state)
{
    (void)state;
    strcpy(scratch, "/tmp/test_dataset.XXXXXX");
    return mkdtemp(scratch) ? 0 : -1;
}

static int remove_scratch(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -r %s", scratch);
    return system(command);
}

/* An empty file, with the folders that it is in. */
static void touch(const char *path)
{
    char whole[512];
    snprintf(whole, sizeof whole, "%s/%s", scratch, path);
    for (char *slash = whole + strlen(scratch) + 1; (slash = strchr(slash, '/')); slash++) {
        *slash = '\0';
        mkdir(whole, 0700);
        *slash = '/';
    }
    FILE *file = fopen(whole, "w");
    assert_non_null(file);
    fclose(file);
}

static void write_text(const char *name, const char *text)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", scratch, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static struct dataset *open_dataset(const char *name)
{
    struct fail why;
    struct dataset *dataset;
    char path[512];
    snprintf(path, sizeof path, "%s/%s", scratch, name);
    unit_assert_ok(dataset_open(path, NULL, &dataset, &why), why);
    return dataset;
}

static void refused(const char *name, enum status status, const char *part)
{
    struct fail why;
    struct dataset *dataset = NULL;
    char path[512];
    snprintf(path, sizeof path, "%s/%s", scratch, name);
    unit_assert_fails(dataset_open(path, NULL, &dataset, &why), status, why, part);
    assert_non_null(strstr(why.message, name));
    assert_null(dataset);
}

static void assert_item(const struct dataset *dataset, enum dataset_split split, size_t index,
                        const char *path, uint32_t label)
{
    assert_true(index < dataset->lists[split].count);
    const struct dataset_item *item = &dataset->lists[split].items[index];
    assert_string_equal(item->path + strlen(scratch) + 1, path);
    assert_int_equal(item->label, label);
}

static void test_folder_of_splits(void **state)
{
    (void)state;
    const char *const files[] = {"splits/train/b_c/2.png",   "splits/train/b_c/1.JPG",
                                 "splits/train/a/x.webp",    "splits/train/a/.hidden.png",
                                 "splits/train/a/notes.txt", "splits/test/d/1.jpeg",
                                 "splits/test/a/1.png",      "splits/train/a/folder.png/1.gif"};
    for (size_t i = 0; i < UNIT_COUNT(files); i++)
        touch(files[i]);
    struct dataset *dataset = open_dataset("splits");
    assert_int_equal(dataset->class_count, 3);
    assert_string_equal(dataset->classes[0], "a");
    assert_string_equal(dataset->classes[1], "b c");
    assert_string_equal(dataset->classes[2], "d");
    assert_int_equal(dataset->lists[DATASET_TRAIN].count, 3);
    assert_item(dataset, DATASET_TRAIN, 0, "splits/train/a/x.webp", 0);
    assert_item(dataset, DATASET_TRAIN, 1, "splits/train/b_c/1.JPG", 1);
    assert_item(dataset, DATASET_TRAIN, 2, "splits/train/b_c/2.png", 1);
    assert_int_equal(dataset->lists[DATASET_VAL].count, 0);
    assert_int_equal(dataset->lists[DATASET_TEST].count, 2);
    assert_item(dataset, DATASET_TEST, 1, "splits/test/d/1.jpeg", 2);
    dataset_close(dataset);
}

static void test_flat_folder(void **state)
{
    (void)state;
    touch("flat/cat/1.png");
    touch("flat/dog/1.png");
    struct dataset *dataset = open_dataset("flat");
    for (int split = 0; split < DATASET_SPLITS; split++)
        assert_int_equal(dataset->lists[split].count, split == DATASET_VAL ? 0 : 2);
    assert_item(dataset, DATASET_TEST, 1, "flat/dog/1.png", 1);
    dataset_close(dataset);
}

static void test_file(void **state)
{
    (void)state;
    write_text("split.json", "{\"train\": [[\"b/1.jpg\", 1, \"b_b\"], [\"a/1.jpg\", 0, \"a\"]],"
                             "\"val\": [], \"test\": [[\"a/2.jpg\", 0, \"a\"]], \"more\": 1}");
    struct dataset *dataset = open_dataset("split.json");
    assert_int_equal(dataset->class_count, 2);
    assert_string_equal(dataset->classes[1], "b b");
    assert_item(dataset, DATASET_TRAIN, 0, "b/1.jpg", 1);
    assert_item(dataset, DATASET_TEST, 0, "a/2.jpg", 0);
    dataset_close(dataset);
    struct fail why;
    char path[512];
    snprintf(path, sizeof path, "%s/split.json", scratch);
    unit_assert_ok(dataset_open(path, "/elsewhere", &dataset, &why), why);
    assert_string_equal(dataset->lists[DATASET_TEST].items[0].path, "/elsewhere/a/2.jpg");
    dataset_close(dataset);
}

static void test_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text, *part;
        enum status status;
    } bad[] = {
        {"{\"train\": [", "line 1", STATUS_FORMAT},
        {"[]", "not a JSON object", STATUS_FORMAT},
        {"{}", "no pictures", STATUS_INVALID},
        {"{\"train\": {}}", "\"train\" is not a list", STATUS_FORMAT},
        {"{\"test\": [[\"a\", 0, \"a\"], [\"a\", 0]]}", "entry 2 of \"test\": must be",
         STATUS_FORMAT},
        {"{\"val\": [[\"a\", \"0\", \"a\"]]}", "must be [path, label, class name]", STATUS_FORMAT},
        {"{\"train\": [[\"a\", -1, \"a\"]]}", "label -1 is not from 0", STATUS_LIMIT},
        {"{\"train\": [[\"a\", 20000, \"a\"]]}", "label 20000", STATUS_LIMIT},
        {"{\"train\": [[\"a\", 0, \"a\"], [\"b\", 2, \"b\"]]}", "label 1 of 3", STATUS_INVALID},
        {"{\"train\": [[\"a\", 0, \"a\"], [\"b\", 0, \"b\"]]}", "\"b\" here and \"a\"",
         STATUS_INVALID},
    };
    for (size_t i = 0; i < UNIT_COUNT(bad); i++) {
        write_text("bad.json", bad[i].text);
        refused("bad.json", bad[i].status, bad[i].part);
    }
    refused("nowhere", STATUS_NOT_FOUND, "no such file");
    char folder[128];
    snprintf(folder, sizeof folder, "%s/empty", scratch);
    mkdir(folder, 0700);
    refused("empty", STATUS_INVALID, "no pictures");
    struct buf text;
    buf_init(&text, 1 << 20);
    buf_append_text(&text, "{\"train\": [[\"", NULL);
    for (int i = 0; i < 5000; i++)
        buf_append_text(&text, "x", NULL);
    buf_append_text(&text, "\", 0, \"a\"]]}", NULL);
    write_text("bad.json", text.data);
    buf_finish(&text);
    refused("bad.json", STATUS_LIMIT, "a path of more than 4095 bytes");
    dataset_close(NULL);
}

/* ---- Shots and halves ---- */

/* Picture i has the label 7 i + 2 modulo 3: 120 to train, 11 to choose by. */
static struct dataset *open_numbered(void)
{
    struct buf text;
    buf_init(&text, 1 << 20);
    buf_append_text(&text, "{", NULL);
    for (int split = 0; split < 2; split++) {
        buf_printf(&text, NULL, "%s\"%s\": [", split ? "," : "", split ? "val" : "train");
        for (int i = 0; i < (split ? 11 : 120); i++)
            buf_printf(&text, NULL, "%s[\"%d\", %d, \"c%d\"]", i ? "," : "", i, (i * 7 + 2) % 3,
                       (i * 7 + 2) % 3);
        buf_append_text(&text, "]", NULL);
    }
    buf_append_text(&text, "}", NULL);
    write_text("numbered.json", text.data);
    buf_finish(&text);
    return open_dataset("numbered.json");
}

static void assert_numbers(const struct dataset_list *list, const int *numbers, size_t count)
{
    assert_int_equal(list->count, count);
    for (size_t i = 0; i < count; i++) {
        const char *number = strrchr(list->items[i].path, '/') + 1;
        assert_int_equal(atoi(number), numbers[i]);
        assert_int_equal(list->items[i].label, (numbers[i] * 7 + 2) % 3);
    }
}

/* As CPython draws after random.seed(1): 16 of each class for training, then 4 of validation, of
 * which one class has three. */
static void test_shots(void **state)
{
    (void)state;
    static const int train[] = {24, 108, 12,  48,  21,  93, 84, 90,  72,  75, 18,  9,
                                45, 0,   36,  39,  115, 1,  85, 52,  43,  19, 61,  4,
                                97, 118, 100, 109, 91,  37, 64, 103, 83,  5,  101, 44,
                                86, 95,  110, 68,  113, 65, 23, 74,  104, 29, 2,   41};
    static const int val[] = {0, 9, 3, 6, 7, 10, 4, 1, 2, 5, 8};
    struct fail why;
    struct rng rng;
    struct dataset *dataset = open_numbered();
    rng_init(&rng, 1);
    unit_assert_ok(dataset_take_shots(dataset, 16, &rng, &why), why);
    assert_numbers(&dataset->lists[DATASET_TRAIN], train, UNIT_COUNT(train));
    assert_numbers(&dataset->lists[DATASET_VAL], val, UNIT_COUNT(val));
    dataset_close(dataset);
}

static void test_halves(void **state)
{
    (void)state;
    struct fail why;
    struct dataset *dataset = open_numbered();
    unit_assert_ok(dataset_take_half(dataset, true, &why), why); /* of 3: 2 and 1 */
    assert_int_equal(dataset->class_count, 2);
    assert_string_equal(dataset->classes[1], "c1");
    assert_int_equal(dataset->lists[DATASET_TRAIN].count, 80);
    dataset_close(dataset);
    dataset = open_numbered();
    unit_assert_ok(dataset_take_half(dataset, false, &why), why);
    assert_int_equal(dataset->class_count, 1);
    assert_string_equal(dataset->classes[0], "c2");
    assert_int_equal(dataset->lists[DATASET_TRAIN].count, 40);
    for (size_t i = 0; i < 40; i++)
        assert_int_equal(dataset->lists[DATASET_TRAIN].items[i].label, 0);
    unit_assert_fails(dataset_take_half(dataset, true, &why), STATUS_INVALID, why, "1 classes");
    dataset_close(dataset);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_folder_of_splits),
        cmocka_unit_test(test_flat_folder),
        cmocka_unit_test(test_file),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_shots),
        cmocka_unit_test(test_halves),
    };
    return cmocka_run_group_tests_name("dataset", tests, make_scratch, remove_scratch);
}
