#include <limits.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>

#include <jpeglib.h>

#include <jerror.h>

#include "engine/image_codec.h"

/* libjpeg keeps the coefficients of a progressive file: 2 bytes a sample, 4 components at most.
 * The rest is for padding to whole blocks and for rows in flight, at the widest size it allows. */
enum { IMAGE_JPEG_BYTES_PER_PIXEL = 8, IMAGE_JPEG_EXTRA_BYTES = 64 << 20 };

/* All that is alive across setjmp is in here, in the caller's frame, so that longjmp cannot leave
 * a stale copy of it in a register. */
struct image_jpeg {
    struct jpeg_decompress_struct codec;
    struct jpeg_error_mgr errors;
    struct jpeg_source_mgr source;
    struct jpeg_progress_mgr progress;
    jmp_buf failed;
    const struct image_options *options;
    size_t size;
    uint8_t *rgb;
    enum status status;
    struct fail *why;
};

static _Noreturn void image_jpeg_leave(struct image_jpeg *jpeg, enum status status)
{
    jpeg->status = status;
    longjmp(jpeg->failed, 1);
}

static enum status image_jpeg_status(int message_code)
{
    switch (message_code) {
    case JERR_OUT_OF_MEMORY:
        return STATUS_NO_MEMORY;
    case JERR_NO_BACKING_STORE:
    case JERR_IMAGE_TOO_BIG:
    case JERR_WIDTH_OVERFLOW:
        return STATUS_LIMIT;
    case JERR_SOF_UNSUPPORTED:
    case JERR_BAD_PRECISION:
    case JERR_CONVERSION_NOTIMPL:
    case JERR_ARITH_NOTIMPL:
        return STATUS_UNSUPPORTED;
    default:
        return STATUS_FORMAT;
    }
}

static void image_jpeg_error(j_common_ptr codec)
{
    struct image_jpeg *jpeg = codec->client_data;
    enum status status = image_jpeg_status(codec->err->msg_code);
    char message[JMSG_LENGTH_MAX];
    codec->err->format_message(codec, message);
    if (codec->err->msg_code == JERR_NO_BACKING_STORE)
        snprintf(message, sizeof message, "over the limit of %ld bytes of working memory",
                 codec->mem->max_memory_to_use);
    image_jpeg_leave(jpeg, status_fail(jpeg->why, status, "JPEG: %s", message));
}

/* Warnings are of damage that libjpeg mends, such as stray bytes between markers. Pillow takes such
 * files too, and data sets that results are published on hold some. */
static void image_jpeg_ignore_message(j_common_ptr codec, int level)
{
    (void)codec;
    (void)level;
}

static void image_jpeg_ignore(j_decompress_ptr codec)
{
    (void)codec;
}

/* All bytes are there from the start, so being asked for more means that the file ends too early.
 * libjpeg's own memory source would invent an end marker and leave the rest of the picture grey. */
static boolean image_jpeg_refill(j_decompress_ptr codec)
{
    struct image_jpeg *jpeg = codec->client_data;
    image_jpeg_leave(jpeg,
                     status_fail(jpeg->why, STATUS_FORMAT,
                                 "JPEG: cut short, the picture goes on after the last of %zu bytes",
                                 jpeg->size));
}

static void image_jpeg_skip(j_decompress_ptr codec, long count)
{
    struct jpeg_source_mgr *source = codec->src;
    if (count <= 0)
        return;
    if ((size_t)count > source->bytes_in_buffer)
        image_jpeg_refill(codec);
    source->next_input_byte += count;
    source->bytes_in_buffer -= (size_t)count;
}

static void image_jpeg_count_scans(j_common_ptr common)
{
    struct image_jpeg *jpeg = common->client_data;
    uint32_t most = jpeg->options->max_jpeg_scans;
    if ((unsigned)jpeg->codec.input_scan_number > most)
        image_jpeg_leave(jpeg, status_fail(jpeg->why, STATUS_LIMIT,
                                           "JPEG: more scans than the limit of %u", most));
}

static long image_jpeg_memory_limit(size_t max_pixels)
{
    if (max_pixels > (LONG_MAX - IMAGE_JPEG_EXTRA_BYTES) / IMAGE_JPEG_BYTES_PER_PIXEL)
        return LONG_MAX;
    return (long)max_pixels * IMAGE_JPEG_BYTES_PER_PIXEL + IMAGE_JPEG_EXTRA_BYTES;
}

/* The least of the scales that libjpeg has fast code for. */
static unsigned image_jpeg_eighths(const struct image_jpeg *jpeg)
{
    uint64_t width = jpeg->codec.image_width, height = jpeg->codec.image_height;
    uint64_t shorter = width < height ? width : height, edge = jpeg->options->jpeg_edge;
    unsigned eighths = edge ? 1 : 8;
    while (eighths < 8 && shorter * eighths < edge * 8)
        eighths *= 2;
    return eighths;
}

