/* Any bytes as a picture file: decoded under small limits, then preprocessed. */
#include <stddef.h>
#include <stdint.h>

#include "engine/image.h"
#include "engine/preprocess.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { FUZZ_PIXELS = 1 << 16, FUZZ_SCANS = 20, FUZZ_CROP = 8 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct image_options limits = {SIZE_MAX, FUZZ_PIXELS, FUZZ_SCANS, 0};
    static const struct preprocess preprocess = {
        .shortest_edge = FUZZ_CROP + 1, .crop_size = FUZZ_CROP, .deviation = {1, 1, 1}};
    float pixels[3 * FUZZ_CROP * FUZZ_CROP];
    struct image image;
    struct fail why;
    if (image_decode(data, size, &limits, &image, &why) == STATUS_OK) {
        preprocess_apply(&preprocess, &image, pixels, &why);
        image_finish(&image);
    }
    return 0;
}
