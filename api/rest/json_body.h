/*
 * Bodies in JSON, read with bounds. Any thread.
 */
#ifndef API_REST_JSON_BODY_H
#define API_REST_JSON_BODY_H

#include <stddef.h>

#include "api/rest/text_list.h"
#include "engine/base/status.h"

struct json_t;

/* An object; json_decref. STATUS_FORMAT tells line and column, STATUS_LIMIT that it holds more than
 * max_values values: the parser makes an object of each, thirty times the size of "0,". */
enum status json_body_load(const char *body, size_t size, size_t max_values, struct json_t **out,
                           struct fail *why);

/* Adds the strings of an array, which must not be empty, to a list of at most max_count. name: of
 * the field, in messages. */
enum status json_body_add_texts(struct text_list *list, const char *name,
                                const struct json_t *array, size_t max_count, struct fail *why);

/* The same for a string or an array of strings. */
enum status json_body_add_text_or_texts(struct text_list *list, const char *name,
                                        const struct json_t *value, size_t max_count,
                                        struct fail *why);

#endif
