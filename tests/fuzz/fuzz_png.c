/* Any bytes as a PNG, as they are and with the right checksums put in: else nearly every change
 * would end at the next one. */
#include <string.h>

#include "tests/fuzz/picture.h"
#include "tests/unit/noise.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { FUZZ_SIGNATURE = 8, FUZZ_NAME_AT = 4, FUZZ_DATA_AT = 8, FUZZ_CHUNK_BYTES = 12 };

static void fuzz_mend(uint8_t *file, size_t size)
{
    size_t at = FUZZ_SIGNATURE;
    while (at + FUZZ_CHUNK_BYTES <= size) {
        size_t length = 0;
        for (size_t i = 0; i < FUZZ_NAME_AT; i++)
            length = length << 8 | file[at + i];
        if (length > size - at - FUZZ_CHUNK_BYTES)
            return;
        uint32_t crc = noise_crc32(file + at + FUZZ_NAME_AT, FUZZ_NAME_AT + length);
        for (size_t i = 0; i < sizeof crc; i++)
            file[at + FUZZ_DATA_AT + length + i] = (uint8_t)(crc >> (24 - 8 * i));
        at += FUZZ_CHUNK_BYTES + length;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    picture_fuzz(IMAGE_PNG, 0, data, size);
    uint8_t *mended = malloc(size ? size : 1);
    if (!mended)
        abort();
    memcpy(mended, data, size);
    fuzz_mend(mended, size);
    picture_fuzz(IMAGE_PNG, 0, mended, size);
    free(mended);
    return 0;
}
