#include "api/rest/label_set_job.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "api/rest/errors.h"
#include "api/rest/json_answer.h"
#include "api/rest/label_set_compile.h"
#include "api/rest/label_set_document.h"
#include "api/rest/label_set_request.h"
#include "api/rest/precondition.h"
#include "engine/base/log.h"
#include "engine/base/mem.h"
#include "server/clock.h"
#include "server/job.h"
#include "server/registry.h"
#include "server/request.h"
#include "server/service.h"

enum { LABEL_SET_JOB_TRIES = 50 /* against others who change the same set */ };

enum label_set_change { LABEL_SET_PUT, LABEL_SET_PATCH, LABEL_SET_DELETE };

struct label_set_job {
    struct job job; /* first, so that one is the other */
    const struct service *service;
    enum label_set_change change;
    char name[SNAPSHOT_MAX_NAME + 1];
    struct precondition precondition;
    struct buf body;
    struct label_set_request input;
};

/* ---- On a worker ---- */

static void label_set_job_fail(struct label_set_job *job, int status, const char *code,
                               const struct fail *why)
{
    reply_set_problem(&job->job.reply, status, code, why->message, job->job.request_id);
}

static void label_set_job_fail_inside(struct label_set_job *job, const struct fail *why)
{
    log_line(LOG_ERROR, "%s", why->message); /* may name files of the server */
    reply_set_problem(&job->job.reply, 500, "not_stored", "the change cannot be stored",
                      job->job.request_id);
}

static void label_set_job_fail_reading(struct label_set_job *job, const struct fail *why)
{
    switch (why->code) {
    case STATUS_FORMAT:
        label_set_job_fail(job, 400, "malformed_body", why);
        break;
    case STATUS_CANCELLED:
        label_set_job_fail(job, 409, "duplicate_labels", why);
        break;
    case STATUS_LIMIT:
        label_set_job_fail(job, 422, "over_limit", why);
        break;
    case STATUS_INVALID:
        label_set_job_fail(job, 422, "invalid_field", why);
        break;
    default:
        label_set_job_fail(job, 500, "internal", why);
        break;
    }
}

/* What the client says of the set that it means to change; false with a reply if that is not so. */
static bool label_set_job_may_change(struct label_set_job *job, const struct label_set *current)
{
    struct fail why;
    if (job->change != LABEL_SET_PUT && !current) {
        status_fail(&why, STATUS_NOT_FOUND, "there is no label set \"%s\"", job->name);
        label_set_job_fail(job, 404, "not_found", &why);
        return false;
    }
    if (precondition_check(&job->precondition, job->service->label_sets,
                           current ? &current->snapshot : NULL, &why)) {
        label_set_job_fail(job, 412, "precondition_failed", &why);
        return false;
    }
    if (registry_check_room(job->service->label_sets, job->name, &why)) {
        label_set_job_fail(job, 422, "over_limit", &why);
        return false;
    }
    return true;
}

static void label_set_job_answer(struct label_set_job *job, const struct label_set *set, bool made)
{
    json_answer_set(&job->job, made ? 201 : 200, label_set_document_json(job->service, set, false),
                    job->service->label_sets, &set->snapshot);
}

static void label_set_job_fail_compiling(struct label_set_job *job, const struct fail *why)
{
    if (atomic_load(&job->job.cancelled))
        return;
    if (why->code == STATUS_CANCELLED)
        label_set_job_fail(job, 409, "duplicate_labels", why);
    else if (why->code == STATUS_INVALID || why->code == STATUS_LIMIT || why->code == STATUS_FORMAT)
        label_set_job_fail(job, 422, "invalid_labels", why);
    else
        label_set_job_fail(job, 500, "internal", why);
}

/* After a change was not made; true if it is worth another try: somebody else changed the set. */
static bool label_set_job_fail_changing(struct label_set_job *job, const struct fail *why)
{
    if (why->code == STATUS_CANCELLED || why->code == STATUS_NOT_FOUND)
        return true;
    if (why->code == STATUS_LIMIT)
        label_set_job_fail(job, 422, "over_limit", why);
    else
        label_set_job_fail_inside(job, why);
    return false;
}

/* A change that nobody waits for any more is not made. */
static bool label_set_job_publish(struct label_set_job *job, struct label_set *set,
                                  const struct label_set *current)
{
    struct fail why;
    bool made;
    const struct registry_condition found = {current ? &current->snapshot : NULL};
    const struct registry_condition *condition =
        job->change == LABEL_SET_PATCH ? &found
                                       : precondition_at_publish(&job->precondition, &found);
    if (atomic_load(&job->job.cancelled))
        return false;
    if (registry_publish(job->service->label_sets, &set->snapshot, condition,
                         job->input.make_default, &made, &why))
        return label_set_job_fail_changing(job, &why);
    label_set_job_answer(job, set, made);
    return false;
}

static bool label_set_job_compile(struct label_set_job *job, const struct job_tools *tools,
                                  const struct label_set *current)
{
    struct fail why;
    struct label_set *set = NULL;
    bool again = false;
    enum status status = job->change == LABEL_SET_PUT
                             ? label_set_compile_new(job->service, tools->session, job->name,
                                                     &job->input, true, &set, &why)
                             : label_set_compile_revised(job->service, tools->session, current,
                                                         &job->input, &set, &why);
    if (status)
        label_set_job_fail_compiling(job, &why);
    else
        again = label_set_job_publish(job, set, current);
    label_set_release(set);
    return again;
}

