/*
 * What a request is answered with, before it becomes bytes on a socket. Filled by a handler or a
 * worker, sent by the loop thread.
 */
#ifndef SERVER_REPLY_H
#define SERVER_REPLY_H

#include "engine/base/buf.h"

/* A document that is part of the program. All of it has static storage. */
struct reply_file {
    const char *content_type;
    const void *bytes;
    size_t size;
    const char *etag;   /* with its quotation marks */
    const char *policy; /* a Content-Security-Policy header, or NULL */
};

struct reply {
    int status;                    /* of HTTP; 0 as long as there is no answer */
    const char *content_type;      /* static storage; NULL: no body */
    struct buf body;               /* owned */
    const struct reply_file *file; /* the body instead, and its headers; NULL: none */
    unsigned retry_after_s;        /* a Retry-After header, if not 0 */
    char allow[64];                /* an Allow header, if not empty */
    char etag[48];                 /* an ETag header with its quotation marks, if not empty */
};

/* Takes over the memory of *body and leaves it empty. */
void reply_set_json(struct reply *reply, int status, struct buf *body);

/* 200, the same with another type than JSON. content_type: static storage. */
void reply_set_text(struct reply *reply, const char *content_type, struct buf *body);

/* 204 without a body. */
void reply_set_nothing(struct reply *reply);
void reply_set_etag(struct reply *reply, const char *etag);
/* 304: the client has what the ETag stands for. */
void reply_set_not_modified(struct reply *reply, const char *etag);

/* 200 with the file, whose bytes are not copied; or 304 with its headers only, if if_none_match
 * (NULL: there is no such header) names its ETag. */
void reply_set_file(struct reply *reply, const struct reply_file *file, const char *if_none_match);

/* An answer in application/problem+json (RFC 9457) with the fields type, title, status, detail,
 * error, code and request_id. code is a short word for programs; detail a sentence, any bytes: what
 * is not UTF-8 is replaced. Replaces an answer that is already there. */
void reply_set_problem(struct reply *reply, int status, const char *code, const char *detail,
                       const char *request_id);

/* Takes the answer out of *from, which is empty afterwards. */
void reply_move(struct reply *to, struct reply *from);
void reply_finish(struct reply *reply);

/* "Not Found" for 404, ... */
const char *reply_reason(int status);

#endif
