#include "tests/unit/unit.h"

#include "engine/engine.h"
#include "engine/labels.h"

enum { WIDTH = 4, MOST_TOKENS = 64, MOST_NODES = 200, START = 256, END = 257, MOST_TEXTS = 8192 };

/* Remembers the texts. A byte is a token. The feature of a text is the unit vector number (length
 * of text) % WIDTH; that of a label the unit sum over its sentences. */
struct recorder {
    size_t count;
    char *texts[MOST_TEXTS];
    size_t encoded; /* labels */
    uint64_t ids;
    enum status fails_with;
};

static enum status record(void *context, const char *text, int32_t *out_ids, size_t *out_count,
                          struct fail *why)
{
    struct recorder *recorder = context;
    size_t length = strlen(text);
    assert_true(length + 2 <= MOST_TOKENS);
    recorder->texts[recorder->count++] = strdup(text);
    if (recorder->fails_with)
        return status_fail(why, recorder->fails_with, "text \"%s\" is too long", text);
    out_ids[0] = START;
    for (size_t i = 0; i < length; i++)
        out_ids[1 + i] = (unsigned char)text[i];
    out_ids[1 + length] = END;
    *out_count = length + 2;
    return STATUS_OK;
}

static enum status encode(void *context, struct label_chunk *chunk, struct fail *why)
{
    (void)why;
    struct recorder *recorder = context;
    recorder->encoded += chunk->count;
    memset(chunk->features, 0, chunk->count * WIDTH * sizeof(float));
    for (size_t i = 0; i < chunk->count; i++) {
        float *feature = chunk->features + i * WIDTH, squares = 0;
        for (size_t s = 0; s < chunk->sentences; s++) {
            const struct trie *trie = chunk->tries[s];
            assert_true(trie->nodes <= MOST_NODES);
            size_t leaf = trie->nodes - trie->leaves + trie->leaf_of_text[i];
            feature[trie->depths[leaf] % WIDTH] += 1;
        }
        for (size_t d = 0; d < WIDTH; d++)
            squares += feature[d] * feature[d];
        for (size_t d = 0; d < WIDTH; d++)
            feature[d] /= sqrtf(squares);
    }
    return STATUS_OK;
}

static uint64_t new_id(void *context)
{
    return ++((struct recorder *)context)->ids;
}

static struct label_maker maker_of(struct recorder *recorder)
{
    return (struct label_maker){.context = recorder,
                                .joint_width = WIDTH,
                                .max_tokens = MOST_TOKENS,
                                .max_nodes = MOST_NODES,
                                .tokenize = record,
                                .encode = encode,
                                .new_id = new_id};
}

static void forget(struct recorder *recorder)
{
    for (size_t i = 0; i < recorder->count; i++)
        free(recorder->texts[i]);
    recorder->count = 0;
}

static void test_default_sentence(void **state)
{
    (void)state;
    struct fail why;
    struct recorder recorder = {0};
    struct engine_labels *labels;
    const struct label_maker maker = maker_of(&recorder);
    const char *names[] = {"cat", "  great white shark\t\n"};
    unit_assert_ok(labels_compile(&maker, names, 2, NULL, 0, &labels, &why), why);
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
    const struct label_maker maker = maker_of(&recorder);
    const char *names[] = {"a"}, *sentences[] = {"{}123", "12{}34", "{}..."};
    unit_assert_ok(labels_compile(&maker, names, 1, sentences, 3, &labels, &why), why);
    assert_string_equal(recorder.texts[1], "12a34");
    const float *feature = engine_labels_feature(labels, 0);
    unit_assert_near(feature[0], 2 / sqrt(5), 1e-6); /* two texts of 4 bytes, one of 5 */
    unit_assert_near(feature[1], 1 / sqrt(5), 1e-6);
    engine_labels_release(labels);
    forget(&recorder);
}

enum { MANY = 1000 };

static void number_names(char (*text)[8], const char **names)
{
    for (int i = 0; i < MANY; i++) {
        snprintf(text[i], sizeof text[i], "l%d", i);
        names[i] = text[i];
    }
}

/* More than one chunk, each within its bound (see encode), every label where it belongs. */
static void test_many_labels(void **state)
{
    (void)state;
    struct fail why;
    struct recorder recorder = {0};
    struct engine_labels *labels;
    const struct label_maker maker = maker_of(&recorder);
    static char text[MANY][8];
    const char *names[MANY];
    number_names(text, names);
    unit_assert_ok(labels_compile(&maker, names, MANY, NULL, 0, &labels, &why), why);
    assert_int_equal(recorder.count, MANY);
    assert_int_equal(recorder.encoded, MANY);
    assert_true(labels->part_count > 10);
    for (size_t i = 0; i < MANY; i++) {
        assert_string_equal(engine_labels_name(labels, i), names[i]);
        assert_true(engine_labels_feature(labels, i)[strlen(recorder.texts[i]) % WIDTH] == 1);
    }
    engine_labels_release(labels);
    forget(&recorder);
}

