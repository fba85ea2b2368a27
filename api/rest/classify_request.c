#include "api/rest/classify_request.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "api/rest/classify_json.h"
#include "api/rest/multipart.h"
#include "engine/base/mem.h"
#include "engine/base/utf8.h"

enum { CLASSIFY_DEFAULT_TOP_K = 5 };

void classify_request_init(struct classify_request *request, const struct classify_limits *limits)
{
    *request = (struct classify_request){.limits = *limits, .top_k = CLASSIFY_DEFAULT_TOP_K};
}

void classify_request_finish(struct classify_request *request)
{
    for (size_t i = 0; i < request->image_count; i++)
        free(request->images[i].owned);
    free(request->images);
    text_list_finish(&request->labels);
    text_list_finish(&request->sentences);
    *request = (struct classify_request){0};
}

enum status classify_request_body_kind(const char *content_type, enum classify_body *out,
                                       struct fail *why)
{
    const char *type = content_type ? content_type : "";
    size_t length = strcspn(type, "; \t");
    if (!strncasecmp(type, "image/", 6) ||
        (length == 24 && !strncasecmp(type, "application/octet-stream", length)))
        *out = CLASSIFY_BODY_RAW;
    else if (length == 19 && !strncasecmp(type, "multipart/form-data", length))
        *out = CLASSIFY_BODY_FORM;
    else if (length == 16 && !strncasecmp(type, "application/json", length))
        *out = CLASSIFY_BODY_JSON;
    else
        return status_fail(why, STATUS_UNSUPPORTED,
                           "Content-Type %.*s is not one of image/*, application/octet-stream, "
                           "multipart/form-data and application/json",
                           length ? (int)(length < 100 ? length : 100) : 9,
                           length ? type : "(missing)");
    return STATUS_OK;
}

/* ---- Fields ---- */

enum status classify_request_set_top_k(struct classify_request *request, int64_t value,
                                       struct fail *why)
{
    if (request->has_top_k)
        return status_fail(why, STATUS_INVALID, "\"top_k\" is given twice");
    if (value < 1)
        return status_fail(why, STATUS_INVALID, "\"top_k\" must be a whole number of at least 1");
    request->top_k = (size_t)value;
    request->has_top_k = true;
    return STATUS_OK;
}

enum status classify_request_set_threshold(struct classify_request *request, double value,
                                           struct fail *why)
{
    if (request->has_threshold)
        return status_fail(why, STATUS_INVALID, "\"threshold\" is given twice");
    if (!(value >= 0 && value <= 1))
        return status_fail(why, STATUS_INVALID, "\"threshold\" must be a number from 0 to 1");
    request->threshold = value;
    request->has_threshold = true;
    return STATUS_OK;
}

enum status classify_request_set_timeout(struct classify_request *request, int64_t value,
                                         struct fail *why)
{
    if (request->timeout_ms)
        return status_fail(why, STATUS_INVALID, "\"timeout_ms\" is given twice");
    if (value < 1 || (uint64_t)value > request->limits.max_timeout_ms)
        return status_fail(why, STATUS_INVALID,
                           "\"timeout_ms\" must be a whole number from 1 to %" PRIu64,
                           request->limits.max_timeout_ms);
    request->timeout_ms = (uint64_t)value;
    return STATUS_OK;
}

enum status classify_request_set_priority(struct classify_request *request, const char *value,
                                          size_t length, struct fail *why)
{
    bool low = length == 3 && !memcmp(value, "low", length);
    if (request->has_priority)
        return status_fail(why, STATUS_INVALID, "\"priority\" is given twice");
    if (!low && (length != 6 || memcmp(value, "normal", length) != 0))
        return status_fail(why, STATUS_INVALID, "\"priority\" must be \"normal\" or \"low\"");
    request->low_priority = low;
    request->has_priority = true;
    return STATUS_OK;
}

