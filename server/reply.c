#include "server/reply.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/utf8.h"

enum { REPLY_MAX_PROBLEM_BYTES = 16384 };

const char *reply_reason(int status)
{
    static const struct {
        int status;
        const char *reason;
    } reasons[] = {
        {400, "Bad Request"},           {404, "Not Found"},
        {405, "Method Not Allowed"},    {409, "Conflict"},
        {412, "Precondition Failed"},   {408, "Request Timeout"},
        {413, "Content Too Large"},     {415, "Unsupported Media Type"},
        {422, "Unprocessable Content"}, {429, "Too Many Requests"},
        {500, "Internal Server Error"}, {503, "Service Unavailable"},
        {504, "Gateway Timeout"},
    };
    for (size_t i = 0; i < sizeof reasons / sizeof reasons[0]; i++)
        if (reasons[i].status == status)
            return reasons[i].reason;
    return "Error";
}

static enum status reply_append_quoted(struct buf *out, const char *text)
{
    enum status status = buf_append(out, "\"", 1, NULL);
    for (const unsigned char *c = (const unsigned char *)text; *c && !status;) {
        size_t length = utf8_length(c, SIZE_MAX);
        if (!length)
            status = buf_append_text(out, "\xef\xbf\xbd", NULL);
        else if (*c == '"' || *c == '\\')
            status = buf_printf(out, NULL, "\\%c", *c);
        else if (*c < 0x20)
            status = buf_printf(out, NULL, "\\u%04x", *c);
        else
            status = buf_append(out, c, length, NULL);
        c += length ? length : 1;
    }
    return status ? status : buf_append(out, "\"", 1, NULL);
}

static enum status reply_append_field(struct buf *out, const char *name, const char *text)
{
    enum status status = buf_printf(out, NULL, ",\"%s\":", name);
    return status ? status : reply_append_quoted(out, text);
}

void reply_set_json(struct reply *reply, int status, struct buf *body)
{
    reply_finish(reply);
    *reply = (struct reply){.status = status, .content_type = "application/json", .body = *body};
    buf_init(body, body->max_size);
}

void reply_set_text(struct reply *reply, const char *content_type, struct buf *body)
{
    reply_set_json(reply, 200, body);
    reply->content_type = content_type;
}

void reply_set_nothing(struct reply *reply)
{
    reply_finish(reply);
    *reply = (struct reply){.status = 204};
}

void reply_set_etag(struct reply *reply, const char *etag)
{
    snprintf(reply->etag, sizeof reply->etag, "%s", etag);
}

void reply_set_not_modified(struct reply *reply, const char *etag)
{
    reply_finish(reply);
    reply->status = 304;
    reply_set_etag(reply, etag);
}

void reply_set_file(struct reply *reply, const struct reply_file *file, const char *if_none_match)
{
    bool has = if_none_match && (!strcmp(if_none_match, "*") || strstr(if_none_match, file->etag));
    reply_finish(reply);
    *reply = (struct reply){.status = has ? 304 : 200, .file = file};
    if (!has)
        reply->content_type = file->content_type;
    reply_set_etag(reply, file->etag);
}

void reply_set_problem(struct reply *reply, int status, const char *code, const char *detail,
                       const char *request_id)
{
    struct buf body;
    buf_init(&body, REPLY_MAX_PROBLEM_BYTES);
    if (buf_printf(&body, NULL, "{\"type\":\"about:blank\",\"title\":\"%s\",\"status\":%d",
                   reply_reason(status), status) ||
        reply_append_field(&body, "detail", detail) || reply_append_field(&body, "error", detail) ||
        reply_append_field(&body, "code", code) ||
        reply_append_field(&body, "request_id", request_id) || buf_append_text(&body, "}\n", NULL))
        buf_finish(&body); /* no memory: the status alone must do */
    reply_finish(reply);
    *reply = (struct reply){
        .status = status,
        .content_type = "application/problem+json",
        .body = body,
        .retry_after_s = status == 429 || status == 503 ? 1 : 0,
    };
}

void reply_move(struct reply *to, struct reply *from)
{
    reply_finish(to);
    *to = *from;
    *from = (struct reply){0};
}

void reply_finish(struct reply *reply)
{
    if (!reply)
        return;
    buf_finish(&reply->body);
    *reply = (struct reply){0};
}
