/*
 * Bicubic resampling with antialias of 8-bit RGB, byte for byte what Pillow's
 * Image.resize(size, BICUBIC) computes, for a window of the resized picture only.
 *
 * One output sample is a weighted mean of the source samples within 2 * max(scale, 1) of its
 * centre, weights by the cubic kernel with a = -0.5. They are normalised in double, then rounded to
 * fixed point with 22 bits. Rows are resampled first, into bytes; columns of the result second.
 * Any thread; no state.
 */
#ifndef ENGINE_RESAMPLE_H
#define ENGINE_RESAMPLE_H

#include <stdint.h>

#include "engine/base/status.h"

struct resample_window {
    uint32_t left, top, width, height; /* pixels of the resized picture; inside of it, not empty */
};

/* rgb [height, width, 3], resized to out_height x out_width; its window into out_rgb
 * [window.height, window.width, 3]. Sizes are 1 to INT32_MAX. STATUS_NO_MEMORY. */
enum status resample_bicubic(const uint8_t *rgb, uint32_t width, uint32_t height,
                             uint32_t out_width, uint32_t out_height,
                             const struct resample_window *window, uint8_t *out_rgb,
                             struct fail *why);

#endif