/* The name of a resource into a field [CLASSIFY_MAX_NAME + 1]. */
static enum status classify_request_set_name(char *field, const char *what, const char *value,
                                             size_t length, struct fail *why)
{
    if (*field)
        return status_fail(why, STATUS_INVALID, "\"%s\" is given twice", what);
    if (!length || length > CLASSIFY_MAX_NAME || memchr(value, '\0', length) ||
        !utf8_is_valid(value, length))
        return status_fail(why, STATUS_INVALID, "\"%s\" must be a text of 1 to %d bytes", what,
                           CLASSIFY_MAX_NAME);
    memcpy(field, value, length);
    field[length] = '\0';
    return STATUS_OK;
}

enum status classify_request_set_pool(struct classify_request *request, const char *value,
                                      size_t length, struct fail *why)
{
    return classify_request_set_name(request->pool, "pool", value, length, why);
}

enum status classify_request_set_label_set(struct classify_request *request, const char *value,
                                           size_t length, struct fail *why)
{
    return classify_request_set_name(request->label_set, "label_set", value, length, why);
}

enum status classify_request_set_explain(struct classify_request *request, bool value,
                                         struct fail *why)
{
    if (request->has_explain)
        return status_fail(why, STATUS_INVALID, "\"explain\" is given twice");
    request->explain = value;
    request->has_explain = true;
    return STATUS_OK;
}

enum status classify_request_set_shortlist(struct classify_request *request, int64_t value,
                                           struct fail *why)
{
    if (request->has_shortlist)
        return status_fail(why, STATUS_INVALID, "\"shortlist\" is given twice");
    if (value < 0)
        return status_fail(why, STATUS_INVALID,
                           "\"shortlist\" must be a whole number of at least 0");
    request->shortlist = (size_t)value;
    request->has_shortlist = true;
    return STATUS_OK;
}

enum status classify_request_add_image(struct classify_request *request,
                                       const struct classify_image *image, struct fail *why)
{
    if (request->image_count == request->limits.max_images)
        return status_fail(why, STATUS_LIMIT, "more than %zu images", request->limits.max_images);
    if (!request->images)
        request->images = mem_zeroed(request->limits.max_images, sizeof *request->images);
    if (!request->images)
        return status_fail(why, STATUS_NO_MEMORY, "no memory for %zu images",
                           request->limits.max_images);
    request->images[request->image_count++] = *image;
    return STATUS_OK;
}

static enum status classify_request_add_labels(struct classify_request *request, const char *value,
                                               size_t length, struct fail *why)
{
    const char *end = value + length;
    for (const char *label = value;; label++) {
        const char *comma = memchr(label, ',', (size_t)(end - label));
        const char *stop = comma ? comma : end;
        enum status status = text_list_add(&request->labels, label, (size_t)(stop - label),
                                           request->limits.max_labels, "labels", why);
        if (status || !comma)
            return status;
        label = comma;
    }
}

static bool classify_request_parse_integer(const char *text, int64_t *out)
{
    char *end;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    *out = value;
    return end != text && !*end && !errno;
}

static enum status classify_request_set_number(struct classify_request *request, const char *name,
                                               const char *text, struct fail *why)
{
    int64_t integer = 0; /* what is not a number is out of every range */
    if (!strcmp(name, "threshold")) {
        char *end;
        double number = strtod(text, &end);
        return classify_request_set_threshold(request, end != text && !*end ? number : (double)NAN,
                                              why);
    }
    bool whole = classify_request_parse_integer(text, &integer);
    if (!strcmp(name, "shortlist"))
        return classify_request_set_shortlist(request, whole ? integer : -1, why);
    if (!whole)
        integer = 0;
    return !strcmp(name, "top_k") ? classify_request_set_top_k(request, integer, why)
                                  : classify_request_set_timeout(request, integer, why);
}

static enum status classify_request_set_flag(struct classify_request *request, const char *text,
                                             struct fail *why)
{
    bool yes = !strcmp(text, "true") || !strcmp(text, "1");
    if (!yes && strcmp(text, "false") != 0 && strcmp(text, "0") != 0)
        return status_fail(why, STATUS_INVALID, "\"explain\" must be true or false");
    return classify_request_set_explain(request, yes, why);
}

