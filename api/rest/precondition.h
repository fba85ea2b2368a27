/*
 * If-Match and If-None-Match of a request that changes something with versions. Read on the loop
 * thread, checked on any.
 */
#ifndef API_REST_PRECONDITION_H
#define API_REST_PRECONDITION_H

#include <stdbool.h>

#include "engine/base/status.h"
#include "server/registry.h"

struct request;

enum { PRECONDITION_MAX_HEADER = 256 };

struct precondition {
    bool has_if_match;
    char if_match[PRECONDITION_MAX_HEADER];
    bool only_new; /* If-None-Match: * */
};

/* STATUS_INVALID if If-Match is too long. */
enum status precondition_read(struct precondition *precondition, const struct request *request,
                              struct fail *why);

/* Whether the name may be changed, which stands for current (NULL: nothing). STATUS_INVALID says
 * why not: 412. */
enum status precondition_check(const struct precondition *precondition,
                               const struct registry *registry, const struct snapshot *current,
                               struct fail *why);

/* What the registry shall still find when the change is made; NULL if that does not matter. */
const struct registry_condition *precondition_at_publish(const struct precondition *precondition,
                                                         const struct registry_condition *current);

/* Whether a header with ETags ("*" is any) names the snapshot. weak: also as a weak one. */
bool precondition_names(const char *header, bool weak, const struct registry *registry,
                        const struct snapshot *snapshot);

#endif
