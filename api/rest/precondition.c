#include "api/rest/precondition.h"

#include <stdio.h>
#include <string.h>

#include "server/request.h"

enum status precondition_read(struct precondition *precondition, const struct request *request,
                              struct fail *why)
{
    const char *if_match = request_header(request, "If-Match");
    const char *if_none_match = request_header(request, "If-None-Match");
    if (if_match && strlen(if_match) >= sizeof precondition->if_match)
        return status_fail(why, STATUS_INVALID, "If-Match is longer than %d characters",
                           PRECONDITION_MAX_HEADER - 1);
    precondition->has_if_match = if_match;
    snprintf(precondition->if_match, sizeof precondition->if_match, "%s", if_match ? if_match : "");
    precondition->only_new = if_none_match && !strcmp(if_none_match, "*");
    return STATUS_OK;
}

bool precondition_names(const char *header, bool weak, const struct registry *registry,
                        const struct snapshot *snapshot)
{
    char etag[REGISTRY_ETAG_BYTES];
    if (!snapshot)
        return false;
    if (!strcmp(header, "*"))
        return true;
    registry_write_etag(registry, snapshot, etag);
    for (const char *at = header; (at = strstr(at, etag)); at++) /* one of a list */
        if (weak || at == header || at[-1] != '/')
            return true;
    return false;
}

enum status precondition_check(const struct precondition *precondition,
                               const struct registry *registry, const struct snapshot *current,
                               struct fail *why)
{
    if (precondition->has_if_match &&
        !precondition_names(precondition->if_match, false, registry, current))
        return status_fail(why, STATUS_INVALID, "If-Match %s is not what is there now",
                           precondition->if_match);
    if (precondition->only_new && current)
        return status_fail(why, STATUS_INVALID, "there is a \"%s\" already", current->name);
    return STATUS_OK;
}

const struct registry_condition *precondition_at_publish(const struct precondition *precondition,
                                                         const struct registry_condition *current)
{
    return precondition->has_if_match || precondition->only_new ? current : NULL;
}
