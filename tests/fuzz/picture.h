/* Any bytes as a picture file of one format: decoded under small limits, then preprocessed. */
#ifndef TESTS_FUZZ_PICTURE_H
#define TESTS_FUZZ_PICTURE_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "engine/image.h"
#include "engine/preprocess.h"

enum { PICTURE_PIXELS = 1 << 16, PICTURE_SCANS = 20, PICTURE_CROP = 8 };

/* Bytes that are not of that format are passed over: another target has them. */
static inline void picture_fuzz(enum image_format format, uint32_t jpeg_edge, const uint8_t *data,
                                size_t size)
{
    static const struct preprocess preprocess = {
        .shortest_edge = PICTURE_CROP + 1, .crop_size = PICTURE_CROP, .deviation = {1, 1, 1}};
    const struct image_options options = {.max_bytes = SIZE_MAX,
                                          .max_pixels = PICTURE_PIXELS,
                                          .max_jpeg_scans = PICTURE_SCANS,
                                          .jpeg_edge = jpeg_edge};
    float pixels[3 * PICTURE_CROP * PICTURE_CROP];
    struct image image;
    struct fail why;
    if (image_sniff(data, size) != format ||
        image_decode(data, size, &options, &image, &why) != STATUS_OK)
        return;
    if (image.format != format || !image.width || !image.height ||
        (uint64_t)image.width * image.height > PICTURE_PIXELS)
        abort();
    preprocess_apply(&preprocess, &image, pixels, &why);
    image_finish(&image);
}

#endif
