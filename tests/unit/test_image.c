#include "tests/unit/unit.h"

#include "engine/base/buf.h"
#include "engine/image.h"
#include "tests/unit/pictures.h"

#define TEST_PICTURES "tests/golden/pictures/"

static const struct image_options test_options = {
    .max_bytes = 1 << 20, .max_pixels = 1 << 20, .max_jpeg_scans = 50};

static void test_read(const char *name, struct buf *file)
{
    pictures_read(TEST_PICTURES, name, file);
}

/* One file of every kind, against what Pillow reads: tolerance 0. */
static void test_equals_pillow(void **state)
{
    (void)state;
    FILE *list = pictures_open(TEST_PICTURES "list.txt");
    struct pictures_item picture;
    int pictures = 0;
    for (; pictures_next(list, TEST_PICTURES, &picture); pictures++) {
        struct image image;
        struct fail why;
        if (pictures_decode(picture.file.data, picture.file.size, &test_options, &image, &why))
            fail_msg("%s: %s", picture.name, why.message);
        if (image.width != picture.width || image.height != picture.height ||
            pictures_crc(&image) != picture.crc)
            fail_msg("%s: %u x %u pixels, not those of Pillow", picture.name, image.width,
                     image.height);
        bool jpeg = strstr(picture.name, ".jpg") != NULL;
        assert_int_equal(image.format, jpeg ? IMAGE_JPEG : IMAGE_PNG);
        image_finish(&image);
        buf_finish(&picture.file);
    }
    fclose(list);
    assert_int_equal(pictures, 76);
}

/* What is cut off may be bytes after the end marker of a JPEG; nearly always libjpeg misses the
 * marker itself. A PNG is never whole without its last byte. */
static void test_refuses_cut_files(void **state)
{
    (void)state;
    FILE *list = pictures_open(TEST_PICTURES "list.txt");
    struct pictures_item picture;
    while (pictures_next(list, TEST_PICTURES, &picture)) {
        bool jpeg = strstr(picture.name, ".jpg") != NULL;
        for (size_t size = 0; size < picture.file.size; size++) {
            struct image image = {.width = 77};
            struct fail why;
            enum status status =
                pictures_decode(picture.file.data, size, &test_options, &image, &why);
            if (status == STATUS_OK && !(jpeg && pictures_crc(&image) == picture.crc))
                fail_msg("%s cut to %zu bytes: another picture", picture.name, size);
            if (status == STATUS_OK)
                image_finish(&image);
            else
                assert_int_equal(image.width, 77);
            if (size >= 8 && status != STATUS_OK)
                unit_assert_fails(status, STATUS_FORMAT, why, "cut short");
        }
        buf_finish(&picture.file);
    }
    fclose(list);
}

static void test_damage_never_crashes(void **state)
{
    (void)state;
    FILE *list = pictures_open(TEST_PICTURES "list.txt");
    struct pictures_item picture;
    while (pictures_next(list, TEST_PICTURES, &picture)) {
        for (size_t i = 0; i < picture.file.size; i++) {
            struct image image;
            char kept = picture.file.data[i];
            picture.file.data[i] = (char)(kept ^ (1 << i % 8));
            enum status status =
                pictures_decode(picture.file.data, picture.file.size, &test_options, &image, NULL);
            /* Every bit of a PNG is under a checksum or has only one right value. */
            if (strstr(picture.name, ".png"))
                assert_int_not_equal(status, STATUS_OK);
            if (!status)
                image_finish(&image);
            picture.file.data[i] = kept;
        }
        buf_finish(&picture.file);
    }
    fclose(list);
}

static void test_names_foreign_formats(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        char bytes[24];
    } cases[] = {
        {"GIF", "GIF89a\1"},
        {"TIFF", "II*\0\x08"},
        {"TIFF", "MM\0*\0"},
        {"BMP", "BM\x46"},
        {"AVIF", "\0\0\0\x1c"
                 "ftypavif"},
        {"HEIC", "\0\0\0\x1c"
                 "ftypheic"},
        {"HEIF", "\0\0\0\x1c"
                 "ftypmif1"},
        {"JPEG XL", "\xff\x0a\1"},
        {"JPEG XL", "\0\0\0\x0cJXL \r\n\x87\n"},
        {"JPEG 2000", "\0\0\0\x0cjP  \r\n\x87\n"},
        {"ICO", "\0\0\1\0\1"},
        {"PSD", "8BPS\0\1"},
        {"PDF", "%PDF-1.7"},
        {"SVG", "<svg width='1'/>"},
        {"SVG", "<?xml?><!----><svg/>"},
        {"no JPEG, PNG or WebP", "hello"},
        {"no JPEG, PNG or WebP", "<html></html>"},
    };
    for (size_t i = 0; i < UNIT_COUNT(cases); i++) {
        struct image image;
        struct fail why;
        assert_int_equal(image_sniff((const uint8_t *)cases[i].bytes, 24), IMAGE_UNKNOWN);
        unit_assert_fails(pictures_decode(cases[i].bytes, 24, &test_options, &image, &why),
                          STATUS_UNSUPPORTED, why, cases[i].name);
    }
    struct image image;
    struct fail why;
    unit_assert_fails(pictures_decode("", 0, &test_options, &image, &why), STATUS_FORMAT, why,
                      "empty");
    assert_string_equal(image_format_name(IMAGE_JPEG), "JPEG");
    assert_string_equal(image_format_name(IMAGE_PNG), "PNG");
    assert_string_equal(image_format_name(IMAGE_WEBP), "WebP");
    assert_string_equal(image_format_name(IMAGE_UNKNOWN), "unknown");
}

