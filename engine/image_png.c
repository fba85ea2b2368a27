#include <setjmp.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <png.h>

#include "engine/image_codec.h"

/* All that is alive across setjmp is in here, in the caller's frame, so that longjmp cannot leave
 * a stale copy of it in a register. */
struct image_png {
    png_structp codec;
    png_infop info;
    jmp_buf failed;
    const struct image_options *options;
    const uint8_t *next;
    size_t size, remaining;
    bool out_of_memory;
    uint32_t width, height, channels;
    uint8_t *pixels; /* [height, width, channels] */
    enum status status;
    struct fail *why;
};

static _Noreturn void image_png_leave(struct image_png *png, enum status status)
{
    png->status = status;
    longjmp(png->failed, 1);
}

static void image_png_error(png_structp codec, png_const_charp message)
{
    struct image_png *png = png_get_error_ptr(codec);
    enum status status = png->out_of_memory ? STATUS_NO_MEMORY : STATUS_FORMAT;
    image_png_leave(png, status_fail(png->why, status, "PNG: %s", message));
}

static void image_png_warning(png_structp codec, png_const_charp message)
{
    (void)codec;
    (void)message;
}

static png_voidp image_png_malloc(png_structp codec, png_alloc_size_t size)
{
    struct image_png *png = png_get_mem_ptr(codec);
    void *memory = malloc(size);
    png->out_of_memory = !memory;
    return memory;
}

static void image_png_free(png_structp codec, png_voidp memory)
{
    (void)codec;
    free(memory);
}

static void image_png_read(png_structp codec, png_bytep out, size_t count)
{
    struct image_png *png = png_get_io_ptr(codec);
    if (count > png->remaining)
        image_png_leave(png,
                        status_fail(png->why, STATUS_FORMAT,
                                    "PNG: cut short, the file goes on after the last of %zu bytes",
                                    png->size));
    memcpy(out, png->next, count);
    png->next += count;
    png->remaining -= count;
}

/* Our limit on pixels replaces libpng's own on each side. Chunks other than IHDR, PLTE, tRNS, IDAT
 * and IEND are skipped piece by piece, never held, so their size needs no limit either. */
static void image_png_set_limits(png_structp codec)
{
    png_set_user_limits(codec, PNG_UINT_31_MAX, PNG_UINT_31_MAX);
    png_set_keep_unknown_chunks(codec, PNG_HANDLE_CHUNK_NEVER, NULL, -1);
    png_set_chunk_malloc_max(codec, PNG_UINT_31_MAX);
    png_set_crc_action(codec, PNG_CRC_ERROR_QUIT, PNG_CRC_ERROR_QUIT);
}

static void image_png_read_header(struct image_png *png)
{
    image_png_set_limits(png->codec);
    png_set_read_fn(png->codec, png, image_png_read);
    png_read_info(png->codec, png->info);
    png->width = png_get_image_width(png->codec, png->info);
    png->height = png_get_image_height(png->codec, png->info);
    bool alpha = (png_get_color_type(png->codec, png->info) & PNG_COLOR_MASK_ALPHA) ||
                 png_get_valid(png->codec, png->info, PNG_INFO_tRNS);
    png->channels = alpha ? 4 : 3;
    enum status status = image_allocate(png->width, png->height, png->channels, png->options,
                                        &png->pixels, png->why);
    if (status)
        image_png_leave(png, status_context(png->why, status, "PNG"));
}

static void image_png_read_rows(struct image_png *png)
{
    png_set_expand(png->codec);
    png_set_strip_16(png->codec);
    png_set_gray_to_rgb(png->codec);
    int passes = png_set_interlace_handling(png->codec);
    png_read_update_info(png->codec, png->info);
    size_t stride = (size_t)png->width * png->channels;
    if (png_get_rowbytes(png->codec, png->info) != stride)
        png_error(png->codec, "rows of an unexpected size");
    for (int pass = 0; pass < passes; pass++)
        for (size_t y = 0; y < png->height; y++)
            png_read_row(png->codec, png->pixels + y * stride, NULL);
    png_read_end(png->codec, NULL);
}

static enum status image_png_run(struct image_png *png)
{
    if (setjmp(png->failed))
        return png->status;
    png->codec = png_create_read_struct_2(PNG_LIBPNG_VER_STRING, png, image_png_error,
                                          image_png_warning, png, image_png_malloc, image_png_free);
    png->info = png->codec ? png_create_info_struct(png->codec) : NULL;
    if (!png->info)
        return status_fail(png->why, STATUS_NO_MEMORY, "PNG: no memory for the decoder");
    image_png_read_header(png);
    image_png_read_rows(png);
    return STATUS_OK;
}

enum status image_png_decode(const uint8_t *bytes, size_t size, const struct image_options *options,
                             struct image *out, struct fail *why)
{
    struct image_png png = {
        .options = options, .next = bytes, .size = size, .remaining = size, .why = why};
    enum status status = image_png_run(&png);
    png_destroy_read_struct(&png.codec, &png.info, NULL);
    if (status) {
        free(png.pixels);
        return status;
    }
    if (png.channels == 4)
        image_flatten(png.pixels, (size_t)png.width * png.height);
    *out = (struct image){
        .width = png.width, .height = png.height, .rgb = png.pixels, .format = IMAGE_PNG};
    return STATUS_OK;
}
