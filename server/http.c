#include "server/http.h"

#include <inttypes.h>
#include <microhttpd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>
#include <unistd.h>

#include "engine/base/log.h"
#include "engine/base/mem.h"
#include "server/clock.h"
#include "server/http_internal.h"
#include "server/pool_folder.h"
#include "server/request.h"
#include "server/workers.h"

enum {
    HTTP_CONNECTION_MEMORY = 64 * 1024, /* head of a request, and its pieces in between */
    HTTP_LINGER_MS = 3000,              /* how long a client that was refused may go on sending */
    HTTP_PROBE_MS = 500,                /* between two looks at clients */
    HTTP_SCAN_MS = 1000                 /* and at the pool folder */
};

void http_note_deadline(struct http *http, uint64_t deadline_us)
{
    if (deadline_us < http->next_deadline_us)
        http->next_deadline_us = deadline_us;
}

void http_destroy_job(struct http *http, struct job *job)
{
    http->buffered_bytes -= job->buffered_bytes;
    http->jobs--;
    job->kind->destroy(job);
}

/* ---- Receiving ---- */

static void http_refuse(struct request *request, int status, const char *code, const char *detail)
{
    request->http->buffered_bytes -= request->buffered_bytes;
    request->buffered_bytes = 0;
    buf_finish(&request->body);
    spool_file_finish(&request->upload);
    request_reply_problem(request, status, code, detail);
}

static void http_refuse_past_library(struct request *request)
{
    request_send_past_library(request);
    request->deadline_us = clock_now_us() + HTTP_LINGER_MS * 1000;
    http_note_deadline(request->http, request->deadline_us);
}

static uint64_t http_most_bytes(const struct request *request)
{
    const struct config *config = request->http->service->config;
    bool spooled = request->route && request->route->spooled;
    return spooled ? config->max_pool_file_bytes : config->max_body_bytes;
}

static void http_refuse_too_large(struct request *request)
{
    char detail[128];
    snprintf(detail, sizeof detail, "the body is larger than %" PRIu64 " bytes",
             http_most_bytes(request));
    http_refuse(request, 413, "body_too_large", detail);
}

static void http_refuse_busy(struct request *request)
{
    char detail[128];
    snprintf(detail, sizeof detail, "the requests in memory have reached %" PRIu64 " bytes",
             request->http->service->config->max_buffered_bytes);
    http_refuse(request, 429, "server_busy", detail);
}

static void http_set_parameter(struct request *request, const char *path)
{
    size_t length;
    const char *parameter = router_parameter(request->route, path, &length);
    if (length >= sizeof request->parameter)
        length = sizeof request->parameter - 1;
    memcpy(request->parameter, parameter, length);
    request->parameter[length] = '\0';
}

static void http_find_route(struct request *request, const char *method, const char *path)
{
    struct http *http = request->http;
    char allow[sizeof request->reply.allow] = "", detail[256];
    switch (router_find(&http->router, method, path, &request->route, allow, sizeof allow)) {
    case ROUTER_FOUND:
        http_set_parameter(request, path);
        return;
    case ROUTER_NO_PATH:
        snprintf(detail, sizeof detail, "there is nothing at %s",
                 *path ? path : "a path that is empty or holds a NUL");
        http_refuse(request, 404, "not_found", detail);
        return;
    case ROUTER_NO_METHOD:
        snprintf(detail, sizeof detail, "%s does not take %s, only %s", path, method, allow);
        http_refuse(request, 405, "method_not_allowed", detail);
        memcpy(request->reply.allow, allow, sizeof allow);
        return;
    }
}

static void http_set_line(struct request *request, const char *method, const char *path)
{
    snprintf(request->line, sizeof request->line, "%s %s", method, path);
    for (char *c = request->line; *c; c++)
        if (*c < 0x20 || *c == 0x7f || *c == '"')
            *c = '?';
}

static struct http_connection *http_connection_of(struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    return info ? info->socket_context : NULL;
}

/* Headers that must not come twice: whoever reads the other one sees another request. */
static const char *const http_single_headers[] = {
    MHD_HTTP_HEADER_HOST, MHD_HTTP_HEADER_CONTENT_LENGTH, MHD_HTTP_HEADER_TRANSFER_ENCODING};

enum { HTTP_SINGLE_HEADERS = sizeof http_single_headers / sizeof http_single_headers[0] };

static enum MHD_Result http_count_header(void *argument, enum MHD_ValueKind kind, const char *name,
                                         const char *value)
{
    (void)kind;
    (void)value;
    unsigned *counts = argument;
    for (size_t i = 0; i < HTTP_SINGLE_HEADERS; i++)
        counts[i] += !strcasecmp(name, http_single_headers[i]);
    return MHD_YES;
}

