/* The towers against features computed by another implementation in double precision: see
 * tests/golden/make_towers.py. */
#include "tests/unit/unit.h"

#include "engine/clip_model.h"
#include "engine/vision.h"
#include "tests/unit/reference.h"

/* Largest error seen in the patch rows: 4.7e-6 of 1 + |value|. */
static const double row_tolerance = 2e-5;

struct features {
    struct engine_info info; /* its texts are static or gone */
    size_t images, texts;
    float *of_images, *of_texts; /* [count, joint_width] */
};

/* The pictures and texts of a folder's reference, encoded by the engine. */
static struct features encode(const char *folder, const char *activation, size_t helpers)
{
    struct fail why;
    struct features features = {0};
    struct engine_session *session;
    struct engine *engine = reference_engine(folder, activation, helpers);
    struct safetensors *reference = reference_open(folder);
    float *pixels = reference_tensor(reference, "pixels", &features.images);
    const char *texts[REFERENCE_MOST_TEXTS];
    features.texts = reference_texts(reference, texts);
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
    struct safetensors *reference = reference_open(folder);
    size_t images, texts;
    float *of_images = reference_tensor(reference, "image_features", &images);
    float *of_texts = reference_tensor(reference, "text_features", &texts);
    assert_int_equal(images, features->images);
    assert_int_equal(texts, features->texts);
    *out_images =
        reference_error(features->of_images, of_images, images * features->info.joint_width);
    *out_texts = reference_error(features->of_texts, of_texts, texts * features->info.joint_width);
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
    assert_true(of_images <= reference_tolerance);
    assert_true(of_texts <= reference_tolerance);
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
    assert_true(of_images <= reference_tolerance);
    assert_true(of_texts <= reference_tolerance);
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
    assert_true(of_images > 100 * reference_tolerance);
    assert_true(of_texts > 100 * reference_tolerance);
    release(&features);
}

static void test_what_the_engine_tells(void **state)
{
    (void)state;
    struct engine *engine = reference_engine("huggingface", NULL, 0);
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

struct patch_rows {
    const struct clip_model_geometry *geometry;
    size_t images;
    float *out; /* [blocks, images, patches, width] */
};

static void copy_patch_rows(void *context, size_t block, const float *x)
{
    const struct patch_rows *rows = context;
    size_t width = rows->geometry->vision.width, floats = rows->geometry->patches * width;
    for (size_t image = 0; image < rows->images && block; image++)
        memcpy(rows->out + ((block - 1) * rows->images + image) * floats,
               x + image * (floats + width) + width, floats * sizeof *x);
}

static void test_patch_rows_of_every_block(void **state)
{
    (void)state;
    struct fail why;
    struct clip_model *model;
    const struct clip_model_options options = {.activation = -1};
    unit_assert_ok(clip_model_load(REFERENCE_MODELS "huggingface", &options, &model, &why), why);
    struct safetensors *reference = reference_open("huggingface");
    size_t images;
    float *pixels = reference_tensor(reference, "pixels", &images);
    float *expected = reference_tensor(reference, "patch_rows", NULL);
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
    struct patch_rows copy = {geometry, images, rows};
    const struct vision_watcher watcher = {
        .look = copy_patch_rows, .context = &copy, .last = geometry->vision.blocks};
    vision_forward(&setting, model, pixels, images, &watcher, &arena, features);
    double largest = 0;
    for (size_t i = 0; i < count; i++)
        largest = unit_worse(largest, fabs((double)rows[i] - (double)expected[i]) /
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
        cmocka_unit_test(test_patch_rows_of_every_block),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
