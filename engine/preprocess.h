/*
 * RGB -> the input of the vision tower, as CLIP's test transform does it: resize the shorter edge
 * (bicubic with antialias, byte for byte what Pillow computes), centre crop, scale to 0..1,
 * normalise per channel. Only the pixels that the crop needs are computed. Any thread; no state.
 */
#ifndef ENGINE_PREPROCESS_H
#define ENGINE_PREPROCESS_H

#include <stddef.h>
#include <stdint.h>

#include "engine/base/status.h"
#include "engine/image.h"

struct preprocess {
    uint32_t shortest_edge; /* pixels, after the resize */
    uint32_t crop_size;     /* pixels, square: the model's image size */
    float mean[3];          /* of values in 0..1 */
    float deviation[3];
};

/* From preprocessor_config.json in the folder or, if there is none, "preprocess_cfg" of
 * open_clip_config.json; CLIP's values where both or a field is missing. Each file may have 1 MiB.
 * STATUS_INVALID if the crop is not image_size, or a transform other than this one is asked for. */
enum status preprocess_load(const char *model_dir, uint32_t image_size, struct preprocess *out,
                            struct fail *why);

/* As many pixels on the shorter edge of a picture as are enough: what comes out is nearly the same
 * as that of a larger one. shortest_edge is at most INT32_MAX, as preprocess_load has it. */
uint32_t preprocess_enough(const struct preprocess *preprocess);

/* Resized and cropped, before normalising: out_rgb [crop_size, crop_size, 3].
 * STATUS_LIMIT when the aspect ratio makes the resized picture too large to address. */
enum status preprocess_crop(const struct preprocess *preprocess, const struct image *image,
                            uint8_t *out_rgb, struct fail *why);

/* rgb [pixels, 3] -> out_pixels [3, pixels]. */
void preprocess_normalise(const struct preprocess *preprocess, const uint8_t *rgb, size_t pixels,
                          float *out_pixels);

/* The whole transform: out_pixels [3, crop_size, crop_size]. */
enum status preprocess_apply(const struct preprocess *preprocess, const struct image *image,
                             float *out_pixels, struct fail *why);

#endif
