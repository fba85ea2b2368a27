#include "server/http_account.h"

#include <string.h>

#include "server/access_log.h"
#include "server/http_internal.h"

enum { HTTP_ACCOUNT_NOT_MODIFIED = 304, HTTP_ACCOUNT_CLIENT_GONE = 499 };

/* An answer past the library was sent before; what came afterwards was dropped. */
static uint64_t http_account_duration_us(const struct request *request, uint64_t now_us)
{
    return (request->answered_us ? request->answered_us : now_us) - request->started_us;
}

static uint64_t http_account_sent_bytes(const struct request *request, int status)
{
    bool bodiless = status == HTTP_ACCOUNT_CLIENT_GONE || status == HTTP_ACCOUNT_NOT_MODIFIED ||
                    !strcmp(request->method, "HEAD");
    return bodiless ? 0 : request->sent_bytes;
}

static void http_account_log(struct http *http, const struct request *request, int status,
                             uint64_t now_us)
{
    const struct access_log_entry entry = {
        .request_id = request->id,
        .method = request->method,
        .path = request->path,
        .route = request->route ? request->route->path : NULL,
        .trace_id = request->trace_id,
        .status = status,
        .bytes_in = request->received_bytes,
        .bytes_out = http_account_sent_bytes(request, status),
        .duration_us = http_account_duration_us(request, now_us),
        .timings = &request->timings,
        .used = &request->used,
    };
    access_log_add(http->service->access_log, &entry, now_us);
}

/* What the client saw: our answer, or the library's instead of it, or nothing. */
static int http_account_status(struct http *http, const struct request *request,
                               enum http_account_end end)
{
    int library_status = http->library_status;
    if (end == HTTP_ACCOUNT_COMPLETED && request->sent_status)
        return request->sent_status;
    bool lingering = request->state == REQUEST_LINGERING;
    bool answered = end == HTTP_ACCOUNT_FAILED && library_status;
    if (answered && (lingering || request->state == REQUEST_RECEIVING))
        http->library_status = 0; /* it was about this request */
    if (lingering)
        return request->sent_status;
    return answered && request->state == REQUEST_RECEIVING ? library_status
                                                           : HTTP_ACCOUNT_CLIENT_GONE;
}

static enum metrics_rejection http_account_rejection(const struct request *request, int status)
{
    if (request->state != REQUEST_RECEIVING)
        return request->rejection;
    return status == HTTP_ACCOUNT_CLIENT_GONE ? METRICS_INCOMPLETE : METRICS_MALFORMED;
}

void http_account_request(struct http *http, const struct request *request,
                          enum http_account_end end, uint64_t now_us)
{
    int status = http_account_status(http, request, end);
    const struct metrics_request counted = {
        .route = request->route,
        .method = request->method,
        .status = status,
        .rejection = http_account_rejection(request, status),
        .duration_us = http_account_duration_us(request, now_us),
    };
    metrics_count_request(http->service->metrics, &counted);
    if (http->service->access_log)
        http_account_log(http, request, status, now_us);
}

void http_account_message(struct http *http, const char *format, va_list arguments)
{
    static const char answer[] = "Error processing request (HTTP response code is %u";
    if (strncmp(format, answer, sizeof answer - 1) != 0)
        return;
    http_account_run(http); /* one before this */
    http->library_status = (int)va_arg(arguments, unsigned);
}

void http_account_run(struct http *http)
{
    if (http->library_status)
        metrics_count_library_answer(http->service->metrics, http->library_status);
    http->library_status = 0;
}
