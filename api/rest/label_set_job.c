#include "api/rest/label_set_job.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "api/rest/label_set_answer.h"
#include "api/rest/label_set_request.h"
#include "engine/base/mem.h"
#include "server/clock.h"
#include "server/job.h"
#include "server/request.h"
#include "server/service.h"

enum {
    LABEL_SET_JOB_MAX_HEADER = 256,
    LABEL_SET_JOB_MAX_ANSWER = 1 << 20,
    LABEL_SET_JOB_TRIES = 50 /* against others who change the same set */
};

_Static_assert((int)LABEL_SET_REQUEST_MAX_POOL_NAME == (int)LABEL_SETS_MAX_NAME,
               "a pool's name fits a set");

struct label_set_job {
    struct job job; /* first, so that one is the other */
    const struct service *service;
    bool patch;
    char name[LABEL_SETS_MAX_NAME + 1];
    bool has_if_match;
    char if_match[LABEL_SET_JOB_MAX_HEADER];
    bool only_new; /* If-None-Match: * */
    struct buf body;
    struct label_set_request input;
};

/* ---- On a worker ---- */

static void label_set_job_fail(struct label_set_job *job, int status, const char *code,
                               const struct fail *why)
{
    reply_set_problem(&job->job.reply, status, code, why->message, job->job.request_id);
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
    if (job->patch && !current) {
        status_fail(&why, STATUS_NOT_FOUND, "there is no label set \"%s\"", job->name);
        label_set_job_fail(job, 404, "not_found", &why);
        return false;
    }
    bool mismatch = job->has_if_match && !label_set_answer_matches(job->if_match, current);
    if (!mismatch && !(job->only_new && current))
        return true;
    if (mismatch)
        status_fail(&why, STATUS_INVALID, "If-Match %s is not the label set as it is now",
                    job->if_match);
    else
        status_fail(&why, STATUS_INVALID, "there is a label set \"%s\" already", job->name);
    label_set_job_fail(job, 412, "precondition_failed", &why);
    return false;
}