static enum status image_jpeg_allocate(struct image_jpeg *jpeg)
{
    struct jpeg_decompress_struct *codec = &jpeg->codec;
    codec->scale_num = image_jpeg_eighths(jpeg);
    codec->scale_denom = 8;
    jpeg_calc_output_dimensions(codec);
    return image_allocate(codec->output_width, codec->output_height, 3, jpeg->options, &jpeg->rgb,
                          jpeg->why);
}

static void image_jpeg_read_header(struct image_jpeg *jpeg)
{
    struct jpeg_decompress_struct *codec = &jpeg->codec;
    codec->src = &jpeg->source;
    codec->progress = &jpeg->progress;
    codec->mem->max_memory_to_use = image_jpeg_memory_limit(jpeg->options->max_pixels);
    jpeg_read_header(codec, TRUE);
    if (codec->num_components != 1 && codec->num_components != 3 && codec->num_components != 4)
        image_jpeg_leave(jpeg, status_fail(jpeg->why, STATUS_UNSUPPORTED,
                                           "JPEG: %d components, expected 1, 3 or 4",
                                           codec->num_components));
    codec->out_color_space = codec->num_components == 4 ? JCS_CMYK : JCS_RGB;
    enum status status =
        image_check_pixels(codec->image_width, codec->image_height, jpeg->options, jpeg->why);
    if (!status)
        status = image_jpeg_allocate(jpeg);
    if (status)
        image_jpeg_leave(jpeg, status_context(jpeg->why, status, "JPEG"));
}

static unsigned image_jpeg_scale(unsigned a, unsigned b)
{
    unsigned product = a * b + 128;
    return (product + (product >> 8)) >> 8;
}

/* inks are inverted (255 is no ink), as Adobe writes them. This is Pillow's conversion: the product
 * is taken of the plain ink, which rounds differently from one of the inverted ink. */
static void image_jpeg_inks_to_rgb(const uint8_t *inks, uint8_t *rgb, size_t pixels)
{
    for (size_t i = 0; i < pixels; i++, inks += 4, rgb += 3)
        for (size_t c = 0; c < 3; c++)
            rgb[c] = (uint8_t)(inks[3] - image_jpeg_scale(255u - inks[c], inks[3]));
}

static void image_jpeg_read_rows(struct image_jpeg *jpeg)
{
    struct jpeg_decompress_struct *codec = &jpeg->codec;
    jpeg_start_decompress(codec);
    size_t width = codec->output_width;
    JSAMPARRAY inks = NULL;
    if (codec->out_color_space == JCS_CMYK)
        inks = codec->mem->alloc_sarray((j_common_ptr)codec, JPOOL_IMAGE, (JDIMENSION)width * 4, 1);
    while (codec->output_scanline < codec->output_height) {
        JSAMPROW row = jpeg->rgb + codec->output_scanline * width * 3;
        jpeg_read_scanlines(codec, inks ? inks : &row, 1);
        if (inks)
            image_jpeg_inks_to_rgb(inks[0], row, width);
    }
}

static enum status image_jpeg_run(struct image_jpeg *jpeg)
{
    if (setjmp(jpeg->failed))
        return jpeg->status;
    jpeg_create_decompress(&jpeg->codec);
    image_jpeg_read_header(jpeg);
    image_jpeg_read_rows(jpeg);
    return STATUS_OK;
}

enum status image_jpeg_decode(const uint8_t *bytes, size_t size,
                              const struct image_options *options, struct image *out,
                              struct fail *why)
{
    struct image_jpeg jpeg = {.options = options, .size = size, .why = why};
    jpeg.codec.err = jpeg_std_error(&jpeg.errors);
    jpeg.codec.client_data = &jpeg;
    jpeg.errors.error_exit = image_jpeg_error;
    jpeg.errors.emit_message = image_jpeg_ignore_message;
    jpeg.source = (struct jpeg_source_mgr){.next_input_byte = bytes,
                                           .bytes_in_buffer = size,
                                           .init_source = image_jpeg_ignore,
                                           .fill_input_buffer = image_jpeg_refill,
                                           .skip_input_data = image_jpeg_skip,
                                           .resync_to_restart = jpeg_resync_to_restart,
                                           .term_source = image_jpeg_ignore};
    jpeg.progress.progress_monitor = image_jpeg_count_scans;
    enum status status = image_jpeg_run(&jpeg);
    if (status)
        free(jpeg.rgb);
    else
        *out = (struct image){.width = jpeg.codec.output_width,
                              .height = jpeg.codec.output_height,
                              .rgb = jpeg.rgb,
                              .format = IMAGE_JPEG};
    jpeg_destroy_decompress(&jpeg.codec);
    return status;
}
