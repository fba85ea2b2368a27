/* Random views of pictures. */
#include "tests/unit/unit.h"

#include "engine/resample.h"
#include "engine/train/augment.h"

enum { EDGE = 8, PIXELS = EDGE * EDGE };

static const struct preprocess plain = {
    .shortest_edge = EDGE, .crop_size = EDGE, .deviation = {1, 1, 1}};

static void test_crops_are_inside_and_of_the_right_kind(void **state)
{
    (void)state;
    static const uint32_t sizes[][2] = {{64, 64}, {640, 480}, {100, 101}, {7, 9},   {1, 1},
                                        {2, 1},   {1, 500},   {500, 1},   {3, 2000}};
    struct rng rng;
    rng_init(&rng, 5);
    for (size_t s = 0; s < UNIT_COUNT(sizes); s++)
        for (int i = 0; i < 300; i++) {
            uint32_t width = sizes[s][0], height = sizes[s][1];
            struct augment_crop crop = augment_draw(&rng, 0.08, width, height);
            assert_true(crop.width >= 1 && crop.left + crop.width <= width);
            assert_true(crop.height >= 1 && crop.top + crop.height <= height);
            if (width < 64 || height < 64)
                continue; /* where rounding to pixels counts */
            double aspect = (double)crop.width / crop.height;
            double area = (double)crop.width * crop.height / ((double)width * height);
            assert_true(aspect > 0.7 && aspect < 1.42);
            assert_true(area > 0.075 && area <= 1);
        }
}

/* Half of them mirrored, areas spread evenly, places everywhere. */
static void test_crops_are_spread(void **state)
{
    (void)state;
    enum { COUNT = 4000 };
    struct rng rng;
    double mirrored = 0, area = 0, from_left = 0, wide = 0;
    rng_init(&rng, 1);
    for (int i = 0; i < COUNT; i++) {
        struct augment_crop crop = augment_draw(&rng, 0.08, 1000, 1000);
        mirrored += crop.mirrored;
        wide += crop.width > crop.height;
        area += crop.width * (double)crop.height / 1e6;
        from_left += crop.left > 1000 - crop.left - crop.width;
    }
    unit_assert_near(mirrored / COUNT, 0.5, 0.03);
    unit_assert_near(wide / COUNT, 0.5, 0.03);
    unit_assert_near(from_left / COUNT, 0.5, 0.03);
    unit_assert_near(area / COUNT, 0.477,
                     0.015); /* large ones often do not fit, and are drawn again */
}

static void test_same_seed_same_crops(void **state)
{
    (void)state;
    struct rng a, b;
    rng_init(&a, 3);
    rng_init(&b, 3);
    for (int i = 0; i < 50; i++) {
        struct augment_crop x = augment_draw(&a, 0.08, 300, 200),
                            y = augment_draw(&b, 0.08, 300, 200);
        assert_true(x.left == y.left && x.top == y.top && x.width == y.width &&
                    x.height == y.height && x.mirrored == y.mirrored);
    }
}

/* A part is what resizing that part alone gives, and its mirror the mirror of that. */
static void test_views(void **state)
{
    (void)state;
    enum { WIDTH = 20, HEIGHT = 14 };
    uint8_t rgb[WIDTH * HEIGHT * 3], part[11 * 9 * 3], expected[PIXELS * 3];
    float view[3 * PIXELS], mirrored[3 * PIXELS];
    struct fail why;
    uint32_t seed = 2;
    for (size_t i = 0; i < sizeof rgb; i++)
        rgb[i] = (uint8_t)unit_random(&seed);
    const struct image image = {.width = WIDTH, .height = HEIGHT, .rgb = rgb};
    struct augment_crop crop = {.left = 4, .top = 3, .width = 11, .height = 9};
    for (size_t row = 0; row < 9; row++)
        memcpy(part + row * 33, rgb + ((3 + row) * WIDTH + 4) * 3, 33);
    const struct resample_window whole = {0, 0, EDGE, EDGE};
    unit_assert_ok(resample_bicubic(part, 11, 9, EDGE, EDGE, &whole, expected, &why), why);
    unit_assert_ok(augment_apply(&plain, &image, &crop, view, &why), why);
    crop.mirrored = true;
    unit_assert_ok(augment_apply(&plain, &image, &crop, mirrored, &why), why);
    for (size_t c = 0; c < 3; c++)
        for (size_t i = 0; i < PIXELS; i++) {
            size_t mirror = i / EDGE * EDGE + EDGE - 1 - i % EDGE;
            unit_assert_near(view[c * PIXELS + i], expected[i * 3 + c] / 255.0, 1e-6);
            assert_true(mirrored[c * PIXELS + mirror] == view[c * PIXELS + i]);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_crops_are_inside_and_of_the_right_kind),
        cmocka_unit_test(test_crops_are_spread),
        cmocka_unit_test(test_same_seed_same_crops),
        cmocka_unit_test(test_views),
    };
    return cmocka_run_group_tests_name("augment", tests, NULL, NULL);
}
