#include "api/cli/terminal.h"

#include <errno.h>
#include <langinfo.h>
#include <locale.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "api/cli/printable.h"

enum {
    TERMINAL_DEFAULT_COLUMNS = 80,
    TERMINAL_MAX_COLUMNS = 10000,
    TERMINAL_MANY_PICTURES = 50,
    TERMINAL_PROGRESS_BYTES = 80,
    TERMINAL_MESSAGE_BYTES = 2048
};

static bool terminal_shows_progress; /* on the line of standard error where the cursor is */

static size_t terminal_columns(void)
{
    const char *text = getenv("COLUMNS");
    char *end;
    long asked = text ? strtol(text, &end, 10) : 0;
    if (asked > 0 && asked <= TERMINAL_MAX_COLUMNS && *end == '\0')
        return (size_t)asked;
    struct winsize size;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
        return size.ws_col;
    return TERMINAL_DEFAULT_COLUMNS;
}

void terminal_probe(struct terminal *out)
{
    setlocale(LC_CTYPE, "");
    out->interactive = isatty(STDOUT_FILENO);
    out->utf8 = strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
    out->columns = terminal_columns();
}

static void terminal_wipe_progress(void)
{
    if (terminal_shows_progress)
        fputs("\r\033[K", stderr);
    terminal_shows_progress = false;
}

void terminal_complain(const char *command, const char *format, ...)
{
    char message[TERMINAL_MESSAGE_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);

    struct buf line;
    buf_init(&line, SIZE_MAX);
    fflush(stdout);
    terminal_wipe_progress();
    if (!printable_append(&line, message, SIZE_MAX, NULL))
        fprintf(stderr, "attriprompt %s: %s\n", command, line.data ? line.data : "");
    buf_finish(&line);
}

bool terminal_is_watched(void)
{
    return isatty(STDERR_FILENO);
}

void terminal_show(const char *text)
{
    terminal_wipe_progress();
    fputs(text, stderr);
    terminal_shows_progress = *text != '\0';
}

void terminal_progress(size_t done, size_t total)
{
    char text[TERMINAL_PROGRESS_BYTES] = "";
    if (total <= TERMINAL_MANY_PICTURES || !terminal_is_watched() || isatty(STDOUT_FILENO))
        return;
    if (done != total)
        snprintf(text, sizeof text, "%zu of %zu pictures", done, total);
    terminal_show(text);
}

static enum status terminal_lost(struct fail *why)
{
    return status_fail(why, STATUS_IO, "standard output: %s",
                       errno ? strerror(errno) : "write failed");
}

enum status terminal_write(struct buf *text, struct fail *why)
{
    errno = 0;
    if (fwrite(text->data, 1, text->size, stdout) != text->size)
        return terminal_lost(why);
    text->size = 0;
    return STATUS_OK;
}

enum cli_exit terminal_end(const char *command, enum status status, const struct fail *why)
{
    struct fail lost;
    errno = 0;
    if ((fflush(stdout) || ferror(stdout)) && !status) {
        status = terminal_lost(&lost);
        why = &lost;
    }
    if (status)
        terminal_complain(command, "%s", why->message);
    return status ? CLI_FAILED : CLI_OK;
}