enum status classify_request_set(struct classify_request *request, const char *name,
                                 const char *value, size_t length, struct fail *why)
{
    if (!strcmp(name, "labels"))
        return classify_request_add_labels(request, value, length, why);
    if (!strcmp(name, "sentence"))
        return text_list_add(&request->sentences, value, length, request->limits.max_label_texts,
                             "sentence", why);
    if (!strcmp(name, "priority"))
        return classify_request_set_priority(request, value, length, why);
    if (!strcmp(name, "pool"))
        return classify_request_set_pool(request, value, length, why);
    if (!strcmp(name, "label_set"))
        return classify_request_set_label_set(request, value, length, why);
    if (strcmp(name, "top_k") != 0 && strcmp(name, "threshold") != 0 &&
        strcmp(name, "timeout_ms") != 0 && strcmp(name, "explain") != 0 &&
        strcmp(name, "shortlist") != 0)
        return status_fail(why, STATUS_INVALID, "unknown field \"%.64s\"", name);
    char text[64];
    if (length >= sizeof text || memchr(value, '\0', length))
        length = 0;
    memcpy(text, value, length);
    text[length] = '\0';
    return !strcmp(name, "explain") ? classify_request_set_flag(request, text, why)
                                    : classify_request_set_number(request, name, text, why);
}

/* ---- Bodies ---- */

static enum status classify_request_add_bytes(struct classify_request *request, const char *data,
                                              size_t size, struct fail *why)
{
    struct classify_image image = {.bytes = (const uint8_t *)data, .size = size};
    return classify_request_add_image(request, &image, why);
}

static enum status classify_request_read_form(struct classify_request *request,
                                              const char *content_type, const char *body,
                                              size_t size, struct fail *why)
{
    struct multipart multipart;
    struct multipart_part part;
    bool end = false;
    enum status status = multipart_open(&multipart, content_type, body, size, why);
    while (!status) {
        status = multipart_next(&multipart, &part, &end, why);
        if (status || end)
            break;
        if (!strcmp(part.name, "image"))
            status = classify_request_add_bytes(request, part.data, part.size, why);
        else
            status = classify_request_set(request, part.name, part.data, part.size, why);
    }
    return status;
}

static enum status classify_request_check(const struct classify_request *request, struct fail *why)
{
    if (!request->image_count)
        return status_fail(why, STATUS_INVALID,
                           "there is no picture: \"image\" in a form, \"images\" in JSON");
    if (*request->label_set && (request->labels.count || request->sentences.count))
        return status_fail(why, STATUS_INVALID, "\"label_set\" excludes \"%s\": a set has its own",
                           request->labels.count ? "labels" : "sentence");
    bool own = request->labels.count > 0;
    size_t labels = own ? request->labels.count : request->limits.default_labels;
    size_t sentences = request->sentences.count ? request->sentences.count : 1;
    bool compiled_already = !own && !request->sentences.count && !*request->pool;
    if (labels && !compiled_already && sentences > request->limits.max_label_texts / labels)
        return status_fail(why, STATUS_LIMIT,
                           "%zu labels times %zu sentences are more than %zu texts", labels,
                           sentences, request->limits.max_label_texts);
    return STATUS_OK;
}

enum status classify_request_read(struct classify_request *request, enum classify_body kind,
                                  const char *content_type, const char *body, size_t size,
                                  struct fail *why)
{
    size_t labels = request->labels.count, sentences = request->sentences.count;
    enum status status = STATUS_OK;
    switch (kind) {
    case CLASSIFY_BODY_RAW:
        status = classify_request_add_bytes(request, body, size, why);
        break;
    case CLASSIFY_BODY_FORM:
        status = classify_request_read_form(request, content_type, body, size, why);
        break;
    case CLASSIFY_BODY_JSON:
        status = classify_json_read(request, body, size, why);
        break;
    }
    if (!status && labels && request->labels.count > labels)
        return status_fail(why, STATUS_INVALID, "\"labels\" is given in the query and the body");
    if (!status && sentences && request->sentences.count > sentences)
        return status_fail(why, STATUS_INVALID, "\"sentence\" is given in the query and the body");
    return status ? status : classify_request_check(request, why);
}
