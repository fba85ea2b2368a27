#include "api/rest/label_set_resource.h"

#include <jansson.h>
#include <stdlib.h>

#include "api/rest/json_answer.h"
#include "api/rest/label_set_document.h"
#include "api/rest/precondition.h"
#include "server/request.h"
#include "server/service.h"

void label_set_resource_handle_list(struct request *request, struct service *service)
{
    size_t count;
    struct snapshot **sets = registry_list(service->label_sets, &count);
    json_t *array = sets ? json_array() : NULL;
    for (size_t i = 0; i < count; i++) {
        struct label_set *set = (struct label_set *)sets[i];
        json_array_append_new(array, label_set_document_json(service, set, false));
        label_set_release(set);
    }
    free(sets);
    json_answer_reply(request, json_pack("{s:o}", "label_sets", array), NULL, NULL);
}

void label_set_resource_handle_get(struct request *request, struct service *service)
{
    const char *name = request_parameter(request);
    const char *if_none_match = request_header(request, "If-None-Match");
    struct label_set *set = label_set_find(service->label_sets, name);
    char etag[REGISTRY_ETAG_BYTES];
    struct fail why;
    if (!set) {
        status_fail(&why, STATUS_NOT_FOUND, "there is no label set \"%.80s\"", name);
        request_reply_problem(request, 404, "not_found", why.message);
        return;
    }
    if (if_none_match &&
        precondition_names(if_none_match, true, service->label_sets, &set->snapshot)) {
        registry_write_etag(service->label_sets, &set->snapshot, etag);
        request_reply_not_modified(request, etag);
    } else {
        json_answer_reply(request, label_set_document_json(service, set, true), service->label_sets,
                          &set->snapshot);
    }
    label_set_release(set);
}
