#include "api/rest/pool_resource.h"

#include <jansson.h>
#include <stdlib.h>

#include "api/rest/json_answer.h"
#include "api/rest/pool_answer.h"
#include "server/request.h"
#include "server/service.h"

void pool_resource_handle_list(struct request *request, struct service *service)
{
    size_t count;
    struct snapshot **pools = registry_list(service->pools, &count);
    json_t *array = pools ? json_array() : NULL;
    for (size_t i = 0; i < count; i++) {
        struct served_pool *pool = (struct served_pool *)pools[i];
        json_array_append_new(array, pool_answer_json(service, pool));
        served_pool_release(pool);
    }
    free(pools);
    json_answer_reply(request, json_pack("{s:o}", "pools", array), NULL, NULL);
}

/* No 304: what is told changes with the versions that are kept, too. */
void pool_resource_handle_get(struct request *request, struct service *service)
{
    const char *name = request_parameter(request);
    struct served_pool *pool = served_pool_find(service, name);
    struct fail why;
    if (!pool) {
        status_fail(&why, STATUS_NOT_FOUND, "there is no pool \"%.80s\"", name);
        request_reply_problem(request, 404, "not_found", why.message);
        return;
    }
    json_answer_reply(request, pool_answer_json(service, pool), service->pools, &pool->snapshot);
    served_pool_release(pool);
}
