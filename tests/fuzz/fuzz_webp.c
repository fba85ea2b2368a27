/* Any bytes as a WebP. */
#include "tests/fuzz/picture.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    picture_fuzz(IMAGE_WEBP, 0, data, size);
    return 0;
}
