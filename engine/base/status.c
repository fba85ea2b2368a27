#include "engine/base/status.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/utf8.h"

/* Messages quote what clients and files sent, possibly cut: what is not UTF-8 or is a control
 * character becomes a question mark, so that every message can be logged and put into JSON. */
static void status_clean(char *message)
{
    for (unsigned char *at = (unsigned char *)message; *at;) {
        size_t length = utf8_length(at, SIZE_MAX);
        if (length == 0 || *at < 0x20 || *at == 0x7f) {
            *at = '?';
            length = 1;
        }
        at += length;
    }
}

enum status status_fail(struct fail *why, enum status code, const char *format, ...)
{
    if (why) {
        char message[sizeof why->message]; /* the arguments may point into *why */
        va_list args;
        va_start(args, format);
        vsnprintf(message, sizeof message, format, args);
        va_end(args);
        status_clean(message);
        why->code = code;
        memcpy(why->message, message, sizeof message);
    }
    return code;
}

enum status status_context(struct fail *why, enum status code, const char *format, ...)
{
    if (why) {
        char message[sizeof why->message];
        va_list args;
        va_start(args, format);
        int used = vsnprintf(message, sizeof message, format, args);
        va_end(args);
        if (used >= 0 && (size_t)used < sizeof message)
            snprintf(message + used, sizeof message - (size_t)used, ": %s", why->message);
        status_clean(message);
        why->code = code;
        memcpy(why->message, message, sizeof message);
    }
    return code;
}
