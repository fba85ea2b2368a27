/* The towers against features computed by another implementation in double precision: see
 * tests/golden/make_towers.py. */
#include "tests/unit/unit.h"

#include "engine/clip_model.h"
#include "engine/engine.h"
#include "engine/safetensors.h"
#include "engine/vision.h"

#define TOWERS "tests/golden/towers/"

enum { MOST_TEXTS = 8 };

/* Largest errors seen: 5.6e-7 in the features, 4.7e-6 of 1 + |value| in the patch rows. */
static const double tolerance = 5e-6, row_tolerance = 2e-5;

struct features {
    struct engine_info info; /* its texts are static or gone */
    size_t images, texts;
    float *of_images, *of_texts; /* [count, joint_width] */
};

static struct safetensors *open_reference(const char *folder)
{
    struct fail why;
    struct safetensors *file;
    char path[256];
    snprintf(path, sizeof path, TOWERS "%s/reference.safetensors", folder);
    unit_assert_ok(safetensors_open(path, &file, &why), why);
    return file;
}

static float *read_tensor(const struct safetensors *file, const char *name, size_t *out_rows)
{
    struct fail why;
    const struct safetensors_tensor *tensor = safetensors_find(file, name);
    assert_non_null(tensor);
    float *values = calloc(tensor->count, sizeof *values);
    unit_assert_ok(safetensors_to_f32(tensor, values, &why), why);
    if (out_rows)
        *out_rows = tensor->shape[0];
    return values;
}

static double largest_error(const float *found, const float *expected, size_t count)
{
    double largest = 0;
    for (size_t i = 0; i < count; i++)
        largest = fmax(largest, fabs((double)found[i] - (double)expected[i]));
    return largest;
}

static struct engine *open_engine(const char *folder, const char *activation, size_t helpers)
{
    struct fail why;
    struct engine *engine;
    char path[256];
    snprintf(path, sizeof path, TOWERS "%s", folder);
    const struct engine_options options = {.activation = activation, .helpers = helpers};
    unit_assert_ok(engine_open(path, &options, &engine, &why), why);
    return engine;
}

/* The pictures and texts of a folder's reference, encoded by the engine. */
static struct features encode(const char *folder, const char *activation, size_t helpers)
{
    struct fail why;
    struct features features = {0};
    struct engine_session *session;
    struct engine *engine = open_engine(folder, activation, helpers);
    struct safetensors *reference = open_reference(folder);
    float *pixels = read_tensor(reference, "pixels", &features.images);
    const char *texts[MOST_TEXTS];
    for (char key[16]; features.texts < MOST_TEXTS; features.texts++) {
        snprintf(key, sizeof key, "text.%zu", features.texts);
        texts[features.texts] = safetensors_metadata(reference, key);
        if (!texts[features.texts])
            break;
    }
    features.info = *engine_info(engine);
    features.of_images = calloc(features.images * features.info.joint_width, sizeof(float));
    features.of_texts = calloc(features.texts * features.info.joint_width, sizeof(float));
    unit_assert_ok(engine_session_create(engine, features.images, &session, &why), why);
    unit_assert_ok(engine_embed_images(session, pixels, features.images, features.of_images, &why),
                   why);
    unit_assert_ok(engine_embed_texts(session, texts, features.texts, features.of_texts, &why),
                   why);
    engine_session_destroy(session);
    engine_close(engine);
    safetensors_close(reference);
    free(pixels);
    return features;
}

static void release(struct features *features)
{
    free(features->of_images);
    free(features->of_texts);
}

static void measure(const char *folder, const struct features *features, double *out_images,
                    double *out_texts)
{
    struct safetensors *reference = open_reference(folder);
    size_t images, texts;
    float *of_images = read_tensor(reference, "image_features", &images);
    float *of_texts = read_tensor(reference, "text_features", &texts);
    assert_int_equal(images, features->images);
    assert_int_equal(texts, features->texts);
    *out_images =
        largest_error(features->of_images, of_images, images * features->info.joint_width);
    *out_texts = largest_error(features->of_texts, of_texts, texts * features->info.joint_width);
    free(of_images);
    free(of_texts);
    safetensors_close(reference);
}

static void check_folder(const char *folder, const char *layout, const char *activation)
{
    double of_images, of_texts;
    struct features features = encode(folder, NULL, 0);
    measure(folder, &features, &of_images, &of_texts);
    print_message("%s: largest error %.1e (images), %.1e (texts)\n", folder, of_images, of_texts);
    assert_true(of_images <= tolerance);
    assert_true(of_texts <= tolerance);
    assert_string_equal(features.info.layout, layout);
    assert_string_equal(features.info.activation, activation);
    release(&features);
}

static void test_huggingface(void **state)
{
    (void)state;
    check_folder("huggingface", "huggingface", "quick_gelu");
}

static void test_open_clip(void **state)
{
    (void)state;
    check_folder("open_clip", "open_clip", "gelu");
}

static void test_openai(void **state)
{
    (void)state;
    check_folder("openai", "openai", "quick_gelu");
}

static void test_one_block(void **state)
{
    (void)state;
    check_folder("one_block", "huggingface", "gelu");
}

static void test_one_patch(void **state)
{
    (void)state;
    check_folder("one_patch", "huggingface", "quick_gelu");
}

