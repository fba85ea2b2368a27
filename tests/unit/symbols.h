/* Small vocabularies: a tokenizer needs the symbols of all bytes, which would bury the few tokens
 * that a test is about. */
#ifndef TESTS_UNIT_SYMBOLS_H
#define TESTS_UNIT_SYMBOLS_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SYMBOLS_COUNT = 512, SYMBOLS_ENTRY_BYTES = 24 };

/* The JSON with its first '@' replaced by the symbols of all bytes, those of byte b with the ids b
 * and, with </w>, 256 + b; free(). */
static inline char *symbols_expand(const char *json, size_t size, size_t *out_size)
{
    const char *mark = size > 0 ? memchr(json, '@', size) : NULL;
    size_t before = mark ? (size_t)(mark - json) : size, after = mark ? size - before - 1 : 0;
    char *text = malloc(size + SYMBOLS_COUNT * SYMBOLS_ENTRY_BYTES + 1), *end = text + before;
    if (!text)
        abort();
    memcpy(text, json, before);
    unsigned next = 0x100;
    for (unsigned byte = 0; mark && byte < 256; byte++) {
        bool visible = (byte > ' ' && byte < 0x7f) || (byte > 0xa0 && byte != 0xad);
        unsigned point = visible ? byte : next++;
        end += sprintf(end, "%s\"\\u%04x\":%u,\"\\u%04x</w>\":%u", byte > 0 ? "," : "", point, byte,
                       point, 256 + byte);
    }
    memcpy(end, mark ? mark + 1 : json, after);
    *out_size = (size_t)(end - text) + after;
    text[*out_size] = '\0';
    return text;
}

#endif
