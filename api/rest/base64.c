#include "api/rest/base64.h"

#include <stdlib.h>

#include "engine/base/mem.h"

/* The six bits of a character, or -1. */
static int base64_value(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

static enum status base64_decode_into(const char *text, size_t length, uint8_t *bytes,
                                      size_t *out_size, struct fail *why)
{
    size_t size = 0, padding = 0;
    unsigned bits = 0, count = 0; /* the last `count` sextets, not yet written */
    for (size_t i = 0; i < length; i++) {
        if (text[i] == '\r' || text[i] == '\n')
            continue;
        if (text[i] == '=' && count >= 2 && count + padding < 4) {
            padding++;
            continue;
        }
        int value = base64_value(text[i]);
        if (value < 0 || padding)
            return status_fail(why, STATUS_FORMAT, "character %zu is not base64", i + 1);
        bits = bits << 6 | (unsigned)value;
        if (++count == 4) {
            bytes[size++] = (uint8_t)(bits >> 16);
            bytes[size++] = (uint8_t)(bits >> 8);
            bytes[size++] = (uint8_t)bits;
            bits = count = 0;
        }
    }
    if (count == 1 || (padding && count + padding != 4))
        return status_fail(why, STATUS_FORMAT, "the base64 text is cut short");
    if (count >= 2)
        bytes[size++] = (uint8_t)(bits >> (count == 3 ? 10 : 4));
    if (count == 3)
        bytes[size++] = (uint8_t)(bits >> 2);
    *out_size = size;
    return STATUS_OK;
}

enum status base64_decode(const char *text, size_t length, uint8_t **out_bytes, size_t *out_size,
                          struct fail *why)
{
    uint8_t *bytes = mem_zeroed(length / 4 + 1, 3);
    if (!bytes)
        return status_fail(why, STATUS_NO_MEMORY, "no memory for %zu bytes", length);
    size_t size = 0;
    enum status status = base64_decode_into(text, length, bytes, &size, why);
    if (status) {
        free(bytes);
        return status;
    }
    *out_bytes = bytes;
    *out_size = size;
    return STATUS_OK;
}
