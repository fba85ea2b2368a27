/*
 * The random view of a picture that CLIP's prompts are trained on: a part of it, of a least share
 * of its area (8 % in the papers) to all of it and an aspect ratio of 3/4 to 4/3, resized (bicubic)
 * to what the model looks at, and mirrored every other time; torchvision's RandomResizedCrop and
 * RandomHorizontalFlip. Any thread; no state but the generator's.
 */
#ifndef ENGINE_TRAIN_AUGMENT_H
#define ENGINE_TRAIN_AUGMENT_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/rng.h"
#include "engine/base/status.h"
#include "engine/image.h"
#include "engine/preprocess.h"

struct augment_crop {
    uint32_t left, top, width, height; /* inside of the picture, not empty */
    bool mirrored;
};

/* Of a picture of width x height pixels, both at least 1. least_area: a share, more than 0. */
struct augment_crop augment_draw(struct rng *rng, double least_area, uint32_t width,
                                 uint32_t height);

/* out_pixels [3, crop_size, crop_size], normalised. STATUS_NO_MEMORY. */
enum status augment_apply(const struct preprocess *preprocess, const struct image *image,
                          const struct augment_crop *crop, float *out_pixels, struct fail *why);

#endif
