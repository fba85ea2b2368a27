#include "engine/base/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum status status_fail(struct fail *why, enum status code, const char *format, ...)
{
    if (why) {
        char message[sizeof why->message]; /* the arguments may point into *why */
        va_list args;
        va_start(args, format);
        vsnprintf(message, sizeof message, format, args);
        va_end(args);
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
        why->code = code;
        memcpy(why->message, message, sizeof message);
    }
    return code;
}

const char *status_name(enum status code)
{
    switch (code) {
    case STATUS_OK:
        return "ok";
    case STATUS_NO_MEMORY:
        return "no memory";
    case STATUS_IO:
        return "input/output";
    case STATUS_NOT_FOUND:
        return "not found";
    case STATUS_INVALID:
        return "invalid";
    case STATUS_FORMAT:
        return "malformed";
    case STATUS_UNSUPPORTED:
        return "unsupported";
    case STATUS_LIMIT:
        return "over a limit";
    case STATUS_CANCELLED:
        return "cancelled";
    case STATUS_TIMEOUT:
        return "timed out";
    case STATUS_INTERNAL:
        return "internal";
    }
    return "unknown";
}
