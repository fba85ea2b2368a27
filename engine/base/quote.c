#include "engine/base/quote.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/utf8.h"

enum { QUOTE_MOST_BYTES = 8 }; /* of one character, with snprintf's NUL */

/* One character, or one byte that is part of none; returns what it takes of text. */
static size_t quote_write(char piece[QUOTE_MOST_BYTES], size_t *out_size, const unsigned char *at)
{
    size_t length = utf8_length(at, SIZE_MAX);
    if (!length)
        *out_size = (size_t)snprintf(piece, QUOTE_MOST_BYTES, "\xef\xbf\xbd");
    else if (*at == '"' || *at == '\\')
        *out_size = (size_t)snprintf(piece, QUOTE_MOST_BYTES, "\\%c", *at);
    else if (*at < 0x20 || *at == 0x7f)
        *out_size = (size_t)snprintf(piece, QUOTE_MOST_BYTES, "\\u%04x", *at);
    else
        memcpy(piece, at, *out_size = length);
    return length ? length : 1;
}

size_t quote_json(char *out, size_t capacity, const char *text)
{
    size_t used = 0, room = capacity - 2; /* for the last mark and the NUL */
    out[used++] = '"';
    for (const unsigned char *at = (const unsigned char *)text; *at && used < room;) {
        if (*at >= 0x20 && *at < 0x7f && *at != '"' && *at != '\\') {
            out[used++] = (char)*at++;
            continue;
        }
        char piece[QUOTE_MOST_BYTES];
        size_t size;
        at += quote_write(piece, &size, at);
        if (size > room - used)
            break;
        memcpy(out + used, piece, size);
        used += size;
    }
    out[used++] = '"';
    out[used] = '\0';
    return used;
}
