/* The engine through its own header, on the models of tests/golden/make_towers.py. */
#include "tests/unit/unit.h"

#include "engine/base/buf.h"
#include "engine/engine.h"
#include "engine/image.h"
#include "tests/unit/reference.h"

#define PICTURES "tests/golden/pictures/"

/* Between the features of one input computed in different company, or averaged by hand. Largest
 * seen: 0 for pictures, 2.1e-7 for labels. */
static const double company_tolerance = 1e-6;

struct opened {
    struct engine *engine;
    struct engine_session *session;
    struct safetensors *reference;
    size_t joint;
};

static struct opened open_model(const char *folder, size_t helpers, size_t max_images)
{
    struct fail why;
    struct opened opened = {.engine = reference_engine(folder, NULL, helpers),
                            .reference = reference_open(folder)};
    unit_assert_ok(engine_session_create(opened.engine, max_images, &opened.session, &why), why);
    opened.joint = engine_info(opened.engine)->joint_width;
    return opened;
}

static void close_model(struct opened *opened)
{
    engine_session_destroy(opened->session);
    engine_close(opened->engine);
    safetensors_close(opened->reference);
}

static float *embed_texts(const struct opened *opened, const char *const *texts, size_t count)
{
    struct fail why;
    float *features = calloc(count * opened->joint, sizeof *features);
    unit_assert_ok(engine_embed_texts(opened->session, texts, count, features, &why), why);
    return features;
}

/* ---- Texts ---- */

static size_t count_tokens(const struct opened *opened, const char *text)
{
    struct fail why;
    int32_t ids[64];
    size_t count;
    assert_true(engine_info(opened->engine)->context <= UNIT_COUNT(ids));
    unit_assert_ok(engine_tokenize(opened->engine, text, ids, &count, NULL, &why), why);
    return count;
}

/* A pass takes 1024 tokens, so these are several, split at other texts each time. */
static void check_many_passes(const char *folder, size_t helpers)
{
    enum { COPIES = 60 };
    struct opened opened = open_model(folder, helpers, 1);
    const char *texts[COPIES * REFERENCE_MOST_TEXTS];
    size_t count = reference_texts(opened.reference, texts), tokens = 0;
    for (size_t i = count; i < COPIES * count; i++)
        texts[i] = texts[i - count];
    for (size_t i = 0; i < COPIES * count; i++)
        tokens += count_tokens(&opened, texts[i]);
    assert_true(tokens > 2 * 1024);

    float *expected = reference_tensor(opened.reference, "text_features", NULL);
    float *found = embed_texts(&opened, texts, COPIES * count);
    size_t floats = count * opened.joint;
    for (size_t copy = 0; copy < COPIES; copy++)
        assert_true(reference_error(found + copy * floats, expected, floats) <=
                    reference_tolerance);
    free(found);
    free(expected);
    close_model(&opened);
}

static void test_more_texts_than_a_pass_takes(void **state)
{
    (void)state;
    check_many_passes("huggingface", 0);
    check_many_passes("open_clip", 2);
    check_many_passes("one_block", 0);
}

static void test_no_texts(void **state)
{
    (void)state;
    struct fail why;
    struct opened opened = open_model("one_patch", 0, 1);
    float untouched = 42;
    unit_assert_ok(engine_embed_texts(opened.session, NULL, 0, &untouched, &why), why);
    assert_true(untouched == 42);
    close_model(&opened);
}

static void test_text_over_the_context(void **state)
{
    (void)state;
    struct fail why;
    struct opened opened = open_model("huggingface", 0, 1);
    enum { LAST = 200 };
    const char *texts[LAST + 1];
    for (size_t i = 0; i < LAST; i++)
        texts[i] = "a photo of a dog.";
    texts[LAST] = "zzzzzzzzzzzzzzzzzzzzzzzzz"; /* found out in the second pass only */
    float *features = calloc((LAST + 1) * opened.joint, sizeof *features);
    unit_assert_fails(engine_embed_texts(opened.session, texts, LAST + 1, features, &why),
                      STATUS_LIMIT, why, "context of 26");
    assert_non_null(strstr(why.message, texts[LAST]));
    texts[LAST] += 1; /* 24 tokens, with start and end exactly the context */
    unit_assert_ok(engine_embed_texts(opened.session, texts, LAST + 1, features, &why), why);
    free(features);
    close_model(&opened);
}

/* ---- Pictures ---- */

static size_t picture_floats(const struct opened *opened)
{
    size_t size = engine_info(opened->engine)->image_size;
    return 3 * size * size;
}

