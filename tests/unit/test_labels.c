#include "tests/unit/unit.h"

#include "engine/engine.h"
#include "engine/labels.h"

enum { WIDTH = 4, MOST_TEXTS = 4096 };

/* Remembers the texts; the feature of a text is the unit vector number (length of text) % WIDTH. */
struct recorder {
    size_t count;
    char *texts[MOST_TEXTS];
    enum status fails_with;
};

static enum status record(void *context, const char *const *texts, size_t count,
                          float *out_features, struct fail *why)
{
    struct recorder *recorder = context;
    if (recorder->fails_with)
        return status_fail(why, recorder->fails_with, "text \"%s\" is too long", texts[0]);
    memset(out_features, 0, count * WIDTH * sizeof(float));
    for (size_t i = 0; i < count; i++) {
        recorder->texts[recorder->count++] = strdup(texts[i]);
        out_features[i * WIDTH + strlen(texts[i]) % WIDTH] = 1;
    }
    return STATUS_OK;
}

static void forget(struct recorder *recorder)
{
    for (size_t i = 0; i < recorder->count; i++)
        free(recorder->texts[i]);
}

static void test_default_sentence(void **state)
{
    (void)state;
    struct fail why;
    struct recorder recorder = {0};
    struct engine_labels *labels;
    const char *names[] = {"cat", "  great white shark\t\n"};
    unit_assert_ok(labels_compile(names, 2, NULL, 0, WIDTH, record, &recorder, &labels, &why), why);
    assert_int_equal(engine_labels_count(labels), 2);
    assert_string_equal(engine_labels_name(labels, 1), "great white shark");
    assert_string_equal(recorder.texts[0], "a photo of a cat.");
    assert_string_equal(recorder.texts[1], "a photo of a great white shark.");
    assert_ptr_equal(engine_labels_acquire(labels), labels);
    engine_labels_release(labels);
    assert_string_equal(engine_labels_name(labels, 0), "cat");
    engine_labels_release(labels);
    engine_labels_release(NULL);
    forget(&recorder);
}

static void test_sentences_are_averaged(void **state)
{
    (void)state;
    struct fail why;
    struct recorder recorder = {0};
    struct engine_labels *labels;
    const char *names[] = {"a"}, *sentences[] = {"{}123", "12{}34", "{}..."};
    unit_assert_ok(labels_compile(names, 1, sentences, 3, WIDTH, record, &recorder, &labels, &why),
                   why);
    assert_string_equal(recorder.texts[1], "12a34");
    const float *feature = engine_labels_features(labels);
    unit_assert_near(feature[0], 2 / sqrt(5), 1e-6); /* two texts of 4 bytes, one of 5 */
    unit_assert_near(feature[1], 1 / sqrt(5), 1e-6);
    engine_labels_release(labels);
    forget(&recorder);
}

static void test_many_labels(void **state)
{
    (void)state;
    enum { COUNT = 1000 };
    struct fail why;
    struct recorder recorder = {0};
    struct engine_labels *labels;
    static char text[COUNT][8];
    const char *names[COUNT];
    for (int i = 0; i < COUNT; i++) {
        snprintf(text[i], sizeof text[i], "l%d", i);
        names[i] = text[i];
    }
    unit_assert_ok(labels_compile(names, COUNT, NULL, 0, WIDTH, record, &recorder, &labels, &why),
                   why);
    assert_int_equal(recorder.count, COUNT);
    assert_string_equal(recorder.texts[999], "a photo of a l999.");
    assert_true(engine_labels_features(labels)[999 * WIDTH + strlen(recorder.texts[999]) % WIDTH] ==
                1);
    engine_labels_release(labels);
    forget(&recorder);
}

static void test_refused(void **state)
{
    (void)state;
    struct fail why;
    struct recorder recorder = {0};
    struct engine_labels *labels = NULL;
    const char *twice[] = {"cat", "dog", " cat "}, *blank[] = {"cat", " \t"}, *good[] = {"cat"};
    const char *no_place[] = {"a photo."}, *two_places[] = {"{} and {}"};
    unit_assert_fails(labels_compile(good, 0, NULL, 0, WIDTH, record, &recorder, &labels, &why),
                      STATUS_INVALID, why, "no labels");
    unit_assert_fails(labels_compile(twice, 3, NULL, 0, WIDTH, record, &recorder, &labels, &why),
                      STATUS_INVALID, why, "\"cat\" is there more than once");
    unit_assert_fails(labels_compile(blank, 2, NULL, 0, WIDTH, record, &recorder, &labels, &why),
                      STATUS_INVALID, why, "label 2 is blank");
    unit_assert_fails(labels_compile(good, 1, no_place, 1, WIDTH, record, &recorder, &labels, &why),
                      STATUS_INVALID, why, "\"a photo.\"");
    unit_assert_fails(
        labels_compile(good, 1, two_places, 1, WIDTH, record, &recorder, &labels, &why),
        STATUS_INVALID, why, "exactly one {}");
    assert_int_equal(recorder.count,
                     0); /* nothing was computed before the sentences were checked */
    recorder.fails_with = STATUS_LIMIT;
    unit_assert_fails(labels_compile(good, 1, NULL, 0, WIDTH, record, &recorder, &labels, &why),
                      STATUS_LIMIT, why, "too long");
    assert_null(labels);
    forget(&recorder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_default_sentence),
        cmocka_unit_test(test_sentences_are_averaged),
        cmocka_unit_test(test_many_labels),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests_name("labels", tests, NULL, NULL);
}
