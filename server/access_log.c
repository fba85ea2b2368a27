#include "server/access_log.h"

#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "engine/base/mem.h"
#include "engine/base/quote.h"
#include "engine/base/utf8.h"

enum {
    ACCESS_LOG_MOST_LINE = 6144, /* every text below quoted, and the rest */
    ACCESS_LOG_MOST_TEXT = 128,
    ACCESS_LOG_FULL_BYTES = ACCESS_LOG_BYTES / 2 /* written without waiting longer */
};

struct access_log {
    int fd;
    enum log_format format;
    uint64_t flush_us; /* of the clock; UINT64_MAX: nothing waits */
    uint64_t dropped;
    time_t second; /* that stamp is of */
    char stamp[LOG_STAMP_BYTES];
    size_t used;
    char lines[ACCESS_LOG_BYTES];
};

enum status access_log_create(int fd, enum log_format format, struct access_log **out,
                              struct fail *why)
{
    struct access_log *log = mem_zeroed(1, sizeof *log);
    if (!log)
        return status_fail(why, STATUS_NO_MEMORY, "no memory for the access log");
    log->fd = fd;
    log->format = format;
    log->flush_us = UINT64_MAX;
    log->second = -1;
    *out = log;
    return STATUS_OK;
}

void access_log_destroy(struct access_log *log)
{
    if (!log)
        return;
    access_log_flush(log);
    free(log);
}

/* ---- A line, of which each piece is known to fit ---- */

static char *access_log_put(char *at, const char *text)
{
    size_t length = strlen(text);
    memcpy(at, text, length);
    return at + length;
}

static char *access_log_put_number(char *at, uint64_t number)
{
    char digits[20];
    size_t count = 0;
    do
        digits[count++] = (char)('0' + number % 10);
    while (number /= 10);
    while (count)
        *at++ = digits[--count];
    return at;
}

/* With three decimals. */
static char *access_log_put_ms(char *at, uint64_t us)
{
    at = access_log_put_number(at, us / 1000);
    *at++ = '.';
    *at++ = (char)('0' + us / 100 % 10);
    *at++ = (char)('0' + us / 10 % 10);
    *at++ = (char)('0' + us % 10);
    return at;
}

static char *access_log_put_quoted(char *at, const char *text)
{
    char cut[ACCESS_LOG_MOST_TEXT];
    size_t length = strnlen(text, sizeof cut - 1);
    memcpy(cut, text, length);
    cut[length] = '\0';
    return at + quote_json(at, 6 * sizeof cut + 3, cut);
}

static char *access_log_put_time(struct access_log *log, char *at)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (now.tv_sec != log->second)
        log_write_stamp(log->second = now.tv_sec, log->stamp);
    long ms = now.tv_nsec / 1000000;
    at = access_log_put(at, log->stamp);
    *at++ = '.';
    *at++ = (char)('0' + ms / 100);
    *at++ = (char)('0' + ms / 10 % 10);
    *at++ = (char)('0' + ms % 10);
    *at++ = 'Z';
    return at;
}

static char *access_log_put_name(char *at, const char *before, const char *name, uint64_t version)
{
    if (!*name)
        return at;
    at = access_log_put(at, before);
    at = access_log_put(at, name);
    *at++ = '@';
    return access_log_put_number(at, version);
}

struct access_log_stage {
    const char *json, *text;
    uint64_t us;
};

static bool access_log_has_stages(const struct job_timings *timings)
{
    return timings->decode_us > 0;
}

static char *access_log_put_stages(char *at, const struct job_timings *timings, bool json)
{
    const struct access_log_stage stages[] = {
        {",\"queue_ms\":", " queue ", timings->queue_us},
        {",\"decode_ms\":", " decode ", timings->decode_us},
        {",\"image_ms\":", " image ", timings->image_us},
        {",\"retrieve_ms\":", " retrieve ", timings->retrieve_us},
        {",\"text_ms\":", " text ", timings->text_us},
    };
    if (!access_log_has_stages(timings))
        return at;
    for (size_t i = 0; i < sizeof stages / sizeof stages[0]; i++) {
        at = access_log_put(at, json ? stages[i].json : stages[i].text);
        at = access_log_put_ms(at, stages[i].us);
    }
    return at;
}

