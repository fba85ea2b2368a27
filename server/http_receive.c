#include "server/http_receive.h"

#include <inttypes.h>
#include <microhttpd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "engine/base/log.h"
#include "server/clock.h"
#include "server/http_internal.h"
#include "server/request.h"
#include "server/workers.h"

enum { HTTP_RECEIVE_LINGER_MS = 3000 }; /* how long a client that was refused may go on sending */

void http_receive_refuse(struct request *request, int status, const char *code, const char *detail)
{
    request->http->buffered_bytes -= request->buffered_bytes;
    request->buffered_bytes = 0;
    buf_finish(&request->body);
    spool_file_finish(&request->upload);
    request_reply_problem(request, status, code, detail);
}

static void http_receive_refuse_past_library(struct request *request)
{
    request_send_past_library(request);
    request->deadline_us = clock_now_us() + HTTP_RECEIVE_LINGER_MS * 1000;
    http_note_deadline(request->http, request->deadline_us);
}

static uint64_t http_receive_most_bytes(const struct request *request)
{
    const struct config *config = request->http->service->config;
    bool spooled = request->route && request->route->spooled;
    return spooled ? config->max_pool_file_bytes : config->max_body_bytes;
}

static void http_receive_refuse_too_large(struct request *request)
{
    char detail[128];
    snprintf(detail, sizeof detail, "the body is larger than %" PRIu64 " bytes",
             http_receive_most_bytes(request));
    http_receive_refuse(request, 413, "body_too_large", detail);
    request->rejection = METRICS_BODY_TOO_LARGE;
}

static void http_receive_refuse_busy(struct request *request)
{
    char detail[128];
    snprintf(detail, sizeof detail, "the requests in memory have reached %" PRIu64 " bytes",
             request->http->service->config->max_buffered_bytes);
    http_receive_refuse(request, 429, "server_busy", detail);
    request->rejection = METRICS_MEMORY_FULL;
}

static void http_receive_set_parameter(struct request *request, const char *path)
{
    size_t length;
    const char *parameter = router_parameter(request->route, path, &length);
    if (length >= sizeof request->parameter)
        length = sizeof request->parameter - 1;
    memcpy(request->parameter, parameter, length);
    request->parameter[length] = '\0';
}

static void http_receive_find_route(struct request *request, const char *method, const char *path)
{
    struct http *http = request->http;
    char allow[sizeof request->reply.allow] = "", detail[256];
    switch (router_find(&http->router, method, path, &request->route, allow, sizeof allow)) {
    case ROUTER_FOUND:
        http_receive_set_parameter(request, path);
        return;
    case ROUTER_NO_PATH:
        snprintf(detail, sizeof detail, "there is nothing at %s",
                 *path ? path : "a path that is empty or holds a NUL");
        http_receive_refuse(request, 404, "not_found", detail);
        return;
    case ROUTER_NO_METHOD:
        snprintf(detail, sizeof detail, "%s does not take %s, only %s", path, method, allow);
        http_receive_refuse(request, 405, "method_not_allowed", detail);
        memcpy(request->reply.allow, allow, sizeof allow);
        return;
    }
}

static void http_receive_set_line(struct request *request, const char *method, const char *path)
{
    snprintf(request->method, sizeof request->method, "%s", method);
    snprintf(request->path, sizeof request->path, "%s", path);
}

/* Headers that must not come twice: whoever reads the other one sees another request. */
static const char *const http_receive_single_headers[] = {
    MHD_HTTP_HEADER_HOST, MHD_HTTP_HEADER_CONTENT_LENGTH, MHD_HTTP_HEADER_TRANSFER_ENCODING};

enum {
    HTTP_RECEIVE_SINGLE_HEADERS =
        sizeof http_receive_single_headers / sizeof http_receive_single_headers[0]
};

static enum MHD_Result http_receive_count_header(void *argument, enum MHD_ValueKind kind,
                                                 const char *name, const char *value)
{
    (void)kind;
    (void)value;
    unsigned *counts = argument;
    for (size_t i = 0; i < HTTP_RECEIVE_SINGLE_HEADERS; i++)
        counts[i] += !strcasecmp(name, http_receive_single_headers[i]);
    return MHD_YES;
}

/* The header of those that came twice, or NULL. */
static const char *http_receive_repeated_header(const struct request *request)
{
    unsigned counts[HTTP_RECEIVE_SINGLE_HEADERS] = {0};
    MHD_get_connection_values(request->connection, MHD_HEADER_KIND, http_receive_count_header,
                              counts);
    for (size_t i = 0; i < HTTP_RECEIVE_SINGLE_HEADERS; i++)
        if (counts[i] > 1)
            return http_receive_single_headers[i];
    return NULL;
}