/* The header of those that came twice, or NULL. */
static const char *http_repeated_header(const struct request *request)
{
    unsigned counts[HTTP_SINGLE_HEADERS] = {0};
    MHD_get_connection_values(request->connection, MHD_HEADER_KIND, http_count_header, counts);
    for (size_t i = 0; i < HTTP_SINGLE_HEADERS; i++)
        if (counts[i] > 1)
            return http_single_headers[i];
    return NULL;
}

/* What the library lets through: no Host, and framing that a proxy may read in another way. */
static void http_check_head(struct request *request, const char *version)
{
    char detail[64];
    const char *repeated = http_repeated_header(request);
    const char *coding = request_header(request, MHD_HTTP_HEADER_TRANSFER_ENCODING);
    if (!strcmp(version, MHD_HTTP_VERSION_1_1) && !request_header(request, MHD_HTTP_HEADER_HOST))
        http_refuse(request, 400, "no_host", "an HTTP/1.1 request must have a Host header");
    else if (repeated) {
        snprintf(detail, sizeof detail, "%s is given twice", repeated);
        http_refuse(request, 400, "repeated_header", detail);
    } else if (coding && strcasecmp(coding, "chunked") != 0)
        http_refuse(request, 501, "transfer_encoding", "Transfer-Encoding can only be chunked");
    else if (coding && request_header(request, MHD_HTTP_HEADER_CONTENT_LENGTH))
        http_refuse(request, 400, "ambiguous_length",
                    "Transfer-Encoding and Content-Length exclude each other");
    else
        return;
    request->close_after = true;
}

static bool http_is_too_large(const struct request *request)
{
    const char *length = request_header(request, MHD_HTTP_HEADER_CONTENT_LENGTH);
    return length && strtoull(length, NULL, 10) > http_most_bytes(request);
}

/* The body will go to a file, and may take longer. */
static void http_begin_upload(struct request *request)
{
    struct http *http = request->http;
    const struct config *config = http->service->config;
    char detail[128];
    struct fail why;
    if (http->uploads >= config->max_uploads) {
        snprintf(detail, sizeof detail, "%" PRIu64 " uploads are under way already",
                 config->max_uploads);
        http_refuse(request, 429, "server_busy", detail);
        request->reply.retry_after_s = 1;
        return;
    }
    http->uploads += request->uploads = 1;
    request->deadline_us = request->started_us + config->upload_timeout_ms * 1000;
    http_note_deadline(http, request->deadline_us); /* it may come before that of other bodies */
    if (spool_file_open(&request->upload, http->service->spool_dir, &why)) {
        log_line(LOG_ERROR, "%s", why.message);
        http_refuse(request, 500, "internal", "the upload cannot be stored");
    }
}

/* The head is here. A request that will be refused may still have a body on the way: then the
 * answer waits until that has been read, unless the client waits for leave to send it or it is too
 * large to be read. */
static enum MHD_Result http_begin(struct request *request, const char *method, const char *path,
                                  const char *version)
{
    struct http *http = request->http;
    http_set_line(request, method, path);
    request_set_id(request, &http->id_seed);
    buf_init(&request->body, http->service->config->max_body_bytes);
    http_check_head(request, version);
    if (!request->reply.status)
        http_find_route(request, method, path);
    if (request->route && !request->route->while_draining && http->service->draining)
        http_refuse(request, 503, "draining", "the server is shutting down");
    bool too_large = http_is_too_large(request);
    if (!request->reply.status && too_large)
        http_refuse_too_large(request);
    if (!request->reply.status && request->route->spooled)
        http_begin_upload(request);
    if (!request->reply.status)
        return MHD_YES;
    const char *expect = request_header(request, MHD_HTTP_HEADER_EXPECT);
    if (expect && !strcasecmp(expect, "100-continue"))
        return request_send(request, true) ? MHD_YES : MHD_NO;
    if (too_large || request->close_after)
        http_refuse_past_library(request);
    return MHD_YES;
}

static void http_spool(struct request *request, const char *data, size_t size)
{
    struct fail why;
    if (!spool_file_append(&request->upload, data, size, &why))
        return;
    log_line(LOG_ERROR, "%s", why.message);
    http_refuse(request, 500, "internal", "the upload cannot be stored");
}

