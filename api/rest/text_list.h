/* A list of short texts with an upper limit; each is trimmed and copied. */
#ifndef API_REST_TEXT_LIST_H
#define API_REST_TEXT_LIST_H

#include <stddef.h>

#include "engine/base/status.h"

struct text_list {
    char **texts;
    size_t count, capacity;
};

void text_list_finish(struct text_list *list);

/* Adds one. `what` names the list in messages. STATUS_INVALID for a blank text, or one that is not
 * UTF-8 or holds a NUL; STATUS_LIMIT for more than max_count. */
enum status text_list_add(struct text_list *list, const char *text, size_t length, size_t max_count,
                          const char *what, struct fail *why);

#endif
