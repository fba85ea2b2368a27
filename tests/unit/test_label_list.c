#include "tests/unit/unit.h"

#include <sys/stat.h>
#include <unistd.h>

#include "engine/engine.h"
#include "engine/label_list.h"

static void assert_names(const struct engine_label_list *list, const char *const *expected,
                         size_t count)
{
    assert_int_equal(list->count, count);
    for (size_t i = 0; i < count; i++)
        assert_string_equal(list->names[i], expected[i]);
}

static void test_parse(void **state)
{
    (void)state;
    static const char *const expected[] = {"cat", "dog, wolf", "zebra"};
    static const char *const texts[] = {
        "cat\ndog, wolf\nzebra\n",
        "cat\ndog, wolf\nzebra",
        "cat\r\ndog, wolf\r\nzebra\r\n",
        "\357\273\277cat\n\n   \n# animals\n  # more\n\tdog, wolf  \nzebra\n\n",
        "\357\273\277# animals\r\n\r\ncat\r\ndog, wolf\r\nzebra",
    };
    for (size_t i = 0; i < UNIT_COUNT(texts); i++) {
        struct engine_label_list list;
        struct fail why;
        unit_assert_ok(engine_label_list_parse(texts[i], strlen(texts[i]), &list, &why), why);
        assert_names(&list, expected, 3);
        engine_label_list_finish(&list);
    }
}

static void test_parse_refuses(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t size;
        const char *part;
    } texts[] = {
        {"", 0, "no labels"},
        {"\357\273\277", 3, "no labels"},
        {"# a\n\n", 5, "no labels"},
        {"a\0b\n", 4, "line 1 holds a NUL"},
        {"a\n\nb\nc\0", 7, "line 4 holds a NUL"},
        {"a\n# \0\n", 6, "line 2 holds a NUL"},
        {"a\ncaf\xe9\n", 7, "line 2 is not UTF-8"},
        {"a\0n\0t\0", 6, "line 1 holds a NUL"},
        {"\xff\xfe", 2, "line 1 is not UTF-8"},
    };
    for (size_t i = 0; i < UNIT_COUNT(texts); i++) {
        struct engine_label_list list = {.count = 42};
        struct fail why;
        unit_assert_fails(engine_label_list_parse(texts[i].text, texts[i].size, &list, &why),
                          STATUS_FORMAT, why, texts[i].part);
        assert_int_equal(list.count, 42);
    }
}

static void test_parse_counts(void **state)
{
    (void)state;
    struct engine_label_list list;
    struct fail why;
    char *text = malloc(ENGINE_MAX_LIST_BYTES + 1);
    memset(text, '\n', ENGINE_MAX_LIST_BYTES + 1);
    for (size_t i = 0; i <= ENGINE_MAX_LIST_LABELS; i++)
        text[2 * i] = 'a';
    unit_assert_fails(engine_label_list_parse(text, ENGINE_MAX_LIST_BYTES, &list, &why),
                      STATUS_LIMIT, why, "more than 100000 labels");
    text[2 * ENGINE_MAX_LIST_LABELS] = '#';
    unit_assert_ok(engine_label_list_parse(text, ENGINE_MAX_LIST_BYTES, &list, &why), why);
    assert_int_equal(list.count, ENGINE_MAX_LIST_LABELS);
    engine_label_list_finish(&list);
    unit_assert_fails(engine_label_list_parse(text, ENGINE_MAX_LIST_BYTES + 1, &list, &why),
                      STATUS_LIMIT, why, "more than 4194304 bytes");
    free(text);
}

static void test_split(void **state)
{
    (void)state;
    static const char *const expected[] = {"cat", "great white shark", "#1", "猫"};
    struct engine_label_list list;
    struct fail why;
    unit_assert_ok(engine_label_list_split("cat,  great white shark\t, #1,猫", &list, &why), why);
    assert_names(&list, expected, 4);
    engine_label_list_finish(&list);
    unit_assert_ok(engine_label_list_split("cat", &list, &why), why);
    assert_names(&list, expected, 1);
    engine_label_list_finish(&list);
}

