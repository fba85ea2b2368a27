#include "tests/unit/unit.h"

#include "engine/resample.h"
#include "tests/unit/noise.h"

static uint8_t *test_resize(const uint8_t *rgb, uint32_t width, uint32_t height, uint32_t out_width,
                            uint32_t out_height, struct resample_window window)
{
    struct fail why;
    uint8_t *out = malloc((size_t)window.width * window.height * 3);
    assert_non_null(out);
    unit_assert_ok(resample_bicubic(rgb, width, height, out_width, out_height, &window, out, &why),
                   why);
    return out;
}

/* Sizes, enlarged and reduced by unequal factors, against Pillow: tolerance 0. */
static void test_equals_pillow(void **state)
{
    (void)state;
    FILE *golden = fopen("tests/golden/resample.txt", "r");
    assert_non_null(golden);
    uint32_t width, height, seed, out_width, out_height;
    int cases = 0;
    while (fscanf(golden, "%u %u %u %u %u", &width, &height, &seed, &out_width, &out_height) == 5) {
        uint8_t *rgb = noise_picture(width, height, seed);
        uint8_t *out = test_resize(rgb, width, height, out_width, out_height,
                                   (struct resample_window){0, 0, out_width, out_height});
        size_t different = noise_differences(golden, out, (size_t)out_width * out_height * 3);
        if (different)
            fail_msg("%u x %u to %u x %u: %zu bytes differ", width, height, out_width, out_height,
                     different);
        free(out);
        free(rgb);
        cases++;
    }
    fclose(golden);
    assert_int_equal(cases, 17);
}

static void test_window_is_part_of_whole(void **state)
{
    (void)state;
    enum { WIDTH = 37, HEIGHT = 23, OUT_WIDTH = 20, OUT_HEIGHT = 31 };
    uint8_t *rgb = noise_picture(WIDTH, HEIGHT, 2);
    uint8_t *whole = test_resize(rgb, WIDTH, HEIGHT, OUT_WIDTH, OUT_HEIGHT,
                                 (struct resample_window){0, 0, OUT_WIDTH, OUT_HEIGHT});
    uint32_t random = 1;
    for (int i = 0; i < 200; i++) {
        struct resample_window window = {unit_random(&random) % OUT_WIDTH,
                                         unit_random(&random) % OUT_HEIGHT, 0, 0};
        window.width = 1 + unit_random(&random) % (OUT_WIDTH - window.left);
        window.height = 1 + unit_random(&random) % (OUT_HEIGHT - window.top);
        uint8_t *part = test_resize(rgb, WIDTH, HEIGHT, OUT_WIDTH, OUT_HEIGHT, window);
        for (size_t y = 0; y < window.height; y++)
            assert_memory_equal(part + y * window.width * 3,
                                whole + ((window.top + y) * OUT_WIDTH + window.left) * 3,
                                (size_t)window.width * 3);
        free(part);
    }
    free(whole);
    free(rgb);
}

static void test_one_colour_stays(void **state)
{
    (void)state;
    enum { SIDE = 50 };
    uint8_t rgb[SIDE * SIDE * 3];
    memset(rgb, 255, sizeof rgb);
    static const uint32_t sides[] = {1, 7, 49, 50, 51, 333};
    for (size_t i = 0; i < UNIT_COUNT(sides); i++) {
        struct resample_window all = {0, 0, sides[i], sides[i]};
        uint8_t *out = test_resize(rgb, SIDE, SIDE, sides[i], sides[i], all);
        for (size_t j = 0; j < (size_t)sides[i] * sides[i] * 3; j++)
            assert_int_equal(out[j], 255);
        free(out);
    }
}

/* Resized as a whole this would take 10 GB. */
static void test_far_window_of_a_huge_size(void **state)
{
    (void)state;
    uint8_t rgb[4 * 3] = {10, 20, 30, 10, 20, 30, 10, 20, 30, 200, 210, 220};
    uint32_t length = INT32_MAX;
    uint8_t *end = test_resize(rgb, 4, 1, length, 2, (struct resample_window){length - 1, 1, 1, 1});
    assert_in_range(end[0], 200, 255);
    assert_in_range(end[2], 220, 255);
    free(end);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_equals_pillow),
        cmocka_unit_test(test_window_is_part_of_whole),
        cmocka_unit_test(test_one_colour_stays),
        cmocka_unit_test(test_far_window_of_a_huge_size),
    };
    return cmocka_run_group_tests_name("resample", tests, NULL, NULL);
}
