#include "api/rest/json_body.h"

#include <jansson.h>
#include <stdbool.h>

/* How many values there may be in a text, before it is parsed. */
static size_t json_body_count_values(const char *body, size_t size)
{
    bool in_string = false;
    size_t values = 0;
    for (size_t i = 0; i < size; i++) {
        if (in_string && body[i] == '\\')
            i++;
        else if (body[i] == '"')
            in_string = !in_string;
        else if (!in_string)
            values += body[i] == ',' || body[i] == '[' || body[i] == '{';
    }
    return values;
}

enum status json_body_load(const char *body, size_t size, size_t max_values, struct json_t **out,
                           struct fail *why)
{
    json_error_t error;
    if (json_body_count_values(body, size) > max_values)
        return status_fail(why, STATUS_LIMIT, "the JSON holds more than %zu values", max_values);
    json_t *root = json_loadb(body, size, JSON_REJECT_DUPLICATES, &error);
    if (!root)
        return status_fail(why, STATUS_FORMAT, "JSON, line %d, column %d: %s", error.line,
                           error.column, error.text);
    if (!json_is_object(root)) {
        json_decref(root);
        return status_fail(why, STATUS_INVALID, "the JSON is not an object");
    }
    *out = root;
    return STATUS_OK;
}

enum status json_body_add_texts(struct text_list *list, const char *name,
                                const struct json_t *array, size_t max_count, struct fail *why)
{
    if (!json_is_array(array) || !json_array_size(array))
        return status_fail(why, STATUS_INVALID, "\"%s\" must be an array of at least one string",
                           name);
    enum status status = STATUS_OK;
    for (size_t i = 0; i < json_array_size(array) && !status; i++) {
        const json_t *item = json_array_get(array, i);
        if (!json_is_string(item))
            return status_fail(why, STATUS_INVALID, "\"%s\": item %zu is not a string", name,
                               i + 1);
        status = text_list_add(list, json_string_value(item), json_string_length(item), max_count,
                               name, why);
    }
    return status;
}

enum status json_body_add_text_or_texts(struct text_list *list, const char *name,
                                        const struct json_t *value, size_t max_count,
                                        struct fail *why)
{
    if (json_is_string(value))
        return text_list_add(list, json_string_value(value), json_string_length(value), max_count,
                             name, why);
    if (!json_is_array(value) || !json_array_size(value))
        return status_fail(why, STATUS_INVALID,
                           "\"%s\" must be a string or an array of at least one string", name);
    return json_body_add_texts(list, name, value, max_count, why);
}
