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

static enum status test_load(const char *json, struct preprocess *out, struct fail *why)
{
    char path[64];
    snprintf(path, sizeof path, "%s/preprocessor_config.json", test_dir);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(json, file);
    fclose(file);
    enum status status = preprocess_load(test_dir, 224, out, why);
    unlink(path);
    return status;
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
    };
    return cmocka_run_group_tests_name("preprocess", tests, test_make_dir, test_remove_dir);
}
