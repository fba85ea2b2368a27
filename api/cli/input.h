/*
 * Files that the user named. Unlike a model's, they may be pipes - `<(command)`, /dev/stdin - and
 * are waited for. Any thread, standard input only one.
 */
#ifndef API_CLI_INPUT_H
#define API_CLI_INPUT_H

#include <stdbool.h>

#include "engine/base/buf.h"
#include "engine/base/status.h"

/* "-" */
bool input_is_standard(const char *path);

/* path as it stands in messages. */
const char *input_name(const char *path);

/* Appends all of the file; failures name it, and are those of buf_read_file. */
enum status input_read(struct buf *out, const char *path, struct fail *why);

#endif
