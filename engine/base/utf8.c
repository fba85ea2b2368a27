#include "engine/base/utf8.h"

size_t utf8_length(const unsigned char *at, size_t left)
{
    if (!left)
        return 0;
    const unsigned char first = at[0];
    if (first < 0x80)
        return 1;
    size_t length = first >= 0xc2 && first < 0xe0   ? 2
                    : first >= 0xe0 && first < 0xf0 ? 3
                    : first >= 0xf0 && first < 0xf5 ? 4
                                                    : 0;
    if (!length || length > left)
        return 0;
    const unsigned char lowest = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
    const unsigned char highest = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
    if (at[1] < lowest || at[1] > highest)
        return 0;
    for (size_t i = 2; i < length; i++)
        if ((at[i] & 0xc0) != 0x80)
            return 0;
    return length;
}

uint32_t utf8_decode(const unsigned char *at, size_t length)
{
    uint32_t code = length == 1 ? at[0] : at[0] & (0x7fu >> length);
    for (size_t i = 1; i < length; i++)
        code = code << 6 | (at[i] & 0x3f);
    return code;
}

void utf8_clean(char *text)
{
    for (unsigned char *at = (unsigned char *)text; *at;) {
        size_t length = utf8_length(at, SIZE_MAX);
        bool second_set = length == 2 && *at == 0xc2 && at[1] < 0xa0; /* of control characters */
        if (length == 0 || *at < 0x20 || *at == 0x7f || second_set) {
            *at = '?';
            length = 1;
        }
        at += length;
    }
}

size_t utf8_cut(const char *text, size_t size, size_t max_size)
{
    if (size <= max_size)
        return size;
    size_t cut = max_size;
    while (cut > 0 && ((unsigned char)text[cut] & 0xc0) == 0x80)
        cut--;
    return cut;
}

bool utf8_is_valid(const char *text, size_t size)
{
    const unsigned char *at = (const unsigned char *)text;
    while (size) {
        size_t length = utf8_length(at, size);
        if (!length)
            return false;
        at += length;
        size -= length;
    }
    return true;
}
