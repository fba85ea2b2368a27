/*
 * A label set as JSON: what is told of it, and what a store keeps, which is a body of PUT. Any
 * thread.
 */
#ifndef API_REST_LABEL_SET_DOCUMENT_H
#define API_REST_LABEL_SET_DOCUMENT_H

#include <stdbool.h>

#include "server/label_set.h"
#include "server/service.h"

struct json_t;

/* A new value, with the labels themselves or only their number; NULL if there is no memory. */
struct json_t *label_set_document_json(const struct service *service, const struct label_set *set,
                                       bool with_labels);

/* What to keep of a set before it is published. */
enum status label_set_document_attach(struct label_set *set, struct fail *why);

/* For service_restore. */
enum status label_set_document_restore(const struct service *service,
                                       struct engine_session *session,
                                       const struct store_entry *entry, struct snapshot **out,
                                       struct fail *why);

#endif
