#include "engine/base/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/utf8.h"

enum status status_fail(struct fail *why, enum status code, const char *format, ...)
{
    if (why) {
        char message[sizeof why->message]; /* the arguments may point into *why */
        va_list args;
        va_start(args, format);
        vsnprintf(message, sizeof message, format, args);
        va_end(args);
        utf8_clean(message); /* which quotes what clients and files sent, possibly cut */
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
        utf8_clean(message);
        why->code = code;
        memcpy(why->message, message, sizeof message);
    }
    return code;
}
