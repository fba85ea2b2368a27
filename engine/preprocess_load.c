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

static enum status preprocess_read_channels(const char *name, const json_t *values, bool positive,
                                            float *out, struct fail *why)
{
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
        status = preprocess_read_channels("image_mean", json_object_get(root, "image_mean"), false,
                                          read.mean, why);
    if (!status)
        status = preprocess_read_channels("image_std", json_object_get(root, "image_std"), true,
                                          read.deviation, why);
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

/* ---- open_clip_config.json ---- */

/* As open_clip reads it, null is as good as missing. */
static const json_t *preprocess_find(const json_t *section, const char *name)
{
    const json_t *value = json_object_get(section, name);
    return json_is_null(value) ? NULL : value;
}

static enum status preprocess_check_words(const json_t *section, struct fail *why)
{
    static const struct {
        const char *name, *accepted;
    } words[] = {{"mode", "RGB"}, {"interpolation", "bicubic"}, {"resize_mode", "shortest"}};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        const json_t *found = preprocess_find(section, words[i].name);
        const char *text = json_string_value(found);
        if (found && (!text || strcmp(text, words[i].accepted) != 0))
            return status_fail(why, STATUS_INVALID,
                               "preprocess_cfg.%s is \"%.64s\", only \"%s\" is supported",
                               words[i].name, text ? text : "(not a text)", words[i].accepted);
    }
    return STATUS_OK;
}

/* N or [height, width], which must be the model's own image size. */
static enum status preprocess_check_size(const json_t *section, uint32_t image_size,
                                         struct fail *why)
{
    const json_t *size = preprocess_find(section, "size");
    if (!size)
        return STATUS_OK;
    uint32_t height = 0, width = 0;
    const json_t *pair = json_array_size(size) == 2 ? size : NULL;
    enum status status =
        preprocess_edge("preprocess_cfg.size", pair ? json_array_get(pair, 0) : size, &height, why);
    if (!status)
        status = preprocess_edge("preprocess_cfg.size", pair ? json_array_get(pair, 1) : size,
                                 &width, why);
    if (!status && (height != image_size || width != image_size))
        status = status_fail(why, STATUS_INVALID,
                             "preprocess_cfg.size is %u x %u, but the model's image size is %u",
                             width, height, image_size);
    return status;
}

static enum status preprocess_read_open_clip(const json_t *root, uint32_t image_size,
                                             struct preprocess *out, struct fail *why)
{
    struct preprocess read = *out;
    if (!json_is_object(root))
        return status_fail(why, STATUS_FORMAT, "the file is not a JSON object");
    const json_t *section = preprocess_find(root, "preprocess_cfg");
    if (!section)
        return STATUS_OK;
    if (!json_is_object(section))
        return status_fail(why, STATUS_FORMAT, "preprocess_cfg is not a JSON object");
    enum status status = preprocess_check_words(section, why);
    if (!status)
        status = preprocess_check_size(section, image_size, why);
    if (!status)
        status = preprocess_read_channels("preprocess_cfg.mean", preprocess_find(section, "mean"),
                                          false, read.mean, why);
    if (!status)
        status = preprocess_read_channels("preprocess_cfg.std", preprocess_find(section, "std"),
                                          true, read.deviation, why);
    if (!status)
        *out = read;
    return status;
}

/* ---- Files ---- */

typedef enum status preprocess_reader(const json_t *root, uint32_t image_size,
                                      struct preprocess *out, struct fail *why);

static enum status preprocess_parse(const struct buf *text, preprocess_reader *reader,
                                    uint32_t image_size, struct preprocess *out, struct fail *why)
{
    json_error_t error;
    json_t *root = json_loadb(text->data, text->size, JSON_REJECT_DUPLICATES, &error);
    if (!root)
        return status_fail(why, STATUS_FORMAT, "line %d: %s", error.line, error.text);
    enum status status = reader(root, image_size, out, why);
    json_decref(root);
    return status;
}

/* STATUS_NOT_FOUND if there is no such file. */
static enum status preprocess_load_file(const char *model_dir, const char *name,
                                        preprocess_reader *reader, uint32_t image_size,
                                        struct preprocess *out, struct fail *why)
{
    struct buf path, text;
    buf_init(&path, PREPROCESS_PATH_BYTES);
    buf_init(&text, PREPROCESS_FILE_BYTES);
    enum status status = buf_printf(&path, why, "%s/%s", model_dir, name);
    if (!status)
        status = buf_read_file(&text, path.data, why);
    if (!status) {
        status = preprocess_parse(&text, reader, image_size, out, why);
        if (status)
            status_context(why, status, "%s", path.data);
    }
    buf_finish(&path);
    buf_finish(&text);
    return status;
}

enum status preprocess_load(const char *model_dir, uint32_t image_size, struct preprocess *out,
                            struct fail *why)
{
    struct preprocess loaded = {.shortest_edge = image_size, .crop_size = image_size};
    memcpy(loaded.mean, preprocess_clip_mean, sizeof loaded.mean);
    memcpy(loaded.deviation, preprocess_clip_deviation, sizeof loaded.deviation);
    enum status status = preprocess_load_file(model_dir, "preprocessor_config.json",
                                              preprocess_read, image_size, &loaded, why);
    if (status == STATUS_NOT_FOUND)
        status = preprocess_load_file(model_dir, "open_clip_config.json", preprocess_read_open_clip,
                                      image_size, &loaded, why);
    if (status == STATUS_NOT_FOUND)
        status = STATUS_OK;
    if (!status)
        *out = loaded;
    return status;
}
