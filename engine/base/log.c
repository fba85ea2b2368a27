#include "engine/base/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>

#include "engine/base/quote.h"
#include "engine/base/utf8.h"

enum { LOG_MOST_MESSAGE = 1024 };

static atomic_int log_current_level = LOG_INFO;
static atomic_int log_current_format = LOG_TEXT;

void log_set_level(enum log_level level)
{
    atomic_store_explicit(&log_current_level, (int)level, memory_order_relaxed);
}

void log_set_format(enum log_format format)
{
    atomic_store_explicit(&log_current_format, (int)format, memory_order_relaxed);
}

bool log_enabled(enum log_level level)
{
    return (int)level <= atomic_load_explicit(&log_current_level, memory_order_relaxed);
}

void log_line(enum log_level level, const char *format, ...)
{
    static const char *const names[] = {"error", "warn", "info", "debug"};
    if (!log_enabled(level))
        return;
    char message[LOG_MOST_MESSAGE];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    utf8_clean(message); /* which quotes what clients and files sent */

    struct timespec now;
    char stamp[LOG_STAMP_BYTES], quoted[2 * LOG_MOST_MESSAGE];
    clock_gettime(CLOCK_REALTIME, &now);
    log_write_stamp(now.tv_sec, stamp);
    long ms = now.tv_nsec / 1000000;
    if (atomic_load_explicit(&log_current_format, memory_order_relaxed) == LOG_TEXT) {
        fprintf(stderr, "%s.%03ldZ %-5s %s\n", stamp, ms, names[level], message);
        return;
    }
    quote_json(quoted, sizeof quoted, message);
    fprintf(stderr, "{\"time\":\"%s.%03ldZ\",\"level\":\"%s\",\"message\":%s}\n", stamp, ms,
            names[level], quoted);
}

void log_write_stamp(int64_t seconds, char out[LOG_STAMP_BYTES])
{
    struct tm utc;
    time_t time = (time_t)seconds;
    gmtime_r(&time, &utc);
    strftime(out, LOG_STAMP_BYTES, "%Y-%m-%dT%H:%M:%S", &utc);
}
