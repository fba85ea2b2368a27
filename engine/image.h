/*
 * Pictures as bytes -> RGB, the way up that their EXIF data says. Limits are checked on the header,
 * before anything is decoded or allocated. Any thread; no state.
 */
#ifndef ENGINE_IMAGE_H
#define ENGINE_IMAGE_H

#include <stddef.h>
#include <stdint.h>

#include "engine/base/status.h"
#include "engine/image_format.h"

struct image_options {
    size_t max_bytes;        /* of the file */
    size_t max_pixels;       /* width x height, as the file has it */
    uint32_t max_jpeg_scans; /* a progressive file may ask for thousands */
    /* A JPEG is decoded at an eighth, a quarter or half of its size where its shorter edge keeps
     * so many pixels; 0: always at its full size. */
    uint32_t jpeg_edge;
};

struct image {
    uint32_t width, height; /* after turning */
    uint8_t *rgb;           /* [height, width, 3]; owned, see image_finish */
    enum image_format format;
};

/* Colours are those of Pillow's convert("RGB"), with two differences: transparent pixels are laid
 * over white, (c * a + 255 * (255 - a) + 127) / 255, and 16-bit grey keeps its high byte. Of an
 * animation the first frame counts, on its canvas. Colour profiles and gamma are ignored. Warnings
 * of libjpeg about damage that it mends are ignored too, as is EXIF data that makes no sense.
 * STATUS_UNSUPPORTED: not a format that we read (the message names it if known: GIF, HEIC, AVIF,
 * ...). STATUS_FORMAT: damaged or cut short. STATUS_LIMIT: over a limit, which is named. */
enum status image_decode(const uint8_t *bytes, size_t size, const struct image_options *options,
                         struct image *out, struct fail *why);
void image_finish(struct image *image);

#endif
