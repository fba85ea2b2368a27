/*
 * What went wrong -> which answer of HTTP. Bodies of errors are written by server/reply.h.
 */
#ifndef API_REST_ERRORS_H
#define API_REST_ERRORS_H

#include "engine/base/status.h"

/* Where a failure came up; the same status means different things to a client. */
enum errors_place {
    ERRORS_BODY,   /* reading the request: 400 malformed, 422 a field, 415 its type */
    ERRORS_IMAGE,  /* a picture: 422 damaged, 415 its type, 413 too many pixels */
    ERRORS_LABELS, /* compiling labels: 422 */
    ERRORS_ANSWER  /* computing or writing the answer: 422 if it is too large, else 500 */
};

struct errors_answer {
    int status;
    const char *code; /* static storage */
};

struct errors_answer errors_answer(enum errors_place place, enum status status);

#endif
