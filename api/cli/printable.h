/*
 * Text from outside - file names, labels, messages that quote them - made safe to show. What could
 * steer a terminal (control characters, line and direction controls) and bytes that are not UTF-8
 * come out as \xNN or \uNNNN. Widths are in terminal columns, after wcwidth of the current locale.
 */
#ifndef API_CLI_PRINTABLE_H
#define API_CLI_PRINTABLE_H

#include <stddef.h>

#include "engine/base/buf.h"
#include "engine/base/status.h"

/* The columns that printable_append takes to show text uncut. */
size_t printable_columns(const char *text);

/* Appends text as above, cut to max_columns with "..." at the end if it is wider. */
enum status printable_append(struct buf *out, const char *text, size_t max_columns,
                             struct fail *why);

/* Appends text unchanged but for bytes that are not UTF-8, each of which becomes U+FFFD: for JSON,
 * which has escapes of its own. */
enum status printable_append_utf8(struct buf *out, const char *text, struct fail *why);

#endif