/* What the library lets through: no Host, and framing that a proxy may read in another way. */
static void http_receive_check_head(struct request *request, const char *version)
{
    char detail[64];
    const char *repeated = http_receive_repeated_header(request);
    const char *coding = request_header(request, MHD_HTTP_HEADER_TRANSFER_ENCODING);
    if (!strcmp(version, MHD_HTTP_VERSION_1_1) && !request_header(request, MHD_HTTP_HEADER_HOST))
        http_receive_refuse(request, 400, "no_host", "an HTTP/1.1 request must have a Host header");
    else if (repeated) {
        snprintf(detail, sizeof detail, "%s is given twice", repeated);
        http_receive_refuse(request, 400, "repeated_header", detail);
    } else if (coding && strcasecmp(coding, "chunked") != 0)
        http_receive_refuse(request, 501, "transfer_encoding",
                            "Transfer-Encoding can only be chunked");
    else if (coding && request_header(request, MHD_HTTP_HEADER_CONTENT_LENGTH))
        http_receive_refuse(request, 400, "ambiguous_length",
                            "Transfer-Encoding and Content-Length exclude each other");
    else
        return;
    request->close_after = true;
    request->rejection = METRICS_MALFORMED;
}

static bool http_receive_is_too_large(const struct request *request)
{
    const char *length = request_header(request, MHD_HTTP_HEADER_CONTENT_LENGTH);
    return length && strtoull(length, NULL, 10) > http_receive_most_bytes(request);
}

/* The body will go to a file, and may take longer. */
static void http_receive_begin_upload(struct request *request)
{
    struct http *http = request->http;
    const struct config *config = http->service->config;
    char detail[128];
    struct fail why;
    if (http->uploads >= config->max_uploads) {
        snprintf(detail, sizeof detail, "%" PRIu64 " uploads are under way already",
                 config->max_uploads);
        http_receive_refuse(request, 429, "server_busy", detail);
        request->reply.retry_after_s = 1;
        request->rejection = METRICS_UPLOADS_FULL;
        return;
    }
    http->uploads += request->uploads = 1;
    request->deadline_us = request->started_us + config->upload_timeout_ms * 1000;
    http_note_deadline(http, request->deadline_us); /* it may come before that of other bodies */
    if (spool_file_open(&request->upload, http->service->spool_dir, &why)) {
        log_line(LOG_ERROR, "%s", why.message);
        http_receive_refuse(request, 500, "internal", "the upload cannot be stored");
    }
}

/* What waits may still be there when the body is: a refusal now saves reading and keeping it. */
static void http_receive_check_room(struct request *request)
{
    struct workers *workers = request->http->service->workers;
    struct fail why;
    if (!workers_check_room(workers, &why))
        return;
    http_receive_refuse(request, 429, "queue_full", why.message);
    request->rejection = METRICS_QUEUE_FULL;
    request->reply.retry_after_s = workers_retry_after_s(workers, false);
}

/* The head is here. A request that will be refused may still have a body on the way: then the
 * answer waits until that has been read, unless the client waits for leave to send it or it is too
 * large to be read. */
bool http_receive_head(struct request *request, const char *method, const char *path,
                       const char *version)
{
    struct http *http = request->http;
    http_receive_set_line(request, method, path);
    request_set_id(request, &http->id_seed);
    request_set_trace(request);
    buf_init(&request->body, http->service->config->max_body_bytes);
    http_receive_check_head(request, version);
    if (!request->reply.status)
        http_receive_find_route(request, method, path);
    if (request->route && !request->route->while_draining && http->service->draining) {
        http_receive_refuse(request, 503, "draining", "the server is shutting down");
        request->rejection = METRICS_DRAINING;
    }
    bool too_large = http_receive_is_too_large(request);
    if (!request->reply.status && too_large)
        http_receive_refuse_too_large(request);
    if (!request->reply.status && request->route->for_pictures)
        http_receive_check_room(request);
    if (!request->reply.status && request->route->spooled)
        http_receive_begin_upload(request);
    if (!request->reply.status)
        return true;
    const char *expect = request_header(request, MHD_HTTP_HEADER_EXPECT);
    if (expect && !strcasecmp(expect, "100-continue"))
        return request_send(request, true);
    if (too_large || request->close_after)
        http_receive_refuse_past_library(request);
    return true;
}

static void http_receive_spool(struct request *request, const char *data, size_t size)
{
    struct fail why;
    if (!spool_file_append(&request->upload, data, size, &why))
        return;
    log_line(LOG_ERROR, "%s", why.message);
    http_receive_refuse(request, 500, "internal", "the upload cannot be stored");
}

bool http_receive_body(struct request *request, const char *data, size_t size)
{
    struct http *http = request->http;
    request->received_bytes += size;
    if (request->state == REQUEST_LINGERING)
        return request->received_bytes <= 2 * http_receive_most_bytes(request);
    if (request->received_bytes > http_receive_most_bytes(request)) {
        http_receive_refuse_too_large(request);
        http_receive_refuse_past_library(request);
        return true;
    }
    if (request->reply.status)
        return true;
    if (request->route->spooled)
        http_receive_spool(request, data, size);
    else if (http->buffered_bytes + size > http->service->config->max_buffered_bytes)
        http_receive_refuse_busy(request);
    else if (buf_append(&request->body, data, size, NULL))
        http_receive_refuse(request, 500, "internal", "no memory for the body");
    else {
        http->buffered_bytes += size;
        request->buffered_bytes += size;
    }
    return true;
}

bool http_receive_end(struct request *request)
{
    struct http *http = request->http;
    if (request->state == REQUEST_LINGERING)
        return false;
    if (request->state == REQUEST_RECEIVING && !request->reply.status)
        request->route->handle(request, http->service);
    if (request->state == REQUEST_WORKING) {
        MHD_suspend_connection(request->connection);
        return true;
    }
    return request_send(request, http->service->draining);
}
