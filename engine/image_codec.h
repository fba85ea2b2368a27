/*
 * Private to the picture readers: what image.c and the two format files share. Each function stands
 * in the file that its name starts with. Any thread; no state.
 */
#ifndef ENGINE_IMAGE_CODEC_H
#define ENGINE_IMAGE_CODEC_H

#include <stddef.h>
#include <stdint.h>

#include "engine/base/status.h"
#include "engine/image.h"

/* Checks width x height against the limit, then allocates [height, width, channels] bytes, not
 * zeroed. Release with free(). */
enum status image_allocate(uint32_t width, uint32_t height, uint32_t channels,
                           const struct image_limits *limits, uint8_t **out_pixels,
                           struct fail *why);

/* The bytes start with the signature of the format. */
enum status image_jpeg_decode(const uint8_t *bytes, size_t size, const struct image_limits *limits,
                              struct image *out, struct fail *why);
enum status image_png_decode(const uint8_t *bytes, size_t size, const struct image_limits *limits,
                             struct image *out, struct fail *why);

#endif
