#include "api/rest/text_list.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/mem.h"
#include "engine/base/utf8.h"

void text_list_finish(struct text_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        free(list->texts[i]);
    free(list->texts);
    *list = (struct text_list){0};
}

static bool text_list_is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static enum status text_list_grow(struct text_list *list, struct fail *why)
{
    if (list->count < list->capacity)
        return STATUS_OK;
    size_t capacity = list->capacity ? list->capacity * 2 : 16;
    char **texts = mem_resize(list->texts, capacity, sizeof *texts);
    if (!texts)
        return status_fail(why, STATUS_NO_MEMORY, "no memory for %zu texts", capacity);
    list->texts = texts;
    list->capacity = capacity;
    return STATUS_OK;
}

enum status text_list_add(struct text_list *list, const char *text, size_t length, size_t max_count,
                          const char *what, struct fail *why)
{
    while (length && text_list_is_space(*text)) {
        text++;
        length--;
    }
    while (length && text_list_is_space(text[length - 1]))
        length--;
    if (!length)
        return status_fail(why, STATUS_INVALID, "\"%s\": item %zu is blank", what, list->count + 1);
    if (memchr(text, '\0', length) || !utf8_is_valid(text, length))
        return status_fail(why, STATUS_INVALID, "\"%s\": item %zu is not UTF-8 text", what,
                           list->count + 1);
    if (list->count == max_count)
        return status_fail(why, STATUS_LIMIT, "\"%s\": more than %zu items", what, max_count);
    enum status status = text_list_grow(list, why);
    if (status)
        return status;
    char *copy = mem_copy_text(text, length);
    if (!copy)
        return status_fail(why, STATUS_NO_MEMORY, "no memory for a text of %zu bytes", length);
    list->texts[list->count++] = copy;
    return STATUS_OK;
}