static void test_split_refuses(void **state)
{
    (void)state;
    static const struct {
        const char *text, *part;
    } texts[] = {
        {"", "label 1 is empty"},
        {"cat, ,dog", "label 2 is empty"},
        {"cat,dog,", "label 3 is empty"},
        {"cat,caf\xe9", "label 2 is not UTF-8"},
    };
    for (size_t i = 0; i < UNIT_COUNT(texts); i++) {
        struct engine_label_list list;
        struct fail why;
        unit_assert_fails(engine_label_list_split(texts[i].text, &list, &why), STATUS_INVALID, why,
                          texts[i].part);
    }
}

static void test_split_counts(void **state)
{
    (void)state;
    struct engine_label_list list;
    struct fail why;
    char *text = malloc(2 * ENGINE_MAX_LIST_LABELS + 2);
    for (size_t i = 0; i <= ENGINE_MAX_LIST_LABELS; i++)
        memcpy(text + 2 * i, "a,", 2);
    text[2 * ENGINE_MAX_LIST_LABELS + 1] = '\0';
    unit_assert_fails(engine_label_list_split(text, &list, &why), STATUS_LIMIT, why,
                      "100000 labels");
    text[2 * ENGINE_MAX_LIST_LABELS - 1] = '\0';
    unit_assert_ok(engine_label_list_split(text, &list, &why), why);
    assert_int_equal(list.count, ENGINE_MAX_LIST_LABELS);
    engine_label_list_finish(&list);
    free(text);
}

/* Loads a folder whose labels.txt holds these bytes. */
static enum status load(const char *bytes, size_t size, struct engine_label_list *list,
                        struct fail *why)
{
    char folder[] = "/tmp/test_label_list.XXXXXX", path[64];
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/labels.txt", folder);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, size, file), size);
    fclose(file);
    enum status status = label_list_load(folder, list, why);
    unlink(path);
    rmdir(folder);
    return status;
}

static void test_load(void **state)
{
    (void)state;
    static const char *const expected[] = {"cat", "dog"};
    struct engine_label_list list;
    struct fail why;
    unit_assert_ok(load("cat\r\n#\r\ndog", 11, &list, &why), why);
    assert_names(&list, expected, 2);
    engine_label_list_finish(&list);
    engine_label_list_finish(NULL);
    unit_assert_fails(load("", 0, &list, &why), STATUS_FORMAT, why, "/labels.txt: no labels");
    unit_assert_fails(label_list_load("/nowhere", &list, &why), STATUS_NOT_FOUND, why,
                      "/nowhere/labels.txt");
    char *big = calloc(ENGINE_MAX_LIST_BYTES + 1, 1);
    unit_assert_fails(load(big, ENGINE_MAX_LIST_BYTES + 1, &list, &why), STATUS_LIMIT, why,
                      "/labels.txt: more than 4194304 bytes");
    free(big);
}

static void test_a_pipe_is_not_waited_for(void **state)
{
    (void)state;
    char folder[] = "/tmp/test_label_list.XXXXXX", path[64];
    struct engine_label_list list;
    struct fail why;
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/labels.txt", folder);
    assert_int_equal(mkfifo(path, 0600), 0);
    unit_assert_fails(label_list_load(folder, &list, &why), STATUS_IO, why, "not a regular file");
    unlink(path);
    rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse),         cmocka_unit_test(test_parse_refuses),
        cmocka_unit_test(test_parse_counts),  cmocka_unit_test(test_split),
        cmocka_unit_test(test_split_refuses), cmocka_unit_test(test_split_counts),
        cmocka_unit_test(test_load),          cmocka_unit_test(test_a_pipe_is_not_waited_for),
    };
    return cmocka_run_group_tests_name("label_list", tests, NULL, NULL);
}
