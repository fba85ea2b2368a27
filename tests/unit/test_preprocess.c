#include "tests/unit/unit.h"

#include <sys/stat.h>
#include <unistd.h>

#include "engine/preprocess.h"
#include "tests/unit/noise.h"

/* torchvision's Resize and CenterCrop on Pillow pictures: tolerance 0. */
static void test_equals_pillow(void **state)
{
    (void)state;
    FILE *golden = fopen("tests/golden/preprocess.txt", "r");
    assert_non_null(golden);
    uint32_t width, height, seed, edge, crop;
    int cases = 0;
    while (fscanf(golden, "%u %u %u %u %u", &width, &height, &seed, &edge, &crop) == 5) {
        struct preprocess preprocess = {.shortest_edge = edge, .crop_size = crop};
        struct image image = {width, height, noise_picture(width, height, seed), IMAGE_UNKNOWN};
        struct fail why;
        size_t size = (size_t)crop * crop * 3;
        uint8_t *out = malloc(size);
        assert_non_null(out);
        unit_assert_ok(preprocess_crop(&preprocess, &image, out, &why), why);
        size_t different = noise_differences(golden, out, size);
        if (different)
            fail_msg("%u x %u, edge %u, crop %u: %zu bytes differ", width, height, edge, crop,
                     different);
        free(out);
        image_finish(&image);
        cases++;
    }
    fclose(golden);
    assert_int_equal(cases, 30);
}

static void test_apply_normalises_planes(void **state)
{
    (void)state;
    enum { SIDE = 6, PIXELS = SIDE * SIDE };
    struct preprocess preprocess = {SIDE, SIDE, {0.5f, 0.25f, 0.125f}, {0.5f, 2.0f, 0.25f}};
    struct image image = {SIDE, SIDE, noise_picture(SIDE, SIDE, 3), IMAGE_UNKNOWN};
    struct fail why;
    float out[3 * PIXELS];
    unit_assert_ok(preprocess_apply(&preprocess, &image, out, &why), why);
    for (size_t c = 0; c < 3; c++)
        for (size_t i = 0; i < PIXELS; i++) {
            float expected = (image.rgb[i * 3 + c] / 255.0f - preprocess.mean[c]);
            assert_true(out[c * PIXELS + i] == expected / preprocess.deviation[c]);
        }
    image_finish(&image);
}

static void test_refuses_impossible_sizes(void **state)
{
    (void)state;
    struct fail why;
    uint8_t pixel[3], out[9 * 3];
    struct preprocess preprocess = {.shortest_edge = 3, .crop_size = 3};
    struct image image = {1u << 30, 1, pixel, IMAGE_UNKNOWN};
    unit_assert_fails(preprocess_crop(&preprocess, &image, out, &why), STATUS_LIMIT, why,
                      "1073741824 x 1 pixels");
    image.width = 0;
    unit_assert_fails(preprocess_crop(&preprocess, &image, out, &why), STATUS_INVALID, why,
                      "0 x 1");
    image.width = 1;
    preprocess.shortest_edge = 2;
    unit_assert_fails(preprocess_crop(&preprocess, &image, out, &why), STATUS_INVALID, why,
                      "cannot crop 3 pixels");
}

/* ---- preprocessor_config.json ---- */

static char test_dir[] = "/tmp/test_preprocess.XXXXXX";

static int test_make_dir(void **state)
{
    (void)state;
    return mkdtemp(test_dir) ? 0 : -1;
}

static int test_remove_dir(void **state)
{
    (void)state;
    return rmdir(test_dir);
}

