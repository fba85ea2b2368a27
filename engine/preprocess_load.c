#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include <jansson.h>

#include "engine/base/buf.h"
#include "engine/preprocess.h"

enum { PREPROCESS_FILE_BYTES = 1 << 20, PREPROCESS_PATH_BYTES = 4096, PREPROCESS_BICUBIC = 3 };

static const float preprocess_clip_mean[3] = {0.48145466f, 0.4578275f, 0.40821073f};
static const float preprocess_clip_deviation[3] = {0.26862954f, 0.26130258f, 0.27577711f};

static enum status preprocess_edge(const char *name, const json_t *value, uint32_t *out,
                                   struct fail *why)
{
    json_int_t edge = json_integer_value(value);
    if (!json_is_integer(value) || edge < 1 || edge > INT32_MAX)
        return status_fail(why, STATUS_INVALID, "%s is not a whole number of pixels from 1 to %d",
                           name, INT32_MAX);
    *out = (uint32_t)edge;
    return STATUS_OK;
}

/* N or {"shortest_edge": N}. Height and width would stretch the picture, which is not CLIP's way.
 */
static enum status preprocess_read_size(const json_t *root, uint32_t *out, struct fail *why)
{
    const json_t *size = json_object_get(root, "size");
    if (!size)
        return STATUS_OK;
    if (!json_is_object(size))
        return preprocess_edge("size", size, out, why);
    const json_t *edge = json_object_get(size, "shortest_edge");
    if (!edge || json_object_size(size) != 1)
        return status_fail(why, STATUS_INVALID,
                           "size holds other fields than \"shortest_edge\": only a resize that "
                           "keeps the aspect ratio is supported");
    return preprocess_edge("size.shortest_edge", edge, out, why);
}

/* N or {"height": N, "width": N} */
static enum status preprocess_read_crop(const json_t *root, uint32_t *out, struct fail *why)
{
    const json_t *crop = json_object_get(root, "crop_size");
    if (!crop)
        return STATUS_OK;
    if (!json_is_object(crop))
        return preprocess_edge("crop_size", crop, out, why);
    uint32_t height = 0, width = 0;
    enum status status =
        preprocess_edge("crop_size.height", json_object_get(crop, "height"), &height, why);
    if (!status)
        status = preprocess_edge("crop_size.width", json_object_get(crop, "width"), &width, why);
    if (status)
        return status;
    if (height != width)
        return status_fail(why, STATUS_INVALID, "crop_size of %u x %u is not square", width,
                           height);
    *out = height;
    return STATUS_OK;
}

static enum status preprocess_read_channels(const json_t *root, const char *name, bool positive,
                                            float *out, struct fail *why)
{
    const json_t *values = json_object_get(root, name);
    if (!values)
        return STATUS_OK;
    if (json_array_size(values) != 3)
        return status_fail(why, STATUS_INVALID, "%s is not an array of 3 numbers", name);
    for (size_t c = 0; c < 3; c++) {
        const json_t *value = json_array_get(values, c);
        out[c] = (float)json_number_value(value);
        if (!json_is_number(value) || !isfinite(out[c]) || (positive && !(out[c] > 0)))
            return status_fail(why, STATUS_INVALID, "%s[%zu] is not a %snumber", name, c,
                               positive ? "positive " : "");
    }
    return STATUS_OK;
}

static enum status preprocess_check_steps(const json_t *root, struct fail *why)
{
    static const char *const steps[] = {"do_resize", "do_center_crop", "do_rescale",
                                        "do_normalize"};
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        const json_t *step = json_object_get(root, steps[i]);
        if (step && !json_is_true(step))
            return status_fail(why, STATUS_INVALID, "%s is not true: the step cannot be left out",
                               steps[i]);
    }
    const json_t *resample = json_object_get(root, "resample");
    if (resample && !json_is_integer(resample))
        return status_fail(why, STATUS_INVALID, "resample is not a whole number");
    if (resample && json_integer_value(resample) != PREPROCESS_BICUBIC)
        return status_fail(why, STATUS_INVALID,
                           "resample is %" JSON_INTEGER_FORMAT ", only %d (bicubic) is supported",
                           json_integer_value(resample), PREPROCESS_BICUBIC);
    const json_t *factor = json_object_get(root, "rescale_factor");
    if (factor && !(fabs(json_number_value(factor) * 255 - 1) < 1e-6))
        return status_fail(why, STATUS_INVALID, "rescale_factor is not 1/255");
    return STATUS_OK;
}

static enum status preprocess_read(const json_t *root, uint32_t image_size, struct preprocess *out,
                                   struct fail *why)
{
    struct preprocess read = *out;
    enum status status = json_is_object(root)
                             ? preprocess_check_steps(root, why)
                             : status_fail(why, STATUS_FORMAT, "the file is not a JSON object");
    if (!status)
        status = preprocess_read_crop(root, &read.crop_size, why);
    if (!status)
        status = preprocess_read_size(root, &read.shortest_edge, why);
    if (!status)
        status = preprocess_read_channels(root, "image_mean", false, read.mean, why);
    if (!status)
        status = preprocess_read_channels(root, "image_std", true, read.deviation, why);
    if (status)
        return status;
    if (read.crop_size != image_size)
        return status_fail(why, STATUS_INVALID, "crop_size is %u, but the model's image size is %u",
                           read.crop_size, image_size);
    if (read.shortest_edge < read.crop_size)
        return status_fail(why, STATUS_INVALID, "size %u is less than crop_size %u",
                           read.shortest_edge, read.crop_size);
    *out = read;
    return STATUS_OK;
}

static enum status preprocess_parse(const struct buf *text, uint32_t image_size,
                                    struct preprocess *out, struct fail *why)
{
    json_error_t error;
    json_t *root = json_loadb(text->data, text->size, JSON_REJECT_DUPLICATES, &error);
    if (!root)
        return status_fail(why, STATUS_FORMAT, "line %d: %s", error.line, error.text);
    enum status status = preprocess_read(root, image_size, out, why);
    json_decref(root);
    return status;
}

enum status preprocess_load(const char *model_dir, uint32_t image_size, struct preprocess *out,
                            struct fail *why)
{
    struct preprocess loaded = {.shortest_edge = image_size, .crop_size = image_size};
    memcpy(loaded.mean, preprocess_clip_mean, sizeof loaded.mean);
    memcpy(loaded.deviation, preprocess_clip_deviation, sizeof loaded.deviation);
    struct buf path, text;
    buf_init(&path, PREPROCESS_PATH_BYTES);
    buf_init(&text, PREPROCESS_FILE_BYTES);
    enum status status = buf_printf(&path, why, "%s/preprocessor_config.json", model_dir);
    if (!status)
        status = buf_read_file(&text, path.data, why);
    if (!status) {
        status = preprocess_parse(&text, image_size, &loaded, why);
        if (status)
            status_context(why, status, "%s", path.data);
    } else if (status == STATUS_NOT_FOUND) {
        status = STATUS_OK;
    }
    if (!status)
        *out = loaded;
    buf_finish(&path);
    buf_finish(&text);
    return status;
}
