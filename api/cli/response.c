#include "api/cli/response.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { RESPONSE_MAX_CHUNK_DIGITS = 15, RESPONSE_MAX_LENGTH_DIGITS = 18 };

void response_init(struct response *response, size_t keep_bytes)
{
    *response = (struct response){.keep_bytes = keep_bytes};
    buf_init(&response->line, RESPONSE_MAX_LINE);
    buf_init(&response->body, keep_bytes);
}

void response_finish(struct response *response)
{
    buf_finish(&response->line);
    buf_finish(&response->body);
}

static void response_forget_head(struct response *response)
{
    response->status = 0;
    response->has_length = response->is_chunked = false;
    response->says_close = response->says_keep_alive = response->is_http_1_1 = false;
    response->keeps_alive = response->has_retry_after = false;
    response->server_timing[0] = '\0';
    response->part = RESPONSE_STATUS_LINE;
}

void response_start(struct response *response)
{
    response_forget_head(response);
    response->head_bytes = 0;
    response->line.size = response->body.size = 0;
}

bool response_is_complete(const struct response *response)
{
    return response->part == RESPONSE_COMPLETE;
}

bool response_is_untouched(const struct response *response)
{
    return response->part == RESPONSE_STATUS_LINE && response->head_bytes == 0;
}

/* ---- The head ---- */

static bool response_is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* "HTTP/1.1 200 OK"; the reason may be missing, with the space before it or without. */
static enum status response_read_status_line(struct response *response, const char *line,
                                             struct fail *why)
{
    const char *at = line + 8;
    bool version = strncmp(line, "HTTP/1.", 7) == 0 && response_is_digit(line[7]) && *at == ' ';
    if (!version || at[1] < '1' || at[1] > '5' || !response_is_digit(at[2]) ||
        !response_is_digit(at[3]) || (at[4] && at[4] != ' '))
        return status_fail(why, STATUS_FORMAT, "no HTTP/1 answer: its first line is '%.60s'", line);
    response->is_http_1_1 = line[7] != '0';
    response->status = (at[1] - '0') * 100 + (at[2] - '0') * 10 + (at[3] - '0');
    if (response->status == 101)
        return status_fail(why, STATUS_FORMAT, "101: the server changes to another protocol");
    response->part = RESPONSE_HEADER;
    return STATUS_OK;
}

static bool response_is_token(const char *text, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        bool letter = (text[i] | 32) >= 'a' && (text[i] | 32) <= 'z';
        if (!letter && !response_is_digit(text[i]) &&
            !(text[i] && strchr("!#$%&'*+-.^_`|~", text[i])))
            return false;
    }
    return length > 0;
}

static enum status response_read_length(struct response *response, const char *value,
                                        struct fail *why)
{
    uint64_t length = 0;
    size_t digits = 0;
    for (; response_is_digit(value[digits]) && digits < RESPONSE_MAX_LENGTH_DIGITS; digits++)
        length = length * 10 + (uint64_t)(value[digits] - '0');
    if (!digits || value[digits] || (response->has_length && response->length != length))
        return status_fail(why, STATUS_FORMAT, "a Content-Length of '%.60s'", value);
    response->has_length = true;
    response->length = length;
    return STATUS_OK;
}

/* A Connection header is a list of words. */
static void response_read_connection(struct response *response, const char *value)
{
    while (*value) {
        size_t length = strcspn(value, ", \t");
        if (length == 5 && strncasecmp(value, "close", length) == 0)
            response->says_close = true;
        else if (length == 10 && strncasecmp(value, "keep-alive", length) == 0)
            response->says_keep_alive = true;
        value += length;
        value += strspn(value, ", \t");
    }
}

static enum status response_take_header(struct response *response, const char *name,
                                        const char *value, struct fail *why)
{
    if (strcasecmp(name, "Content-Length") == 0)
        return response_read_length(response, value, why);
    if (strcasecmp(name, "Transfer-Encoding") == 0) {
        if (response->is_chunked || strcasecmp(value, "chunked") != 0)
            return status_fail(why, STATUS_FORMAT, "a Transfer-Encoding of '%.60s'", value);
        response->is_chunked = true;
    } else if (strcasecmp(name, "Connection") == 0) {
        response_read_connection(response, value);
    } else if (strcasecmp(name, "Retry-After") == 0) {
        response->has_retry_after = true;
    } else if (strcasecmp(name, "Server-Timing") == 0) {
        size_t length = strnlen(value, RESPONSE_MAX_TIMING);
        bool cut = value[length];
        memcpy(response->server_timing, value, length);
        while (cut && length && value[length - 1] != ',') /* not within a number */
            length--;
        response->server_timing[length] = '\0';
    }
    return STATUS_OK;
}

/* What follows an empty line after the headers. */
static enum status response_end_head(struct response *response, struct fail *why)
{
    if (response->status < 200) {
        response_forget_head(response);
        return STATUS_OK;
    }
    response->keeps_alive =
        !response->says_close && (response->is_http_1_1 || response->says_keep_alive);
    response->left = response->length;
    if (response->is_chunked && response->has_length)
        return status_fail(why, STATUS_FORMAT, "both Content-Length and Transfer-Encoding");
    if (response->status == 204 || response->status == 304)
        response->part = RESPONSE_COMPLETE;
    else if (response->is_chunked)
        response->part = RESPONSE_CHUNK_SIZE;
    else if (response->has_length)
        response->part = response->length ? RESPONSE_BODY : RESPONSE_COMPLETE;
    else
        response->part = RESPONSE_BODY_TO_END;
    response->keeps_alive = response->keeps_alive && response->part != RESPONSE_BODY_TO_END;
    return STATUS_OK;
}

