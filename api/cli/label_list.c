#include "api/cli/label_list.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "api/cli/input.h"
#include "engine/base/mem.h"

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

static size_t label_list_pieces(const char *text, char separator)
{
    size_t pieces = 1;
    for (; *text; text++)
        pieces += *text == separator;
    return pieces;
}

static enum status label_list_add(struct label_list *list, const char **names, const char *name,
                                  struct fail *why)
{
    if (list->count == LABEL_LIST_MAX_LABELS)
        return status_fail(why, STATUS_LIMIT, "more than %d labels", LABEL_LIST_MAX_LABELS);
    names[list->count++] = name;
    return STATUS_OK;
}

/* Takes over text, which is released on failure too. In a file, blank and comment pieces are passed
 * over. */
static enum status label_list_take(struct label_list *out, char *text, char separator, bool file,
                                   struct fail *why)
{
    struct label_list list = {.text = text};
    const char **names = mem_zeroed(label_list_pieces(text, separator), sizeof *names);
    enum status status = STATUS_OK;
    if (!names)
        status = status_fail(why, STATUS_NO_MEMORY, "no memory for the labels");
    for (char *next = text; next && !status;) {
        char *name = next;
        next = strchr(name, separator);
        if (next)
            *next++ = '\0';
        name = label_list_trim(name);
        if (*name && !(file && *name == '#'))
            status = label_list_add(&list, names, name, why);
        else if (!file)
            status = status_fail(why, STATUS_INVALID, "label %zu is empty", list.count + 1);
    }
    if (!status && !list.count)
        status = status_fail(why, STATUS_FORMAT, "no labels");
    list.names = names;
    if (status)
        label_list_finish(&list);
    else
        *out = list;
    return status;
}

enum status label_list_split(struct label_list *list, const char *text, struct fail *why)
{
    char *copy = mem_copy_text(text, strlen(text));
    if (!copy)
        return status_fail(why, STATUS_NO_MEMORY, "no memory for the labels");
    return label_list_take(list, copy, ',', false, why);
}

/* out_text: the file without its byte order mark; free(). */
static enum status label_list_read(const char *path, char **out_text, struct fail *why)
{
    static const char byte_order_mark[] = "\xef\xbb\xbf";
    const size_t mark = sizeof byte_order_mark - 1;
    struct buf file;
    buf_init(&file, LABEL_LIST_MAX_FILE_BYTES);
    enum status status = input_read(&file, path, why);
    if (!status && memchr(file.data, '\0', file.size))
        status = status_fail(why, STATUS_FORMAT, "%s: holds a NUL byte", input_name(path));
    if (!status) {
        size_t skip = strncmp(file.data, byte_order_mark, mark) == 0 ? mark : 0;
        char *text = mem_copy_text(file.data + skip, file.size - skip);
        if (text)
            *out_text = text;
        else
            status = status_fail(why, STATUS_NO_MEMORY, "no memory for the labels");
    }
    buf_finish(&file);
    return status;
}

enum status label_list_load(struct label_list *list, const char *path, struct fail *why)
{
    char *text = NULL;
    enum status status = label_list_read(path, &text, why);
    if (status)
        return status;
    status = label_list_take(list, text, '\n', true, why);
    return status ? status_context(why, status, "%s", input_name(path)) : STATUS_OK;
}

enum status label_list_load_default(struct label_list *list, const char *model_dir,
                                    struct fail *why)
{
    struct buf path;
    buf_init(&path, SIZE_MAX);
    enum status status = buf_printf(&path, why, "%s/labels.txt", model_dir);
    if (!status)
        status = label_list_load(list, path.data, why);
    buf_finish(&path);
    return status;
}

void label_list_finish(struct label_list *list)
{
    if (!list)
        return;
    free((void *)list->names);
    free(list->text);
    *list = (struct label_list){0};
}
