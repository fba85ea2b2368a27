/*
 * One HTTP request, as handlers see it. Loop thread only: a job that goes to a worker takes along
 * copies of what it needs.
 */
#ifndef SERVER_REQUEST_H
#define SERVER_REQUEST_H

#include "engine/base/buf.h"

struct job;
struct reply_file;
struct request;
struct spool_file;

/* The client's X-Request-Id if it is a sane one, else a new one. */
const char *request_id(const struct request *request);

/* What stands for "{name}" of the route in the path; "" if it has none. Cut if it is longer than
 * any name may be. */
const char *request_parameter(const struct request *request);

/* NULL if there is no such header; the name in any case. */
const char *request_header(const struct request *request, const char *name);

typedef enum status request_visit_query(void *argument, const char *name, const char *value,
                                        struct fail *why);

/* Every parameter of the query, decoded, in order; a missing value is "". Until visit fails.
 * STATUS_INVALID for a NUL in a name or value. */
enum status request_each_query(const struct request *request, request_visit_query *visit,
                               void *argument, struct fail *why);

/* Moves the body out; *out must not hold memory. */
void request_take_body(struct request *request, struct buf *out);

/* The same for a route whose bodies are spooled. *out must not hold a file. */
void request_take_upload(struct request *request, struct spool_file *out);

/* Answers. The memory of *body is taken over. */
void request_reply_json(struct request *request, int status, struct buf *body);
/* 200; content_type: static storage. */
void request_reply_text(struct request *request, const char *content_type, struct buf *body);
void request_reply_tagged(struct request *request, int status, const char *etag, struct buf *body);
/* 304. */
void request_reply_not_modified(struct request *request, const char *etag);
/* The file, or 304 if the request has an If-None-Match that names it. */
void request_reply_file(struct request *request, const struct reply_file *file);
void request_reply_problem(struct request *request, int status, const char *code,
                           const char *detail);

/* Hands the work on; the answer will be the job's, or 504 at its deadline (of clock_now_us; 0 means
 * the configured time-out). A full queue is answered 429 here. The job is taken over in any
 * case. */
void request_submit(struct request *request, struct job *job);

#endif
