/*
 * UTF-8 after RFC 3629: no overlong forms, no surrogates, nothing past U+10FFFF. A NUL is a
 * character like others. Any thread.
 */
#ifndef ENGINE_BASE_UTF8_H
#define ENGINE_BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes of the well-formed character at `at`, which has `left` bytes; 0 if there is none. Looks no
 * further than the first byte that does not fit: in a NUL-terminated text `left` may be SIZE_MAX.
 */
size_t utf8_length(const unsigned char *at, size_t left);

/* The code point of the well-formed character of `length` bytes at `at`. */
uint32_t utf8_decode(const unsigned char *at, size_t length);

/* Puts a question mark for every byte of a NUL-terminated text that is no part of a well-formed
 * character, and for control characters. */
void utf8_clean(char *text);

/* Where a text of size bytes may be cut so that at most max_size are left and no character is cut
 * in two. */
size_t utf8_cut(const char *text, size_t size, size_t max_size);

/* All `size` bytes are well-formed characters. */
bool utf8_is_valid(const char *text, size_t size);

#endif
