#include "engine/image.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/mem.h"
#include "engine/image_codec.h"

struct image_signature {
    const char *name;
    size_t offset, length;
    const char *bytes;
};

static const struct image_signature image_foreign[] = {
    {"GIF", 0, 4, "GIF8"},
    {"TIFF", 0, 4, "II*\0"},
    {"TIFF", 0, 4, "MM\0*"},
    {"TIFF", 0, 4, "II+\0"},
    {"TIFF", 0, 4, "MM\0+"},
    {"AVIF", 4, 8, "ftypavif"},
    {"AVIF", 4, 8, "ftypavis"},
    {"HEIC", 4, 7, "ftyphei"},
    {"HEIC", 4, 7, "ftyphev"},
    {"HEIF", 4, 8, "ftypmif1"},
    {"HEIF", 4, 8, "ftypmsf1"},
    {"JPEG XL", 0, 12, "\0\0\0\x0cJXL \r\n\x87\n"},
    {"JPEG XL", 0, 2, "\xff\x0a"},
    {"JPEG 2000", 0, 12, "\0\0\0\x0cjP  \r\n\x87\n"},
    {"JPEG 2000", 0, 4, "\xff\x4f\xff\x51"},
    {"PSD", 0, 4, "8BPS"},
    {"PDF", 0, 5, "%PDF-"},
    {"ICO", 0, 4, "\0\0\1\0"},
    {"BMP", 0, 2, "BM"},
};

static bool image_has(const uint8_t *bytes, size_t size, size_t offset, const char *part,
                      size_t length)
{
    return size >= offset && size - offset >= length && !memcmp(bytes + offset, part, length);
}

enum image_format image_sniff(const uint8_t *bytes, size_t size)
{
    if (image_has(bytes, size, 0, "\xff\xd8\xff", 3))
        return IMAGE_JPEG;
    if (image_has(bytes, size, 0, "\x89PNG\r\n\x1a\n", 8))
        return IMAGE_PNG;
    if (image_has(bytes, size, 0, "RIFF", 4) && image_has(bytes, size, 8, "WEBP", 4))
        return IMAGE_WEBP;
    return IMAGE_UNKNOWN;
}

const char *image_format_name(enum image_format format)
{
    switch (format) {
    case IMAGE_JPEG:
        return "JPEG";
    case IMAGE_PNG:
        return "PNG";
    case IMAGE_WEBP:
        return "WebP";
    case IMAGE_UNKNOWN:
    case IMAGE_FORMATS:
        break;
    }
    return "unknown";
}

static bool image_is_svg(const uint8_t *bytes, size_t size)
{
    enum { SEARCHED_BYTES = 1024 };
    if (!image_has(bytes, size, 0, "<", 1) && !image_has(bytes, size, 0, "\xef\xbb\xbf<", 4))
        return false;
    return memmem(bytes, size < SEARCHED_BYTES ? size : SEARCHED_BYTES, "<svg", 4) != NULL;
}

static const char *image_foreign_name(const uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < sizeof image_foreign / sizeof *image_foreign; i++) {
        const struct image_signature *known = &image_foreign[i];
        if (image_has(bytes, size, known->offset, known->bytes, known->length))
            return known->name;
    }
    return image_is_svg(bytes, size) ? "SVG" : NULL;
}

static enum status image_refuse(const uint8_t *bytes, size_t size, struct fail *why)
{
    if (size == 0)
        return status_fail(why, STATUS_FORMAT, "the picture is empty (0 bytes)");
    const char *name = image_foreign_name(bytes, size);
    if (name)
        return status_fail(why, STATUS_UNSUPPORTED,
                           "%s pictures are not supported; send JPEG, PNG or WebP", name);
    return status_fail(why, STATUS_UNSUPPORTED, "the bytes are no JPEG, PNG or WebP picture");
}

enum status image_check_pixels(uint32_t width, uint32_t height, const struct image_options *options,
                               struct fail *why)
{
    size_t pixels;
    if (!mem_multiply(width, height, &pixels) || pixels > options->max_pixels)
        return status_fail(why, STATUS_LIMIT, "%u x %u pixels are over the limit of %zu pixels",
                           width, height, options->max_pixels);
    return STATUS_OK;
}

enum status image_allocate(uint32_t width, uint32_t height, uint32_t channels,
                           const struct image_options *options, uint8_t **out_pixels,
                           struct fail *why)
{
    enum status status = image_check_pixels(width, height, options, why);
    if (status)
        return status;
    uint8_t *memory = mem_aligned((size_t)width * height, channels);
    if (!memory)
        return status_fail(why, STATUS_NO_MEMORY, "no memory for %u x %u pixels", width, height);
    *out_pixels = memory;
    return STATUS_OK;
}

/* round(c * a / 255 + (255 - a)) */
void image_flatten(uint8_t *pixels, size_t count)
{
    const uint8_t *rgba = pixels;
    for (uint8_t *rgb = pixels; count > 0; count--, rgba += 4, rgb += 3) {
        unsigned alpha = rgba[3];
        for (size_t c = 0; c < 3; c++)
            rgb[c] = (uint8_t)((rgba[c] * alpha + 255 * (255 - alpha) + 127) / 255);
    }
}

static enum status image_decode_format(enum image_format format, const uint8_t *bytes, size_t size,
                                       const struct image_options *options, struct image *out,
                                       struct fail *why)
{
    switch (format) {
    case IMAGE_JPEG:
        return image_jpeg_decode(bytes, size, options, out, why);
    case IMAGE_PNG:
        return image_png_decode(bytes, size, options, out, why);
    case IMAGE_WEBP:
        return image_webp_decode(bytes, size, options, out, why);
    case IMAGE_UNKNOWN:
    case IMAGE_FORMATS:
        break;
    }
    return image_refuse(bytes, size, why);
}

enum status image_decode(const uint8_t *bytes, size_t size, const struct image_options *options,
                         struct image *out, struct fail *why)
{
    if (size > options->max_bytes)
        return status_fail(why, STATUS_LIMIT, "%zu bytes are over the limit of %zu bytes", size,
                           options->max_bytes);
    enum image_format format = image_sniff(bytes, size);
    struct image image;
    enum status status = image_decode_format(format, bytes, size, options, &image, why);
    if (status)
        return status;
    status = image_orient(&image, image_exif_orientation(format, bytes, size), why);
    if (status)
        image_finish(&image);
    else
        *out = image;
    return status;
}

void image_finish(struct image *image)
{
    if (!image)
        return;
    free(image->rgb);
    *image = (struct image){0};
}