static enum status response_read_header(struct response *response, char *line, struct fail *why)
{
    char *colon = strchr(line, ':');
    if (!colon || !response_is_token(line, (size_t)(colon - line)))
        return status_fail(why, STATUS_FORMAT, "a header of '%.60s'", line);
    *colon = '\0';
    char *value = colon + 1 + strspn(colon + 1, " \t");
    size_t length = strlen(value);
    while (length && (value[length - 1] == ' ' || value[length - 1] == '\t'))
        value[--length] = '\0';
    return response->part == RESPONSE_HEADER ? response_take_header(response, line, value, why)
                                             : STATUS_OK;
}

/* "1f4" or "1f4;extension" */
static enum status response_read_chunk_size(struct response *response, const char *line,
                                            struct fail *why)
{
    size_t digits = strspn(line, "0123456789abcdefABCDEF");
    const char *rest = line + digits + strspn(line + digits, " \t");
    if (!digits || digits > RESPONSE_MAX_CHUNK_DIGITS || (*rest && *rest != ';'))
        return status_fail(why, STATUS_FORMAT, "a chunk size of '%.60s'", line);
    response->left = strtoull(line, NULL, 16);
    response->part = response->left ? RESPONSE_CHUNK : RESPONSE_TRAILER;
    return STATUS_OK;
}

static enum status response_read_line(struct response *response, char *line, size_t length,
                                      struct fail *why)
{
    if (memchr(line, '\0', length))
        return status_fail(why, STATUS_FORMAT, "a NUL byte in the head");
    switch (response->part) {
    case RESPONSE_STATUS_LINE:
        return response_read_status_line(response, line, why);
    case RESPONSE_HEADER:
        return *line ? response_read_header(response, line, why) : response_end_head(response, why);
    case RESPONSE_CHUNK_SIZE:
        return response_read_chunk_size(response, line, why);
    case RESPONSE_CHUNK_END:
        if (*line)
            return status_fail(why, STATUS_FORMAT, "a chunk is longer than its size");
        response->part = RESPONSE_CHUNK_SIZE;
        return STATUS_OK;
    default:
        if (*line)
            return response_read_header(response, line, why);
        response->part = RESPONSE_COMPLETE;
        return STATUS_OK;
    }
}

/* ---- Piece by piece ---- */

static bool response_reads_lines(const struct response *response)
{
    return response->part != RESPONSE_BODY && response->part != RESPONSE_BODY_TO_END &&
           response->part != RESPONSE_CHUNK;
}

/* Sizes of chunks do not count as head: a body may have any number of them. */
static enum status response_feed_line(struct response *response, const char *bytes, size_t size,
                                      size_t *out_used, struct fail *why)
{
    const char *newline = memchr(bytes, '\n', size);
    size_t step = newline ? (size_t)(newline - bytes) + 1 : size;
    struct buf *line = &response->line;
    bool in_chunks = response->part == RESPONSE_CHUNK_SIZE || response->part == RESPONSE_CHUNK_END;
    *out_used = step;
    response->head_bytes += in_chunks ? 0 : step;
    if (response->head_bytes > RESPONSE_MAX_HEAD)
        return status_fail(why, STATUS_FORMAT, "a head of more than %d bytes", RESPONSE_MAX_HEAD);
    enum status status = buf_append(line, bytes, step, why);
    if (status == STATUS_LIMIT)
        return status_fail(why, STATUS_FORMAT, "a line of more than %d bytes", RESPONSE_MAX_LINE);
    if (status || !newline)
        return status;
    line->size--;
    if (line->size && line->data[line->size - 1] == '\r')
        line->size--;
    line->data[line->size] = '\0';
    status = response_read_line(response, line->data, line->size, why);
    line->size = 0;
    return status;
}

static enum status response_feed_body(struct response *response, const char *bytes, size_t size,
                                      size_t *out_used, struct fail *why)
{
    bool counted = response->part != RESPONSE_BODY_TO_END;
    size_t step = counted && response->left < size ? (size_t)response->left : size;
    size_t room = response->keep_bytes - response->body.size;
    *out_used = step;
    enum status status =
        room ? buf_append(&response->body, bytes, step < room ? step : room, why) : STATUS_OK;
    if (status || !counted)
        return status;
    response->left -= step;
    if (!response->left)
        response->part = response->part == RESPONSE_CHUNK ? RESPONSE_CHUNK_END : RESPONSE_COMPLETE;
    return STATUS_OK;
}

enum status response_feed(struct response *response, const char *bytes, size_t size,
                          size_t *out_used, struct fail *why)
{
    enum status status = STATUS_OK;
    size_t used = 0;
    while (used < size && response->part != RESPONSE_COMPLETE && !status) {
        size_t step;
        status = response_reads_lines(response)
                     ? response_feed_line(response, bytes + used, size - used, &step, why)
                     : response_feed_body(response, bytes + used, size - used, &step, why);
        used += step;
    }
    *out_used = used;
    return status;
}

enum status response_end(struct response *response, struct fail *why)
{
    if (response->part == RESPONSE_BODY_TO_END)
        response->part = RESPONSE_COMPLETE;
    if (response->part == RESPONSE_COMPLETE)
        return STATUS_OK;
    return status_fail(why, STATUS_FORMAT,
                       response_is_untouched(response)
                           ? "the connection was closed without an answer"
                           : "the connection was closed in the middle of an answer");
}
