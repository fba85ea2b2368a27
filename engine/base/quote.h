/* Text as JSON has it. Any thread. */
#ifndef ENGINE_BASE_QUOTE_H
#define ENGINE_BASE_QUOTE_H

#include <stddef.h>

/* A NUL-terminated text -> a string of JSON with its quotation marks, and a NUL, into out
 * [capacity]. What is no UTF-8 becomes U+FFFD; what does not fit is left off at the end, the
 * quotation mark never. Returns its length; capacity is 3 or more. */
size_t quote_json(char *out, size_t capacity, const char *text);

#endif
