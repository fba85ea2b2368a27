/*
 * Lists of labels as people write them: "cat, dog" on a command line, or a file of one label a
 * line. Main thread only.
 */
#ifndef API_CLI_LABEL_LIST_H
#define API_CLI_LABEL_LIST_H

#include <stddef.h>

#include "engine/base/buf.h"
#include "engine/base/status.h"

enum { LABEL_LIST_MAX_LABELS = 100000, LABEL_LIST_MAX_FILE_BYTES = 4 << 20 };

struct label_list {
    const char *const *names; /* [count] */
    size_t count;
    char *text; /* what names point into */
};

/* Between commas, without the white space around. An empty label is STATUS_INVALID, more than
 * LABEL_LIST_MAX_LABELS are STATUS_LIMIT. */
enum status label_list_split(struct label_list *list, const char *text, struct fail *why);

/* A file, or - for standard input: one label a line, without the white space around (a carriage
 * return is that too). Blank lines, lines that begin with '#' and a byte order mark are passed
 * over. STATUS_FORMAT for a NUL byte or a file of no labels. */
enum status label_list_load(struct label_list *list, const char *path, struct fail *why);

/* labels.txt of a model folder; STATUS_NOT_FOUND if it has none. */
enum status label_list_load_default(struct label_list *list, const char *model_dir,
                                    struct fail *why);

void label_list_finish(struct label_list *list);

#endif
