#include "tests/unit/unit.h"

#include <unistd.h>

#include "api/cli/label_list.h"

static void assert_names(const struct label_list *list, const char *const *expected, size_t count)
{
    assert_int_equal(list->count, count);
    for (size_t i = 0; i < count; i++)
        assert_string_equal(list->names[i], expected[i]);
}

static void test_split(void **state)
{
    (void)state;
    static const char *const expected[] = {"cat", "great white shark", "#1", "猫"};
    struct label_list list;
    struct fail why;
    unit_assert_ok(label_list_split(&list, "cat,  great white shark\t, #1,猫", &why), why);
    assert_names(&list, expected, 4);
    label_list_finish(&list);
    unit_assert_ok(label_list_split(&list, "cat", &why), why);
    assert_names(&list, expected, 1);
    label_list_finish(&list);
}

static void test_split_refuses_empty_labels(void **state)
{
    (void)state;
    struct label_list list;
    struct fail why;
    unit_assert_fails(label_list_split(&list, "", &why), STATUS_INVALID, why, "label 1");
    unit_assert_fails(label_list_split(&list, "cat, ,dog", &why), STATUS_INVALID, why, "label 2");
    unit_assert_fails(label_list_split(&list, "cat,dog,", &why), STATUS_INVALID, why, "label 3");
}

static void test_split_counts(void **state)
{
    (void)state;
    struct label_list list;
    struct fail why;
    char *text = malloc(2 * LABEL_LIST_MAX_LABELS + 2);
    for (size_t i = 0; i <= LABEL_LIST_MAX_LABELS; i++)
        memcpy(text + 2 * i, "a,", 2);
    text[2 * LABEL_LIST_MAX_LABELS + 1] = '\0';
    unit_assert_fails(label_list_split(&list, text, &why), STATUS_LIMIT, why, "100000 labels");
    text[2 * LABEL_LIST_MAX_LABELS - 1] = '\0';
    unit_assert_ok(label_list_split(&list, text, &why), why);
    assert_int_equal(list.count, LABEL_LIST_MAX_LABELS);
    label_list_finish(&list);
    free(text);
}

/* Loads a file of these bytes. */
static enum status load(struct label_list *list, const char *bytes, size_t size, struct fail *why)
{
    char path[] = "/tmp/test_label_list.XXXXXX";
    int file = mkstemp(path);
    assert_true(file >= 0);
    assert_int_equal(write(file, bytes, size), size);
    close(file);
    enum status status = label_list_load(list, path, why);
    unlink(path);
    return status;
}

static void test_load(void **state)
{
    (void)state;
    static const char *const expected[] = {"cat", "dog, wolf", "zebra"};
    static const char *const files[] = {
        "cat\ndog, wolf\nzebra\n",
        "cat\ndog, wolf\nzebra",
        "cat\r\ndog, wolf\r\nzebra\r\n",
        "\357\273\277cat\n\n   \n# animals\n  # more\n\tdog, wolf  \nzebra\n\n",
    };
    for (size_t i = 0; i < UNIT_COUNT(files); i++) {
        struct label_list list;
        struct fail why;
        unit_assert_ok(load(&list, files[i], strlen(files[i]), &why), why);
        assert_names(&list, expected, 3);
        label_list_finish(&list);
    }
}

static void test_load_refuses(void **state)
{
    (void)state;
    struct label_list list;
    struct fail why;
    unit_assert_fails(load(&list, "", 0, &why), STATUS_FORMAT, why, "no labels");
    unit_assert_fails(load(&list, "# a\n\n", 5, &why), STATUS_FORMAT, why, "no labels");
    unit_assert_fails(load(&list, "a\0b\n", 4, &why), STATUS_FORMAT, why, "NUL");
    unit_assert_fails(label_list_load(&list, "/nowhere/labels.txt", &why), STATUS_NOT_FOUND, why,
                      "/nowhere/labels.txt");
    unit_assert_fails(label_list_load(&list, "/tmp", &why), STATUS_IO, why, "directory");

    char *big = calloc(LABEL_LIST_MAX_FILE_BYTES + 1, 1);
    memset(big, '#', LABEL_LIST_MAX_FILE_BYTES + 1);
    unit_assert_fails(load(&list, big, LABEL_LIST_MAX_FILE_BYTES + 1, &why), STATUS_LIMIT, why,
                      "4194304 bytes");
    free(big);
}

static void test_load_default(void **state)
{
    (void)state;
    struct label_list list;
    struct fail why;
    unit_assert_fails(label_list_load_default(&list, "/nowhere", &why), STATUS_NOT_FOUND, why,
                      "/nowhere/labels.txt");
    label_list_finish(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_split),        cmocka_unit_test(test_split_refuses_empty_labels),
        cmocka_unit_test(test_split_counts), cmocka_unit_test(test_load),
        cmocka_unit_test(test_load_refuses), cmocka_unit_test(test_load_default),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
