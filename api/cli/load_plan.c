#include "api/cli/load_plan.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "api/cli/input.h"
#include "config/version.h"
#include "engine/base/buf.h"
#include "engine/base/mem.h"

const char *const load_plan_body_names[LOAD_PLAN_BODY_COUNT] = {"raw", "multipart", "json"};

enum { LOAD_PLAN_MAX_BOUNDARY = 40 };

enum status load_plan_check_header(const char *header, struct fail *why)
{
    static const char *const taken[] = {"Host", "Content-Length", "Content-Type",
                                        "Transfer-Encoding", "Expect"};
    size_t name = strcspn(header, ":"), size = strlen(header);
    if (!name || !header[name] || strcspn(header, " \t\"(),/;<=>?@[\\]{}") < name)
        return status_fail(why, STATUS_INVALID, "'%s' is not of the form 'Name: value'", header);
    for (size_t i = 0; i < size; i++)
        if ((unsigned char)header[i] < ' ' && header[i] != '\t')
            return status_fail(why, STATUS_INVALID, "'%s' has a control character", header);
    for (size_t i = 0; i < sizeof taken / sizeof taken[0]; i++)
        if (strlen(taken[i]) == name && strncasecmp(header, taken[i], name) == 0)
            return status_fail(why, STATUS_INVALID, "%s is set by this program", taken[i]);
    return STATUS_OK;
}

/* ---- Bodies ---- */

/* Takes turns with the pictures: those of request i begin where those of request i - 1 ended. */
static const struct buf *load_plan_picture(const struct load_plan_input *input,
                                           const struct buf *files, size_t turn, size_t i)
{
    return &files[(turn * input->pictures + i) % input->image_count];
}

static enum status load_plan_append_base64(struct buf *out, const struct buf *file,
                                           struct fail *why)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const unsigned char *bytes = (const unsigned char *)file->data;
    enum status status = buf_reserve(out, (file->size + 2) / 3 * 4, why);
    for (size_t i = 0; i < file->size && !status; i += 3) {
        size_t left = file->size - i;
        uint32_t bits = (uint32_t)bytes[i] << 16 | (left > 1 ? (uint32_t)bytes[i + 1] << 8 : 0) |
                        (left > 2 ? bytes[i + 2] : 0);
        const char four[4] = {digits[bits >> 18], digits[bits >> 12 & 63],
                              left > 1 ? digits[bits >> 6 & 63] : '=',
                              left > 2 ? digits[bits & 63] : '='};
        status = buf_append(out, four, sizeof four, why);
    }
    return status;
}

static enum status load_plan_append_json(const struct load_plan_input *input,
                                         const struct buf *files, size_t turn, struct buf *out,
                                         struct fail *why)
{
    enum status status = buf_append_text(out, "{\"images\":[", why);
    for (size_t i = 0; i < input->pictures && !status; i++) {
        status = buf_append_text(out, i ? ",{\"data\":\"" : "{\"data\":\"", why);
        if (!status)
            status = load_plan_append_base64(out, load_plan_picture(input, files, turn, i), why);
        if (!status)
            status = buf_append_text(out, "\"}", why);
    }
    return status ? status : buf_append_text(out, "]}", why);
}

/* One that no picture of the request has in it. */
static enum status load_plan_choose_boundary(const struct load_plan_input *input,
                                             const struct buf *files, size_t turn, struct buf *out,
                                             struct fail *why)
{
    enum status status = STATUS_OK;
    bool found = true;
    for (unsigned number = 0; found && !status; number++) {
        out->size = 0;
        found = false;
        status = buf_printf(out, why, "attriprompt-bench-%u", number);
        for (size_t i = 0; i < input->pictures && !found && !status; i++) {
            const struct buf *file = load_plan_picture(input, files, turn, i);
            found = memmem(file->data, file->size, out->data, out->size);
        }
    }
    return status;
}

static enum status load_plan_append_form(const struct load_plan_input *input,
                                         const struct buf *files, size_t turn, const char *boundary,
                                         struct buf *out, struct fail *why)
{
    enum status status = STATUS_OK;
    for (size_t i = 0; i < input->pictures && !status; i++) {
        const struct buf *file = load_plan_picture(input, files, turn, i);
        status = buf_printf(out, why,
                            "--%s\r\nContent-Disposition: form-data; name=\"image\"; "
                            "filename=\"picture\"\r\n\r\n",
                            boundary);
        if (!status)
            status = buf_append(out, file->data, file->size, why);
        if (!status)
            status = buf_append_text(out, "\r\n", why);
    }
    return status ? status : buf_printf(out, why, "--%s--\r\n", boundary);
}

/* ---- Requests ---- */

/* Unless the user has others of the same name. */
static const char *const load_plan_own[] = {"User-Agent: attriprompt-bench/" VERSION_TEXT,
                                            "Accept: */*"};

static bool load_plan_has_header(const struct load_plan_input *input, const char *header)
{
    size_t name = strcspn(header, ":") + 1;
    for (size_t i = 0; i < input->header_count; i++)
        if (strncasecmp(input->headers[i], header, name) == 0)
            return true;
    return false;
}