static void test_write(const char *name, const char *json)
{
    char path[64];
    snprintf(path, sizeof path, "%s/%s", test_dir, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(json, file);
    fclose(file);
}

static void test_remove(const char *name)
{
    char path[64];
    snprintf(path, sizeof path, "%s/%s", test_dir, name);
    unlink(path);
}

static enum status test_load_as(const char *name, const char *json, struct preprocess *out,
                                struct fail *why)
{
    test_write(name, json);
    enum status status = preprocess_load(test_dir, 224, out, why);
    test_remove(name);
    return status;
}

static enum status test_load(const char *json, struct preprocess *out, struct fail *why)
{
    return test_load_as("preprocessor_config.json", json, out, why);
}

static void test_assert_clip(const struct preprocess *preprocess)
{
    assert_int_equal(preprocess->shortest_edge, 224);
    assert_int_equal(preprocess->crop_size, 224);
    assert_true(preprocess->mean[0] == 0.48145466f && preprocess->mean[1] == 0.4578275f &&
                preprocess->mean[2] == 0.40821073f);
    assert_true(preprocess->deviation[0] == 0.26862954f &&
                preprocess->deviation[1] == 0.26130258f && preprocess->deviation[2] == 0.27577711f);
}

static void test_loads_published_forms(void **state)
{
    (void)state;
    static const char *const forms[] = {
        "{}",
        /* openai/clip-vit-base-patch16 and later conversions */
        "{\"crop_size\": 224, \"do_center_crop\": true, \"do_normalize\": true, \"do_resize\": "
        "true, \"feature_extractor_type\": \"CLIPFeatureExtractor\", \"image_mean\": [0.48145466, "
        "0.4578275, 0.40821073], \"image_std\": [0.26862954, 0.26130258, 0.27577711], "
        "\"resample\": 3, \"size\": 224}",
        "{\"crop_size\": {\"height\": 224, \"width\": 224}, \"do_convert_rgb\": true, "
        "\"do_rescale\": true, \"image_processor_type\": \"CLIPImageProcessor\", \"resample\": 3, "
        "\"rescale_factor\": 0.00392156862745098, \"size\": {\"shortest_edge\": 224}}",
    };
    for (size_t i = 0; i < UNIT_COUNT(forms); i++) {
        struct preprocess preprocess;
        struct fail why;
        unit_assert_ok(test_load(forms[i], &preprocess, &why), why);
        test_assert_clip(&preprocess);
    }
}

static void test_missing_file_means_clip(void **state)
{
    (void)state;
    struct preprocess preprocess;
    struct fail why;
    unit_assert_ok(preprocess_load(test_dir, 224, &preprocess, &why), why);
    test_assert_clip(&preprocess);
}

static void test_loads_other_values(void **state)
{
    (void)state;
    struct preprocess preprocess;
    struct fail why;
    unit_assert_ok(test_load("{\"size\": {\"shortest_edge\": 256}, \"image_mean\": [0.5, 0, 1], "
                             "\"image_std\": [1, 2, 0.5]}",
                             &preprocess, &why),
                   why);
    assert_int_equal(preprocess.shortest_edge, 256);
    assert_int_equal(preprocess.crop_size, 224);
    assert_true(preprocess.mean[0] == 0.5f && preprocess.deviation[2] == 0.5f);
}

static void test_refuses_other_transforms(void **state)
{
    (void)state;
    static const struct {
        const char *json, *part;
        enum status status;
    } cases[] = {
        {"{\"size\": {\"height\": 224, \"width\": 224}}", "aspect ratio", STATUS_INVALID},
        {"{\"size\": {\"shortest_edge\": 224, \"longest_edge\": 300}}", "size", STATUS_INVALID},
        {"{\"size\": 200}", "size 200 is less than crop_size 224", STATUS_INVALID},
        {"{\"size\": -1}", "size is not", STATUS_INVALID},
        {"{\"size\": 224.5}", "size is not", STATUS_INVALID},
        {"{\"size\": 4294967520}", "size is not", STATUS_INVALID},
        {"{\"size\": {\"shortest_edge\": \"224\"}}", "size.shortest_edge is not", STATUS_INVALID},
        {"{\"crop_size\": 336}", "crop_size is 336, but the model's image size is 224",
         STATUS_INVALID},
        {"{\"crop_size\": {\"height\": 224, \"width\": 200}}", "200 x 224", STATUS_INVALID},
        {"{\"crop_size\": {\"height\": 224}}", "crop_size.width", STATUS_INVALID},
        {"{\"crop_size\": null}", "crop_size", STATUS_INVALID},
        {"{\"resample\": 2}", "resample is 2", STATUS_INVALID},
        {"{\"resample\": \"bicubic\"}", "resample", STATUS_INVALID},
        {"{\"do_resize\": false}", "do_resize", STATUS_INVALID},
        {"{\"do_center_crop\": false}", "do_center_crop", STATUS_INVALID},
        {"{\"do_normalize\": 1}", "do_normalize", STATUS_INVALID},
        {"{\"do_rescale\": false}", "do_rescale", STATUS_INVALID},
        {"{\"rescale_factor\": 1.0}", "rescale_factor", STATUS_INVALID},
        {"{\"rescale_factor\": \"1/255\"}", "rescale_factor", STATUS_INVALID},
        {"{\"image_mean\": [0.5, 0.5]}", "image_mean", STATUS_INVALID},
        {"{\"image_mean\": 0.5}", "image_mean", STATUS_INVALID},
        {"{\"image_mean\": [0.5, \"a\", 0.5]}", "image_mean[1]", STATUS_INVALID},
        {"{\"image_mean\": [1e300, 0, 0]}", "image_mean[0]", STATUS_INVALID},
        {"{\"image_std\": [1, 1, 0]}", "image_std[2]", STATUS_INVALID},
        {"{\"image_std\": [-1, 1, 1]}", "image_std[0]", STATUS_INVALID},
        {"{\"image_std\": [1e-60, 1, 1]}", "image_std[0]", STATUS_INVALID},
        {"[]", "not a JSON object", STATUS_FORMAT},
        {"{\"size\": 224", "line 1", STATUS_FORMAT},
        {"{\"size\": 224, \"size\": 225}", "duplicate", STATUS_FORMAT},
        {"", "line 1", STATUS_FORMAT},
    };
    for (size_t i = 0; i < UNIT_COUNT(cases); i++) {
        struct preprocess preprocess = {.shortest_edge = 77};
        struct fail why;
        unit_assert_fails(test_load(cases[i].json, &preprocess, &why), cases[i].status, why,
                          cases[i].part);
        assert_non_null(strstr(why.message, "preprocessor_config.json: "));
        assert_int_equal(preprocess.shortest_edge, 77);
    }
}

/* ---- open_clip_config.json ---- */

static enum status test_load_open_clip(const char *json, struct preprocess *out, struct fail *why)
{
    return test_load_as("open_clip_config.json", json, out, why);
}

static void test_loads_open_clip(void **state)
{
    (void)state;
    static const char *const same[] = {
        "{}",
        "{\"model_cfg\": {\"embed_dim\": 512}, \"preprocess_cfg\": null}",
        "{\"preprocess_cfg\": {\"size\": [224, 224], \"mode\": \"RGB\", \"mean\": null, "
        "\"interpolation\": \"bicubic\", \"resize_mode\": \"shortest\", \"fill_color\": 0}}",
    };
    struct preprocess preprocess;
    struct fail why;
    for (size_t i = 0; i < UNIT_COUNT(same); i++) {
        unit_assert_ok(test_load_open_clip(same[i], &preprocess, &why), why);
        test_assert_clip(&preprocess);
    }
    unit_assert_ok(test_load_open_clip("{\"preprocess_cfg\": {\"size\": 224, \"mean\": [0.25, 0.5, "
                                       "0.75], \"std\": [0.5, 1, 2]}}",
                                       &preprocess, &why),
                   why);
    assert_int_equal(preprocess.shortest_edge, 224);
    assert_int_equal(preprocess.crop_size, 224);
    for (size_t c = 0; c < 3; c++) {
        assert_true(preprocess.mean[c] == 0.25f * (float)(c + 1));
        assert_true(preprocess.deviation[c] == 0.5f * (float)(1 << c));
    }
}

static void test_preprocessor_config_comes_first(void **state)
{
    (void)state;
    struct preprocess preprocess;
    struct fail why;
    test_write("open_clip_config.json", "{\"preprocess_cfg\": {\"mean\": [0, 0, 0]}}");
    unit_assert_ok(test_load("{}", &preprocess, &why), why);
    test_assert_clip(&preprocess);
    test_remove("open_clip_config.json");
}

static void test_refuses_other_transforms_of_open_clip(void **state)
{
    (void)state;
#define CASE(section, part, status)                                                                \
    {                                                                                              \
        "{\"preprocess_cfg\": " section "}", part, status                                          \
    }
    static const struct {
        const char *json, *part;
        enum status status;
    } cases[] = {
        CASE("{\"interpolation\": \"bilinear\"}",
             "preprocess_cfg.interpolation is \"bilinear\", only \"bicubic\"", STATUS_INVALID),
        CASE("{\"interpolation\": 3}", "preprocess_cfg.interpolation", STATUS_INVALID),
        CASE("{\"resize_mode\": \"squash\"}",
             "preprocess_cfg.resize_mode is \"squash\", only \"shortest\"", STATUS_INVALID),
        CASE("{\"mode\": \"L\"}", "preprocess_cfg.mode is \"L\", only \"RGB\"", STATUS_INVALID),
        CASE("{\"size\": 256}",
             "preprocess_cfg.size is 256 x 256, but the model's image size is 224", STATUS_INVALID),
        CASE("{\"size\": [224, 336]}", "preprocess_cfg.size is 336 x 224", STATUS_INVALID),
        CASE("{\"size\": [224]}", "preprocess_cfg.size is not", STATUS_INVALID),
        CASE("{\"size\": [224, \"224\"]}", "preprocess_cfg.size is not", STATUS_INVALID),
        CASE("{\"mean\": 0.5}", "preprocess_cfg.mean is not an array of 3", STATUS_INVALID),
        CASE("{\"std\": [1, 0, 1]}", "preprocess_cfg.std[1] is not a positive", STATUS_INVALID),
        CASE("[]", "preprocess_cfg is not a JSON object", STATUS_FORMAT),
        {"[]", "the file is not a JSON object", STATUS_FORMAT},
        {"{", "line 1", STATUS_FORMAT},
    };
#undef CASE
    for (size_t i = 0; i < UNIT_COUNT(cases); i++) {
        struct preprocess preprocess = {.shortest_edge = 77};
        struct fail why;
        unit_assert_fails(test_load_open_clip(cases[i].json, &preprocess, &why), cases[i].status,
                          why, cases[i].part);
        assert_non_null(strstr(why.message, "open_clip_config.json: "));
        assert_int_equal(preprocess.shortest_edge, 77);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_equals_pillow),
        cmocka_unit_test(test_apply_normalises_planes),
        cmocka_unit_test(test_refuses_impossible_sizes),
        cmocka_unit_test(test_loads_published_forms),
        cmocka_unit_test(test_missing_file_means_clip),
        cmocka_unit_test(test_loads_other_values),
        cmocka_unit_test(test_refuses_other_transforms),
        cmocka_unit_test(test_loads_open_clip),
        cmocka_unit_test(test_preprocessor_config_comes_first),
        cmocka_unit_test(test_refuses_other_transforms_of_open_clip),
    };
    return cmocka_run_group_tests_name("preprocess", tests, test_make_dir, test_remove_dir);
}
