/*
 * What POST /v1/classify asks for, read from any of its three bodies and from the query. The same
 * fields everywhere: labels, label_set, sentence, top_k, threshold, timeout_ms, priority, pool,
 * explain, shortlist. Any thread.
 *
 * Failures: STATUS_FORMAT (malformed, with the position), STATUS_INVALID (a field, named),
 * STATUS_LIMIT (a limit, named), STATUS_UNSUPPORTED (the type of the body).
 */
#ifndef API_REST_CLASSIFY_REQUEST_H
#define API_REST_CLASSIFY_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "api/rest/text_list.h"
#include "engine/base/status.h"

enum classify_body { CLASSIFY_BODY_RAW, CLASSIFY_BODY_FORM, CLASSIFY_BODY_JSON };

enum { CLASSIFY_MAX_NAME = 64 };

struct classify_limits {
    size_t max_images;
    size_t max_labels;
    size_t max_label_texts; /* labels times sentences */
    size_t default_labels;  /* how many the model has for a request without labels of its own */
    uint64_t max_timeout_ms;
};

struct classify_image {
    const uint8_t *bytes; /* in the body or in `owned` */
    size_t size;
    uint8_t *owned;  /* decoded from base64 */
    struct fail why; /* code is not STATUS_OK if the text was not base64 */
};

struct classify_request {
    struct classify_limits limits;
    struct classify_image *images;
    size_t image_count;
    struct text_list labels;               /* none: those of the label set, or the model's own */
    char label_set[CLASSIFY_MAX_NAME + 1]; /* empty: none is named */
    struct text_list sentences;            /* none: the pool's, else the engine's default */
    size_t top_k;
    double threshold;    /* of the score */
    uint64_t timeout_ms; /* 0: not asked for */
    bool low_priority;
    char pool[CLASSIFY_MAX_NAME + 1]; /* empty: the label set's, or the server's; "none" */
    bool explain;
    size_t shortlist; /* 0: all labels */
    bool has_top_k, has_threshold, has_priority, has_explain, has_shortlist;
};

/* limits.max_images of at least 1. */
void classify_request_init(struct classify_request *request, const struct classify_limits *limits);
void classify_request_finish(struct classify_request *request);

/* Which body a Content-Type (NULL if there is none) announces. */
enum status classify_request_body_kind(const char *content_type, enum classify_body *out,
                                       struct fail *why);

/* One field as text, from a query or a form. labels: comma-separated; labels and sentence may come
 * several times. */
enum status classify_request_set(struct classify_request *request, const char *name,
                                 const char *value, size_t length, struct fail *why);

/* Reads the body, which must stay where it is, and checks the whole. After a failure the request
 * must be finished. */
enum status classify_request_read(struct classify_request *request, enum classify_body kind,
                                  const char *content_type, const char *body, size_t size,
                                  struct fail *why);

/* For the readers of bodies: fields with a type, and pictures. */
enum status classify_request_set_top_k(struct classify_request *request, int64_t value,
                                       struct fail *why);
enum status classify_request_set_threshold(struct classify_request *request, double value,
                                           struct fail *why);
enum status classify_request_set_timeout(struct classify_request *request, int64_t value,
                                         struct fail *why);
/* value is NULL for what is no text. */
enum status classify_request_set_priority(struct classify_request *request, const char *value,
                                          size_t length, struct fail *why);
enum status classify_request_set_pool(struct classify_request *request, const char *value,
                                      size_t length, struct fail *why);
enum status classify_request_set_label_set(struct classify_request *request, const char *value,
                                           size_t length, struct fail *why);
enum status classify_request_set_explain(struct classify_request *request, bool value,
                                         struct fail *why);
enum status classify_request_set_shortlist(struct classify_request *request, int64_t value,
                                           struct fail *why);
enum status classify_request_add_image(struct classify_request *request,
                                       const struct classify_image *image, struct fail *why);

#endif