/* The chunks are the same whatever the order of the list. */
static void test_order_of_the_list_does_not_matter(void **state)
{
    (void)state;
    struct fail why;
    struct recorder recorder = {0};
    struct engine_labels *labels, *turned;
    const struct label_maker maker = maker_of(&recorder);
    static char text[MANY][8];
    const char *names[MANY], *backwards[MANY];
    number_names(text, names);
    for (size_t i = 0; i < MANY; i++)
        backwards[i] = names[MANY - 1 - i];
    unit_assert_ok(labels_compile(&maker, names, MANY, NULL, 0, &labels, &why), why);
    unit_assert_ok(labels_compile(&maker, backwards, MANY, NULL, 0, &turned, &why), why);
    assert_int_equal(labels->part_count, turned->part_count);
    for (size_t part = 0; part < labels->part_count; part++) {
        const struct label_chunk *a = labels->parts[part].chunk, *b = turned->parts[part].chunk;
        assert_int_equal(a->count, b->count);
        for (size_t slot = 0; slot < a->count; slot++)
            assert_string_equal(a->names[slot], b->names[slot]);
    }
    engine_labels_release(labels);
    engine_labels_release(turned);
    forget(&recorder);
}

static void test_an_extension_costs_the_new_labels(void **state)
{
    (void)state;
    struct fail why;
    struct recorder recorder = {0};
    struct engine_labels *labels, *more = NULL;
    const struct label_maker maker = maker_of(&recorder);
    static char text[MANY][8];
    const char *names[MANY], *added[] = {" new ", "other"}, *again[] = {"third", "l7"};
    const char *sentences[] = {"one {}", "{} two"};
    number_names(text, names);
    unit_assert_ok(labels_compile(&maker, names, MANY, sentences, 2, &labels, &why), why);
    forget(&recorder);
    recorder.encoded = 0;
    unit_assert_ok(labels_revise(&maker, labels, NULL, added, 2, &more, &why), why);
    assert_int_equal(recorder.count, 4); /* two labels in the two sentences of the set */
    assert_int_equal(recorder.encoded, 2);
    assert_int_equal(engine_labels_count(more), MANY + 2);
    assert_int_equal(engine_labels_count(labels), MANY);
    assert_string_equal(engine_labels_name(more, MANY), "new");
    assert_string_equal(engine_labels_name(more, MANY + 1), "other");
    for (size_t i = 0; i < MANY; i++) /* not only equal: the very same */
        assert_ptr_equal(engine_labels_feature(more, i), engine_labels_feature(labels, i));
    engine_labels_release(labels);
    assert_string_equal(engine_labels_name(more, 7), "l7");
    struct engine_labels *refused = NULL;
    unit_assert_fails(labels_revise(&maker, more, NULL, again, 2, &refused, &why), STATUS_INVALID,
                      why, "\"l7\" is there more than once");
    assert_null(refused);
    engine_labels_release(more);
    forget(&recorder);
}

/* What is left keeps its order and its features; a chunk that is mostly gone is compiled anew. */
static void test_a_revision(void **state)
{
    (void)state;
    struct fail why;
    struct recorder recorder = {0};
    struct engine_labels *labels, *less, *none = NULL;
    const struct label_maker maker = maker_of(&recorder);
    static char text[MANY][8];
    static bool removed[MANY], all[MANY];
    const char *names[MANY], *added[] = {"new", "l10"}, *left[MANY];
    size_t count = 0, sparse = 0;
    number_names(text, names);
    unit_assert_ok(labels_compile(&maker, names, MANY, NULL, 0, &labels, &why), why);
    const struct label_chunk *first = labels->parts[0].chunk;
    for (size_t slot = 0; slot < first->count; slot++) /* most of one chunk, a few of the others */
        removed[labels->parts[0].members[slot]] = slot % 4 != 0;
    for (size_t i = 0; i < MANY; i += 10)
        removed[i] = true;
    for (size_t i = 0; i < MANY; i++)
        if (!removed[i])
            left[count++] = names[i];
    for (size_t slot = 0; slot < first->count; slot++)
        sparse += !removed[labels->parts[0].members[slot]];
    assert_true(removed[10] && sparse > 0);
    recorder.encoded = 0;
    unit_assert_ok(labels_revise(&maker, labels, removed, added, 2, &less, &why), why);
    assert_int_equal(recorder.encoded, sparse + 2);
    assert_int_equal(engine_labels_count(less), count + 2);
    for (size_t i = 0; i < count; i++) {
        assert_string_equal(engine_labels_name(less, i), left[i]);
        size_t bytes = strlen("a photo of a .") + strlen(left[i]);
        assert_true(engine_labels_feature(less, i)[bytes % WIDTH] == 1);
    }
    assert_string_equal(engine_labels_name(less, count), "new");
    assert_string_equal(engine_labels_name(less, count + 1), "l10");
    assert_int_equal(engine_labels_count(labels), MANY);
    for (size_t i = 0; i < MANY; i++)
        all[i] = true;
    unit_assert_fails(labels_revise(&maker, labels, all, NULL, 0, &none, &why), STATUS_INVALID, why,
                      "no labels");
    unit_assert_fails(labels_revise(&maker, labels, NULL, added, 2, &none, &why), STATUS_INVALID,
                      why, "\"l10\" is there more than once");
    assert_null(none);
    engine_labels_release(labels);
    assert_string_equal(engine_labels_name(less, 0), left[0]);
    engine_labels_release(less);
    forget(&recorder);
}

