#include "engine/train/augment.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/mem.h"
#include "engine/resample.h"

enum { AUGMENT_TRIES = 10, AUGMENT_CHANNELS = 3 };

static const double augment_least_aspect = 3.0 / 4, augment_most_aspect = 4.0 / 3;

static double augment_between(struct rng *rng, double least, double most)
{
    return least + (most - least) * rng_uniform(rng);
}

/* The largest part in the middle whose aspect ratio is in the range. */
static struct augment_crop augment_middle(uint32_t width, uint32_t height)
{
    double aspect = (double)width / height;
    struct augment_crop crop = {.width = width, .height = height};
    if (aspect < augment_least_aspect)
        crop.height = (uint32_t)lrint(width / augment_least_aspect);
    else if (aspect > augment_most_aspect)
        crop.width = (uint32_t)lrint(height * augment_most_aspect);
    crop.left = (width - crop.width) / 2;
    crop.top = (height - crop.height) / 2;
    return crop;
}

static struct augment_crop augment_part(struct rng *rng, double least_area, uint32_t width,
                                        uint32_t height)
{
    for (int i = 0; i < AUGMENT_TRIES; i++) {
        double area = (double)width * height * augment_between(rng, least_area, 1);
        double aspect =
            exp(augment_between(rng, log(augment_least_aspect), log(augment_most_aspect)));
        double across = rint(sqrt(area * aspect)), down = rint(sqrt(area / aspect));
        if (across < 1 || down < 1 || across > width || down > height)
            continue;
        struct augment_crop crop = {.width = (uint32_t)across, .height = (uint32_t)down};
        crop.top = rng_below(rng, height - crop.height + 1);
        crop.left = rng_below(rng, width - crop.width + 1);
        return crop;
    }
    return augment_middle(width, height);
}

struct augment_crop augment_draw(struct rng *rng, double least_area, uint32_t width,
                                 uint32_t height)
{
    struct augment_crop crop = augment_part(rng, least_area, width, height);
    crop.mirrored = rng_uniform(rng) < 0.5;
    return crop;
}

static void augment_mirror(uint8_t *rgb, size_t edge)
{
    for (size_t row = 0; row < edge; row++)
        for (size_t left = 0, right = edge - 1; left < right; left++, right--) {
            uint8_t pixel[AUGMENT_CHANNELS];
            uint8_t *a = rgb + (row * edge + left) * AUGMENT_CHANNELS;
            uint8_t *b = rgb + (row * edge + right) * AUGMENT_CHANNELS;
            memcpy(pixel, a, sizeof pixel);
            memcpy(a, b, sizeof pixel);
            memcpy(b, pixel, sizeof pixel);
        }
}

enum status augment_apply(const struct preprocess *preprocess, const struct image *image,
                          const struct augment_crop *crop, float *out_pixels, struct fail *why)
{
    uint32_t edge = preprocess->crop_size;
    const struct resample_window whole = {0, 0, edge, edge};
    size_t row_bytes = (size_t)crop->width * AUGMENT_CHANNELS, pixels = (size_t)edge * edge;
    uint8_t *part = mem_aligned(crop->height, row_bytes);
    uint8_t *rgb = mem_aligned(pixels, AUGMENT_CHANNELS);
    enum status status =
        part && rgb ? STATUS_OK
                    : status_fail(why, STATUS_NO_MEMORY, "no memory for a part of %u x %u pixels",
                                  crop->width, crop->height);
    for (uint32_t row = 0; row < crop->height && !status; row++)
        memcpy(part + row * row_bytes,
               image->rgb +
                   ((size_t)(crop->top + row) * image->width + crop->left) * AUGMENT_CHANNELS,
               row_bytes);
    if (!status)
        status = resample_bicubic(part, crop->width, crop->height, edge, edge, &whole, rgb, why);
    if (!status && crop->mirrored)
        augment_mirror(rgb, edge);
    if (!status)
        preprocess_normalise(preprocess, rgb, pixels, out_pixels);
    free(part);
    free(rgb);
    return status;
}
