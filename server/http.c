#include "server/http.h"

#include <inttypes.h>
#include <microhttpd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "engine/base/log.h"
#include "engine/base/mem.h"
#include "server/access_log.h"
#include "server/clock.h"
#include "server/http_account.h"
#include "server/http_internal.h"
#include "server/http_receive.h"
#include "server/pool_folder.h"
#include "server/request.h"
#include "server/workers.h"

enum {
    HTTP_CONNECTION_MEMORY = 32 * 1024, /* head of a request, and its pieces in between */
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

/* ---- What the library calls ---- */

static struct http_connection *http_connection_of(struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    return info ? info->socket_context : NULL;
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
    bool goes_on;
    if (!request) {
        http_connections_begin_request(http_connection_of(connection));
        *slot = request = http_add_request(argument, connection);
        goes_on = request && http_receive_head(request, method, path, version);
    } else if (!*size) {
        goes_on = http_receive_end(request);
    } else {
        goes_on = http_receive_body(request, data, *size);
        *size = 0;
    }
    return goes_on ? MHD_YES : MHD_NO;
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
    http_account_request(http, request,
                         reason == MHD_REQUEST_TERMINATED_COMPLETED_OK ? HTTP_ACCOUNT_COMPLETED
                         : reason == MHD_REQUEST_TERMINATED_WITH_ERROR ? HTTP_ACCOUNT_FAILED
                                                                       : HTTP_ACCOUNT_CUT,
                         now_us);
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
        metrics_count_connection(http->service->metrics, http_connections_had_request(*slot));
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
            request->used = job->used;
            if (job->rows)
                metrics_count_stages(http->service->metrics, &job->timings);
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
    http_receive_refuse(request, status, code, detail);
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
        request->rejection = METRICS_BODY_TOO_SLOW;
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
        else if (request->state == REQUEST_RECEIVING && http_is_stuck(request)) {
            request->rejection = METRICS_MALFORMED;
            http_refuse_and_hang_up(request, 400, "chunk_head",
                                    "the first line of a chunk is too long");
        }
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
    char line[512];
    va_list copy;
    va_copy(copy, arguments);
    http_account_message(argument, format, copy);
    va_end(copy);
    if (!log_enabled(LOG_DEBUG))
        return;
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
    http->next_deadline_us = http->next_probe_us = http->next_flush_us = UINT64_MAX;
    http->connections.most_idle_us =
        config->connection_timeout_s * 1000000 + config->body_timeout_ms * 1000;
    http->daemon = MHD_start_daemon(
        MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ITC | MHD_USE_ERROR_LOG, 0, NULL, NULL,
        http_on_request, http, MHD_OPTION_EXTERNAL_LOGGER, http_on_log, http,
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
    http_account_run(http);
    if (http->service->access_log)
        http->next_flush_us = access_log_run(http->service->access_log, now_us);
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
    if (http->next_flush_us < next_us)
        next_us = http->next_flush_us;
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

void http_flush_log(struct http *http)
{
    if (http->service->access_log)
        access_log_flush(http->service->access_log);
}

bool http_has_requests(const struct http *http)
{
    return http->requests;
}

bool http_has_jobs(const struct http *http)
{
    return http->jobs > 0;
}
