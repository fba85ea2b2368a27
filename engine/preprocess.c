#include "engine/preprocess.h"

#include <stdlib.h>

#include "engine/base/mem.h"
#include "engine/resample.h"

enum { PREPROCESS_CHANNELS = 3, PREPROCESS_LEVELS = 256, PREPROCESS_MARGIN = 2 };

/* round(spare / 2.0) with halves to the even number, as torchvision's CenterCrop places the crop.
 * (CLIPImageProcessor of HuggingFace rounds down: one pixel off for one odd number in two.) */
static uint32_t preprocess_offset(uint32_t spare)
{
    uint32_t half = spare / 2;
    return half + (spare & half & 1);
}

/* The resize that follows averages over two pixels each way at least, so that it hides how the
 * decoder made the picture smaller. */
uint32_t preprocess_enough(const struct preprocess *preprocess)
{
    return PREPROCESS_MARGIN * preprocess->shortest_edge;
}

enum status preprocess_crop(const struct preprocess *preprocess, const struct image *image,
                            uint8_t *out_rgb, struct fail *why)
{
    uint32_t edge = preprocess->shortest_edge, crop = preprocess->crop_size;
    uint32_t width = image->width, height = image->height;
    uint32_t shorter = width < height ? width : height, longer = width < height ? height : width;
    if (shorter == 0 || crop == 0 || edge < crop)
        return status_fail(why, STATUS_INVALID,
                           "cannot crop %u pixels out of %u x %u resized to %u", crop, width,
                           height, edge);
    uint64_t other = (uint64_t)edge * longer / shorter;
    if (other > INT32_MAX || longer > INT32_MAX)
        return status_fail(why, STATUS_LIMIT,
                           "%u x %u pixels: resized to %u on the shorter edge, the longer one is "
                           "over the limit of %d",
                           width, height, edge, INT32_MAX);
    uint32_t out_width = width < height ? edge : (uint32_t)other;
    uint32_t out_height = width < height ? (uint32_t)other : edge;
    struct resample_window window = {preprocess_offset(out_width - crop),
                                     preprocess_offset(out_height - crop), crop, crop};
    return resample_bicubic(image->rgb, width, height, out_width, out_height, &window, out_rgb,
                            why);
}

void preprocess_normalise(const struct preprocess *preprocess, const uint8_t *rgb, size_t pixels,
                          float *out_pixels)
{
    for (size_t c = 0; c < PREPROCESS_CHANNELS; c++) {
        float value_of[PREPROCESS_LEVELS];
        for (int level = 0; level < PREPROCESS_LEVELS; level++)
            value_of[level] =
                ((float)level / 255.0f - preprocess->mean[c]) / preprocess->deviation[c];
        for (size_t i = 0; i < pixels; i++)
            out_pixels[c * pixels + i] = value_of[rgb[i * PREPROCESS_CHANNELS + c]];
    }
}

enum status preprocess_apply(const struct preprocess *preprocess, const struct image *image,
                             float *out_pixels, struct fail *why)
{
    size_t crop = preprocess->crop_size, pixels;
    uint8_t *rgb =
        mem_multiply(crop, crop, &pixels) ? mem_aligned(pixels, PREPROCESS_CHANNELS) : NULL;
    if (!rgb)
        return status_fail(why, STATUS_NO_MEMORY, "no memory for a crop of %zu pixels", crop);
    enum status status = preprocess_crop(preprocess, image, rgb, why);
    if (!status)
        preprocess_normalise(preprocess, rgb, pixels, out_pixels);
    free(rgb);
    return status;
}