static enum MHD_Result http_receive(struct request *request, const char *data, size_t size)
{
    struct http *http = request->http;
    request->received_bytes += size;
    if (request->state == REQUEST_LINGERING)
        return request->received_bytes > 2 * http_most_bytes(request) ? MHD_NO : MHD_YES;
    if (request->received_bytes > http_most_bytes(request)) {
        http_refuse_too_large(request);
        http_refuse_past_library(request);
        return MHD_YES;
    }
    if (request->reply.status)
        return MHD_YES;
    if (request->route->spooled)
        http_spool(request, data, size);
    else if (http->buffered_bytes + size > http->service->config->max_buffered_bytes)
        http_refuse_busy(request);
    else if (buf_append(&request->body, data, size, NULL))
        http_refuse(request, 500, "internal", "no memory for the body");
    else {
        http->buffered_bytes += size;
        request->buffered_bytes += size;
    }
    return MHD_YES;
}

/* All is here; called again after a connection was resumed. */
static enum MHD_Result http_arrived(struct request *request)
{
    struct http *http = request->http;
    if (request->state == REQUEST_LINGERING)
        return MHD_NO;
    if (request->state == REQUEST_RECEIVING && !request->reply.status)
        request->route->handle(request, http->service);
    if (request->state == REQUEST_WORKING) {
        MHD_suspend_connection(request->connection);
        return MHD_YES;
    }
    return request_send(request, http->service->draining) ? MHD_YES : MHD_NO;
}

static struct request *http_add_request(struct http *http, struct MHD_Connection *connection)
{
    struct request *request = mem_zeroed(1, sizeof *request);
    if (!request)
        return NULL;
    request->http = http;
    request->connection = connection;
    request->upload.fd = -1;
    request->started_us = clock_now_us();
    request->deadline_us = request->started_us + http->service->config->body_timeout_ms * 1000;
    http_note_deadline(http, request->deadline_us);
    request->next = http->requests;
    if (http->requests)
        http->requests->previous = request;
    http->requests = request;
    return request;
}

static enum MHD_Result http_on_request(void *argument, struct MHD_Connection *connection,
                                       const char *path, const char *method, const char *version,
                                       const char *data, size_t *size, void **slot)
{
    struct request *request = *slot;
    if (!request) {
        http_connections_begin_request(http_connection_of(connection));
        *slot = request = http_add_request(argument, connection);
        return request ? http_begin(request, method, path, version) : MHD_NO;
    }
    if (!*size)
        return http_arrived(request);
    enum MHD_Result result = http_receive(request, data, *size);
    *size = 0;
    return result;
}

/* A text with a NUL (%00) in it is emptied, so that nothing takes its beginning for all of it:
 * there is no such path, and parameters of the query are known by their lengths. */
static size_t http_on_unescape(void *argument, struct MHD_Connection *connection, char *text)
{
    (void)argument;
    (void)connection;
    size_t length = MHD_http_unescape(text);
    if (memchr(text, '\0', length))
        *text = '\0';
    return length;
}

static void http_on_completed(void *argument, struct MHD_Connection *connection, void **slot,
                              enum MHD_RequestTerminationCode reason)
{
    struct http *http = argument;
    struct request *request = *slot;
    if (!request)
        return;
    *slot = NULL;
    uint64_t now_us = clock_now_us();
    http_connections_end_request(http_connection_of(connection), now_us);
    http_note_deadline(http, now_us + http->connections.most_idle_us);
    double ms = (double)(now_us - request->started_us) / 1e3;
    if (reason == MHD_REQUEST_TERMINATED_COMPLETED_OK || request->state == REQUEST_LINGERING)
        log_line(LOG_INFO, "\"%s\" %d %.1f ms %s", request->line, request->sent_status, ms,
                 request->id);
    else
        log_line(LOG_INFO, "\"%s\" client gone after %.1f ms %s", request->line, ms, request->id);
    if (request->previous)
        request->previous->next = request->next;
    else
        http->requests = request->next;
    if (request->next)
        request->next->previous = request->previous;
    request_destroy(request);
}

static void http_on_connection(void *argument, struct MHD_Connection *connection, void **slot,
                               enum MHD_ConnectionNotificationCode what)
{
    struct http *http = argument;
    if (what == MHD_CONNECTION_NOTIFY_STARTED) {
        uint64_t now_us = clock_now_us();
        *slot = http_connections_add(&http->connections, connection, now_us);
        http_note_deadline(http, now_us + http->connections.most_idle_us);
    } else {
        http_connections_remove(&http->connections, *slot);
        *slot = NULL;
    }
}

/* ---- Answers that come from elsewhere than a handler ---- */

static void http_give_up(struct request *request, int status, const char *code, const char *detail)
{
    request_abandon_job(request);
    request_reply_problem(request, status, code, detail);
    MHD_resume_connection(request->connection);
}

