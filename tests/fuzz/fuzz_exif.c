/* Any bytes where EXIF data is looked for. The first byte says how: as a whole file of one of the
 * three formats, or as the EXIF data itself. A small picture is turned by what is found. */
#include <stdlib.h>
#include <string.h>

#include "engine/image_codec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { FUZZ_PAYLOAD = IMAGE_FORMATS, FUZZ_MODES, FUZZ_CHUNK_AT = 8, FUZZ_DATA_AT = 16 };

static void fuzz_turn(unsigned orientation)
{
    struct image image = {.width = 3, .height = 2, .rgb = calloc(3 * 2, 3)};
    if (!image.rgb || orientation < 1 || orientation > 8)
        abort();
    if (image_orient(&image, orientation, NULL) != STATUS_OK ||
        image.width != (orientation < 5 ? 3 : 2) || image.width * image.height != 6)
        abort();
    image_finish(&image);
}

/* The data as the one chunk of a PNG. */
static unsigned fuzz_payload(const uint8_t *data, size_t size)
{
    uint8_t *file = calloc(1, FUZZ_DATA_AT + size);
    if (!file || size > UINT16_MAX)
        abort();
    file[FUZZ_CHUNK_AT + 2] = (uint8_t)(size >> 8);
    file[FUZZ_CHUNK_AT + 3] = (uint8_t)size;
    memcpy(file + FUZZ_CHUNK_AT + 4, "eXIf", 4);
    memcpy(file + FUZZ_DATA_AT, data, size);
    unsigned orientation = image_exif_orientation(IMAGE_PNG, file, FUZZ_DATA_AT + size);
    free(file);
    return orientation;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!size || size > UINT16_MAX)
        return 0;
    unsigned mode = data[0] % FUZZ_MODES;
    unsigned orientation =
        mode == FUZZ_PAYLOAD ? fuzz_payload(data + 1, size - 1)
                             : image_exif_orientation((enum image_format)mode, data + 1, size - 1);
    fuzz_turn(orientation);
    return 0;
}
