#include "server/request.h"

#include <inttypes.h>
#include <microhttpd.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "server/clock.h"
#include "server/http_internal.h"
#include "server/request_internal.h"
#include "server/workers.h"

/* ---- What handlers ask ---- */

const char *request_id(const struct request *request)
{
    return request->id;
}

const char *request_header(const struct request *request, const char *name)
{
    return MHD_lookup_connection_value(request->connection, MHD_HEADER_KIND, name);
}

struct request_visit {
    request_visit_query *visit;
    void *argument;
    enum status status;
    struct fail *why;
};

static enum MHD_Result request_visit_one(void *argument, enum MHD_ValueKind kind, const char *name,
                                         size_t name_length, const char *value, size_t value_length)
{
    struct request_visit *each = argument;
    (void)kind;
    if (memchr(name, '\0', name_length))
        each->status = status_fail(each->why, STATUS_INVALID,
                                   "the name of a field in the query holds a NUL byte");
    else if (value && memchr(value, '\0', value_length))
        each->status = status_fail(each->why, STATUS_INVALID, "\"%.64s\" holds a NUL byte", name);
    else
        each->status = each->visit(each->argument, name, value ? value : "", each->why);
    return each->status ? MHD_NO : MHD_YES;
}

enum status request_each_query(const struct request *request, request_visit_query *visit,
                               void *argument, struct fail *why)
{
    struct request_visit each = {.visit = visit, .argument = argument, .why = why};
    MHD_get_connection_values_n(request->connection, MHD_GET_ARGUMENT_KIND, request_visit_one,
                                &each);
    return each.status;
}

void request_take_body(struct request *request, struct buf *out)
{
    *out = request->body;
    buf_init(&request->body, 0);
}

void request_take_upload(struct request *request, struct spool_file *out)
{
    spool_file_take(out, &request->upload);
}

const char *request_parameter(const struct request *request)
{
    return request->parameter;
}

static bool request_id_is_sane(const char *id)
{
    size_t length = strlen(id);
    return length && length < JOB_REQUEST_ID_BYTES &&
           strspn(id, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-") ==
               length;
}

void request_set_id(struct request *request, uint64_t *seed)
{
    const char *id = request_header(request, "X-Request-Id");
    if (id && request_id_is_sane(id)) {
        snprintf(request->id, sizeof request->id, "%s", id);
        return;
    }
    uint64_t mixed = *seed += 0x9e3779b97f4a7c15u; /* splitmix64 */
    mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9u;
    mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111ebu;
    snprintf(request->id, sizeof request->id, "req-%016" PRIx64, mixed ^ (mixed >> 31));
}

void request_set_trace(struct request *request)
{
    const char *parent = request_header(request, "traceparent");
    if (!parent || !trace_context_read(parent, request->trace_id))
        request->trace_id[0] = '\0';
}

/* ---- Answers ---- */

static void request_answer(struct request *request)
{
    if (request->state == REQUEST_WORKING)
        request->state = REQUEST_ANSWERED;
}

void request_reply_json(struct request *request, int status, struct buf *body)
{
    reply_set_json(&request->reply, status, body);
    request_answer(request);
}

void request_reply_text(struct request *request, const char *content_type, struct buf *body)
{
    reply_set_text(&request->reply, content_type, body);
    request_answer(request);
}

void request_reply_tagged(struct request *request, int status, const char *etag, struct buf *body)
{
    reply_set_json(&request->reply, status, body);
    reply_set_etag(&request->reply, etag);
    request_answer(request);
}

void request_reply_not_modified(struct request *request, const char *etag)
{
    reply_set_not_modified(&request->reply, etag);
    request_answer(request);
}

void request_reply_file(struct request *request, const struct reply_file *file)
{
    reply_set_file(&request->reply, file, request_header(request, MHD_HTTP_HEADER_IF_NONE_MATCH));
    request_answer(request);
}

void request_reply_problem(struct request *request, int status, const char *code,
                           const char *detail)
{
    reply_set_problem(&request->reply, status, code, detail, request->id);
    request_answer(request);
}

static void request_format_timing(const struct request *request, char *out, size_t capacity)
{
    const struct job_timings *timings = &request->timings;
    double total_ms = (double)(clock_now_us() - request->started_us) / 1e3;
    if (!timings->decode_us)
        snprintf(out, capacity, "total;dur=%.3f", total_ms);
    else
        snprintf(out, capacity,
                 "queue;dur=%.3f, decode;dur=%.3f, image;dur=%.3f, retrieve;dur=%.3f, "
                 "text;dur=%.3f, total;dur=%.3f",
                 (double)timings->queue_us / 1e3, (double)timings->decode_us / 1e3,
                 (double)timings->image_us / 1e3, (double)timings->retrieve_us / 1e3,
                 (double)timings->text_us / 1e3, total_ms);
}

static struct MHD_Response *request_make_body(const struct reply *reply)
{
    if (reply->file) /* of which a 304 tells the length only */
        return MHD_create_response_from_buffer(reply->file->size, (void *)reply->file->bytes,
                                               MHD_RESPMEM_PERSISTENT);
    if (reply->body.data)
        return MHD_create_response_from_buffer(reply->body.size, reply->body.data,
                                               MHD_RESPMEM_MUST_FREE);
    return MHD_create_response_from_buffer(0, (void *)"", MHD_RESPMEM_PERSISTENT);
}

static void request_add_file_headers(const struct reply_file *file, struct MHD_Response *response)
{
    MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-cache");
    MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
    if (file->policy)
        MHD_add_response_header(response, "Content-Security-Policy", file->policy);
}

static struct MHD_Response *request_make_response(struct request *request, bool close_after)
{
    struct reply *reply = &request->reply;
    struct MHD_Response *response = request_make_body(reply);
    if (!response)
        return NULL;
    request->http->buffered_bytes += reply->body.size;
    request->buffered_bytes += reply->body.size;
    request->sent_bytes = reply->file ? reply->file->size : reply->body.size;
    buf_init(&reply->body, 0);
    char timing[160];
    request_format_timing(request, timing, sizeof timing);
    if (reply->content_type)
        MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, reply->content_type);
    if (reply->etag[0])
        MHD_add_response_header(response, MHD_HTTP_HEADER_ETAG, reply->etag);
    if (reply->file)
        request_add_file_headers(reply->file, response);
    MHD_add_response_header(response, "X-Request-Id", request->id);
    MHD_add_response_header(response, "Server-Timing", timing);
    if (reply->allow[0])
        MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, reply->allow);
    if (reply->retry_after_s) {
        char seconds[16];
        snprintf(seconds, sizeof seconds, "%u", reply->retry_after_s);
        MHD_add_response_header(response, MHD_HTTP_HEADER_RETRY_AFTER, seconds);
    }
    if (close_after)
        MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close");
    return response;
}