static void http_collect(struct http *http)
{
    for (struct job *job = completions_take(http->completions), *next; job; job = next) {
        next = job->next;
        struct request *request = job->request;
        if (request) {
            if (!job->reply.status)
                reply_set_problem(&job->reply, 500, "internal", "the work ended without an answer",
                                  request->id);
            reply_move(&request->reply, &job->reply);
            request->timings = job->timings;
            request->job = NULL;
            request->state = REQUEST_ANSWERED;
            MHD_resume_connection(request->connection);
        }
        if (job == http->scan)
            http->scan = NULL;
        http_destroy_job(http, job);
    }
}

static uint64_t http_deadline_of(const struct request *request)
{
    switch (request->state) {
    case REQUEST_RECEIVING:
    case REQUEST_SENDING:
    case REQUEST_LINGERING:
        return request->deadline_us;
    case REQUEST_WORKING:
        return atomic_load(&request->job->deadline_us);
    case REQUEST_ANSWERED:
        break;
    }
    return UINT64_MAX;
}

/* While a body arrives. */
static void http_refuse_and_hang_up(struct request *request, int status, const char *code,
                                    const char *detail)
{
    http_refuse(request, status, code, detail);
    request_send_past_library(request);
    request->deadline_us = UINT64_MAX;
    request_hang_up(request);
}

static void http_expire_request(struct request *request)
{
    char detail[128];
    if (request->state == REQUEST_WORKING) {
        uint64_t allowed_us = atomic_load(&request->job->deadline_us) - request->job->created_us;
        snprintf(detail, sizeof detail, "the request was not done in its %" PRIu64 " ms",
                 allowed_us / 1000);
        http_give_up(request, 504, "deadline_exceeded", detail);
    } else if (request->state == REQUEST_RECEIVING) {
        snprintf(detail, sizeof detail, "the body did not arrive within %" PRIu64 " ms",
                 (request->deadline_us - request->started_us) / 1000);
        http_refuse_and_hang_up(request, 408, "body_too_slow", detail);
    } else {
        request->deadline_us = UINT64_MAX;
        request_hang_up(request);
    }
}

/* The library reads the first line of a chunk into memory of a fixed size. When that is full it
 * neither fails nor waits, but tries for ever: what lies on the socket stays there. */
static bool http_is_stuck(struct request *request)
{
    bool stalled = request->received_bytes == request->probed_bytes && request_has_unread(request);
    bool stuck = stalled && request->stalled;
    request->probed_bytes = request->received_bytes;
    request->stalled = stalled;
    return stuck;
}

/* Work that nobody waits for any more is given up, a body that gets nowhere refused. */
static void http_probe(struct http *http, uint64_t now_us)
{
    if (now_us < http->next_probe_us)
        return;
    http->next_probe_us = UINT64_MAX;
    for (struct request *request = http->requests; request; request = request->next) {
        if (request->state == REQUEST_WORKING && request_client_is_gone(request))
            http_give_up(request, 499, "client_gone", "the client has closed the connection");
        else if (request->state == REQUEST_RECEIVING && http_is_stuck(request))
            http_refuse_and_hang_up(request, 400, "chunk_head",
                                    "the first line of a chunk is too long");
    }
}

static void http_expire(struct http *http, uint64_t now_us)
{
    if (atomic_exchange(&http->completions->deadlines_moved, false))
        http->next_deadline_us = 0;
    if (now_us < http->next_deadline_us)
        return;
    http->next_deadline_us = http_connections_expire(&http->connections, now_us);
    for (struct request *request = http->requests; request; request = request->next) {
        if (http_deadline_of(request) <= now_us)
            http_expire_request(request);
        http_note_deadline(http, http_deadline_of(request));
    }
}

/* ---- The pool folder ---- */

void http_scan_pools(struct http *http)
{
    http->scan_at_once = true;
    http->next_scan_us = 0;
}

static void http_scan(struct http *http, uint64_t now_us)
{
    struct service *service = http->service;
    if (!service->pool_folder || http->scan || service->draining || now_us < http->next_scan_us)
        return;
    http->next_scan_us = now_us + HTTP_SCAN_MS * 1000;
    struct job *job = pool_folder_make_scan(service, http->scan_at_once);
    if (!job)
        return;
    http->jobs++;
    if (workers_submit(service->workers, job, NULL)) {
        http_destroy_job(http, job);
        return;
    }
    http->scan_at_once = false;
    http->scan = job;
}

