/*
 * Pictures as bytes -> RGB. The format is told by the leading bytes, never by a name or a header
 * of HTTP. Size limits are checked on the header, before anything is decoded or allocated.
 * Any thread; no state.
 */
#ifndef ENGINE_IMAGE_H
#define ENGINE_IMAGE_H

#include <stddef.h>
#include <stdint.h>

#include "engine/base/status.h"

enum image_format { IMAGE_UNKNOWN, IMAGE_JPEG, IMAGE_PNG };

struct image_limits {
    size_t max_pixels;       /* width x height */
    uint32_t max_jpeg_scans; /* a progressive file may ask for thousands */
};

struct image {
    uint32_t width, height;
    uint8_t *rgb; /* [height, width, 3]; owned, see image_finish */
    enum image_format format;
};

enum image_format image_sniff(const uint8_t *bytes, size_t size);
const char *image_format_name(enum image_format format); /* "JPEG", "PNG", "unknown" */

/* Colours are those of Pillow's convert("RGB"), with two differences: transparent PNG pixels are
 * laid over white, (c * a + 255 * (255 - a) + 127) / 255, and 16-bit grey keeps its high byte.
 * Colour profiles and gamma are ignored. Warnings of libjpeg about damage that it mends are ignored
 * too. STATUS_UNSUPPORTED: not a format that we read (the message names it if known: WebP, GIF,
 * HEIC, AVIF, ...). STATUS_FORMAT: damaged or cut short. STATUS_LIMIT: over a limit, which is
 * named. */
enum status image_decode(const uint8_t *bytes, size_t size, const struct image_limits *limits,
                         struct image *out, struct fail *why);
void image_finish(struct image *image);

#endif
