/* Golden pictures: files in a folder, and a list of what they show. */
#ifndef TESTS_UNIT_PICTURES_H
#define TESTS_UNIT_PICTURES_H

#include "tests/unit/unit.h"

#include "engine/base/buf.h"
#include "engine/image.h"
#include "tests/unit/noise.h"

struct pictures_item {
    char name[64];
    uint32_t width, height, crc; /* of the RGB bytes */
    struct buf file;
};

static inline FILE *pictures_open(const char *path)
{
    FILE *list = fopen(path, "r");
    assert_non_null(list);
    return list;
}

static inline void pictures_read(const char *folder, const char *name, struct buf *file)
{
    char path[128];
    struct fail why;
    snprintf(path, sizeof path, "%s%s", folder, name);
    buf_init(file, 1 << 20);
    unit_assert_ok(buf_read_file(file, path, &why), why);
}

/* False at the end of the list; else the file is to be finished. */
static inline bool pictures_next(FILE *list, const char *folder, struct pictures_item *item)
{
    if (fscanf(list, "%63s %u %u %x", item->name, &item->width, &item->height, &item->crc) != 4)
        return false;
    pictures_read(folder, item->name, &item->file);
    return true;
}

/* From memory of exactly this size, so that a sanitizer sees a read past the end. */
static inline enum status pictures_decode(const void *bytes, size_t size,
                                          const struct image_options *options, struct image *image,
                                          struct fail *why)
{
    uint8_t *copy = malloc(size ? size : 1);
    assert_non_null(copy);
    memcpy(copy, bytes, size);
    enum status status = image_decode(copy, size, options, image, why);
    free(copy);
    return status;
}

static inline uint32_t pictures_crc(const struct image *image)
{
    return noise_crc32(image->rgb, (size_t)image->width * image->height * 3);
}

#endif