static void http_stop_scan(struct http *http)
{
    if (http->scan && workers_cancel(http->service->workers, http->scan)) {
        http_destroy_job(http, http->scan);
        http->scan = NULL;
    }
}

/* ---- The outside ---- */

static void http_on_log(void *argument, const char *format, va_list arguments)
    __attribute__((format(printf, 2, 0)));

static void http_on_log(void *argument, const char *format, va_list arguments)
{
    (void)argument;
    char line[512];
    vsnprintf(line, sizeof line, format, arguments);
    line[strcspn(line, "\r\n")] = '\0';
    log_line(LOG_DEBUG, "http: %s", line);
}

enum status http_create(struct service *service, const struct router *router, int listen_fd,
                        struct completions *completions, struct http **out, struct fail *why)
{
    struct http *http = mem_zeroed(1, sizeof *http);
    if (!http || getrandom(&http->id_seed, sizeof http->id_seed, 0) < 0) {
        free(http);
        close(listen_fd);
        return status_fail(why, STATUS_NO_MEMORY, "cannot set up the HTTP server");
    }
    const struct config *config = service->config;
    http->service = service;
    http->router = *router;
    http->completions = completions;
    http->next_deadline_us = http->next_probe_us = UINT64_MAX;
    http->connections.most_idle_us =
        config->connection_timeout_s * 1000000 + config->body_timeout_ms * 1000;
    http->daemon = MHD_start_daemon(
        MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ITC | MHD_USE_ERROR_LOG, 0, NULL, NULL,
        http_on_request, http, MHD_OPTION_EXTERNAL_LOGGER, http_on_log, NULL,
        MHD_OPTION_LISTEN_SOCKET, listen_fd, MHD_OPTION_NOTIFY_COMPLETED, http_on_completed, http,
        MHD_OPTION_CONNECTION_LIMIT, (unsigned)config->max_connections,
        MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)config->connection_timeout_s,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)HTTP_CONNECTION_MEMORY,
        MHD_OPTION_NOTIFY_CONNECTION, http_on_connection, http, MHD_OPTION_STRICT_FOR_CLIENT, 0,
        MHD_OPTION_SIGPIPE_HANDLED_BY_APP, 1, MHD_OPTION_UNESCAPE_CALLBACK, http_on_unescape, NULL,
        MHD_OPTION_END);
    if (!http->daemon) { /* which has closed listen_fd */
        free(http);
        return status_fail(why, STATUS_IO, "libmicrohttpd did not start");
    }
    *out = http;
    return STATUS_OK;
}

void http_destroy(struct http *http)
{
    if (!http)
        return;
    MHD_stop_daemon(http->daemon);
    free(http);
}

int http_poll_fd(const struct http *http)
{
    return MHD_get_daemon_info(http->daemon, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd;
}

void http_run(struct http *http, uint64_t now_us)
{
    http_collect(http);
    http_expire(http, now_us);
    http_probe(http, now_us);
    http_scan(http, now_us);
    MHD_run(http->daemon);
    if (http->requests && http->next_probe_us == UINT64_MAX)
        http->next_probe_us = now_us + HTTP_PROBE_MS * 1000;
}

uint64_t http_next_run_us(const struct http *http, uint64_t now_us)
{
    MHD_UNSIGNED_LONG_LONG timeout_ms;
    uint64_t next_us = http->next_deadline_us;
    if (http->next_probe_us < next_us)
        next_us = http->next_probe_us;
    if (http->service->pool_folder && !http->scan && !http->service->draining &&
        http->next_scan_us < next_us)
        next_us = http->next_scan_us;
    if (MHD_get_timeout(http->daemon, &timeout_ms) == MHD_YES &&
        now_us + timeout_ms * 1000 < next_us)
        next_us = now_us + timeout_ms * 1000;
    return next_us;
}

void http_leave(struct http *http)
{
    http->service->leaving = true;
}

void http_drain(struct http *http)
{
    http->service->draining = true;
    http_stop_scan(http);
    MHD_socket listen_fd = MHD_quiesce_daemon(http->daemon);
    if (listen_fd != MHD_INVALID_SOCKET)
        close(listen_fd);
}

void http_abort(struct http *http)
{
    for (struct request *request = http->requests; request; request = request->next) {
        if (request->state == REQUEST_WORKING)
            http_give_up(request, 503, "draining", "the server is shutting down");
        else if (request->state == REQUEST_RECEIVING || request->state == REQUEST_LINGERING)
            request_hang_up(request);
    }
}

bool http_has_requests(const struct http *http)
{
    return http->requests;
}

bool http_has_jobs(const struct http *http)
{
    return http->jobs > 0;
}
