/*
 * What standard output is connected to, and the lines that go to standard error. Main thread only.
 */
#ifndef API_CLI_TERMINAL_H
#define API_CLI_TERMINAL_H

#include <stdbool.h>
#include <stddef.h>

#include "api/cli/cli.h"
#include "engine/base/buf.h"
#include "engine/base/status.h"

struct terminal {
    bool interactive; /* standard output is a terminal */
    bool utf8;        /* the locale can show block characters */
    size_t columns;   /* COLUMNS, else what the terminal says, else 80 */
};

/* Adopts the user's LC_CTYPE and looks at standard output. */
void terminal_probe(struct terminal *out);

/* "attriprompt COMMAND: message" on standard error, made printable. Standard output is flushed
 * first, so that the two keep their order on a terminal; progress that is shown is wiped. */
void terminal_complain(const char *command, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* "done of total pictures" on one line of standard error, rewritten by the next call, and wiped by
 * a message or when done reaches total. Silent unless there are many and only standard error is a
 * terminal. */
void terminal_progress(size_t done, size_t total);

/* Text on that line of standard error, rewritten by the next call and wiped by a message or by "";
 * only for a terminal. */
void terminal_show(const char *text);

/* Standard error is a terminal. */
bool terminal_is_watched(void);

/* Writes text to standard output and empties it. */
enum status terminal_write(struct buf *text, struct fail *why);

/* The end of a command that came to status: flushes standard output and tells on standard error
 * what failed, that output was lost included. why is not read if status is STATUS_OK. */
enum cli_exit terminal_end(const char *command, enum status status, const struct fail *why);

#endif
