#include "api/rest/label_set_request.h"

#include <inttypes.h>
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

static enum status label_set_request_set_timeout(struct label_set_request *request,
                                                 const json_t *value,
                                                 const struct label_set_limits *limits,
                                                 struct fail *why)
{
    json_int_t timeout_ms = json_integer_value(value);
    if (!json_is_integer(value) || timeout_ms < 1 || (uint64_t)timeout_ms > limits->max_timeout_ms)
        return status_fail(why, STATUS_INVALID,
                           "\"timeout_ms\" must be a whole number from 1 to %" PRIu64,
                           limits->max_timeout_ms);
    request->timeout_ms = (uint64_t)timeout_ms;
    return STATUS_OK;
}

static enum status label_set_request_add_alias(struct label_set_request *request,
                                               const json_t *value, size_t max_count,
                                               struct fail *why)
{
    struct text_list *list = &request->aliases;
    size_t capacity = list->capacity;
    if (!json_is_string(value))
        return status_fail(why, STATUS_INVALID, "\"aliases\": an item is not a string");
    enum status status = text_list_add(list, json_string_value(value), json_string_length(value),
                                       max_count, "aliases", why);
    if (status)
        return status;
    if (list->capacity != capacity) {
        uint32_t *grown = mem_resize(request->alias_of, list->capacity, sizeof *grown);
        if (!grown)
            return status_fail(why, STATUS_NO_MEMORY, "no memory for %zu aliases", list->capacity);
        request->alias_of = grown;
    }
    request->alias_of[list->count - 1] = (uint32_t)request->names.count - 1;
    return STATUS_OK;
}

/* {"name": "...", "aliases": [...]} */
static enum status label_set_request_add_object(struct label_set_request *request,
                                                const char *field, const json_t *item,
                                                size_t max_count, struct fail *why)
{
    const json_t *name = json_object_get(item, "name"), *aliases = json_object_get(item, "aliases");
    size_t known = (name != NULL) + (aliases != NULL);
    if (!json_is_string(name) || (aliases && !json_is_array(aliases)) ||
        json_object_size(item) != known)
        return status_fail(why, STATUS_INVALID,
                           "\"%s\": item %zu must be a text or an object of a \"name\" and, if "
                           "it has any, \"aliases\"",
                           field, request->names.count + 1);
    enum status status = text_list_add(&request->names, json_string_value(name),
                                       json_string_length(name), max_count, field, why);
    for (size_t i = 0; i < json_array_size(aliases) && !status; i++)
        status = label_set_request_add_alias(request, json_array_get(aliases, i), max_count, why);
    return status;
}

static enum status label_set_request_add(struct label_set_request *request, const char *field,
                                         const json_t *array, size_t max_count, struct fail *why)
{
    if (!json_is_array(array) || !json_array_size(array))
        return status_fail(why, STATUS_INVALID, "\"%s\" must be an array of at least one label",
                           field);
    enum status status = STATUS_OK;
    for (size_t i = 0; i < json_array_size(array) && !status; i++) {
        const json_t *item = json_array_get(array, i);
        status = json_is_string(item)
                     ? text_list_add(&request->names, json_string_value(item),
                                     json_string_length(item), max_count, field, why)
                     : label_set_request_add_object(request, field, item, max_count, why);
    }
    return status;
}

static enum status label_set_request_set(struct label_set_request *request, bool patch,
                                         const char *name, const json_t *value,
                                         const struct label_set_limits *limits, struct fail *why)
{
    if (!strcmp(name, patch ? "add" : "labels"))
        return label_set_request_add(request, name, value, limits->max_labels, why);
    if (patch && !strcmp(name, "remove"))
        return json_body_add_texts(&request->removed, name, value, limits->max_labels, why);
    if (!patch && !strcmp(name, "sentence"))
        return json_body_add_text_or_texts(&request->sentences, name, value, limits->max_texts,
                                           why);
    if (!patch && !strcmp(name, "pool"))
        return label_set_request_set_pool(request, value, why);
    if (!strcmp(name, "timeout_ms"))
        return label_set_request_set_timeout(request, value, limits, why);
    if (strcmp(name, "default") != 0)
        return status_fail(why, STATUS_INVALID, "unknown field \"%.64s\"", name);
    if (!json_is_boolean(value))
        return status_fail(why, STATUS_INVALID, "\"default\" must be true or false");
    request->make_default = json_is_true(value) ? STORE_DEFAULT_SET : STORE_DEFAULT_CLEAR;
    return STATUS_OK;
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

enum status label_set_request_check_twins(const char **texts, size_t count, struct fail *why)
{
    if (count)
        qsort(texts, count, sizeof *texts, label_set_request_compare);
    return label_set_request_name_twins(texts, count, why);
}

static enum status label_set_request_check_lists(const struct text_list *one,
                                                 const struct text_list *other, struct fail *why)
{
    const char **texts = mem_zeroed(one->count + other->count, sizeof *texts);
    if (!texts)
        return status_fail(why, STATUS_NO_MEMORY, "no memory for %zu labels", one->count);
    for (size_t i = 0; i < one->count; i++)
        texts[i] = one->texts[i];
    for (size_t i = 0; i < other->count; i++)
        texts[one->count + i] = other->texts[i];
    enum status status = label_set_request_check_twins(texts, one->count + other->count, why);
    free(texts);
    return status;
}

static enum status label_set_request_check(const struct label_set_request *request, bool patch,
                                           const struct label_set_limits *limits, struct fail *why)
{
    static const struct text_list none;
    size_t sentences = request->sentences.count ? request->sentences.count : 1;
    size_t labels = request->names.count + request->aliases.count;
    if (!patch && !request->names.count)
        return status_fail(why, STATUS_INVALID, "\"labels\" is missing");
    if (patch && !request->names.count && !request->removed.count && !request->make_default)
        return status_fail(why, STATUS_INVALID,
                           "there is none of \"add\", \"remove\" and \"default\"");
    if (labels > limits->max_labels)
        return status_fail(why, STATUS_LIMIT, "more than %zu labels, aliases included",
                           limits->max_labels);
    if (labels && sentences > limits->max_texts / labels)
        return status_fail(why, STATUS_LIMIT,
                           "%zu labels times %zu sentences are more than %zu texts", labels,
                           sentences, limits->max_texts);
    enum status status = label_set_request_check_lists(&request->names, &request->aliases, why);
    return status ? status : label_set_request_check_lists(&request->removed, &none, why);
}

enum status label_set_request_read(struct label_set_request *request, bool patch, const char *body,
                                   size_t size, const struct label_set_limits *limits,
                                   struct fail *why)
{
    json_t *root;
    *request = (struct label_set_request){0};
    size_t values = limits->max_labels < SIZE_MAX / 8 ? 1024 + 4 * limits->max_labels : SIZE_MAX;
    enum status status = json_body_load(body, size, values, &root, why);
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
    text_list_finish(&request->names);
    text_list_finish(&request->aliases);
    free(request->alias_of);
    text_list_finish(&request->removed);
    text_list_finish(&request->sentences);
}
