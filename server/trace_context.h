/* The traceparent header of W3C's Trace Context, with which callers name the trace that a request
 * is part of. Any thread. */
#ifndef SERVER_TRACE_CONTEXT_H
#define SERVER_TRACE_CONTEXT_H

#include <stdbool.h>

enum { TRACE_CONTEXT_ID_BYTES = 33 };

/* The trace's id, 32 digits, if the header's value is valid: version, trace, parent and flags, none
 * of the ids zero; of later versions than 00 more may follow behind a hyphen. */
bool trace_context_read(const char *value, char out_trace_id[TRACE_CONTEXT_ID_BYTES]);

#endif
