/* Any bytes as a JPEG, at its full size and scaled. */
#include "tests/fuzz/picture.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    picture_fuzz(IMAGE_JPEG, 0, data, size);
    picture_fuzz(IMAGE_JPEG, PICTURE_CROP, data, size);
    return 0;
}
