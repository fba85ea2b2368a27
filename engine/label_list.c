#include "engine/label_list.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/buf.h"
#include "engine/base/mem.h"
#include "engine/base/utf8.h"
#include "engine/engine.h"

#define LABEL_LIST_SPACE " \t\r\v\f"

/* Cuts the white space off both ends. */
static char *label_list_trim(char *name)
{
    name += strspn(name, LABEL_LIST_SPACE);
    size_t length = strlen(name);
    while (length && strchr(LABEL_LIST_SPACE, name[length - 1]))
        length--;
    name[length] = '\0';
    return name;
}

static enum status label_list_add(const char **names, size_t *count, const char *name,
                                  struct fail *why)
{
    if (*count == ENGINE_MAX_LIST_LABELS)
        return status_fail(why, STATUS_LIMIT, "more than %d labels", ENGINE_MAX_LIST_LABELS);
    names[(*count)++] = name;
    return STATUS_OK;
}

/* ---- Lines ---- */

static enum status label_list_check_line(const char *line, size_t length, size_t number,
                                         struct fail *why)
{
    if (memchr(line, '\0', length))
        return status_fail(why, STATUS_FORMAT, "line %zu holds a NUL byte", number);
    if (!utf8_is_valid(line, length))
        return status_fail(why, STATUS_FORMAT, "line %zu is not UTF-8 text", number);
    return STATUS_OK;
}

static enum status label_list_cut_lines(char *text, size_t size, const char **names, size_t *count,
                                        struct fail *why)
{
    size_t number = 0;
    enum status status = STATUS_OK;
    for (char *line = text, *end = text + size; line < end && !status;) {
        char *stop = memchr(line, '\n', (size_t)(end - line));
        size_t length = (size_t)((stop ? stop : end) - line);
        status = label_list_check_line(line, length, ++number, why);
        line[length] = '\0';
        const char *name = label_list_trim(line);
        if (!status && *name && *name != '#')
            status = label_list_add(names, count, name, why);
        line += length + 1;
    }
    if (!status && !*count)
        status = status_fail(why, STATUS_FORMAT, "no labels");
    return status;
}

/* ---- Between commas ---- */

static enum status label_list_cut_commas(char *text, size_t size, const char **names, size_t *count,
                                         struct fail *why)
{
    (void)size;
    enum status status = STATUS_OK;
    for (char *next = text; next && !status;) {
        char *name = next;
        next = strchr(name, ',');
        if (next)
            *next++ = '\0';
        name = label_list_trim(name);
        if (!*name)
            status = status_fail(why, STATUS_INVALID, "label %zu is empty", *count + 1);
        else if (!utf8_is_valid(name, strlen(name)))
            status = status_fail(why, STATUS_INVALID, "label %zu is not UTF-8 text", *count + 1);
        else
            status = label_list_add(names, count, name, why);
    }
    return status;
}

/* ---- Lists ---- */

static size_t label_list_pieces(const char *text, size_t size, char separator)
{
    size_t pieces = 1;
    for (size_t i = 0; i < size; i++)
        pieces += text[i] == separator;
    return pieces;
}

/* cut ends the names in text [size], which a NUL follows, and adds them to names and count. */
static enum status label_list_make(const char *text, size_t size, char separator,
                                   enum status (*cut)(char *text, size_t size, const char **names,
                                                      size_t *count, struct fail *why),
                                   struct engine_label_list *out, struct fail *why)
{
    struct engine_label_list list = {.text = mem_copy_text(text, size)};
    const char **names = mem_zeroed(label_list_pieces(text, size, separator), sizeof *names);
    enum status status = list.text && names
                             ? cut(list.text, size, names, &list.count, why)
                             : status_fail(why, STATUS_NO_MEMORY, "no memory for the labels");
    list.names = names;
    if (status)
        engine_label_list_finish(&list);
    else
        *out = list;
    return status;
}

enum status engine_label_list_parse(const char *text, size_t size, struct engine_label_list *out,
                                    struct fail *why)
{
    static const char mark[] = {'\xef', '\xbb', '\xbf'}; /* of the byte order */
    if (size > ENGINE_MAX_LIST_BYTES)
        return status_fail(why, STATUS_LIMIT, "more than %d bytes", ENGINE_MAX_LIST_BYTES);
    if (size >= sizeof mark && memcmp(text, mark, sizeof mark) == 0) {
        text += sizeof mark;
        size -= sizeof mark;
    }
    return label_list_make(text, size, '\n', label_list_cut_lines, out, why);
}

enum status engine_label_list_split(const char *text, struct engine_label_list *out,
                                    struct fail *why)
{
    return label_list_make(text, strlen(text), ',', label_list_cut_commas, out, why);
}

void engine_label_list_finish(struct engine_label_list *list)
{
    if (!list)
        return;
    free((void *)list->names);
    free(list->text);
    *list = (struct engine_label_list){0};
}

enum status label_list_load(const char *folder, struct engine_label_list *out, struct fail *why)
{
    struct buf path, text;
    buf_init(&path, SIZE_MAX);
    buf_init(&text, ENGINE_MAX_LIST_BYTES);
    enum status status = buf_printf(&path, why, "%s/labels.txt", folder);
    if (!status)
        status = buf_read_file(&text, path.data, why);
    if (!status) {
        status = engine_label_list_parse(text.data, text.size, out, why);
        if (status)
            status_context(why, status, "%s", path.data);
    }
    buf_finish(&text);
    buf_finish(&path);
    return status;
}
