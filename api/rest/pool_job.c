#include "api/rest/pool_job.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/rest/errors.h"
#include "api/rest/json_answer.h"
#include "api/rest/pool_answer.h"
#include "api/rest/precondition.h"
#include "engine/base/log.h"
#include "engine/base/mem.h"
#include "server/clock.h"
#include "server/job.h"
#include "server/pool_folder.h"
#include "server/request.h"
#include "server/served_pool.h"
#include "server/service.h"

enum pool_change { POOL_PUT, POOL_LOAD, POOL_ROLL_BACK, POOL_DELETE };

struct pool_job {
    struct job job; /* first, so that one is the other */
    const struct service *service;
    enum pool_change change;
    char name[SNAPSHOT_MAX_NAME + 1];
    struct precondition precondition;
    enum store_default make_default;
    uint64_t version; /* to roll back to; 0: the one before */
    struct spool_file upload;
};

/* ---- On a worker ---- */

static void pool_job_fail(struct pool_job *job, int status, const char *code,
                          const struct fail *why)
{
    reply_set_problem(&job->job.reply, status, code, why->message, job->job.request_id);
}

/* What is wrong with the server itself may name its files, so only the log has it. */
static void pool_job_fail_inside(struct pool_job *job, const char *code, const char *detail,
                                 const struct fail *why)
{
    log_line(LOG_ERROR, "%s", why->message);
    reply_set_problem(&job->job.reply, 500, code, detail, job->job.request_id);
}

/* Reading a file, or making a pool of it. */
static void pool_job_fail_loading(struct pool_job *job, const struct fail *why)
{
    switch (why->code) {
    case STATUS_CANCELLED:
        if (!atomic_load(&job->job.cancelled)) /* else nobody waits */
            pool_job_fail(job, 412, "precondition_failed", why);
        break;
    case STATUS_NO_MEMORY:
    case STATUS_IO:
    case STATUS_INTERNAL:
        pool_job_fail_inside(job, "internal", "the pool cannot be loaded", why);
        break;
    default:
        pool_job_fail(job, 422, "invalid_pool", why);
        break;
    }
}

static void pool_job_fail_changing(struct pool_job *job, const struct fail *why)
{
    switch (why->code) {
    case STATUS_NOT_FOUND:
        pool_job_fail(job, 404, "not_found", why);
        break;
    case STATUS_INVALID: /* of a rollback */
        pool_job_fail(job, 409, "no_such_version", why);
        break;
    case STATUS_CANCELLED:
        pool_job_fail(job, 412, "precondition_failed", why);
        break;
    case STATUS_LIMIT:
        pool_job_fail(job, 422, "over_limit", why);
        break;
    default:
        pool_job_fail_inside(job, "not_stored", "the change cannot be stored", why);
        break;
    }
}

static void pool_job_answer(struct pool_job *job, int status, const struct served_pool *pool)
{
    json_answer_set(&job->job, status, pool_answer_json(job->service, pool), job->service->pools,
                    &pool->snapshot);
}

static void pool_job_put(struct pool_job *job, const struct job_tools *tools,
                         const struct registry_condition *condition)
{
    struct fail why;
    struct served_pool_file file = {.spool = {.fd = -1}};
    struct served_pool *pool = NULL;
    enum status status = served_pool_receive_file(&job->upload, &file, &why);
    if (!status)
        status =
            served_pool_load(job->service, tools->session, job->name, "upload", &file, &pool, &why);
    served_pool_finish_file(&file);
    if (status) {
        pool_job_fail_loading(job, &why);
        return;
    }
    bool wanted = !atomic_load(&job->job.cancelled); /* else the change is not made */
    if (wanted && registry_publish(job->service->pools, &pool->snapshot, condition,
                                   job->make_default, NULL, &why))
        pool_job_fail_changing(job, &why);
    else if (wanted)
        pool_job_answer(job, 201, pool);
    served_pool_release(pool);
}

static void pool_job_load(struct pool_job *job, const struct job_tools *tools,
                          const struct registry_condition *condition)
{
    struct fail why;
    char path[SPOOL_FILE_MAX_PATH];
    struct served_pool *pool = NULL;
    bool made = false;
    const struct pool_folder_load load = {.path = path,
                                          .name = job->name,
                                          .origin = "folder",
                                          .condition = condition,
                                          .make_default = job->make_default,
                                          .asked_for = true};
    enum status status = pool_folder_write_path(job->service->pool_folder, job->name, path, &why);
    if (!status)
        status = pool_folder_load(job->service, tools->session, &load, &pool, &made, &why);
    if (status == STATUS_NOT_FOUND)
        status_fail(&why, status, "there is no file %s.safetensors in the pool folder", job->name);
    if (status && (made || status == STATUS_NOT_FOUND))
        pool_job_fail_changing(job, &why);
    else if (status)
        pool_job_fail_loading(job, &why);
    else
        pool_job_answer(job, made ? 201 : 200, pool);
    served_pool_release(pool);
}

static void pool_job_roll_back(struct pool_job *job, const struct registry_condition *condition)
{
    struct fail why;
    struct snapshot *snapshot = NULL;
    if (registry_roll_back(job->service->pools, job->name, job->version, condition, &snapshot,
                           &why)) {
        pool_job_fail_changing(job, &why);
        return;
    }
    pool_job_answer(job, 200, (struct served_pool *)snapshot);
    snapshot_release(snapshot);
}

