#include "api/rest/label_set_request.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "api/rest/json_body.h"
#include "engine/base/buf.h"
#include "engine/base/mem.h"

enum { LABEL_SET_REQUEST_SHOWN = 5 /* labels that a message names */ };

static enum status label_set_request_set_pool(struct label_set_request *request,
                                              const json_t *value, struct fail *why)
{
    size_t length = json_string_length(value);
    if (!json_is_string(value) || !length || length > LABEL_SET_REQUEST_MAX_POOL_NAME ||
        strlen(json_string_value(value)) != length)
        return status_fail(why, STATUS_INVALID, "\"pool\" must be a text of 1 to %d bytes",
                           LABEL_SET_REQUEST_MAX_POOL_NAME);
    memcpy(request->pool, json_string_value(value), length + 1);
    return STATUS_OK;
}

static enum status label_set_request_set(struct label_set_request *request, bool patch,
                                         const char *name, const json_t *value,
                                         const struct label_set_limits *limits, struct fail *why)
{
    if (patch && !strcmp(name, "add"))
        return json_body_add_texts(&request->labels, name, value, limits->max_labels, why);
    if (patch && !strcmp(name, "remove"))
        return json_body_add_texts(&request->removed, name, value, limits->max_labels, why);
    if (!patch && !strcmp(name, "labels"))
        return json_body_add_texts(&request->labels, name, value, limits->max_labels, why);
    if (!patch && !strcmp(name, "sentence"))
        return json_body_add_text_or_texts(&request->sentences, name, value, limits->max_texts,
                                           why);
    if (!patch && !strcmp(name, "pool"))
        return label_set_request_set_pool(request, value, why);
    return status_fail(why, STATUS_INVALID, "unknown field \"%.64s\"", name);
}

static int label_set_request_compare(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* "cat", "dog" and so on into the message. */
static enum status label_set_request_name_twins(const char *const *sorted, size_t count,
                                                struct fail *why)
{
    struct buf names;
    size_t twins = 0;
    buf_init(&names, sizeof why->message);
    for (size_t i = 1; i < count; i++) {
        if (strcmp(sorted[i - 1], sorted[i]) != 0)
            continue;
        if (++twins <= LABEL_SET_REQUEST_SHOWN)
            buf_printf(&names, NULL, "%s\"%.64s\"", twins > 1 ? ", " : "", sorted[i]);
    }
    enum status status = STATUS_OK;
    if (twins)
        status = status_fail(why, STATUS_CANCELLED, "%zu label%s there more than once: %s%s", twins,
                             twins == 1 ? " is" : "s are", names.data ? names.data : "",
                             twins > LABEL_SET_REQUEST_SHOWN ? ", ..." : "");
    buf_finish(&names);
    return status;
}

static enum status label_set_request_check_twins(const struct text_list *list, struct fail *why)
{
    const char **sorted = mem_zeroed(list->count, sizeof *sorted);
    if (!sorted)
        return status_fail(why, STATUS_NO_MEMORY, "no memory for %zu labels", list->count);
    for (size_t i = 0; i < list->count; i++)
        sorted[i] = list->texts[i];
    if (list->count)
        qsort(sorted, list->count, sizeof *sorted, label_set_request_compare);
    enum status status = label_set_request_name_twins(sorted, list->count, why);
    free(sorted);
    return status;
}

static enum status label_set_request_check(const struct label_set_request *request, bool patch,
                                           const struct label_set_limits *limits, struct fail *why)
{
    size_t sentences = request->sentences.count ? request->sentences.count : 1;
    if (!patch && !request->labels.count)
        return status_fail(why, STATUS_INVALID, "\"labels\" is missing");
    if (patch && !request->labels.count && !request->removed.count)
        return status_fail(why, STATUS_INVALID, "there is neither \"add\" nor \"remove\"");
    if (request->labels.count && sentences > limits->max_texts / request->labels.count)
        return status_fail(why, STATUS_LIMIT,
                           "%zu labels times %zu sentences are more than %zu texts",
                           request->labels.count, sentences, limits->max_texts);
    enum status status = label_set_request_check_twins(&request->labels, why);
    return status ? status : label_set_request_check_twins(&request->removed, why);
}

enum status label_set_request_read(struct label_set_request *request, bool patch, const char *body,
                                   size_t size, const struct label_set_limits *limits,
                                   struct fail *why)
{
    json_t *root;
    *request = (struct label_set_request){0};
    enum status status = json_body_load(body, size, 1024 + 2 * limits->max_labels, &root, why);
    if (status)
        return status;
    for (void *field = json_object_iter(root); field && !status;
         field = json_object_iter_next(root, field))
        status = label_set_request_set(request, patch, json_object_iter_key(field),
                                       json_object_iter_value(field), limits, why);
    json_decref(root);
    return status ? status : label_set_request_check(request, patch, limits, why);
}

void label_set_request_finish(struct label_set_request *request)
{
    text_list_finish(&request->labels);
    text_list_finish(&request->removed);
    text_list_finish(&request->sentences);
}