static void test_layouts_give_equal_bits(void **state)
{
    (void)state;
    struct features of[] = {encode("same_huggingface", NULL, 0), encode("same_openai", NULL, 0),
                            encode("same_open_clip", NULL, 0)};
    double of_images, of_texts;
    measure("same_huggingface", &of[0], &of_images, &of_texts);
    assert_true(of_images <= tolerance);
    assert_true(of_texts <= tolerance);
    size_t width = of[0].info.joint_width * sizeof(float);
    for (size_t i = 1; i < UNIT_COUNT(of); i++) {
        assert_int_equal(of[i].info.parameters, of[0].info.parameters);
        assert_memory_equal(of[i].of_images, of[0].of_images, of[0].images * width);
        assert_memory_equal(of[i].of_texts, of[0].of_texts, of[0].texts * width);
    }
    for (size_t i = 0; i < UNIT_COUNT(of); i++)
        release(&of[i]);
}

static void test_helpers_give_equal_bits(void **state)
{
    (void)state;
    struct features alone = encode("huggingface", NULL, 0), helped = encode("huggingface", NULL, 3);
    size_t width = alone.info.joint_width * sizeof(float);
    assert_memory_equal(alone.of_images, helped.of_images, alone.images * width);
    assert_memory_equal(alone.of_texts, helped.of_texts, alone.texts * width);
    release(&alone);
    release(&helped);
}

/* Also shows that the references would notice a wrong activation. */
static void test_activation_can_be_chosen(void **state)
{
    (void)state;
    double of_images, of_texts;
    struct features features = encode("open_clip", "quick_gelu", 0);
    measure("open_clip", &features, &of_images, &of_texts);
    assert_string_equal(features.info.activation, "quick_gelu");
    assert_true(of_images > 100 * tolerance);
    assert_true(of_texts > 100 * tolerance);
    release(&features);
}

static void test_what_the_engine_tells(void **state)
{
    (void)state;
    struct engine *engine = open_engine("huggingface", NULL, 0);
    const struct engine_info *info = engine_info(engine);
    assert_string_equal(info->name, "huggingface");
    assert_int_equal(info->image_size, 32);
    assert_int_equal(info->patch_size, 8);
    assert_int_equal(info->patches, 16);
    assert_int_equal(info->joint_width, 24);
    assert_int_equal(info->context, 26);
    assert_int_equal(info->vision.heads, 2);
    assert_int_equal(info->text.heads, 5);
    unit_assert_near(info->logit_scale, 100, 1e-4);
    engine_close(engine);
}

static void test_text_over_the_context(void **state)
{
    (void)state;
    struct fail why;
    struct engine_session *session;
    struct engine *engine = open_engine("huggingface", NULL, 0);
    unit_assert_ok(engine_session_create(engine, 1, &session, &why), why);
    const char *text = "zzzzzzzzzzzzzzzzzzzzzzzzz";
    float features[24];
    unit_assert_fails(engine_embed_texts(session, &text, 1, features, &why), STATUS_LIMIT, why,
                      "26");
    text = "zzzzzzzzzzzzzzzzzzzzzzzz"; /* 24 tokens, with start and end exactly the context */
    unit_assert_ok(engine_embed_texts(session, &text, 1, features, &why), why);
    engine_session_destroy(session);
    engine_close(engine);
}

static void test_patch_rows_of_every_block(void **state)
{
    (void)state;
    struct fail why;
    struct clip_model *model;
    const struct clip_model_options options = {.activation = -1};
    unit_assert_ok(clip_model_load(TOWERS "huggingface", &options, &model, &why), why);
    struct safetensors *reference = open_reference("huggingface");
    size_t images;
    float *pixels = read_tensor(reference, "pixels", &images);
    float *expected = read_tensor(reference, "patch_rows", NULL);
    size_t count = safetensors_find(reference, "patch_rows")->count;
    const struct clip_model_geometry *geometry = &model->geometry;
    assert_int_equal(count,
                     geometry->vision.blocks * images * geometry->patches * geometry->vision.width);

    struct parallel_team *team;
    struct arena arena;
    unit_assert_ok(parallel_create(0, &team, &why), why);
    unit_assert_ok(arena_init(&arena, vision_scratch_bytes(model, images), &why), why);
    const struct block_setting setting = {.team = team,
                                          .ways = 1,
                                          .kernels = kernels_best(),
                                          .tower = &geometry->vision,
                                          .activation = geometry->activation,
                                          .epsilon = geometry->layer_norm_epsilon};
    float *features = calloc(images * geometry->joint_width, sizeof *features);
    float *rows = calloc(count, sizeof *rows);
    vision_forward(&setting, model, pixels, images, &arena, features, rows);
    double largest = 0;
    for (size_t i = 0; i < count; i++)
        largest = fmax(largest, fabs((double)rows[i] - (double)expected[i]) /
                                    (1 + fabs((double)expected[i])));
    print_message("patch rows: largest error %.1e of 1 + |value|\n", largest);
    assert_true(largest <= row_tolerance);

    free(rows);
    free(features);
    free(pixels);
    free(expected);
    arena_finish(&arena);
    parallel_destroy(team);
    safetensors_close(reference);
    clip_model_destroy(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_huggingface),
        cmocka_unit_test(test_open_clip),
        cmocka_unit_test(test_openai),
        cmocka_unit_test(test_one_block),
        cmocka_unit_test(test_one_patch),
        cmocka_unit_test(test_layouts_give_equal_bits),
        cmocka_unit_test(test_helpers_give_equal_bits),
        cmocka_unit_test(test_activation_can_be_chosen),
        cmocka_unit_test(test_what_the_engine_tells),
        cmocka_unit_test(test_text_over_the_context),
        cmocka_unit_test(test_patch_rows_of_every_block),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
