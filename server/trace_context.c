#include "server/trace_context.h"

#include <string.h>

enum {
    TRACE_CONTEXT_VERSION = 2,
    TRACE_CONTEXT_TRACE = 32,
    TRACE_CONTEXT_PARENT = 16,
    TRACE_CONTEXT_FLAGS = 2
};

/* Lower-case digits, as many as wanted, and not more. */
static bool trace_context_has_digits(const char *text, size_t count)
{
    return strspn(text, "0123456789abcdef") == count;
}

static bool trace_context_is_zero(const char *text, size_t count)
{
    return strspn(text, "0") >= count;
}

bool trace_context_read(const char *value, char out_trace_id[TRACE_CONTEXT_ID_BYTES])
{
    const char *version = value;
    if (!trace_context_has_digits(version, TRACE_CONTEXT_VERSION) || !strncmp(version, "ff", 2) ||
        version[TRACE_CONTEXT_VERSION] != '-')
        return false;
    const char *trace = version + TRACE_CONTEXT_VERSION + 1;
    if (!trace_context_has_digits(trace, TRACE_CONTEXT_TRACE) ||
        trace_context_is_zero(trace, TRACE_CONTEXT_TRACE) || trace[TRACE_CONTEXT_TRACE] != '-')
        return false;
    const char *parent = trace + TRACE_CONTEXT_TRACE + 1;
    if (!trace_context_has_digits(parent, TRACE_CONTEXT_PARENT) ||
        trace_context_is_zero(parent, TRACE_CONTEXT_PARENT) || parent[TRACE_CONTEXT_PARENT] != '-')
        return false;
    const char *flags = parent + TRACE_CONTEXT_PARENT + 1;
    if (!trace_context_has_digits(flags, TRACE_CONTEXT_FLAGS))
        return false;
    char after = flags[TRACE_CONTEXT_FLAGS];
    if (after && (after != '-' || !strncmp(version, "00", TRACE_CONTEXT_VERSION)))
        return false;
    memcpy(out_trace_id, trace, TRACE_CONTEXT_TRACE);
    out_trace_id[TRACE_CONTEXT_TRACE] = '\0';
    return true;
}
