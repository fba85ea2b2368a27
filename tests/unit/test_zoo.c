/* Pictures as they come from outside: see tests/golden/make_zoo.py. */
#include "tests/unit/pictures.h"

#include "engine/image_codec.h"

#define TEST_ZOO "tests/golden/zoo/"

/* The program's own defaults. */
static const struct image_options test_options = {
    .max_bytes = 32 << 20, .max_pixels = 50 * 1000 * 1000, .max_jpeg_scans = 100};

static enum image_format test_format(const char *name)
{
    static const char *const ends[IMAGE_FORMATS] = {
        [IMAGE_JPEG] = ".jpg", [IMAGE_PNG] = ".png", [IMAGE_WEBP] = ".webp"};
    for (size_t i = IMAGE_UNKNOWN + 1; i < IMAGE_FORMATS; i++)
        if (strstr(name, ends[i]))
            return (enum image_format)i;
    return IMAGE_UNKNOWN;
}

static void test_equals_pillow(void **state)
{
    (void)state;
    FILE *list = pictures_open(TEST_ZOO "list.txt");
    struct pictures_item item;
    int items = 0, different = 0;
    for (; pictures_next(list, TEST_ZOO, &item); items++) {
        struct image image;
        struct fail why;
        enum status status =
            pictures_decode(item.file.data, item.file.size, &test_options, &image, &why);
        if (status)
            print_error("%s: %s\n", item.name, why.message);
        else if (image.width != item.width || image.height != item.height ||
                 pictures_crc(&image) != item.crc || image.format != test_format(item.name))
            print_error("%s: %u x %u pixels, not those of Pillow\n", item.name, image.width,
                        image.height);
        else
            different--;
        different++;
        if (!status)
            image_finish(&image);
        buf_finish(&item.file);
    }
    fclose(list);
    assert_int_equal(different, 0);
    assert_int_equal(items, 153);
}

/* At an eighth, a quarter and half of the size, and at the full one; one pixel more than a size has
 * takes the next. */
static void test_scales_jpegs(void **state)
{
    (void)state;
    FILE *list = pictures_open(TEST_ZOO "scaled.txt");
    char name[64];
    uint32_t edge, width, height, crc;
    int items = 0;
    for (; fscanf(list, "%63s %u %u %u %x", name, &edge, &width, &height, &crc) == 5; items++) {
        struct image_options options = test_options;
        struct image image;
        struct fail why;
        struct buf file;
        options.jpeg_edge = edge;
        pictures_read(TEST_ZOO, name, &file);
        unit_assert_ok(pictures_decode(file.data, file.size, &options, &image, &why), why);
        if (image.width != width || image.height != height || pictures_crc(&image) != crc)
            fail_msg("%s, edge %u: %u x %u pixels, not those of Pillow", name, edge, image.width,
                     image.height);
        image_finish(&image);
        options.jpeg_edge = edge + 1;
        unit_assert_ok(pictures_decode(file.data, file.size, &options, &image, &why), why);
        assert_true(image.width > width || edge >= width || edge >= height);
        image_finish(&image);
        buf_finish(&file);
    }
    fclose(list);
    assert_int_equal(items, 36);
}

/* The limit is on what the file has, not on what is made of it. */
static void test_scaled_jpeg_over_limit(void **state)
{
    (void)state;
    struct image_options options = test_options;
    struct image image;
    struct fail why;
    struct buf file;
    options.jpeg_edge = 1;
    options.max_pixels = 75 * 53;
    pictures_read(TEST_ZOO, "scale-420.jpg", &file);
    unit_assert_ok(pictures_decode(file.data, file.size, &options, &image, &why), why);
    image_finish(&image);
    options.max_pixels--;
    unit_assert_fails(pictures_decode(file.data, file.size, &options, &image, &why), STATUS_LIMIT,
                      why, "75 x 53 pixels are over the limit of 3974 pixels");
    buf_finish(&file);
}

