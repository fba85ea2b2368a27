/*
 * The bodies of PUT and PATCH /v1/label-sets/{name}:
 *     PUT    {"labels": [...], "sentence": "..." or [...], "pool": "..."}
 *     PATCH  {"add": [...], "remove": [...]}
 * and in both "default" and "timeout_ms". A label is a text, or {"name": "...", "aliases": [...]}.
 * Any thread. Failures as in classify_request.h; STATUS_CANCELLED for labels that come twice, which
 * it names.
 */
#ifndef API_REST_LABEL_SET_REQUEST_H
#define API_REST_LABEL_SET_REQUEST_H

#include <stdbool.h>
#include <stdint.h>

#include "api/rest/text_list.h"
#include "engine/base/status.h"
#include "server/store.h"

enum { LABEL_SET_REQUEST_MAX_POOL_NAME = 64 };

struct label_set_limits {
    size_t max_labels; /* names and aliases together */
    size_t max_texts;  /* labels times sentences */
    uint64_t max_timeout_ms;
};

struct label_set_request {
    struct text_list names; /* of PUT, or to add */
    struct text_list aliases;
    uint32_t *alias_of; /* [aliases.capacity]: which name each belongs to */
    struct text_list removed;
    struct text_list sentences;
    char pool[LABEL_SET_REQUEST_MAX_POOL_NAME + 1]; /* empty: not named */
    enum store_default make_default;
    uint64_t timeout_ms; /* 0: not asked for */
};

/* After a failure the request must be finished too. */
enum status label_set_request_read(struct label_set_request *request, bool patch, const char *body,
                                   size_t size, const struct label_set_limits *limits,
                                   struct fail *why);
void label_set_request_finish(struct label_set_request *request);

/* STATUS_CANCELLED names texts that come twice among [count]; sorts them. */
enum status label_set_request_check_twins(const char **texts, size_t count, struct fail *why);

#endif
