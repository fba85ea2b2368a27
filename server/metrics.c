#include "server/metrics.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/mem.h"
#include "server/distinct.h"

/* ---- The closed sets ---- */

static const char *const metrics_methods[] = {"GET",   "HEAD",   "POST",    "PUT",
                                              "PATCH", "DELETE", "OPTIONS", "other"};

static const int metrics_statuses[] = {200, 201, 204, 304, 400, 401, 403, 404, 405,
                                       408, 409, 411, 412, 413, 414, 415, 417, 422,
                                       429, 431, 499, 500, 501, 503, 504, 505};

enum metrics_stage {
    METRICS_QUEUE,
    METRICS_DECODE,
    METRICS_IMAGE,
    METRICS_RETRIEVE,
    METRICS_TEXT,
    METRICS_STAGES
};

static const char *const metrics_stages[METRICS_STAGES] = {"queue", "decode", "image", "retrieve",
                                                           "text"};

static const char *const metrics_rejections[METRICS_REJECTIONS] = {
    [METRICS_QUEUE_FULL] = "queue_full",         [METRICS_MEMORY_FULL] = "memory_full",
    [METRICS_UPLOADS_FULL] = "uploads_full",     [METRICS_DRAINING] = "draining",
    [METRICS_BODY_TOO_LARGE] = "body_too_large", [METRICS_BODY_TOO_SLOW] = "body_too_slow",
    [METRICS_HEAD_TOO_LARGE] = "head_too_large", [METRICS_MALFORMED] = "malformed",
    [METRICS_INCOMPLETE] = "incomplete",
};

static const char *const metrics_formats[IMAGE_FORMATS] = {
    [IMAGE_UNKNOWN] = "unknown", [IMAGE_JPEG] = "jpeg", [IMAGE_PNG] = "png", [IMAGE_WEBP] = "webp"};

enum metrics_result {
    METRICS_OK,
    METRICS_UNSUPPORTED,
    METRICS_DAMAGED,
    METRICS_TOO_LARGE,
    METRICS_FAILED,
    METRICS_RESULTS
};

static const char *const metrics_results[METRICS_RESULTS] = {"ok", "unsupported", "damaged",
                                                             "too_large", "error"};

enum metrics_load { METRICS_LOADED, METRICS_INVALID, METRICS_NOT_LOADED, METRICS_LOADS };

static const char *const metrics_loads[METRICS_LOADS] = {"ok", "invalid", "error"};

enum {
    METRICS_METHODS = sizeof metrics_methods / sizeof metrics_methods[0],
    METRICS_STATUSES = sizeof metrics_statuses / sizeof metrics_statuses[0] + 1 /* other */
};

static size_t metrics_method_slot(const char *method)
{
    size_t slot = 0;
    while (slot < METRICS_METHODS - 1 && strcmp(method, metrics_methods[slot]) != 0)
        slot++;
    return slot;
}

static size_t metrics_status_slot(int status)
{
    size_t slot = 0;
    while (slot < METRICS_STATUSES - 1 && status != metrics_statuses[slot])
        slot++;
    return slot;
}

/* ---- Counting ---- */

struct metrics_path {
    const char *template;
    uint64_t requests[METRICS_METHODS][METRICS_STATUSES];
    struct histogram durations;
};

struct metrics {
    const struct router *router;
    struct histogram stages[METRICS_STAGES];
    uint64_t rejections[METRICS_REJECTIONS];
    uint64_t cancelled;
    uint64_t connections[2]; /* without and with a request */
    _Atomic uint64_t images[IMAGE_FORMATS][METRICS_RESULTS];
    _Atomic uint64_t loads[METRICS_LOADS];
    struct distinct compositions;
    size_t *path_of_route; /* [router->count] */
    size_t path_count;
    struct metrics_path paths[]; /* the distinct ones of the router; the first: any other */
};

static void metrics_add_paths(struct metrics *metrics)
{
    metrics->paths[metrics->path_count++].template = "other";
    for (size_t i = 0; i < metrics->router->count; i++) {
        const char *path = metrics->router->routes[i].path;
        size_t slot = 1;
        while (slot < metrics->path_count && strcmp(path, metrics->paths[slot].template) != 0)
            slot++;
        metrics->paths[slot].template = path;
        metrics->path_of_route[i] = slot;
        if (slot == metrics->path_count)
            metrics->path_count++;
    }
}