/* The reference's pictures over and over. */
static float *many_pictures(const struct opened *opened, size_t count)
{
    size_t held, floats = picture_floats(opened);
    float *few = reference_tensor(opened->reference, "pixels", &held);
    float *pixels = malloc(count * floats * sizeof *pixels);
    assert_non_null(pixels);
    for (size_t i = 0; i < count; i++)
        memcpy(pixels + i * floats, few + i % held * floats, floats * sizeof *pixels);
    free(few);
    return pixels;
}

/* Pictures in calls of a certain size, the last perhaps smaller. */
static float *embed_in_steps(const struct opened *opened, const float *pixels, size_t count,
                             size_t step)
{
    struct fail why;
    float *features = calloc(count * opened->joint, sizeof *features);
    for (size_t first = 0; first < count; first += step)
        unit_assert_ok(engine_embed_images(opened->session, pixels + first * picture_floats(opened),
                                           count - first < step ? count - first : step,
                                           features + first * opened->joint, &why),
                       why);
    return features;
}

static void check_company(const char *folder, size_t helpers)
{
    enum { COUNT = 11, MOST = 5 };
    struct opened opened = open_model(folder, helpers, MOST), single = open_model(folder, 0, 1);
    size_t held;
    float *expected = reference_tensor(opened.reference, "image_features", &held);
    float *pixels = many_pictures(&opened, COUNT);
    float *alone = embed_in_steps(&single, pixels, COUNT, 1);
    for (size_t i = 0; i < COUNT; i++)
        assert_true(reference_error(alone + i * opened.joint, expected + i % held * opened.joint,
                                    opened.joint) <= reference_tolerance);
    double largest = 0;
    for (size_t step = 1; step <= MOST; step++) {
        float *together = embed_in_steps(&opened, pixels, COUNT, step);
        largest = unit_worse(largest, reference_error(together, alone, COUNT * opened.joint));
        free(together);
    }
    print_message("%s: alone and together differ by %.1e\n", folder, largest);
    assert_true(largest <= company_tolerance);
    free(alone);
    free(pixels);
    free(expected);
    close_model(&opened);
    close_model(&single);
}

static void test_pictures_alone_and_together(void **state)
{
    (void)state;
    check_company("huggingface", 0);
    check_company("openai", 2);
    check_company("one_block", 0);
    check_company("one_patch", 0);
}

static void test_more_pictures_than_the_session_takes(void **state)
{
    (void)state;
    struct fail why;
    static const size_t most[] = {1, 5};
    for (size_t i = 0; i < UNIT_COUNT(most); i++) {
        struct opened opened = open_model("one_patch", 0, most[i]);
        float *pixels = many_pictures(&opened, most[i] + 1);
        float *features = calloc((most[i] + 1) * opened.joint, sizeof *features);
        char message[64];
        snprintf(message, sizeof message, "%zu images in a call, the session takes %zu",
                 most[i] + 1, most[i]);
        unit_assert_fails(engine_embed_images(opened.session, pixels, most[i] + 1, features, &why),
                          STATUS_LIMIT, why, message);
        unit_assert_ok(engine_embed_images(opened.session, NULL, 0, features, &why), why);
        for (size_t k = 0; k < (most[i] + 1) * opened.joint; k++)
            assert_true(features[k] == 0);
        unit_assert_ok(engine_embed_images(opened.session, pixels, most[i], features, &why), why);
        assert_true(features[most[i] * opened.joint] == 0);
        free(features);
        free(pixels);
        close_model(&opened);
    }
}

/* ---- Labels ---- */

/* The mean of the unit features of a label in every sentence, made unit. */
static void label_by_hand(const struct opened *opened, const char *name,
                          const char *const *sentences, size_t count, float *out)
{
    double squares = 0, sums[64] = {0};
    assert_true(opened->joint <= UNIT_COUNT(sums));
    for (size_t i = 0; i < count; i++) {
        char text[128];
        const char *place = strstr(sentences[i], "{}"), *texts = text;
        snprintf(text, sizeof text, "%.*s%s%s", (int)(place - sentences[i]), sentences[i], name,
                 place + 2);
        float *features = embed_texts(opened, &texts, 1);
        for (size_t k = 0; k < opened->joint; k++)
            sums[k] += features[k];
        free(features);
    }
    for (size_t k = 0; k < opened->joint; k++)
        squares += sums[k] * sums[k];
    for (size_t k = 0; k < opened->joint; k++)
        out[k] = (float)(sums[k] / sqrt(squares));
}

