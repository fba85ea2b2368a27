/*
 * Reads HTTP/1.x answers to GET and POST that come piece by piece: with a Content-Length, in
 * chunks, or up to the end of the connection. Interim answers (1xx) are passed over. Nothing that a
 * server sends makes it hold more than a line of RESPONSE_MAX_LINE bytes and as much of the body as
 * was asked for. One thread at a time.
 */
#ifndef API_CLI_RESPONSE_H
#define API_CLI_RESPONSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/buf.h"
#include "engine/base/status.h"

enum {
    RESPONSE_MAX_LINE = 8192,
    RESPONSE_MAX_HEAD = 65536, /* interim answers and trailers included */
    RESPONSE_MAX_TIMING = 511
};

enum response_part {
    RESPONSE_STATUS_LINE,
    RESPONSE_HEADER,
    RESPONSE_BODY, /* of a known length */
    RESPONSE_BODY_TO_END,
    RESPONSE_CHUNK_SIZE,
    RESPONSE_CHUNK,
    RESPONSE_CHUNK_END,
    RESPONSE_TRAILER,
    RESPONSE_COMPLETE
};

struct response {
    int status; /* of the final answer; 0 until its first line has been read */
    bool keeps_alive;
    bool has_retry_after;
    char server_timing[RESPONSE_MAX_TIMING + 1]; /* the header; "" without one, cut if long */
    struct buf body;                             /* its first bytes, up to what was asked for */

    /* For response.c. */
    enum response_part part;
    bool has_length, is_chunked, says_close, says_keep_alive, is_http_1_1;
    uint64_t length, left; /* of the body, of what is being read */
    size_t head_bytes, keep_bytes;
    struct buf line;
};

/* keep_bytes: how much of each body to keep. Memory is taken as it is needed. */
void response_init(struct response *response, size_t keep_bytes);
void response_finish(struct response *response);

/* Begins the next answer, of the same connection or of another one. */
void response_start(struct response *response);

/* Reads on; *out_used is less than size only if the answer is complete before the end.
 * STATUS_FORMAT for what is no answer, STATUS_NO_MEMORY; nothing can be read after either. */
enum status response_feed(struct response *response, const char *bytes, size_t size,
                          size_t *out_used, struct fail *why);

/* The connection has ended: completes an answer that lasts as long as it, else STATUS_FORMAT. */
enum status response_end(struct response *response, struct fail *why);

bool response_is_complete(const struct response *response);

/* Nothing of an answer has come yet. */
bool response_is_untouched(const struct response *response);

#endif