/* One label after the other: the small chunks that they leave become one now and then. */
static void test_many_small_revisions(void **state)
{
    (void)state;
    struct fail why;
    struct recorder recorder = {0};
    struct engine_labels *labels, *next;
    const struct label_maker maker = maker_of(&recorder);
    static char text[MANY][8];
    const char *names[MANY];
    size_t most = 0;
    number_names(text, names);
    unit_assert_ok(labels_compile(&maker, names, 1, NULL, 0, &labels, &why), why);
    for (size_t i = 1; i < MANY / 4; i++) {
        unit_assert_ok(labels_revise(&maker, labels, NULL, names + i, 1, &next, &why), why);
        engine_labels_release(labels);
        labels = next;
        most = labels->part_count > most ? labels->part_count : most;
    }
    assert_true(most > 30 && most < 60);
    assert_true(recorder.encoded < 3 * MANY / 4);
    for (size_t i = 0; i < MANY / 4; i++) {
        size_t bytes = strlen("a photo of a .") + strlen(names[i]);
        assert_string_equal(engine_labels_name(labels, i), names[i]);
        assert_true(engine_labels_feature(labels, i)[bytes % WIDTH] == 1);
    }
    engine_labels_release(labels);
    forget(&recorder);
}

static void test_room_for_prompts(void **state)
{
    (void)state;
    struct fail why;
    struct recorder recorder = {0};
    struct engine_labels *labels;
    const struct label_maker maker = maker_of(&recorder);
    const char *names[] = {"cat", "elephant"}, *sentence = "{}";
    unit_assert_ok(labels_compile(&maker, names, 2, &sentence, 1, &labels, &why), why);
    unit_assert_ok(labels_check_room(labels, 10, 20, &why), why); /* 10 + 8 + 2 */
    unit_assert_fails(labels_check_room(labels, 11, 20, &why), STATUS_LIMIT, why, "\"elephant\"");
    engine_labels_release(labels);
    forget(&recorder);
}

static void test_refused(void **state)
{
    (void)state;
    struct fail why;
    struct recorder recorder = {0};
    struct engine_labels *labels = NULL;
    const struct label_maker maker = maker_of(&recorder);
    const char *twice[] = {"cat", "dog", " cat "}, *blank[] = {"cat", " \t"}, *good[] = {"cat"};
    const char *no_place[] = {"a photo."}, *two_places[] = {"{} and {}"};
    unit_assert_fails(labels_compile(&maker, good, 0, NULL, 0, &labels, &why), STATUS_INVALID, why,
                      "no labels");
    unit_assert_fails(labels_compile(&maker, twice, 3, NULL, 0, &labels, &why), STATUS_INVALID, why,
                      "\"cat\" is there more than once");
    unit_assert_fails(labels_compile(&maker, blank, 2, NULL, 0, &labels, &why), STATUS_INVALID, why,
                      "label 2 is blank");
    unit_assert_fails(labels_compile(&maker, good, 1, no_place, 1, &labels, &why), STATUS_INVALID,
                      why, "\"a photo.\"");
    unit_assert_fails(labels_compile(&maker, good, 1, two_places, 1, &labels, &why), STATUS_INVALID,
                      why, "exactly one {}");
    assert_int_equal(recorder.count, 0); /* nothing was begun before all was checked */
    recorder.fails_with = STATUS_LIMIT;
    unit_assert_fails(labels_compile(&maker, good, 1, NULL, 0, &labels, &why), STATUS_LIMIT, why,
                      "too long");
    assert_null(labels);
    forget(&recorder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_default_sentence),
        cmocka_unit_test(test_sentences_are_averaged),
        cmocka_unit_test(test_many_labels),
        cmocka_unit_test(test_order_of_the_list_does_not_matter),
        cmocka_unit_test(test_an_extension_costs_the_new_labels),
        cmocka_unit_test(test_a_revision),
        cmocka_unit_test(test_many_small_revisions),
        cmocka_unit_test(test_room_for_prompts),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests_name("labels", tests, NULL, NULL);
}