enum status metrics_create(const struct router *router, struct metrics **out, struct fail *why)
{
    struct metrics *metrics =
        mem_zeroed(1, sizeof *metrics + (router->count + 1) * sizeof metrics->paths[0]);
    size_t *path_of_route = mem_zeroed(router->count, sizeof *path_of_route);
    if (!metrics || !path_of_route) {
        free(metrics);
        free(path_of_route);
        return status_fail(why, STATUS_NO_MEMORY, "no memory for metrics");
    }
    metrics->router = router;
    metrics->path_of_route = path_of_route;
    metrics_add_paths(metrics);
    *out = metrics;
    return STATUS_OK;
}

void metrics_destroy(struct metrics *metrics)
{
    if (!metrics)
        return;
    free(metrics->path_of_route);
    free(metrics);
}

void metrics_count_request(struct metrics *metrics, const struct metrics_request *request)
{
    const struct router_route *route = request->route;
    size_t slot = route ? metrics->path_of_route[route - metrics->router->routes] : 0;
    struct metrics_path *path = &metrics->paths[slot];
    path->requests[metrics_method_slot(request->method)][metrics_status_slot(request->status)]++;
    histogram_add(&path->durations, &histogram_durations, request->duration_us);
    metrics->rejections[request->rejection]++;
}

void metrics_count_library_answer(struct metrics *metrics, int status)
{
    metrics->paths[0].requests[METRICS_METHODS - 1][metrics_status_slot(status)]++;
    bool large = status == 413 || status == 414 || status == 431;
    metrics->rejections[large ? METRICS_HEAD_TOO_LARGE : METRICS_MALFORMED]++;
}

void metrics_count_connection(struct metrics *metrics, bool had_request)
{
    metrics->connections[had_request]++;
}

void metrics_count_stages(struct metrics *metrics, const struct job_timings *timings)
{
    const uint64_t spent_us[METRICS_STAGES] = {
        [METRICS_QUEUE] = timings->queue_us, [METRICS_DECODE] = timings->decode_us,
        [METRICS_IMAGE] = timings->image_us, [METRICS_RETRIEVE] = timings->retrieve_us,
        [METRICS_TEXT] = timings->text_us,
    };
    for (size_t i = 0; i < METRICS_STAGES; i++)
        histogram_add(&metrics->stages[i], &histogram_durations, spent_us[i]);
}

void metrics_count_cancelled(struct metrics *metrics)
{
    metrics->cancelled++;
}

static enum metrics_result metrics_result_of(enum status status)
{
    switch (status) {
    case STATUS_OK:
        return METRICS_OK;
    case STATUS_UNSUPPORTED:
        return METRICS_UNSUPPORTED;
    case STATUS_FORMAT:
        return METRICS_DAMAGED;
    case STATUS_LIMIT:
        return METRICS_TOO_LARGE;
    default:
        return METRICS_FAILED;
    }
}

void metrics_count_image(struct metrics *metrics, enum image_format format, enum status status)
{
    atomic_fetch_add_explicit(&metrics->images[format][metrics_result_of(status)], 1,
                              memory_order_relaxed);
}

void metrics_count_pool_load(struct metrics *metrics, enum status status)
{
    bool ours = status == STATUS_IO || status == STATUS_NO_MEMORY || status == STATUS_CANCELLED ||
                status == STATUS_INTERNAL;
    enum metrics_load result = !status ? METRICS_LOADED
                               : ours  ? METRICS_NOT_LOADED
                                       : METRICS_INVALID;
    atomic_fetch_add_explicit(&metrics->loads[result], 1, memory_order_relaxed);
}

void metrics_note_composition(struct metrics *metrics, const struct engine_composition *composition)
{
    distinct_add(&metrics->compositions, (uint64_t)(uintptr_t)composition->pool,
                 composition->prompts,
                 composition->layers * composition->chosen * sizeof *composition->prompts);
}

/* ---- Showing ---- */

static void metrics_write_path(const struct metrics_path *path, struct exposition *exposition)
{
    for (size_t method = 0; method < METRICS_METHODS; method++)
        for (size_t status = 0; status < METRICS_STATUSES; status++) {
            char code[16] = "other";
            uint64_t requests = path->requests[method][status];
            if (!requests)
                continue;
            if (status < METRICS_STATUSES - 1)
                snprintf(code, sizeof code, "%d", metrics_statuses[status]);
            exposition_count(exposition, "attriprompt_http_requests_total",
                             &(struct exposition_labels){{{"route", path->template},
                                                          {"method", metrics_methods[method]},
                                                          {"code", code}}},
                             requests);
        }
}

