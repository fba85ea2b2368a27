/*
 * Which kind of picture file some bytes are, told by how they begin, never by a name or a header of
 * HTTP. Part of engine.h. Any thread; no state.
 */
#ifndef ENGINE_IMAGE_FORMAT_H
#define ENGINE_IMAGE_FORMAT_H

#include <stddef.h>
#include <stdint.h>

/* IMAGE_UNKNOWN: whatever is not decoded. */
enum image_format { IMAGE_UNKNOWN, IMAGE_JPEG, IMAGE_PNG, IMAGE_WEBP, IMAGE_FORMATS };

/* Looks at the first 12 bytes only, so that the answer holds for files that are refused too. */
enum image_format image_sniff(const uint8_t *bytes, size_t size);
const char *image_format_name(enum image_format format); /* "JPEG", "PNG", "WebP", "unknown" */

#endif
