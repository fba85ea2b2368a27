/*
 * Lines for the operator, on standard error. Level and format are the only globals of the engine;
 * set them once at start. Any thread; each line is written by one call, so lines never interleave.
 */
#ifndef ENGINE_BASE_LOG_H
#define ENGINE_BASE_LOG_H

#include <stdbool.h>
#include <stdint.h>

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

/* For people; or one object a line, with the fields time, level and message. */
enum log_format { LOG_TEXT, LOG_JSON };

enum { LOG_STAMP_BYTES = 32 };

void log_set_level(enum log_level level);
void log_set_format(enum log_format format);
bool log_enabled(enum log_level level);
void log_line(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Seconds since 1970 -> "2026-01-31T23:59:59", to which lines add ".123Z". */
void log_write_stamp(int64_t seconds, char out[LOG_STAMP_BYTES]);

#endif
