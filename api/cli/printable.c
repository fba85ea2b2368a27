#include "api/cli/printable.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <wchar.h>

#include "engine/base/utf8.h"

#define PRINTABLE_ELLIPSIS "..."

/* One code point, or one byte that belongs to none. */
struct printable_unit {
    size_t bytes;
    bool valid;
    uint32_t code;
};

static struct printable_unit printable_decode(const char *text)
{
    const unsigned char *at = (const unsigned char *)text;
    size_t length = utf8_length(at, SIZE_MAX);
    if (!length)
        return (struct printable_unit){.bytes = 1, .code = at[0]};
    return (struct printable_unit){.bytes = length, .valid = true, .code = utf8_decode(at, length)};
}

static bool printable_is_safe(uint32_t code)
{
    bool control = code < 0x20 || (code >= 0x7f && code < 0xa0);
    bool line_or_direction = code == 0x61c || (code >= 0x200e && code <= 0x200f) ||
                             (code >= 0x2028 && code <= 0x202e) ||
                             (code >= 0x2066 && code <= 0x2069);
    return !control && !line_or_direction;
}

/* Writes how the unit is shown; returns its columns. */
static size_t printable_show(const char *text, const struct printable_unit *unit, char shown[16])
{
    if (unit->valid && printable_is_safe(unit->code)) {
        memcpy(shown, text, unit->bytes);
        shown[unit->bytes] = '\0';
        int columns = wcwidth((wchar_t)unit->code);
        return columns < 0 ? 1 : (size_t)columns;
    }
    bool byte = !unit->valid || unit->code < 0x80;
    return (size_t)snprintf(shown, 16, byte ? "\\x%02x" : "\\u%04x", unit->code);
}

size_t printable_columns(const char *text)
{
    size_t columns = 0;
    char shown[16];
    while (*text) {
        struct printable_unit unit = printable_decode(text);
        columns += printable_show(text, &unit, shown);
        text += unit.bytes;
    }
    return columns;
}

enum status printable_append(struct buf *out, const char *text, size_t max_columns,
                             struct fail *why)
{
    const size_t ellipsis = strlen(PRINTABLE_ELLIPSIS);
    const bool cut = printable_columns(text) > max_columns;
    const size_t room = !cut ? max_columns : max_columns > ellipsis ? max_columns - ellipsis : 0;
    enum status status = STATUS_OK;
    char shown[16];
    size_t columns = 0;
    while (*text && !status) {
        struct printable_unit unit = printable_decode(text);
        columns += printable_show(text, &unit, shown);
        if (columns > room)
            break;
        status = buf_append_text(out, shown, why);
        text += unit.bytes;
    }
    if (cut && !status)
        status = buf_append(out, PRINTABLE_ELLIPSIS,
                            max_columns < ellipsis ? max_columns : ellipsis, why);
    return status;
}

enum status printable_append_utf8(struct buf *out, const char *text, struct fail *why)
{
    enum status status = buf_append(out, "", 0, why);
    while (*text && !status) {
        struct printable_unit unit = printable_decode(text);
        status = unit.valid ? buf_append(out, text, unit.bytes, why)
                            : buf_append_text(out, "\xef\xbf\xbd", why);
        text += unit.bytes;
    }
    return status;
}
