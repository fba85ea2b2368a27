/*
 * Text as CLIP's tokenizer sees it before the merges: normalised, then cut into pieces. Unicode
 * data are utf8proc's. No state: any thread.
 */
#ifndef ENGINE_WORDS_H
#define ENGINE_WORDS_H

#include <stdbool.h>
#include <stddef.h>

#include "engine/base/buf.h"
#include "engine/base/status.h"

/* Appends the text in Unicode NFC and then in lower case, each character by itself, to *out. Takes
 * time linear in length. STATUS_FORMAT for invalid UTF-8, naming the byte offset. */
enum status words_normalise(const char *text, size_t length, struct buf *out, struct fail *why);

/*
 * The next match at or after *cursor of
 *     's|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+
 * in valid UTF-8: *out_start and *out_length in bytes, *cursor moved behind it; false if there is
 * none.
 */
bool words_next(const char *text, size_t length, size_t *cursor, size_t *out_start,
                size_t *out_length);

#endif