/* A PATCH that says only whether the set is the default makes no version. */
static bool label_set_job_change_default(struct label_set_job *job, const struct label_set *current)
{
    struct fail why;
    const struct registry_condition found = {&current->snapshot};
    if (registry_change_default(job->service->label_sets, job->name, &found,
                                job->input.make_default, &why))
        return label_set_job_fail_changing(job, &why);
    label_set_job_answer(job, current, false);
    return false;
}

static bool label_set_job_remove(struct label_set_job *job, const struct label_set *current)
{
    struct fail why;
    const struct registry_condition found = {&current->snapshot};
    if (registry_remove(job->service->label_sets, job->name,
                        precondition_at_publish(&job->precondition, &found), &why))
        return label_set_job_fail_changing(job, &why);
    reply_set_nothing(&job->job.reply);
    return false;
}

/* One try; true if it is worth another. */
static bool label_set_job_try(struct label_set_job *job, const struct job_tools *tools)
{
    struct label_set *current = label_set_find(job->service->label_sets, job->name);
    bool changes = job->input.names.count || job->input.removed.count;
    bool again = false;
    if (!label_set_job_may_change(job, current))
        again = false;
    else if (job->change == LABEL_SET_DELETE)
        again = label_set_job_remove(job, current);
    else if (changes)
        again = label_set_job_compile(job, tools, current);
    else
        again = label_set_job_change_default(job, current);
    label_set_release(current);
    return again;
}

/* False, with a reply, if the body is not as it must be. */
static bool label_set_job_read(struct label_set_job *job, const struct job_tools *tools)
{
    const struct config *config = job->service->config;
    const struct label_set_limits limits = {.max_labels = config->max_set_labels,
                                            .max_texts = config->max_set_texts,
                                            .max_timeout_ms = config->change_timeout_ms};
    struct fail why;
    if (label_set_request_read(&job->input, job->change == LABEL_SET_PATCH, job->body.data,
                               job->body.size, &limits, &why)) {
        label_set_job_fail_reading(job, &why);
        return false;
    }
    if (job->input.timeout_ms)
        job_set_deadline(&job->job, job->job.created_us + job->input.timeout_ms * 1000, tools);
    return true;
}

static void label_set_job_prepare(struct job *base, const struct job_tools *tools)
{
    struct label_set_job *job = (struct label_set_job *)base;
    struct fail why;
    if (job->change != LABEL_SET_DELETE && !label_set_job_read(job, tools))
        return;
    for (int tries = 0; tries < LABEL_SET_JOB_TRIES; tries++)
        if (!label_set_job_try(job, tools))
            return;
    status_fail(&why, STATUS_CANCELLED, "others keep changing the label set \"%s\"", job->name);
    label_set_job_fail(job, 409, "conflict", &why);
}

static void label_set_job_destroy(struct job *base)
{
    struct label_set_job *job = (struct label_set_job *)base;
    label_set_request_finish(&job->input);
    buf_finish(&job->body);
    job_finish(base);
    free(job);
}

/* ---- On the loop thread ---- */

static const struct job_kind label_set_job_kind = {
    .background = true,
    .prepare = label_set_job_prepare,
    .destroy = label_set_job_destroy,
};

static bool label_set_job_is_json(const char *content_type)
{
    const char *type = content_type ? content_type : "";
    return strcspn(type, "; \t") == 16 && !strncasecmp(type, "application/json", 16);
}

static enum status label_set_job_read_head(struct label_set_job *job, const struct request *request,
                                           struct fail *why)
{
    const char *name = request_parameter(request);
    enum status status = snapshot_check_name(name, why);
    if (status && job->change == LABEL_SET_DELETE)
        return status_fail(why, STATUS_NOT_FOUND, "there is no label set \"%.80s\"", name);
    if (status)
        return status;
    snprintf(job->name, sizeof job->name, "%s", name);
    if (job->change != LABEL_SET_DELETE &&
        !label_set_job_is_json(request_header(request, "Content-Type")))
        return status_fail(why, STATUS_UNSUPPORTED, "the Content-Type must be application/json");
    return precondition_read(&job->precondition, request, why);
}

static void label_set_job_handle(struct request *request, struct service *service,
                                 enum label_set_change change)
{
    struct fail why;
    struct label_set_job *job = mem_zeroed(1, sizeof *job);
    if (!job) {
        request_reply_problem(request, 500, "internal", "no memory for a job");
        return;
    }
    job_init(&job->job, &label_set_job_kind);
    job->service = service;
    job->change = change;
    if (label_set_job_read_head(job, request, &why)) {
        struct errors_answer answer = errors_answer(ERRORS_BODY, why.code);
        request_reply_problem(request, answer.status, answer.code, why.message);
        label_set_job_destroy(&job->job);
        return;
    }
    request_take_body(request, &job->body);
    atomic_store(&job->job.deadline_us, clock_now_us() + service->config->change_timeout_ms * 1000);
    request_submit(request, &job->job);
}

void label_set_job_handle_put(struct request *request, struct service *service)
{
    label_set_job_handle(request, service, LABEL_SET_PUT);
}

void label_set_job_handle_patch(struct request *request, struct service *service)
{
    label_set_job_handle(request, service, LABEL_SET_PATCH);
}

void label_set_job_handle_delete(struct request *request, struct service *service)
{
    label_set_job_handle(request, service, LABEL_SET_DELETE);
}
