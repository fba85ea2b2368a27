/* What is told of a label set, and its ETag. Any thread. */
#ifndef API_REST_LABEL_SET_ANSWER_H
#define API_REST_LABEL_SET_ANSWER_H

#include <stdbool.h>
#include <stddef.h>

#include "engine/base/buf.h"
#include "server/label_sets.h"

struct json_t;

enum { LABEL_SET_ANSWER_ETAG_BYTES = 48 };

void label_set_answer_etag(const struct label_set *set, char out[LABEL_SET_ANSWER_ETAG_BYTES]);

/* Whether an If-Match header names the set (NULL: there is none). "*" is any. */
bool label_set_answer_matches(const char *if_match, const struct label_set *set);

/* A new value, with the labels themselves or only their number; NULL if there is no memory. */
struct json_t *label_set_answer_json(const struct label_set *set, bool with_labels);

/* Writes value (NULL fails) as the body of an answer and releases it. *out: of buf_init. */
enum status label_set_answer_write(struct json_t *value, struct buf *out, struct fail *why);

#endif
