#include "api/rest/health.h"

#include <jansson.h>

#include "api/rest/json_answer.h"
#include "config/version.h"
#include "engine/engine.h"
#include "server/request.h"
#include "server/service.h"

void health_handle_live(struct request *request, struct service *service)
{
    (void)service;
    json_answer_reply(request, json_pack("{s:s}", "status", "live"), NULL, NULL);
}

void health_handle_ready(struct request *request, struct service *service)
{
    if (service->leaving)
        request_reply_problem(request, 503, "draining", "the server is shutting down");
    else
        json_answer_reply(request, json_pack("{s:s}", "status", "ready"), NULL, NULL);
}

void health_handle_version(struct request *request, struct service *service)
{
    const struct engine_info *info = engine_info(service->engine);
    json_answer_reply(request,
                      json_pack("{s:s, s:s, s:s, s:s}", "name", "attriprompt", "version",
                                VERSION_TEXT, "model", info->name, "backend", info->backend),
                      NULL, NULL);
}