static char *access_log_put_json(struct access_log *log, char *at,
                                 const struct access_log_entry *entry)
{
    at = access_log_put(at, "{\"time\":\"");
    at = access_log_put_time(log, at);
    at = access_log_put(at, "\",\"level\":\"info\",\"request_id\":");
    at = access_log_put_quoted(at, entry->request_id);
    at = access_log_put(at, ",\"method\":");
    at = access_log_put_quoted(at, entry->method);
    at = access_log_put(at, ",\"path\":");
    at = access_log_put_quoted(at, entry->path);
    if (entry->route) {
        at = access_log_put(at, ",\"route\":");
        at = access_log_put_quoted(at, entry->route);
    }
    at = access_log_put(at, ",\"status\":");
    at = access_log_put_number(at, (uint64_t)entry->status);
    at = access_log_put(at, ",\"bytes_in\":");
    at = access_log_put_number(at, entry->bytes_in);
    at = access_log_put(at, ",\"bytes_out\":");
    at = access_log_put_number(at, entry->bytes_out);
    at = access_log_put(at, ",\"total_ms\":");
    at = access_log_put_ms(at, entry->duration_us);
    at = access_log_put_stages(at, entry->timings, true);
    const struct job_used *used = entry->used;
    char *before = at;
    at = access_log_put_name(at, ",\"label_set\":\"", used->label_set, used->label_set_version);
    at = at == before ? at : access_log_put(at, "\"");
    before = at;
    at = access_log_put_name(at, ",\"pool\":\"", used->pool, used->pool_version);
    at = at == before ? at : access_log_put(at, "\"");
    if (*entry->trace_id) {
        at = access_log_put(at, ",\"trace_id\":");
        at = access_log_put_quoted(at, entry->trace_id);
    }
    return access_log_put(at, "}\n");
}

/* Not even a control character of a terminal may come through. */
static char *access_log_put_clean(char *at, const char *text)
{
    char cut[ACCESS_LOG_MOST_TEXT];
    size_t length = strnlen(text, sizeof cut - 1);
    memcpy(cut, text, length);
    cut[length] = '\0';
    utf8_clean(cut);
    return access_log_put(at, cut);
}

static char *access_log_put_text(struct access_log *log, char *at,
                                 const struct access_log_entry *entry)
{
    const struct job_used *used = entry->used;
    at = access_log_put_time(log, at);
    at = access_log_put(at, " info  ");
    at = access_log_put_clean(at, entry->method);
    *at++ = ' ';
    at = access_log_put_clean(at, entry->path);
    *at++ = ' ';
    at = access_log_put_number(at, (uint64_t)entry->status);
    *at++ = ' ';
    at = access_log_put_ms(at, entry->duration_us);
    at = access_log_put(at, " ms in ");
    at = access_log_put_number(at, entry->bytes_in);
    at = access_log_put(at, " out ");
    at = access_log_put_number(at, entry->bytes_out);
    at = access_log_put_stages(at, entry->timings, false);
    at = access_log_put_name(at, " labels ", used->label_set, used->label_set_version);
    at = access_log_put_name(at, " pool ", used->pool, used->pool_version);
    *at++ = ' ';
    at = access_log_put_clean(at, entry->request_id);
    if (*entry->trace_id) {
        at = access_log_put(at, " trace ");
        at = access_log_put_clean(at, entry->trace_id);
    }
    *at++ = '\n';
    return at;
}

/* ---- Writing ---- */

void access_log_add(struct access_log *log, const struct access_log_entry *entry, uint64_t now_us)
{
    if (log->used >= ACCESS_LOG_FULL_BYTES)
        access_log_flush(log);
    if (sizeof log->lines - log->used < ACCESS_LOG_MOST_LINE) {
        log->dropped++;
        return;
    }
    char *at = log->lines + log->used;
    at = log->format == LOG_JSON ? access_log_put_json(log, at, entry)
                                 : access_log_put_text(log, at, entry);
    log->used = (size_t)(at - log->lines);
    if (log->flush_us == UINT64_MAX)
        log->flush_us = now_us + ACCESS_LOG_DELAY_US;
}

uint64_t access_log_run(struct access_log *log, uint64_t now_us)
{
    if (now_us < log->flush_us)
        return log->flush_us;
    access_log_flush(log);
    log->flush_us = log->used ? now_us + ACCESS_LOG_DELAY_US : UINT64_MAX;
    return log->flush_us;
}

/* A pipe or socket that says it is ready takes so many bytes without waiting, and in one piece. The
 * descriptor cannot be told not to wait: it may be others' too. Whole lines, since others write to
 * it in between. */
static size_t access_log_write_piece(int fd, const char *bytes, size_t size)
{
    struct pollfd ready = {.fd = fd, .events = POLLOUT};
    if (poll(&ready, 1, 0) <= 0 || !(ready.revents & (POLLOUT | POLLERR)))
        return 0;
    size_t most = size < PIPE_BUF ? size : PIPE_BUF, whole = most;
    while (whole && bytes[whole - 1] != '\n')
        whole--;
    ssize_t written = write(fd, bytes, whole ? whole : most);
    return written > 0 ? (size_t)written : 0;
}

void access_log_flush(struct access_log *log)
{
    size_t done = 0, piece;
    while (done < log->used &&
           (piece = access_log_write_piece(log->fd, log->lines + done, log->used - done)))
        done += piece;
    if (!done)
        return;
    log->used -= done;
    memmove(log->lines, log->lines + done, log->used);
}

uint64_t access_log_dropped(const struct access_log *log)
{
    return log->dropped;
}