/* Labels are numbered "a0", "b1", ...; more of them than are written out in one step. */
static void check_labels(const char *folder, const char *const *sentences, size_t sentence_count)
{
    enum { COUNT = 300 };
    struct fail why;
    struct engine_labels *labels;
    struct opened opened = open_model(folder, 0, 1);
    static char text[COUNT][8];
    const char *names[COUNT], *const *written = sentences;
    for (int i = 0; i < COUNT; i++) {
        snprintf(text[i], sizeof text[i], "%c%d", 'a' + i % 26, i);
        names[i] = text[i];
    }
    unit_assert_ok(engine_labels_compile(opened.session, names, COUNT, sentences, sentence_count,
                                         &labels, &why),
                   why);
    if (sentence_count == 0) {
        written = &engine_default_sentence;
        sentence_count = 1;
    }
    assert_int_equal(engine_labels_count(labels), COUNT);
    float expected[64];
    for (size_t i = 0; i < COUNT; i++) {
        label_by_hand(&opened, names[i], written, sentence_count, expected);
        assert_true(reference_error(engine_labels_feature(labels, i), expected, opened.joint) <=
                    company_tolerance);
    }
    engine_labels_release(labels);
    close_model(&opened);
}

static void test_labels_are_texts(void **state)
{
    (void)state;
    static const char *const sentences[] = {"a photo of a {}.", "{}", "the {}'s dog"};
    check_labels("huggingface", NULL, 0);
    check_labels("huggingface", sentences + 1, 1);
    check_labels("one_patch", sentences, UNIT_COUNT(sentences));
}

static void test_label_over_the_context(void **state)
{
    (void)state;
    struct fail why;
    struct engine_labels *labels = NULL;
    struct opened opened = open_model("huggingface", 0, 1);
    const char *names[] = {"cat", "qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq"};
    unit_assert_fails(engine_labels_compile(opened.session, names, 2, NULL, 0, &labels, &why),
                      STATUS_LIMIT, why, names[1]);
    assert_null(labels);
    close_model(&opened);
}

/* A picture whose feature is that of a label. */
static void test_classifies(void **state)
{
    (void)state;
    enum { COUNT = 3 };
    struct fail why;
    struct engine_labels *labels;
    struct opened opened = open_model("huggingface", 0, 1);
    const char *names[COUNT] = {"cat", "dog", "42"};
    unit_assert_ok(engine_labels_compile(opened.session, names, COUNT, NULL, 0, &labels, &why),
                   why);
    for (size_t label = 0; label < COUNT; label++) {
        float cosines[COUNT], logits[COUNT], probabilities[COUNT];
        struct engine_prediction best;
        size_t count;
        engine_cosines(opened.engine, labels, engine_labels_feature(labels, label), cosines);
        engine_top(engine_info(opened.engine)->logit_scale, cosines, COUNT, 1, &best, &count);
        engine_probabilities(engine_info(opened.engine)->logit_scale, cosines, COUNT, logits,
                             probabilities);
        assert_int_equal(count, 1);
        assert_int_equal(best.label, label);
        unit_assert_near(best.cosine, 1, 1e-6);
        unit_assert_near(best.logit, 100, 1e-3);
        unit_assert_near(logits[label], best.logit, 1e-4);
        unit_assert_near(probabilities[label], best.probability, 1e-6);
    }
    engine_labels_release(labels);
    close_model(&opened);
}

/* ---- Decoding ---- */

static void read_picture(const char *name, struct buf *out)
{
    struct fail why;
    char path[128];
    snprintf(path, sizeof path, PICTURES "%s", name);
    buf_init(out, 1 << 20);
    unit_assert_ok(buf_read_file(out, path, &why), why);
}

/* A picture of one colour is that colour, normalised, all over. */
static void test_decodes_and_normalises(void **state)
{
    (void)state;
    struct fail why;
    struct opened opened = open_model("huggingface", 0, 1);
    const struct engine_preprocessing *way = &engine_info(opened.engine)->preprocessing;
    size_t plane = picture_floats(&opened) / 3;
    float *pixels = malloc(3 * plane * sizeof *pixels);
    struct buf file;
    struct image image;
    struct engine_image_info info;
    read_picture("one-pixel.jpg", &file);
    const uint8_t *bytes = (const uint8_t *)file.data;
    unit_assert_ok(image_decode(bytes, file.size,
                                &(struct image_options){
                                    .max_bytes = file.size, .max_pixels = 1, .max_jpeg_scans = 1},
                                &image, &why),
                   why);
    unit_assert_ok(engine_decode(opened.engine, bytes, file.size, &engine_image_default_options,
                                 pixels, &info, &why),
                   why);
    assert_int_equal(info.format, IMAGE_JPEG);
    assert_int_equal(info.width, 1);
    assert_int_equal(info.height, 1);
    for (size_t i = 0; i < 3 * plane; i++) {
        size_t channel = i / plane;
        unit_assert_near(
            pixels[i], (image.rgb[channel] / 255.0 - way->mean[channel]) / way->deviation[channel],
            1e-6);
    }
    unit_assert_ok(engine_decode(opened.engine, bytes, file.size, &engine_image_default_options,
                                 pixels, NULL, &why),
                   why);
    image_finish(&image);
    buf_finish(&file);
    free(pixels);
    close_model(&opened);
}

