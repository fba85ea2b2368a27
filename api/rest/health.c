#include "api/rest/health.h"

#include <jansson.h>
#include <stdio.h>

#include "api/rest/json_answer.h"
#include "config/version.h"
#include "engine/engine.h"
#include "server/clock.h"
#include "server/exposition.h"
#include "server/metrics_page.h"
#include "server/request.h"
#include "server/service.h"
#include "server/workers.h"

enum { HEALTH_MAX_PAGE_BYTES = 1 << 22 };

/* Whether a worker hangs; then that is the answer. */
static bool health_refuse_stalled(struct request *request, const struct service *service,
                                  enum stall_verdict least)
{
    uint64_t limit_us = service->config->worker_stall_ms * 1000;
    struct stall_report report = workers_check_stall(service->workers, clock_now_us(), limit_us);
    if (report.verdict < least)
        return false;
    char detail[128];
    snprintf(detail, sizeof detail, "worker %zu has not shown a sign of life for %.1f s",
             report.worker, (double)report.silent_us / 1e6);
    request_reply_problem(request, 503, "worker_stalled", detail);
    return true;
}

void health_handle_live(struct request *request, struct service *service)
{
    if (!health_refuse_stalled(request, service, STALL_DEAD))
        json_answer_reply(request, json_pack("{s:s}", "status", "live"), NULL, NULL);
}

void health_handle_ready(struct request *request, struct service *service)
{
    if (service->leaving)
        request_reply_problem(request, 503, "draining", "the server is shutting down");
    else if (!health_refuse_stalled(request, service, STALL_UNREADY))
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

void health_handle_metrics(struct request *request, struct service *service)
{
    struct buf page;
    struct fail why;
    buf_init(&page, HEALTH_MAX_PAGE_BYTES);
    if (metrics_page_write(service, &page, &why))
        request_reply_problem(request, 500, "internal", why.message);
    else
        request_reply_text(request, EXPOSITION_CONTENT_TYPE, &page);
    buf_finish(&page);
}