static void metrics_write_requests(const struct metrics *metrics, struct exposition *exposition)
{
    static const char duration[] = "attriprompt_http_request_duration_seconds";
    exposition_begin(exposition, "attriprompt_http_requests_total", "counter",
                     "Requests that are over, by path template, method and status; 499: the client "
                     "had gone before its answer was out.");
    for (size_t i = 0; i < metrics->path_count; i++)
        metrics_write_path(&metrics->paths[i], exposition);
    exposition_begin(exposition, duration, "histogram",
                     "From a request's head to the end of its answer.");
    for (size_t i = 0; i < metrics->path_count; i++)
        if (histogram_count(&metrics->paths[i].durations))
            exposition_histogram(
                exposition, duration,
                &(struct exposition_labels){{{"route", metrics->paths[i].template}}},
                &metrics->paths[i].durations, &histogram_durations);
}

static void metrics_write_stages(const struct metrics *metrics, struct exposition *exposition)
{
    static const char name[] = "attriprompt_request_stage_duration_seconds";
    exposition_begin(exposition, name, "histogram",
                     "What requests with pictures spent their time on.");
    for (size_t i = 0; i < METRICS_STAGES; i++)
        exposition_histogram(exposition, name,
                             &(struct exposition_labels){{{"stage", metrics_stages[i]}}},
                             &metrics->stages[i], &histogram_durations);
}

static void metrics_write_rejections(const struct metrics *metrics, struct exposition *exposition)
{
    static const char name[] = "attriprompt_rejected_total";
    exposition_begin(exposition, name, "counter",
                     "Requests that were turned away before their work began.");
    for (size_t i = METRICS_NOT_REJECTED + 1; i < METRICS_REJECTIONS; i++)
        exposition_count(exposition, name,
                         &(struct exposition_labels){{{"reason", metrics_rejections[i]}}},
                         metrics->rejections[i]);
    exposition_only_count(exposition, "attriprompt_cancelled_total", "counter",
                          "Requests whose work was given up: the client had gone, the time was "
                          "over, or the server was about to end.",
                          metrics->cancelled);
}

static void metrics_write_connections(const struct metrics *metrics, struct exposition *exposition)
{
    static const char name[] = "attriprompt_connections_ended_total";
    static const char *const requests[] = {"none", "some"};
    exposition_begin(exposition, name, "counter",
                     "Connections that have ended; with no request: not even the head of one came "
                     "in full.");
    for (size_t i = 0; i < 2; i++)
        exposition_count(exposition, name, &(struct exposition_labels){{{"requests", requests[i]}}},
                         metrics->connections[i]);
}

static void metrics_write_images(const struct metrics *metrics, struct exposition *exposition)
{
    static const char name[] = "attriprompt_images_total";
    exposition_begin(exposition, name, "counter", "Pictures, and what came of decoding them.");
    for (size_t format = 0; format < IMAGE_FORMATS; format++)
        for (size_t result = 0; result < METRICS_RESULTS; result++) {
            uint64_t count =
                atomic_load_explicit(&metrics->images[format][result], memory_order_relaxed);
            if (count)
                exposition_count(exposition, name,
                                 &(struct exposition_labels){{{"format", metrics_formats[format]},
                                                              {"result", metrics_results[result]}}},
                                 count);
        }
}

static void metrics_write_pools(const struct metrics *metrics, struct exposition *exposition)
{
    static const char name[] = "attriprompt_pool_load_total";
    exposition_begin(exposition, name, "counter", "Pools that were loaded, or could not be.");
    for (size_t i = 0; i < METRICS_LOADS; i++)
        exposition_count(exposition, name,
                         &(struct exposition_labels){{{"result", metrics_loads[i]}}},
                         atomic_load_explicit(&metrics->loads[i], memory_order_relaxed));
    exposition_only_number(exposition, "attriprompt_distinct_compositions", "gauge",
                           "About how many different choices of prompts pictures have got since "
                           "the start.",
                           distinct_estimate(&metrics->compositions));
}

void metrics_write(const struct metrics *metrics, struct exposition *exposition)
{
    metrics_write_requests(metrics, exposition);
    metrics_write_stages(metrics, exposition);
    metrics_write_rejections(metrics, exposition);
    metrics_write_connections(metrics, exposition);
    metrics_write_images(metrics, exposition);
    metrics_write_pools(metrics, exposition);
}