bool request_send(struct request *request, bool close_after)
{
    struct MHD_Response *response = request_make_response(request, close_after);
    if (!response)
        return false;
    struct http *http = request->http;
    request->state = REQUEST_SENDING;
    request->deadline_us = clock_now_us() + http->service->config->body_timeout_ms * 1000;
    http_note_deadline(http, request->deadline_us);
    request->sent_status = request->reply.status;
    enum MHD_Result queued =
        MHD_queue_response(request->connection, (unsigned)request->reply.status, response);
    MHD_destroy_response(response);
    return queued == MHD_YES;
}

static int request_socket(const struct request *request)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(request->connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    return info ? info->connect_fd : -1;
}

void request_send_past_library(struct request *request)
{
    const struct reply *reply = &request->reply;
    char head[640], date[64], timing[160];
    time_t now = time(NULL);
    struct tm utc;
    request_format_timing(request, timing, sizeof timing);
    strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&now, &utc));
    int length = snprintf(head, sizeof head,
                          "HTTP/1.1 %d %s\r\nDate: %s\r\nConnection: close\r\nContent-Type: %s\r\n"
                          "Content-Length: %zu\r\nX-Request-Id: %s\r\nServer-Timing: %s\r\n\r\n",
                          reply->status, reply_reason(reply->status), date, reply->content_type,
                          reply->body.size, request->id, timing);
    int fd = request_socket(request);
    struct iovec parts[] = {{.iov_base = head, .iov_len = (size_t)length},
                            {.iov_base = reply->body.data, .iov_len = reply->body.size}};
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
    /* Nothing of this request has been sent, so a short answer fits the socket's buffer unless the
     * client does not read at all: then it gets none. */
    if (fd >= 0 && sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0)
        shutdown(fd, SHUT_WR);
    request->state = REQUEST_LINGERING;
    request->answered_us = clock_now_us();
    request->sent_status = reply->status;
    request->sent_bytes = reply->body.size;
}

bool request_client_is_gone(const struct request *request)
{
    struct pollfd socket = {.fd = request_socket(request)};
    return socket.fd >= 0 && poll(&socket, 1, 0) > 0 && (socket.revents & (POLLERR | POLLHUP));
}

bool request_has_unread(const struct request *request)
{
    struct pollfd socket = {.fd = request_socket(request), .events = POLLIN};
    return socket.fd >= 0 && poll(&socket, 1, 0) > 0 && (socket.revents & POLLIN);
}

void request_hang_up(const struct request *request)
{
    int fd = request_socket(request);
    if (fd >= 0)
        shutdown(fd, SHUT_RDWR);
}

/* ---- Jobs ---- */

void request_submit(struct request *request, struct job *job)
{
    struct http *http = request->http;
    const struct config *config = http->service->config;
    struct fail why;
    job->request = request;
    job->created_us = clock_now_us();
    job->buffered_bytes = request->buffered_bytes;
    request->buffered_bytes = 0;
    memcpy(job->request_id, request->id, sizeof job->request_id);
    uint64_t deadline_us = atomic_load(&job->deadline_us);
    if (!deadline_us)
        deadline_us = job->created_us + config->request_timeout_ms * 1000;
    atomic_store(&job->deadline_us, deadline_us);
    http->jobs++;
    if (workers_submit(http->service->workers, job, &why)) {
        request_reply_problem(request, 429, "queue_full", why.message);
        request->rejection = METRICS_QUEUE_FULL;
        request->reply.retry_after_s =
            workers_retry_after_s(http->service->workers, job->kind->background);
        http_destroy_job(http, job);
        return;
    }
    request->job = job;
    request->state = REQUEST_WORKING;
    http_note_deadline(http, deadline_us);
}

void request_abandon_job(struct request *request)
{
    struct job *job = request->job;
    if (!job)
        return;
    request->job = NULL;
    job->request = NULL;
    metrics_count_cancelled(request->http->service->metrics);
    if (workers_cancel(request->http->service->workers, job))
        http_destroy_job(request->http, job);
}

void request_destroy(struct request *request)
{
    request_abandon_job(request);
    request->http->buffered_bytes -= request->buffered_bytes;
    buf_finish(&request->body);
    spool_file_finish(&request->upload);
    request->http->uploads -= request->uploads;
    reply_finish(&request->reply);
    free(request);
}
