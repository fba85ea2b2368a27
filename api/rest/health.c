#include "api/rest/health.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "config/version.h"
#include "engine/engine.h"
#include "server/request.h"
#include "server/service.h"

enum { HEALTH_MAX_BYTES = 4096 };

/* Takes over the reference. */
static void health_reply(struct request *request, json_t *root)
{
    struct buf body;
    buf_init(&body, HEALTH_MAX_BYTES);
    char *text = root ? json_dumps(root, JSON_COMPACT) : NULL;
    if (text && !buf_append_text(&body, text, NULL) && !buf_append_text(&body, "\n", NULL))
        request_reply_json(request, 200, &body);
    else
        request_reply_problem(request, 500, "internal", "cannot write the answer");
    buf_finish(&body);
    free(text);
    json_decref(root);
}

void health_handle_live(struct request *request, struct service *service)
{
    (void)service;
    health_reply(request, json_pack("{s:s}", "status", "live"));
}

void health_handle_ready(struct request *request, struct service *service)
{
    if (service->leaving)
        request_reply_problem(request, 503, "draining", "the server is shutting down");
    else
        health_reply(request, json_pack("{s:s}", "status", "ready"));
}

void health_handle_version(struct request *request, struct service *service)
{
    const struct engine_info *info = engine_info(service->engine);
    health_reply(request, json_pack("{s:s, s:s, s:s, s:s}", "name", "attriprompt", "version",
                                    VERSION_TEXT, "model", info->name, "backend", info->backend));
}
