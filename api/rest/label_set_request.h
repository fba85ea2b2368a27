/*
 * The bodies of PUT and PATCH /v1/label-sets/{name}:
 *     PUT    {"labels": [...], "sentence": "..." or [...], "pool": "..."}
 *     PATCH  {"add": [...], "remove": [...]}
 * Any thread. Failures as in classify_request.h; STATUS_CANCELLED for labels that come twice, which
 * it names.
 */
#ifndef API_REST_LABEL_SET_REQUEST_H
#define API_REST_LABEL_SET_REQUEST_H

#include <stdbool.h>

#include "api/rest/text_list.h"
#include "engine/base/status.h"

enum { LABEL_SET_REQUEST_MAX_POOL_NAME = 64 };

struct label_set_limits {
    size_t max_labels;
    size_t max_texts; /* labels times sentences */
};

struct label_set_request {
    struct text_list labels; /* of PUT, or to add */
    struct text_list removed;
    struct text_list sentences;
    char pool[LABEL_SET_REQUEST_MAX_POOL_NAME + 1]; /* empty: not named */
};

enum status label_set_request_read(struct label_set_request *request, bool patch, const char *body,
                                   size_t size, const struct label_set_limits *limits,
                                   struct fail *why);
void label_set_request_finish(struct label_set_request *request);

#endif