static struct engine_image_options limits(size_t max_pixels, uint32_t max_jpeg_scans)
{
    return (struct engine_image_options){
        .max_bytes = 1 << 20, .max_pixels = max_pixels, .max_jpeg_scans = max_jpeg_scans};
}

/* Fails with the code and message, and leaves what it was to fill alone. */
static void check_refused(const struct opened *opened, const void *bytes, size_t size,
                          struct engine_image_options options, enum status status,
                          const char *message)
{
    struct fail why;
    size_t floats = picture_floats(opened);
    float *pixels = malloc(floats * sizeof *pixels);
    for (size_t i = 0; i < floats; i++)
        pixels[i] = 42;
    struct engine_image_info info = {IMAGE_WEBP, 1, 2};
    unit_assert_fails(engine_decode(opened->engine, bytes, size, &options, pixels, &info, &why),
                      status, why, message);
    assert_int_equal(info.format, IMAGE_WEBP);
    for (size_t i = 0; i < floats; i++)
        assert_true(pixels[i] == 42);
    free(pixels);
}

static void test_refuses_pictures(void **state)
{
    (void)state;
    const struct engine_image_options wide = engine_image_default_options;
    struct opened opened = open_model("one_block", 0, 1);
    struct buf png, jpeg, scans;
    read_picture("rgb-8.png", &png); /* 11 x 7 */
    read_picture("420.jpg", &jpeg);  /* 29 x 19 */
    read_picture("three-scans.jpg", &scans);

    check_refused(&opened, "", 0, wide, STATUS_FORMAT, "empty");
    check_refused(&opened, "GIF89a and so on", 16, wide, STATUS_UNSUPPORTED, "GIF");
    check_refused(&opened, "not a picture", 13, wide, STATUS_UNSUPPORTED, "no JPEG, PNG or WebP");
    check_refused(&opened, png.data, png.size - 30, wide, STATUS_FORMAT, "cut short");
    check_refused(&opened, jpeg.data, jpeg.size - 30, wide, STATUS_FORMAT, "cut short");
    check_refused(&opened, png.data, png.size, limits(76, 1), STATUS_LIMIT,
                  "11 x 7 pixels are over the limit of 76 pixels");
    check_refused(&opened, jpeg.data, jpeg.size, limits(550, 1), STATUS_LIMIT,
                  "29 x 19 pixels are over the limit of 550 pixels");
    check_refused(&opened, scans.data, scans.size, limits(1000, 2), STATUS_LIMIT,
                  "more scans than the limit of 2");

    struct fail why;
    float *pixels = malloc(picture_floats(&opened) * sizeof *pixels);
    const struct engine_image_options exact = limits(77, 1);
    struct engine_image_info info;
    unit_assert_ok(engine_decode(opened.engine, (const uint8_t *)png.data, png.size, &exact, pixels,
                                 &info, &why),
                   why);
    assert_int_equal(info.format, IMAGE_PNG);
    assert_int_equal(info.width, 11);
    assert_int_equal(info.height, 7);
    free(pixels);
    buf_finish(&png);
    buf_finish(&jpeg);
    buf_finish(&scans);
    close_model(&opened);
}

static void test_refuses_an_activation(void **state)
{
    (void)state;
    struct fail why;
    struct engine *engine = NULL;
    const struct engine_options options = {.activation = "relu"};
    unit_assert_fails(engine_open(REFERENCE_MODELS "one_block", &options, &engine, &why),
                      STATUS_INVALID, why, "\"relu\"");
    assert_null(engine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_more_texts_than_a_pass_takes),
        cmocka_unit_test(test_no_texts),
        cmocka_unit_test(test_text_over_the_context),
        cmocka_unit_test(test_pictures_alone_and_together),
        cmocka_unit_test(test_more_pictures_than_the_session_takes),
        cmocka_unit_test(test_labels_are_texts),
        cmocka_unit_test(test_label_over_the_context),
        cmocka_unit_test(test_classifies),
        cmocka_unit_test(test_decodes_and_normalises),
        cmocka_unit_test(test_refuses_pictures),
        cmocka_unit_test(test_refuses_an_activation),
    };
    return cmocka_run_group_tests_name("engine", tests, NULL, NULL);
}
