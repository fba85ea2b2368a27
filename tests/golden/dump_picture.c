/* dump_picture EDGE CROP FILE: what the engine makes of a picture file, for comparison with another
 * implementation. Standard output: "WIDTH HEIGHT\n", the decoded RGB bytes, then the bytes of the
 * crop of CROP x CROP pixels out of the picture resized to EDGE on its shorter edge. */
#include <stdio.h>
#include <stdlib.h>

#include "engine/base/buf.h"
#include "engine/base/mem.h"
#include "engine/image.h"
#include "engine/preprocess.h"

enum { DUMP_FILE_BYTES = 256 << 20, DUMP_PIXELS = 256 << 20, DUMP_SCANS = 200 };

static enum status dump_print(const struct preprocess *preprocess, const struct image *image,
                              struct fail *why)
{
    size_t pixels = (size_t)preprocess->crop_size * preprocess->crop_size;
    uint8_t *crop = mem_zeroed(pixels, 3);
    if (!crop)
        return status_fail(why, STATUS_NO_MEMORY, "no memory for %zu pixels", pixels);
    enum status status = preprocess_crop(preprocess, image, crop, why);
    if (!status) {
        printf("%u %u\n", image->width, image->height);
        fwrite(image->rgb, 3, (size_t)image->width * image->height, stdout);
        fwrite(crop, 3, pixels, stdout);
    }
    free(crop);
    return status;
}

static enum status dump_file(const struct preprocess *preprocess, const char *path,
                             struct fail *why)
{
    static const struct image_options options = {
        .max_bytes = DUMP_FILE_BYTES, .max_pixels = DUMP_PIXELS, .max_jpeg_scans = DUMP_SCANS};
    struct image image = {0};
    struct buf file;
    buf_init(&file, DUMP_FILE_BYTES);
    enum status status = buf_read_file(&file, path, why);
    if (!status)
        status = image_decode((const uint8_t *)file.data, file.size, &options, &image, why);
    if (!status)
        status = dump_print(preprocess, &image, why);
    image_finish(&image);
    buf_finish(&file);
    return status;
}

int main(int argc, char **argv)
{
    if (argc != 4) {
        fprintf(stderr, "usage: dump_picture EDGE CROP FILE\n");
        return 2;
    }
    struct preprocess preprocess = {.shortest_edge = (uint32_t)strtoul(argv[1], NULL, 10),
                                    .crop_size = (uint32_t)strtoul(argv[2], NULL, 10)};
    struct fail why;
    if (dump_file(&preprocess, argv[3], &why)) {
        fprintf(stderr, "%s: %s\n", argv[3], why.message);
        return 1;
    }
    return 0;
}
