#include "api/rest/multipart.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

enum { MULTIPART_MAX_HEAD_LINE = 4096 };

/* The value of a parameter such as boundary=x or name="x" in a header's text of given length, into
 * out [capacity]. False: not there, malformed or too long. */
static bool multipart_parameter(const char *text, size_t length, const char *name, char *out,
                                size_t capacity)
{
    const char *end = text + length;
    size_t name_length = strlen(name);
    for (const char *at = memchr(text, ';', length); at && at < end;) {
        at++;
        while (at < end && (*at == ' ' || *at == '\t'))
            at++;
        bool found = (size_t)(end - at) > name_length && at[name_length] == '=' &&
                     !strncasecmp(at, name, name_length);
        while (at < end && *at != '=' && *at != ';')
            at++;
        if (at == end || *at == ';')
            continue;
        bool quoted = ++at < end && *at == '"';
        at += quoted;
        size_t used = 0;
        for (; at < end && (quoted ? *at != '"' : !strchr("; \t", *at)); at++) {
            if (quoted && *at == '\\' && at + 1 < end)
                at++;
            if (found && used + 1 >= capacity)
                return false;
            if (found)
                out[used++] = *at;
        }
        if (found) {
            out[used] = '\0';
            return !quoted || at < end;
        }
        at = memchr(at, ';', (size_t)(end - at));
    }
    return false;
}

enum status multipart_open(struct multipart *multipart, const char *content_type, const char *body,
                           size_t size, struct fail *why)
{
    const char *start = size ? body : ""; /* no body at all may be NULL */
    struct multipart opened = {.at = start, .end = start + size};
    char boundary[MULTIPART_MAX_BOUNDARY + 1];
    if (!multipart_parameter(content_type, strlen(content_type), "boundary", boundary,
                             sizeof boundary) ||
        !boundary[0])
        return status_fail(why, STATUS_FORMAT,
                           "the Content-Type has no boundary of 1 to %d characters",
                           MULTIPART_MAX_BOUNDARY);
    int length = snprintf(opened.delimiter, sizeof opened.delimiter, "\r\n--%s", boundary);
    opened.delimiter_length = (size_t)length;
    *multipart = opened;
    return STATUS_OK;
}

/* Moves past the next delimiter and the rest of its line. The first one may open the body. */
static enum status multipart_skip_delimiter(struct multipart *multipart, bool *out_end,
                                            struct fail *why)
{
    const char *delimiter = multipart->delimiter;
    size_t length = multipart->delimiter_length, left = (size_t)(multipart->end - multipart->at);
    if (!multipart->parts && left >= length - 2 &&
        !memcmp(multipart->at, delimiter + 2, length - 2))
        multipart->at += length - 2;
    else {
        const char *found = memmem(multipart->at, left, delimiter, length);
        if (!found)
            return status_fail(why, STATUS_FORMAT,
                               "the form is cut short: no boundary after part %zu",
                               multipart->parts);
        multipart->at = found + length;
    }
    left = (size_t)(multipart->end - multipart->at);
    if (left >= 2 && !memcmp(multipart->at, "--", 2)) {
        *out_end = true;
        return STATUS_OK;
    }
    while (multipart->at < multipart->end && (*multipart->at == ' ' || *multipart->at == '\t'))
        multipart->at++;
    left = (size_t)(multipart->end - multipart->at);
    if (left < 2 || memcmp(multipart->at, "\r\n", 2) != 0)
        return status_fail(why, STATUS_FORMAT, "the boundary after part %zu is not ended properly",
                           multipart->parts);
    multipart->at += 2;
    *out_end = false;
    return STATUS_OK;
}

/* Reads the header lines of a part, and the blank line after them. */
static enum status multipart_read_head(struct multipart *multipart, struct multipart_part *part,
                                       struct fail *why)
{
    static const char disposition[] = "Content-Disposition:";
    part->name[0] = '\0';
    for (;;) {
        size_t left = (size_t)(multipart->end - multipart->at);
        const char *line = multipart->at;
        const char *end = memmem(
            line, left < MULTIPART_MAX_HEAD_LINE ? left : MULTIPART_MAX_HEAD_LINE, "\r\n", 2);
        if (!end)
            return status_fail(why, STATUS_FORMAT,
                               "part %zu of the form has a header that is cut short or longer than "
                               "%d bytes",
                               multipart->parts, MULTIPART_MAX_HEAD_LINE);
        multipart->at = end + 2;
        if (end == line)
            break;
        size_t length = (size_t)(end - line);
        if (length >= sizeof disposition - 1 &&
            !strncasecmp(line, disposition, sizeof disposition - 1) &&
            !multipart_parameter(line, length, "name", part->name, sizeof part->name))
            part->name[0] = '\0';
    }
    if (!part->name[0])
        return status_fail(why, STATUS_FORMAT,
                           "part %zu of the form has no name of 1 to %d characters",
                           multipart->parts, MULTIPART_MAX_NAME);
    return STATUS_OK;
}

enum status multipart_next(struct multipart *multipart, struct multipart_part *out_part,
                           bool *out_end, struct fail *why)
{
    struct multipart_part part;
    bool end = false;
    enum status status = multipart_skip_delimiter(multipart, &end, why);
    if (status || end) {
        if (!status)
            *out_end = true;
        return status;
    }
    multipart->parts++;
    status = multipart_read_head(multipart, &part, why);
    if (status)
        return status;
    part.data = multipart->at;
    /* An empty part has no line break of its own before the delimiter. */
    const char *from = multipart->at - 2;
    const char *found = memmem(from, (size_t)(multipart->end - from), multipart->delimiter,
                               multipart->delimiter_length);
    if (!found)
        return status_fail(why, STATUS_FORMAT, "the form is cut short in part %zu (%s)",
                           multipart->parts, part.name);
    part.size = found > part.data ? (size_t)(found - part.data) : 0;
    multipart->at = found;
    *out_part = part;
    *out_end = false;
    return STATUS_OK;
}