static void test_limits_bytes(void **state)
{
    (void)state;
    struct image_options options = test_options;
    struct image image;
    struct fail why;
    struct buf file;
    pictures_read(TEST_ZOO, "lossless.webp", &file);
    options.max_bytes = file.size;
    unit_assert_ok(pictures_decode(file.data, file.size, &options, &image, &why), why);
    image_finish(&image);
    options.max_bytes--;
    char message[64];
    snprintf(message, sizeof message, "%zu bytes are over the limit of %zu bytes", file.size,
             options.max_bytes);
    unit_assert_fails(pictures_decode(file.data, file.size, &options, &image, &why), STATUS_LIMIT,
                      why, message);
    buf_finish(&file);
}

/* A WebP is not whole without its last byte, padding included; what follows it may be missing. */
static void test_refuses_cut_webps(void **state)
{
    (void)state;
    FILE *list = pictures_open(TEST_ZOO "list.txt");
    struct pictures_item item;
    while (pictures_next(list, TEST_ZOO, &item)) {
        bool webp = test_format(item.name) == IMAGE_WEBP;
        for (size_t size = 12; webp && size < item.file.size; size++) {
            struct image image = {.width = 77};
            struct fail why;
            enum status status = pictures_decode(item.file.data, size, &test_options, &image, &why);
            if (status == STATUS_OK) {
                assert_non_null(strstr("trailing.webp exif-after-the-end.webp", item.name));
                assert_int_equal(pictures_crc(&image), item.crc);
                image_finish(&image);
            } else {
                unit_assert_fails(status, STATUS_FORMAT, why, "cut short");
                assert_int_equal(image.width, 77);
            }
        }
        buf_finish(&item.file);
    }
    fclose(list);
}

/* A bit of each byte in turn. */
static void test_damage_never_crashes(void **state)
{
    (void)state;
    static const struct image_options options = {
        .max_bytes = 1 << 20, .max_pixels = 1 << 16, .max_jpeg_scans = 10};
    FILE *list = pictures_open(TEST_ZOO "list.txt");
    struct pictures_item item;
    while (pictures_next(list, TEST_ZOO, &item)) {
        bool webp = test_format(item.name) == IMAGE_WEBP;
        for (size_t i = 0; webp && i < item.file.size; i++) {
            struct image image;
            item.file.data[i] ^= (char)(1 << i % 8);
            if (!pictures_decode(item.file.data, item.file.size, &options, &image, NULL))
                image_finish(&image);
            item.file.data[i] ^= (char)(1 << i % 8);
        }
        buf_finish(&item.file);
    }
    fclose(list);
}

static enum status test_status(int http)
{
    return http == 413 ? STATUS_LIMIT : http == 415 ? STATUS_UNSUPPORTED : STATUS_FORMAT;
}

static void test_refuses(void **state)
{
    (void)state;
    FILE *list = pictures_open(TEST_ZOO "refused.txt");
    char name[64], part[128];
    int http, items = 0, wrong = 0;
    for (; fscanf(list, "%63s %d %127[^\n]", name, &http, part) == 3; items++) {
        struct buf file;
        struct image image = {.width = 77};
        struct fail why = {.message = "it is decoded"};
        pictures_read(TEST_ZOO, name, &file);
        enum status status = pictures_decode(file.data, file.size, &test_options, &image, &why);
        if (status != test_status(http) || !strstr(why.message, part)) {
            print_error("%s: \"%s\", wanted %d \"%s\"\n", name, why.message, http, part);
            wrong++;
        }
        assert_int_equal(image.width, 77); /* left alone */
        assert_int_equal(image_sniff((const uint8_t *)file.data, file.size), test_format(name));
        buf_finish(&file);
    }
    fclose(list);
    assert_int_equal(wrong, 0);
    assert_int_equal(items, 91);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_equals_pillow),
        cmocka_unit_test(test_scales_jpegs),
        cmocka_unit_test(test_scaled_jpeg_over_limit),
        cmocka_unit_test(test_limits_bytes),
        cmocka_unit_test(test_refuses_cut_webps),
        cmocka_unit_test(test_damage_never_crashes),
        cmocka_unit_test(test_refuses),
    };
    return cmocka_run_group_tests_name("zoo", tests, NULL, NULL);
}
