/*
 * The parts of a multipart/form-data body (RFC 7578) that lies in memory. Nothing is copied: parts
 * point into the body. (libmicrohttpd's post processor needs the live connection and copies every
 * byte, so it would have to run on the loop thread.)
 */
#ifndef API_REST_MULTIPART_H
#define API_REST_MULTIPART_H

#include <stdbool.h>
#include <stddef.h>

#include "engine/base/status.h"

enum { MULTIPART_MAX_BOUNDARY = 70, MULTIPART_MAX_NAME = 64 };

struct multipart {
    char delimiter[MULTIPART_MAX_BOUNDARY + 5]; /* CR LF - - boundary */
    size_t delimiter_length;
    const char *at, *end; /* what has not been read */
    size_t parts;
};

struct multipart_part {
    char name[MULTIPART_MAX_NAME + 1];
    const char *data;
    size_t size;
};

/* content_type is the request's header, which holds the boundary. */
enum status multipart_open(struct multipart *multipart, const char *content_type, const char *body,
                           size_t size, struct fail *why);

/* The next part; *out_end becomes true after the last. STATUS_FORMAT for a body that is cut short
 * or a part without a name. */
enum status multipart_next(struct multipart *multipart, struct multipart_part *out_part,
                           bool *out_end, struct fail *why);

#endif
