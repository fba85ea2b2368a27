/*
 * Private to the picture readers: what image.c and its helpers share. Each function stands in the
 * file that its name starts with. Any thread; no state.
 */
#ifndef ENGINE_IMAGE_CODEC_H
#define ENGINE_IMAGE_CODEC_H

#include <stddef.h>
#include <stdint.h>

#include "engine/base/status.h"
#include "engine/image.h"

/* STATUS_LIMIT if width x height is over the limit. */
enum status image_check_pixels(uint32_t width, uint32_t height, const struct image_options *options,
                               struct fail *why);

/* The same check, then allocates [height, width, channels] bytes, not zeroed. Release with free().
 */
enum status image_allocate(uint32_t width, uint32_t height, uint32_t channels,
                           const struct image_options *options, uint8_t **out_pixels,
                           struct fail *why);

/* RGBA over white -> RGB, in place. */
void image_flatten(uint8_t *pixels, size_t count);

/* The bytes start with the signature of the format. The pixels come out as they are stored. */
enum status image_jpeg_decode(const uint8_t *bytes, size_t size,
                              const struct image_options *options, struct image *out,
                              struct fail *why);
enum status image_png_decode(const uint8_t *bytes, size_t size, const struct image_options *options,
                             struct image *out, struct fail *why);
enum status image_webp_decode(const uint8_t *bytes, size_t size,
                              const struct image_options *options, struct image *out,
                              struct fail *why);

/* EXIF's orientation, 1 (as stored) to 8, of a whole file of that format; 1 also where the EXIF
 * data is missing or broken. */
unsigned image_exif_orientation(enum image_format format, const uint8_t *bytes, size_t size);

/* Turns the picture so that it stands upright; orientation 1 to 8. While it does, both the old and
 * the new pixels are in memory. STATUS_NO_MEMORY. */
enum status image_orient(struct image *image, unsigned orientation, struct fail *why);

#endif
