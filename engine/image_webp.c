#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <webp/decode.h>

#include <webp/demux.h>

#include "engine/image_codec.h"

static enum status image_webp_cut_short(size_t size, struct fail *why)
{
    return status_fail(why, STATUS_FORMAT,
                       "WebP: cut short, the picture goes on after the last of %zu bytes", size);
}

static enum status image_webp_open(const uint8_t *bytes, size_t size, WebPDemuxer **out,
                                   struct fail *why)
{
    WebPDemuxState state;
    WebPDemuxer *demuxer = WebPDemuxPartial(&(WebPData){bytes, size}, &state);
    if (demuxer && state == WEBP_DEMUX_DONE) {
        *out = demuxer;
        return STATUS_OK;
    }
    WebPDemuxDelete(demuxer);
    if (state == WEBP_DEMUX_PARSING_HEADER || state == WEBP_DEMUX_PARSED_HEADER)
        return image_webp_cut_short(size, why);
    return status_fail(why, STATUS_FORMAT, "WebP: the file is damaged");
}

static enum status image_webp_status(VP8StatusCode code, size_t size, struct fail *why)
{
    switch (code) {
    case VP8_STATUS_OK:
        return STATUS_OK;
    case VP8_STATUS_OUT_OF_MEMORY:
        return status_fail(why, STATUS_NO_MEMORY, "WebP: no memory for the decoder");
    case VP8_STATUS_SUSPENDED:
    case VP8_STATUS_NOT_ENOUGH_DATA:
        return image_webp_cut_short(size, why);
    default:
        return status_fail(why, STATUS_FORMAT, "WebP: the picture data is damaged");
    }
}

/* The frame into its place on a canvas [height, width, channels]. The decoder is told how much room
 * there is. */
static enum status image_webp_draw(const WebPIterator *frame, const struct image *canvas,
                                   uint32_t channels, WebPDecoderConfig *config, struct fail *why)
{
    size_t stride = (size_t)canvas->width * channels;
    size_t start = (size_t)frame->y_offset * stride + (size_t)frame->x_offset * channels;
    config->output.colorspace = channels == 4 ? MODE_RGBA : MODE_RGB;
    config->output.is_external_memory = 1;
    config->output.u.RGBA = (WebPRGBABuffer){.rgba = canvas->rgb + start,
                                             .stride = (int)stride,
                                             .size = stride * canvas->height - start};
    VP8StatusCode code = WebPDecode(frame->fragment.bytes, frame->fragment.size, config);
    return image_webp_status(code, frame->fragment.size, why);
}

static bool image_webp_fits(const WebPIterator *frame, const WebPBitstreamFeatures *found,
                            const struct image *canvas)
{
    return frame->x_offset >= 0 && frame->y_offset >= 0 && found->width == frame->width &&
           found->height == frame->height &&
           (int64_t)frame->x_offset + frame->width <= canvas->width &&
           (int64_t)frame->y_offset + frame->height <= canvas->height;
}

/* A canvas is transparent where the first frame does not cover it. */
static enum status image_webp_read_frame(const WebPIterator *frame,
                                         const struct image_options *options, struct image *canvas,
                                         struct fail *why)
{
    WebPDecoderConfig config;
    if (!WebPInitDecoderConfig(&config))
        return status_fail(why, STATUS_INTERNAL, "WebP: libwebp is of another version");
    VP8StatusCode code =
        WebPGetFeatures(frame->fragment.bytes, frame->fragment.size, &config.input);
    enum status status = image_webp_status(code, frame->fragment.size, why);
    if (status)
        return status;
    if (!image_webp_fits(frame, &config.input, canvas))
        return status_fail(why, STATUS_FORMAT, "WebP: the picture does not fit its canvas");
    bool covered =
        (uint32_t)frame->width == canvas->width && (uint32_t)frame->height == canvas->height;
    uint32_t channels = config.input.has_alpha || !covered ? 4 : 3;
    size_t pixels = (size_t)canvas->width * canvas->height;
    status = image_allocate(canvas->width, canvas->height, channels, options, &canvas->rgb, why);
    if (status)
        return status_context(why, status, "WebP");
    if (!covered)
        memset(canvas->rgb, 0, pixels * channels);
    status = image_webp_draw(frame, canvas, channels, &config, why);
    if (status)
        free(canvas->rgb);
    else if (channels == 4)
        image_flatten(canvas->rgb, pixels);
    return status;
}

static enum status image_webp_read(const WebPDemuxer *demuxer, const struct image_options *options,
                                   struct image *out, struct fail *why)
{
    struct image canvas = {.width = WebPDemuxGetI(demuxer, WEBP_FF_CANVAS_WIDTH),
                           .height = WebPDemuxGetI(demuxer, WEBP_FF_CANVAS_HEIGHT),
                           .format = IMAGE_WEBP};
    WebPIterator frame;
    if (!WebPDemuxGetFrame(demuxer, 1, &frame))
        return status_fail(why, STATUS_FORMAT, "WebP: the file holds no picture");
    enum status status = image_webp_read_frame(&frame, options, &canvas, why);
    WebPDemuxReleaseIterator(&frame);
    if (!status)
        *out = canvas;
    return status;
}

enum status image_webp_decode(const uint8_t *bytes, size_t size,
                              const struct image_options *options, struct image *out,
                              struct fail *why)
{
    WebPDemuxer *demuxer = NULL;
    enum status status = image_webp_open(bytes, size, &demuxer, why);
    if (status)
        return status;
    status = image_webp_read(demuxer, options, out, why);
    WebPDemuxDelete(demuxer);
    return status;
}
