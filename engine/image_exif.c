/* EXIF data is a TIFF file of its own inside of a JPEG, PNG or WebP file. Only one number of it is
 * of interest, so all that is read is the way there. Every read is checked. */
#include <stdbool.h>
#include <string.h>

#include "engine/image_codec.h"

enum {
    IMAGE_EXIF_UPRIGHT = 1,
    IMAGE_EXIF_LAST = 8,
    IMAGE_EXIF_TAG = 0x0112,
    IMAGE_EXIF_SHORT = 3,
    IMAGE_EXIF_ENTRY_BYTES = 12,
    IMAGE_EXIF_JPEG_APP1 = 0xe1,
    IMAGE_EXIF_JPEG_SCAN = 0xda,
    IMAGE_EXIF_JPEG_END = 0xd9
};

struct image_exif_span {
    const uint8_t *bytes;
    size_t size;
};

static bool image_exif_has(const struct image_exif_span *span, size_t offset, const char *part,
                           size_t length)
{
    return offset <= span->size && span->size - offset >= length &&
           !memcmp(span->bytes + offset, part, length);
}

/* A number of 2 or 4 bytes; false past the end. */
static bool image_exif_number(const struct image_exif_span *span, size_t offset, size_t width,
                              bool little, uint32_t *out)
{
    if (offset > span->size || span->size - offset < width)
        return false;
    uint32_t number = 0;
    for (size_t i = 0; i < width; i++)
        number = number << 8 | span->bytes[offset + (little ? width - 1 - i : i)];
    *out = number;
    return true;
}

/* The part [offset, offset + size) of a file; false if it is not all there. */
static bool image_exif_cut(const struct image_exif_span *file, size_t offset, size_t size,
                           struct image_exif_span *out)
{
    if (offset > file->size || file->size - offset < size)
        return false;
    *out = (struct image_exif_span){file->bytes + offset, size};
    return true;
}

/* ---- Where it stands in a file: false if there is none ---- */

/* Fill bytes, and stray ones that libjpeg skips too, may stand before a marker. */
static bool image_exif_in_jpeg(const struct image_exif_span *file, struct image_exif_span *out)
{
    size_t offset = 2;
    while (offset < file->size) {
        const uint8_t *found = memchr(file->bytes + offset, 0xff, file->size - offset);
        if (!found)
            return false;
        offset = (size_t)(found - file->bytes);
        while (offset < file->size && file->bytes[offset] == 0xff)
            offset++;
        uint32_t length, marker = offset < file->size ? file->bytes[offset] : 0;
        offset++;
        if (marker == IMAGE_EXIF_JPEG_SCAN || marker == IMAGE_EXIF_JPEG_END)
            return false;
        if (marker <= 1 || (marker >= 0xd0 && marker <= 0xd8))
            continue; /* stands alone */
        if (!image_exif_number(file, offset, 2, false, &length) || length < 2)
            return false;
        if (marker == IMAGE_EXIF_JPEG_APP1 && image_exif_has(file, offset + 2, "Exif\0\0", 6))
            return image_exif_cut(file, offset + 2, length - 2, out);
        offset += length;
    }
    return false;
}

static bool image_exif_in_png(const struct image_exif_span *file, struct image_exif_span *out)
{
    uint32_t length;
    for (size_t offset = 8; image_exif_number(file, offset, 4, false, &length);
         offset += (size_t)length + 12) {
        if (image_exif_has(file, offset + 4, "eXIf", 4))
            return image_exif_cut(file, offset + 8, length, out);
        if (length > file->size || image_exif_has(file, offset + 4, "IEND", 4))
            return false;
    }
    return false;
}

/* What follows the outermost chunk is no part of the picture. */
static bool image_exif_in_webp(const struct image_exif_span *file, struct image_exif_span *out)
{
    uint32_t length;
    struct image_exif_span riff;
    if (!image_exif_number(file, 4, 4, true, &length) ||
        !image_exif_cut(file, 0, 8 + (size_t)length, &riff))
        return false;
    for (size_t offset = 12; image_exif_number(&riff, offset + 4, 4, true, &length);
         offset += 8 + (size_t)length + (length & 1)) {
        if (image_exif_has(&riff, offset, "EXIF", 4))
            return image_exif_cut(&riff, offset + 8, length, out);
        if (length > riff.size)
            return false;
    }
    return false;
}

/* ---- What it says ---- */

static unsigned image_exif_read_entry(const struct image_exif_span *tiff, size_t offset,
                                      bool little)
{
    uint32_t type, count, value;
    if (!image_exif_number(tiff, offset + 2, 2, little, &type) || type != IMAGE_EXIF_SHORT ||
        !image_exif_number(tiff, offset + 4, 4, little, &count) || count != 1 ||
        !image_exif_number(tiff, offset + 8, 2, little, &value) || value < IMAGE_EXIF_UPRIGHT ||
        value > IMAGE_EXIF_LAST)
        return IMAGE_EXIF_UPRIGHT;
    return value;
}

static unsigned image_exif_read(const struct image_exif_span *tiff)
{
    bool little = image_exif_has(tiff, 0, "II*\0", 4);
    uint32_t directory, entries, tag;
    if ((!little && !image_exif_has(tiff, 0, "MM\0*", 4)) ||
        !image_exif_number(tiff, 4, 4, little, &directory) ||
        !image_exif_number(tiff, directory, 2, little, &entries))
        return IMAGE_EXIF_UPRIGHT;
    size_t offset = (size_t)directory + 2;
    for (uint32_t i = 0; i < entries; i++, offset += IMAGE_EXIF_ENTRY_BYTES) {
        if (!image_exif_number(tiff, offset, 2, little, &tag))
            return IMAGE_EXIF_UPRIGHT;
        if (tag == IMAGE_EXIF_TAG)
            return image_exif_read_entry(tiff, offset, little);
    }
    return IMAGE_EXIF_UPRIGHT;
}

unsigned image_exif_orientation(enum image_format format, const uint8_t *bytes, size_t size)
{
    const struct image_exif_span file = {bytes, size};
    struct image_exif_span tiff = {0};
    bool found = (format == IMAGE_JPEG && image_exif_in_jpeg(&file, &tiff)) ||
                 (format == IMAGE_PNG && image_exif_in_png(&file, &tiff)) ||
                 (format == IMAGE_WEBP && image_exif_in_webp(&file, &tiff));
    if (!found)
        return IMAGE_EXIF_UPRIGHT;
    if (image_exif_has(&tiff, 0, "Exif\0\0", 6)) {
        tiff.bytes += 6;
        tiff.size -= 6;
    }
    return image_exif_read(&tiff);
}
