/*
 * JSON values for standard output. A long document is written piece by piece, so that it needs the
 * memory of one piece. Numbers have nine significant digits: enough to give back the very float.
 */
#ifndef API_CLI_DOCUMENT_H
#define API_CLI_DOCUMENT_H

#include <stddef.h>

#include "engine/base/status.h"

struct json_t;

/* New values; NULL if there is no memory. Bytes of text that are not UTF-8 become U+FFFD, and
 * floats that are not finite null. */
struct json_t *document_text(const char *text);
struct json_t *document_floats(const float *values, size_t count);

/* Writes value to standard output and releases it. NULL, which is what building a value came to
 * when memory ran out, is STATUS_NO_MEMORY. */
enum status document_write(struct json_t *value, struct fail *why);

#endif