static void test_header_over_limit(void **state)
{
    (void)state;
    static const uint8_t png[] =
        "\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\x4e\x20\0\0\x4e\x20\x08\x02\0\0\0\x6c\x12\xd1\x6e"
        "\0\0\0\0IDAT";
    static const uint8_t jpeg[] = "\xff\xd8\xff\xc0\0\x0b\x08\xff\xdc\xff\xdc\1\1\x11\0"
                                  "\xff\xda\0\x08\1\1\0\0\x3f\0";
    struct image image;
    struct fail why;
    unit_assert_fails(pictures_decode(png, sizeof png - 1, &test_options, &image, &why),
                      STATUS_LIMIT, why,
                      "20000 x 20000 pixels are over the limit of 1048576 pixels");
    unit_assert_fails(pictures_decode(jpeg, sizeof jpeg - 1, &test_options, &image, &why),
                      STATUS_LIMIT, why,
                      "65500 x 65500 pixels are over the limit of 1048576 pixels");
}

static void test_limit_is_inclusive(void **state)
{
    (void)state;
    static const char *const names[] = {"444.jpg", "rgb-8.png"};
    static const size_t pixels[] = {29 * 19, 11 * 7};
    for (size_t i = 0; i < UNIT_COUNT(names); i++) {
        struct image_options options = {
            .max_bytes = 1 << 20, .max_pixels = pixels[i], .max_jpeg_scans = 1};
        struct image image;
        struct fail why;
        struct buf file;
        test_read(names[i], &file);
        unit_assert_ok(pictures_decode(file.data, file.size, &options, &image, &why), why);
        image_finish(&image);
        options.max_pixels--;
        unit_assert_fails(pictures_decode(file.data, file.size, &options, &image, &why),
                          STATUS_LIMIT, why, "over the limit");
        buf_finish(&file);
    }
}

static void test_limits_scans(void **state)
{
    (void)state;
    struct image_options options = test_options;
    struct image image;
    struct fail why;
    struct buf file;
    options.max_jpeg_scans = 3;
    test_read("three-scans.jpg", &file);
    unit_assert_ok(pictures_decode(file.data, file.size, &options, &image, &why), why);
    image_finish(&image);
    options.max_jpeg_scans = 2;
    unit_assert_fails(pictures_decode(file.data, file.size, &options, &image, &why), STATUS_LIMIT,
                      why, "more scans than the limit of 2");
    buf_finish(&file);
}

static void test_refuses_unusual_jpegs(void **state)
{
    (void)state;
    struct image image;
    struct fail why;
    struct buf file;
    test_read("444.jpg", &file);
    char *frame = memmem(file.data, file.size, "\xff\xc0", 2);
    assert_non_null(frame);
    frame[4] = 12; /* bits a sample */
    unit_assert_fails(pictures_decode(file.data, file.size, &test_options, &image, &why),
                      STATUS_UNSUPPORTED, why, "precision 12");
    frame[4] = 8;
    frame[1] = (char)0xc3; /* lossless */
    unit_assert_fails(pictures_decode(file.data, file.size, &test_options, &image, &why),
                      STATUS_UNSUPPORTED, why, "0xc3");
    buf_finish(&file);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_equals_pillow),        cmocka_unit_test(test_refuses_cut_files),
        cmocka_unit_test(test_damage_never_crashes), cmocka_unit_test(test_names_foreign_formats),
        cmocka_unit_test(test_header_over_limit),    cmocka_unit_test(test_limit_is_inclusive),
        cmocka_unit_test(test_limits_scans),         cmocka_unit_test(test_refuses_unusual_jpegs),
    };
    return cmocka_run_group_tests_name("image", tests, NULL, NULL);
}
