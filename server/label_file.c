#include "server/label_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/buf.h"
#include "engine/base/mem.h"

enum { LABEL_FILE_MAX_BYTES = 16 << 20 };

/* Cuts text into its lines, in place. *out_names [*out_count] points into it. */
static enum status label_file_split(char *text, const char ***out_names, size_t *out_count,
                                    struct fail *why)
{
    size_t lines = 1, count = 0;
    for (const char *c = text; *c; c++)
        lines += *c == '\n';
    const char **names = mem_zeroed(lines, sizeof *names);
    if (!names)
        return status_fail(why, STATUS_NO_MEMORY, "no memory for %zu labels", lines);
    char *rest = NULL;
    for (char *line = strtok_r(text, "\r\n", &rest); line; line = strtok_r(NULL, "\r\n", &rest)) {
        line += strspn(line, " \t");
        size_t length = strlen(line);
        while (length && strchr(" \t", line[length - 1]))
            line[--length] = '\0';
        if (length)
            names[count++] = line;
    }
    *out_names = names;
    *out_count = count;
    return STATUS_OK;
}

enum status label_file_compile(struct engine_session *session, const char *model_dir,
                               struct engine_labels **out, struct fail *why)
{
    struct buf path, text;
    const char **names = NULL;
    size_t count = 0;
    struct engine_labels *labels = NULL;
    buf_init(&path, 4096);
    buf_init(&text, LABEL_FILE_MAX_BYTES);
    enum status status = buf_printf(&path, why, "%s/labels.txt", model_dir);
    if (!status)
        status = buf_read_file(&text, path.data, why);
    if (!status)
        status = label_file_split(text.data, &names, &count, why);
    if (!status)
        status = engine_labels_compile(session, names, count, NULL, 0, &labels, why);
    if (status == STATUS_NOT_FOUND)
        status = STATUS_OK;
    else if (status)
        status_context(why, status, "labels.txt");
    free(names);
    buf_finish(&text);
    buf_finish(&path);
    if (!status)
        *out = labels;
    return status;
}