static void pool_job_delete(struct pool_job *job, const struct registry_condition *condition)
{
    struct fail why;
    if (registry_remove(job->service->pools, job->name, condition, &why))
        pool_job_fail_changing(job, &why);
    else
        reply_set_nothing(&job->job.reply);
}

static void pool_job_prepare(struct job *base, const struct job_tools *tools)
{
    struct pool_job *job = (struct pool_job *)base;
    struct fail why;
    struct snapshot *current = registry_find(job->service->pools, job->name);
    const struct registry_condition found = {current};
    const struct registry_condition *condition =
        precondition_at_publish(&job->precondition, &found);
    if (precondition_check(&job->precondition, job->service->pools, current, &why))
        pool_job_fail(job, 412, "precondition_failed", &why);
    else if (job->change == POOL_PUT && registry_check_room(job->service->pools, job->name, &why))
        pool_job_fail(job, 422, "over_limit", &why);
    else if (job->change == POOL_PUT)
        pool_job_put(job, tools, condition);
    else if (job->change == POOL_LOAD)
        pool_job_load(job, tools, condition);
    else if (job->change == POOL_ROLL_BACK)
        pool_job_roll_back(job, condition);
    else
        pool_job_delete(job, condition);
    snapshot_release(current);
}

static void pool_job_destroy(struct job *base)
{
    struct pool_job *job = (struct pool_job *)base;
    spool_file_finish(&job->upload);
    job_finish(base);
    free(job);
}

/* ---- On the loop thread ---- */

static const struct job_kind pool_job_kind = {
    .background = true,
    .prepare = pool_job_prepare,
    .destroy = pool_job_destroy,
};

static enum status pool_job_set_version(struct pool_job *job, const char *value, struct fail *why)
{
    char *end;
    if (job->version)
        return status_fail(why, STATUS_INVALID, "\"version\" is given twice");
    job->version = strtoull(value, &end, 10);
    if (*value < '1' || *value > '9' || *end)
        return status_fail(why, STATUS_INVALID, "\"version\" must be a whole number from 1 on");
    return STATUS_OK;
}

static enum status pool_job_on_query(void *argument, const char *name, const char *value,
                                     struct fail *why)
{
    struct pool_job *job = argument;
    bool yes = !strcmp(value, "true");
    if (!strcmp(name, "version") && job->change == POOL_ROLL_BACK)
        return pool_job_set_version(job, value, why);
    if (strcmp(name, "default") != 0 || (job->change != POOL_PUT && job->change != POOL_LOAD))
        return status_fail(why, STATUS_INVALID, "unknown field \"%.64s\"", name);
    if (job->make_default != STORE_DEFAULT_KEEP)
        return status_fail(why, STATUS_INVALID, "\"default\" is given twice");
    if (!yes && strcmp(value, "false") != 0)
        return status_fail(why, STATUS_INVALID, "\"default\" must be true or false");
    job->make_default = yes ? STORE_DEFAULT_SET : STORE_DEFAULT_CLEAR;
    return STATUS_OK;
}

static enum status pool_job_read_head(struct pool_job *job, const struct request *request,
                                      struct fail *why)
{
    const char *name = request_parameter(request);
    bool makes = job->change == POOL_PUT || job->change == POOL_LOAD;
    enum status status = snapshot_check_name(name, why);
    if (status && !makes)
        return status_fail(why, STATUS_NOT_FOUND, "there is no pool \"%.80s\"", name);
    if (!status && makes && !strcmp(name, "none"))
        status = status_fail(why, STATUS_INVALID,
                             "a pool cannot be called none, which stands for no pool");
    if (!status && job->change == POOL_LOAD && !job->service->pool_folder)
        status = status_fail(why, STATUS_NOT_FOUND, "the server has no pool folder");
    if (status)
        return status;
    snprintf(job->name, sizeof job->name, "%s", name);
    status = precondition_read(&job->precondition, request, why);
    return status ? status : request_each_query(request, pool_job_on_query, job, why);
}

static void pool_job_handle(struct request *request, struct service *service,
                            enum pool_change change)
{
    struct fail why;
    struct pool_job *job = mem_zeroed(1, sizeof *job);
    if (!job) {
        request_reply_problem(request, 500, "internal", "no memory for a job");
        return;
    }
    job_init(&job->job, &pool_job_kind);
    job->service = service;
    job->change = change;
    job->upload.fd = -1;
    if (pool_job_read_head(job, request, &why)) {
        struct errors_answer answer = errors_answer(ERRORS_BODY, why.code);
        request_reply_problem(request, answer.status, answer.code, why.message);
        pool_job_destroy(&job->job);
        return;
    }
    if (change == POOL_PUT)
        request_take_upload(request, &job->upload);
    atomic_store(&job->job.deadline_us, clock_now_us() + service->config->change_timeout_ms * 1000);
    request_submit(request, &job->job);
}

void pool_job_handle_put(struct request *request, struct service *service)
{
    pool_job_handle(request, service, POOL_PUT);
}

void pool_job_handle_load(struct request *request, struct service *service)
{
    pool_job_handle(request, service, POOL_LOAD);
}

void pool_job_handle_roll_back(struct request *request, struct service *service)
{
    pool_job_handle(request, service, POOL_ROLL_BACK);
}

void pool_job_handle_delete(struct request *request, struct service *service)
{
    pool_job_handle(request, service, POOL_DELETE);
}
