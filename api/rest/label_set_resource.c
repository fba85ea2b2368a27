#include "api/rest/label_set_resource.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "api/rest/label_set_answer.h"
#include "server/request.h"
#include "server/service.h"

enum { LABEL_SET_RESOURCE_MAX_ANSWER = 1 << 28 };

static void label_set_resource_refuse(struct request *request, const char *name)
{
    struct fail why;
    status_fail(&why, STATUS_NOT_FOUND, "there is no label set \"%.80s\"", name);
    request_reply_problem(request, 404, "not_found", why.message);
}

/* etag may be NULL. */
static void label_set_resource_reply(struct request *request, json_t *value, const char *etag)
{
    struct fail why;
    struct buf body;
    buf_init(&body, LABEL_SET_RESOURCE_MAX_ANSWER);
    if (label_set_answer_write(value, &body, &why))
        request_reply_problem(request, 500, "internal", why.message);
    else if (etag)
        request_reply_tagged(request, 200, etag, &body);
    else
        request_reply_json(request, 200, &body);
    buf_finish(&body);
}

void label_set_resource_handle_list(struct request *request, struct service *service)
{
    size_t count;
    struct label_set **sets = label_sets_list(service->label_sets, &count);
    json_t *array = sets ? json_array() : NULL;
    for (size_t i = 0; i < count; i++) {
        json_array_append_new(array, label_set_answer_json(sets[i], false));
        label_sets_release(sets[i]);
    }
    free(sets);
    label_set_resource_reply(request, json_pack("{s:o}", "label_sets", array), NULL);
}

void label_set_resource_handle_get(struct request *request, struct service *service)
{
    const char *name = request_parameter(request);
    struct label_set *set = label_sets_find(service->label_sets, name);
    char etag[LABEL_SET_ANSWER_ETAG_BYTES];
    if (!set) {
        label_set_resource_refuse(request, name);
        return;
    }
    label_set_answer_etag(set, etag);
    label_set_resource_reply(request, label_set_answer_json(set, true), etag);
    label_sets_release(set);
}

void label_set_resource_handle_delete(struct request *request, struct service *service)
{
    struct fail why;
    const char *name = request_parameter(request);
    const char *if_match = request_header(request, "If-Match");
    struct label_set *set = label_sets_find(service->label_sets, name);
    if (!set) {
        label_set_resource_refuse(request, name);
        return;
    }
    enum status status = STATUS_CANCELLED;
    if (!if_match || label_set_answer_matches(if_match, set))
        status = label_sets_remove(service->label_sets, name, if_match ? set : NULL, &why);
    if (status == STATUS_NOT_FOUND)
        label_set_resource_refuse(request, name);
    else if (status)
        request_reply_problem(request, 412, "precondition_failed",
                              "the label set is not (any more) as If-Match says");
    else
        request_reply_nothing(request);
    label_sets_release(set);
}
