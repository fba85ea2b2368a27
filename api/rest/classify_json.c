#include "api/rest/classify_json.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "api/rest/base64.h"
#include "api/rest/json_body.h"

/* Strips "data:image/png;base64," from the front of a text. */
static enum status classify_json_skip_uri(const char **text, size_t *length, struct fail *why)
{
    static const char marker[] = ";base64";
    const size_t marker_length = sizeof marker - 1;
    if (*length < 5 || strncasecmp(*text, "data:", 5) != 0)
        return STATUS_OK;
    const char *comma = memchr(*text, ',', *length);
    if (!comma || (size_t)(comma - *text) < marker_length ||
        strncasecmp(comma - marker_length, marker, marker_length) != 0)
        return status_fail(why, STATUS_FORMAT, "the data URI has no \";base64,\"");
    *length -= (size_t)(comma + 1 - *text);
    *text = comma + 1;
    return STATUS_OK;
}

/* A text that is not base64 fails its own picture only. */
static enum status classify_json_add_image(struct classify_request *request, const json_t *entry,
                                           struct fail *why)
{
    const json_t *data = json_object_get(entry, "data");
    if (!json_is_string(data) || json_object_size(entry) != 1)
        return status_fail(why, STATUS_INVALID,
                           "\"images\": item %zu must be an object with one field, \"data\", a "
                           "string",
                           request->image_count + 1);
    struct classify_image image = {.why.code = STATUS_OK};
    const char *text = json_string_value(data);
    size_t length = json_string_length(data);
    enum status status = classify_json_skip_uri(&text, &length, &image.why);
    if (!status)
        status = base64_decode(text, length, &image.owned, &image.size, &image.why);
    if (status == STATUS_NO_MEMORY)
        return status_fail(why, status, "no memory for an image");
    image.why.code = status;
    image.bytes = image.owned;
    status = classify_request_add_image(request, &image, why);
    if (status)
        free(image.owned);
    return status;
}

static enum status classify_json_set_images(struct classify_request *request, const json_t *value,
                                            struct fail *why)
{
    if (!json_is_array(value))
        return status_fail(why, STATUS_INVALID, "\"images\" must be an array");
    enum status status = STATUS_OK;
    for (size_t i = 0; i < json_array_size(value) && !status; i++)
        status = classify_json_add_image(request, json_array_get(value, i), why);
    return status;
}

static enum status classify_json_set_labels(struct classify_request *request, const json_t *value,
                                            struct fail *why)
{
    return json_body_add_texts(&request->labels, "labels", value, request->limits.max_labels, why);
}

static enum status classify_json_set_sentence(struct classify_request *request, const json_t *value,
                                              struct fail *why)
{
    return json_body_add_text_or_texts(&request->sentences, "sentence", value,
                                       request->limits.max_label_texts, why);
}

static enum status classify_json_set_threshold(struct classify_request *request,
                                               const json_t *value, struct fail *why)
{
    return classify_request_set_threshold(
        request, json_is_number(value) ? json_number_value(value) : -1, why);
}

static enum status classify_json_set_top_k(struct classify_request *request, const json_t *value,
                                           struct fail *why)
{
    return classify_request_set_top_k(request, json_integer_value(value), why);
}

static enum status classify_json_set_timeout(struct classify_request *request, const json_t *value,
                                             struct fail *why)
{
    return classify_request_set_timeout(request, json_integer_value(value), why);
}

static enum status classify_json_set_priority(struct classify_request *request, const json_t *value,
                                              struct fail *why)
{
    return classify_request_set_priority(request, json_string_value(value),
                                         json_string_length(value), why);
}

static enum status classify_json_set_pool(struct classify_request *request, const json_t *value,
                                          struct fail *why)
{
    return classify_request_set_pool(request, json_string_value(value), json_string_length(value),
                                     why);
}

static enum status classify_json_set_label_set(struct classify_request *request,
                                               const json_t *value, struct fail *why)
{
    return classify_request_set_label_set(request, json_string_value(value),
                                          json_string_length(value), why);
}

static enum status classify_json_set_explain(struct classify_request *request, const json_t *value,
                                             struct fail *why)
{
    if (!json_is_boolean(value))
        return status_fail(why, STATUS_INVALID, "\"explain\" must be true or false");
    return classify_request_set_explain(request, json_is_true(value), why);
}

static enum status classify_json_set_shortlist(struct classify_request *request,
                                               const json_t *value, struct fail *why)
{
    return classify_request_set_shortlist(
        request, json_is_integer(value) ? json_integer_value(value) : -1, why);
}

static enum status classify_json_set(struct classify_request *request, const char *name,
                                     const json_t *value, struct fail *why)
{
    static const struct {
        const char *name;
        enum status (*set)(struct classify_request *, const json_t *, struct fail *);
    } fields[] = {
        {"images", classify_json_set_images},       {"labels", classify_json_set_labels},
        {"sentence", classify_json_set_sentence},   {"top_k", classify_json_set_top_k},
        {"threshold", classify_json_set_threshold}, {"timeout_ms", classify_json_set_timeout},
        {"pool", classify_json_set_pool},           {"explain", classify_json_set_explain},
        {"shortlist", classify_json_set_shortlist}, {"label_set", classify_json_set_label_set},
        {"priority", classify_json_set_priority},
    };
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++)
        if (!strcmp(fields[i].name, name))
            return fields[i].set(request, value, why);
    return status_fail(why, STATUS_INVALID, "unknown field \"%.64s\"", name);
}

enum status classify_json_read(struct classify_request *request, const char *body, size_t size,
                               struct fail *why)
{
    const struct classify_limits *limits = &request->limits;
    json_t *root;
    enum status status = json_body_load(
        body, size, 1024 + 2 * limits->max_labels + 4 * limits->max_images, &root, why);
    if (status)
        return status;
    for (void *field = json_object_iter(root); field && !status;
         field = json_object_iter_next(root, field))
        status = classify_json_set(request, json_object_iter_key(field),
                                   json_object_iter_value(field), why);
    json_decref(root);
    return status;
}
