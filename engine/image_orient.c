#include <stdbool.h>
#include <stdlib.h>

#include "engine/base/mem.h"
#include "engine/image_codec.h"

/* Blocks of this side are turned at a time, so that columns of the old picture stay in the cache
 * until they are rows of the new one. */
enum { IMAGE_ORIENT_BLOCK = 32 };

/* How the new picture is read from the old one. */
struct image_orient_way {
    bool transposed, from_right, from_bottom; /* the latter two in terms of the old one */
};

static const struct image_orient_way image_orient_ways[9] = {
    [2] = {false, true, false}, [3] = {false, true, true}, [4] = {false, false, true},
    [5] = {true, false, false}, [6] = {true, false, true}, [7] = {true, true, true},
    [8] = {true, true, false},
};

/* The pixel of the new picture at (x, y) is the old one's at first + x * right + y * down. */
struct image_orient_walk {
    const uint8_t *first;
    ptrdiff_t right, down; /* in bytes */
};

static struct image_orient_walk image_orient_plan(const struct image *image,
                                                  const struct image_orient_way *way)
{
    ptrdiff_t pixel = 3, row = (ptrdiff_t)image->width * 3;
    struct image_orient_walk walk = {.first = image->rgb};
    if (way->from_right)
        walk.first += row - pixel;
    if (way->from_bottom)
        walk.first += row * ((ptrdiff_t)image->height - 1);
    ptrdiff_t across = way->from_right ? -pixel : pixel, along = way->from_bottom ? -row : row;
    walk.right = way->transposed ? along : across;
    walk.down = way->transposed ? across : along;
    return walk;
}

static void image_orient_block(const struct image_orient_walk *walk, struct image *turned,
                               uint32_t left, uint32_t top)
{
    uint32_t right =
        turned->width - left < IMAGE_ORIENT_BLOCK ? turned->width : left + IMAGE_ORIENT_BLOCK;
    uint32_t bottom =
        turned->height - top < IMAGE_ORIENT_BLOCK ? turned->height : top + IMAGE_ORIENT_BLOCK;
    for (uint32_t y = top; y < bottom; y++) {
        const uint8_t *from = walk->first + (ptrdiff_t)left * walk->right + y * walk->down;
        uint8_t *to = turned->rgb + ((size_t)y * turned->width + left) * 3;
        for (uint32_t x = left; x < right; x++, from += walk->right, to += 3) {
            to[0] = from[0];
            to[1] = from[1];
            to[2] = from[2];
        }
    }
}

enum status image_orient(struct image *image, unsigned orientation, struct fail *why)
{
    if (orientation <= 1)
        return STATUS_OK;
    const struct image_orient_way *way = &image_orient_ways[orientation];
    struct image turned = *image;
    if (way->transposed) {
        turned.width = image->height;
        turned.height = image->width;
    }
    turned.rgb = mem_aligned((size_t)image->width * image->height, 3);
    if (!turned.rgb)
        return status_fail(why, STATUS_NO_MEMORY, "no memory to turn %u x %u pixels", image->width,
                           image->height);
    const struct image_orient_walk walk = image_orient_plan(image, way);
    for (uint32_t top = 0; top < turned.height; top += IMAGE_ORIENT_BLOCK)
        for (uint32_t left = 0; left < turned.width; left += IMAGE_ORIENT_BLOCK)
            image_orient_block(&walk, &turned, left, top);
    free(image->rgb);
    *image = turned;
    return STATUS_OK;
}