static enum status load_plan_append_head(const struct load_plan_input *input, const char *method,
                                         struct buf *out, struct fail *why)
{
    enum status status = buf_printf(out, why, "%s %s HTTP/1.1\r\nHost: %s\r\n", method,
                                    input->url->target, input->url->authority);
    for (size_t i = 0; i < sizeof load_plan_own / sizeof load_plan_own[0] && !status; i++)
        if (!load_plan_has_header(input, load_plan_own[i]))
            status = buf_printf(out, why, "%s\r\n", load_plan_own[i]);
    for (size_t i = 0; i < input->header_count && !status; i++)
        status = buf_printf(out, why, "%s\r\n", input->headers[i]);
    return status;
}

static enum status load_plan_append_post(const struct load_plan_input *input, const char *type,
                                         const struct buf *body, struct buf *out, struct fail *why)
{
    enum status status = load_plan_append_head(input, "POST", out, why);
    if (!status)
        status = buf_printf(out, why, "Content-Type: %s\r\nContent-Length: %zu\r\n\r\n", type,
                            body->size);
    return status ? status : buf_append(out, body->data, body->size, why);
}

static enum status load_plan_append_pictures(const struct load_plan_input *input,
                                             const struct buf *files, enum load_plan_body kind,
                                             size_t turn, struct buf *out, struct fail *why)
{
    struct buf body, boundary, type;
    buf_init(&body, LOAD_PLAN_MAX_BYTES);
    buf_init(&boundary, LOAD_PLAN_MAX_BOUNDARY);
    buf_init(&type, 2 * LOAD_PLAN_MAX_BOUNDARY);
    enum status status = STATUS_OK;
    if (kind == LOAD_PLAN_JSON) {
        status = load_plan_append_json(input, files, turn, &body, why);
    } else if (kind == LOAD_PLAN_MULTIPART) {
        status = load_plan_choose_boundary(input, files, turn, &boundary, why);
        if (!status)
            status = load_plan_append_form(input, files, turn, boundary.data, &body, why);
        if (!status)
            status = buf_printf(&type, why, "multipart/form-data; boundary=%s", boundary.data);
    }
    if (!status)
        status = load_plan_append_post(
            input,
            kind == LOAD_PLAN_MULTIPART ? type.data
            : kind == LOAD_PLAN_JSON    ? "application/json"
                                        : "application/octet-stream",
            kind == LOAD_PLAN_RAW ? load_plan_picture(input, files, turn, 0) : &body, out, why);
    buf_finish(&body);
    buf_finish(&boundary);
    buf_finish(&type);
    return status;
}

static enum status load_plan_fill(const struct load_plan_input *input, const struct buf *files,
                                  struct load_plan *plan, struct fail *why)
{
    size_t room = LOAD_PLAN_MAX_BYTES;
    enum status status = STATUS_OK;
    for (size_t i = 0; i < plan->count && !status; i++) {
        struct buf request;
        buf_init(&request, room);
        if (input->image_count) {
            status = load_plan_append_pictures(input, files, input->bodies[i % input->body_count],
                                               i / input->body_count, &request, why);
        } else {
            status = load_plan_append_head(input, "GET", &request, why);
            if (!status)
                status = buf_append_text(&request, "\r\n", why);
        }
        if (status == STATUS_LIMIT)
            status_fail(why, status, "the requests would take more than %d MiB of memory",
                        LOAD_PLAN_MAX_BYTES >> 20);
        plan->requests[i] = (struct load_plan_request){request.data, request.size};
        room -= request.size;
    }
    return status;
}

static enum status load_plan_read(const struct load_plan_input *input, struct buf *files,
                                  struct fail *why)
{
    enum status status = STATUS_OK;
    size_t total = 0;
    for (size_t i = 0; i < input->image_count && !status; i++) {
        buf_init(&files[i], LOAD_PLAN_MAX_PICTURE_BYTES);
        status = input_read(&files[i], input->images[i], why);
        total += files[i].size;
        if (!status && !files[i].size)
            status = status_fail(why, STATUS_FORMAT, "%s is empty", input_name(input->images[i]));
        else if (!status && total > LOAD_PLAN_MAX_BYTES)
            status = status_fail(why, STATUS_LIMIT, "the pictures have more than %d MiB together",
                                 LOAD_PLAN_MAX_BYTES >> 20);
    }
    return status;
}

enum status load_plan_make(const struct load_plan_input *input, struct load_plan *out,
                           struct fail *why)
{
    size_t count = input->image_count ? input->image_count * input->body_count : 1;
    struct buf *files = mem_zeroed(input->image_count, sizeof *files);
    *out = (struct load_plan){.pictures = input->image_count ? input->pictures : 0,
                              .count = count,
                              .requests = mem_zeroed(count, sizeof *out->requests)};
    enum status status = STATUS_OK;
    if (!files || !out->requests) {
        out->count = 0;
        status = status_fail(why, STATUS_NO_MEMORY, "no memory for %zu requests", count);
    }
    if (!status)
        status = load_plan_read(input, files, why);
    if (!status)
        status = load_plan_fill(input, files, out, why);
    for (size_t i = 0; files && i < input->image_count; i++)
        buf_finish(&files[i]);
    free(files);
    return status;
}

void load_plan_finish(struct load_plan *plan)
{
    for (size_t i = 0; i < plan->count; i++)
        free(plan->requests[i].bytes);
    free(plan->requests);
    *plan = (struct load_plan){0};
}

const struct load_plan_request *load_plan_request_at(const struct load_plan *plan, uint64_t index)
{
    return &plan->requests[index % plan->count];
}