static int label_set_job_compare(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Marks the labels to remove. STATUS_INVALID names one that is not in the set. */
static enum status label_set_job_mark(const struct label_set_job *job,
                                      const struct engine_labels *labels, bool *removed,
                                      struct fail *why)
{
    const struct text_list *list = &job->input.removed;
    if (!list->count)
        return STATUS_OK;
    qsort(list->texts, list->count, sizeof *list->texts, label_set_job_compare);
    bool *found = mem_zeroed(list->count, sizeof *found);
    if (!found)
        return status_fail(why, STATUS_NO_MEMORY, "no memory for %zu labels", list->count);
    for (size_t i = 0; i < engine_labels_count(labels); i++) {
        const char *name = engine_labels_name(labels, i);
        char **at =
            bsearch(&name, list->texts, list->count, sizeof *list->texts, label_set_job_compare);
        removed[i] = at;
        if (at)
            found[at - list->texts] = true;
    }
    enum status status = STATUS_OK;
    for (size_t i = 0; i < list->count && !status; i++)
        if (!found[i])
            status =
                status_fail(why, STATUS_INVALID,
                            "\"remove\": there is no label \"%.80s\" in the set", list->texts[i]);
    free(found);
    return status;
}

static enum status label_set_job_revise(const struct label_set_job *job,
                                        const struct job_tools *tools,
                                        const struct label_set *current, struct engine_labels **out,
                                        struct fail *why)
{
    const struct text_list *added = &job->input.labels;
    const struct config *config = job->service->config;
    size_t count = engine_labels_count(current->labels);
    size_t sentences = engine_labels_sentence_count(current->labels);
    size_t after = count + added->count;
    after -= job->input.removed.count < after ? job->input.removed.count : after;
    if (after > config->max_set_labels)
        return status_fail(why, STATUS_LIMIT, "more than %" PRIu64 " labels in a set",
                           config->max_set_labels);
    if (after > config->max_set_texts / sentences)
        return status_fail(why, STATUS_LIMIT,
                           "%zu labels times %zu sentences are more than %" PRIu64 " texts", after,
                           sentences, config->max_set_texts);
    bool *removed = mem_zeroed(count, sizeof *removed);
    enum status status =
        removed ? label_set_job_mark(job, current->labels, removed, why)
                : status_fail(why, STATUS_NO_MEMORY, "no memory for %zu labels", count);
    if (!status)
        status = engine_labels_revise(tools->session, current->labels, removed,
                                      (const char *const *)added->texts, added->count, out, why);
    free(removed);
    return status;
}

/* The pool that the set is for: NULL for none. */
static enum status label_set_job_pool(const struct label_set_job *job, const char *name,
                                      const struct engine_pool **out, struct fail *why)
{
    const struct engine_pool *own = job->service->pool;
    *out = own;
    if (!*name)
        return STATUS_OK;
    *out = NULL;
    if (!strcmp(name, "none"))
        return STATUS_OK;
    if (!own || strcmp(name, engine_pool_info(own)->name) != 0)
        return status_fail(why, STATUS_INVALID, "\"pool\": there is no pool \"%s\"", name);
    *out = own;
    return STATUS_OK;
}

static enum status label_set_job_compile(const struct label_set_job *job,
                                         const struct job_tools *tools,
                                         const struct label_set *current, struct label_set **out,
                                         struct fail *why)
{
    const struct label_set_request *input = &job->input;
    const char *pool_name = job->patch ? current->pool : input->pool;
    const struct engine_pool *pool;
    uint64_t started_us = clock_now_us();
    struct engine_labels *labels = NULL;
    enum status status = label_set_job_pool(job, pool_name, &pool, why);
    if (status)
        return status;
    const char *const *sentences = (const char *const *)input->sentences.texts;
    size_t sentence_count = input->sentences.count;
    if (!sentence_count && pool) {
        sentences = &engine_pool_info(pool)->sentence;
        sentence_count = 1;
    }
    status =
        job->patch
            ? label_set_job_revise(job, tools, current, &labels, why)
            : engine_labels_compile(tools->session, (const char *const *)input->labels.texts,
                                    input->labels.count, sentences, sentence_count, &labels, why);
    if (!status && pool)
        status = engine_labels_check_pool(labels, pool, why);
    if (status) {
        engine_labels_release(labels);
        return status;
    }
    *out = label_sets_make(job->name, pool_name, labels, clock_now_us() - started_us);
    return *out ? STATUS_OK : status_fail(why, STATUS_NO_MEMORY, "no memory for a label set");
}

static void label_set_job_answer(struct label_set_job *job, const struct label_set *set, bool made)
{
    struct fail why;
    struct buf body;
    char etag[LABEL_SET_ANSWER_ETAG_BYTES];
    buf_init(&body, LABEL_SET_JOB_MAX_ANSWER);
    if (label_set_answer_write(label_set_answer_json(set, false), &body, &why)) {
        label_set_job_fail(job, 500, "internal", &why);
    } else {
        reply_set_json(&job->job.reply, made ? 201 : 200, &body);
        label_set_answer_etag(set, etag);
        reply_set_etag(&job->job.reply, etag);
    }
    buf_finish(&body);
}

static void label_set_job_fail_compiling(struct label_set_job *job, const struct fail *why)
{
    if (atomic_load(&job->job.cancelled))
        return;
    if (why->code == STATUS_INVALID || why->code == STATUS_LIMIT || why->code == STATUS_FORMAT)
        label_set_job_fail(job, 422, "invalid_labels", why);
    else
        label_set_job_fail(job, 500, "internal", why);
}

/* True if somebody else changed the set meanwhile. A change that nobody waits for any more is not
 * made. */
static bool label_set_job_publish(struct label_set_job *job, struct label_set *set,
                                  const struct label_set *current)
{
    struct fail why;
    if (atomic_load(&job->job.cancelled))
        return false;
    enum status status = label_sets_publish(job->service->label_sets, set, current, &why);
    if (status == STATUS_CANCELLED)
        return true;
    if (status)
        label_set_job_fail(job, 422, "over_limit", &why);
    else
        label_set_job_answer(job, set, !current);
    return false;
}

/* One try; true if it is worth another. */
static bool label_set_job_try(struct label_set_job *job, const struct job_tools *tools)
{
    struct fail why;
    struct label_set *set = NULL;
    struct label_set *current = label_sets_find(job->service->label_sets, job->name);
    bool again = false;
    if (label_set_job_may_change(job, current)) {
        if (label_set_job_compile(job, tools, current, &set, &why))
            label_set_job_fail_compiling(job, &why);
        else
            again = label_set_job_publish(job, set, current);
    }
    label_sets_release(set);
    label_sets_release(current);
    return again;
}

static void label_set_job_prepare(struct job *base, const struct job_tools *tools)
{
    struct label_set_job *job = (struct label_set_job *)base;
    const struct config *config = job->service->config;
    const struct label_set_limits limits = {.max_labels = config->max_set_labels,
                                            .max_texts = config->max_set_texts};
    struct fail why;
    if (label_set_request_read(&job->input, job->patch, job->body.data, job->body.size, &limits,
                               &why)) {
        label_set_job_fail_reading(job, &why);
        return;
    }
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
    const char *if_match = request_header(request, "If-Match");
    const char *if_none_match = request_header(request, "If-None-Match");
    enum status status = label_sets_check_name(request_parameter(request), why);
    if (status)
        return status;
    if (!label_set_job_is_json(request_header(request, "Content-Type")))
        return status_fail(why, STATUS_UNSUPPORTED, "the Content-Type must be application/json");
    if (if_match && strlen(if_match) >= sizeof job->if_match)
        return status_fail(why, STATUS_INVALID, "If-Match is longer than %d characters",
                           LABEL_SET_JOB_MAX_HEADER - 1);
    snprintf(job->name, sizeof job->name, "%s", request_parameter(request));
    snprintf(job->if_match, sizeof job->if_match, "%s", if_match ? if_match : "");
    job->has_if_match = if_match;
    job->only_new = if_none_match && !strcmp(if_none_match, "*");
    return STATUS_OK;
}

static void label_set_job_handle(struct request *request, struct service *service, bool patch)
{
    struct fail why;
    struct label_set_job *job = mem_zeroed(1, sizeof *job);
    if (!job) {
        request_reply_problem(request, 500, "internal", "no memory for a job");
        return;
    }
    job_init(&job->job, &label_set_job_kind);
    job->service = service;
    job->patch = patch;
    if (label_set_job_read_head(job, request, &why)) {
        bool type = why.code == STATUS_UNSUPPORTED;
        request_reply_problem(request, type ? 415 : 422,
                              type ? "unsupported_body" : "invalid_field", why.message);
        label_set_job_destroy(&job->job);
        return;
    }
    request_take_body(request, &job->body);
    request_submit(request, &job->job);
}

void label_set_job_handle_put(struct request *request, struct service *service)
{
    label_set_job_handle(request, service, false);
}

void label_set_job_handle_patch(struct request *request, struct service *service)
{
    label_set_job_handle(request, service, true);
}
