#include "api/rest/classify_job.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/rest/classify_answer.h"
#include "api/rest/classify_request.h"
#include "api/rest/errors.h"
#include "engine/base/mem.h"
#include "server/clock.h"
#include "server/job.h"
#include "server/label_cache.h"
#include "server/label_set.h"
#include "server/metrics.h"
#include "server/request.h"
#include "server/served_pool.h"
#include "server/service.h"

enum { CLASSIFY_MAX_CONTENT_TYPE = 256, CLASSIFY_MAX_ANSWER_BYTES = 1 << 28 };

_Static_assert((int)CLASSIFY_MAX_NAME == (int)SNAPSHOT_MAX_NAME, "a name fits a request");
_Static_assert((int)JOB_NAME_BYTES == (int)SNAPSHOT_MAX_NAME + 1, "a name fits a job");

struct classify_job {
    struct job job; /* first, so that one is the other */
    const struct service *service;
    enum classify_body kind;
    char content_type[CLASSIFY_MAX_CONTENT_TYPE];
    struct buf body;
    struct classify_request input;
    struct served_pool *pool;     /* from prepare on; NULL: plain CLIP */
    struct label_set *label_set;  /* the same; NULL: the labels are the request's or the model's */
    struct engine_labels *labels; /* from prepare on */
};

/* ---- On a worker ---- */

static void classify_job_fail(struct job *job, enum errors_place place, const struct fail *why)
{
    struct errors_answer answer = errors_answer(place, why->code);
    reply_set_problem(&job->reply, answer.status, answer.code, why->message, job->request_id);
}

static enum status classify_job_read(struct classify_job *job, const struct job_tools *tools,
                                     struct fail *why)
{
    struct classify_request *input = &job->input;
    uint64_t asked_before_ms = input->timeout_ms;
    enum status status = classify_request_read(input, job->kind, job->content_type, job->body.data,
                                               job->body.size, why);
    if (status)
        return status;
    job->job.low_priority = input->low_priority;
    if (input->timeout_ms != asked_before_ms)
        job_set_deadline(&job->job, job->job.created_us + input->timeout_ms * 1000, tools);
    return STATUS_OK;
}

/* Decodes every picture into its row; one that fails keeps its reason and takes no row. */
static void classify_job_decode(struct classify_job *job, const struct job_tools *tools,
                                float *pixels)
{
    const struct config *config = job->service->config;
    const struct engine *engine = tools->engine;
    const struct engine_image_options options = {
        .max_bytes = config->max_image_bytes,
        .max_pixels = config->max_image_pixels,
        .max_jpeg_scans = (uint32_t)config->max_jpeg_scans,
        .scaled_jpeg = config->jpeg_decoding == CONFIG_JPEG_SCALED,
    };
    size_t image_size = engine_info(engine)->image_size;
    size_t rows = 0;
    for (size_t i = 0; i < job->input.image_count; i++) {
        struct classify_image *image = &job->input.images[i];
        if (atomic_load(&job->job.cancelled))
            return;
        job_show_life(tools);
        if (!image->why.code)
            image->why.code =
                engine_decode(engine, image->bytes, image->size, &options,
                              pixels + rows * 3 * image_size * image_size, NULL, &image->why);
        if (!image->why.code)
            rows++;
        metrics_count_image(job->service->metrics, image_sniff(image->bytes, image->size),
                            image->why.code);
    }
    job->job.rows = rows;
}

/* The set that the request names, or the default one if it brings no labels of its own. */
static enum status classify_job_get_label_set(struct classify_job *job, struct fail *why)
{
    const struct classify_request *input = &job->input;
    const struct service *service = job->service;
    const char *name = input->label_set;
    if (*name)
        job->label_set = label_set_find(service->label_sets, name);
    else if (!input->labels.count)
        job->label_set = label_set_find_default(service->label_sets);
    if (*name && !job->label_set)
        return status_fail(why, STATUS_NOT_FOUND, "there is no label set \"%s\"", name);
    if (!*name && job->label_set && input->sentences.count)
        return status_fail(why, STATUS_INVALID,
                           "\"sentence\" goes with \"labels\"; the default label set \"%s\" has "
                           "its own",
                           job->label_set->snapshot.name);
    if (!job->label_set && !input->labels.count && !service->default_labels)
        return status_fail(why, STATUS_INVALID,
                           "\"labels\" is missing, and neither the server nor the model has a list "
                           "of its own");
    return STATUS_OK;
}

/* The pool that the request asks for, acquired, or NULL. */
static enum status classify_job_get_pool(struct classify_job *job, struct fail *why)
{
    const struct classify_request *input = &job->input;
    const char *name = *input->pool ? input->pool : job->label_set ? job->label_set->pool : "";
    bool none = !strcmp(name, "none");
    if (!*name)
        job->pool = served_pool_find_default(job->service);
    else if (!none)
        job->pool = served_pool_find(job->service, name);
    if (*name && !none && !job->pool)
        return status_fail(why, STATUS_NOT_FOUND, "there is no pool \"%s\"%s", name,
                           *input->pool ? "" : ", which the label set names");
    if (!job->pool && (input->explain || input->shortlist))
        return status_fail(why, STATUS_INVALID, "\"%s\" is of use with a pool only",
                           input->explain ? "explain" : "shortlist");
    return STATUS_OK;
}

/* Of the model's own labels, in the sentences of the request or of the pool. */
static enum status classify_job_get_default_labels(const struct classify_job *job,
                                                   const struct job_tools *tools,
                                                   struct engine_labels **out, struct fail *why)
{
    const struct engine_label_list *list = &job->service->default_names;
    const struct text_list *sentences = &job->input.sentences;
    if (!sentences->count) {
        *out = engine_labels_acquire(job->pool ? job->pool->default_labels
                                               : job->service->default_labels);
        return STATUS_OK;
    }
    return label_cache_get(job->service->label_cache, tools->session, list->names, list->count,
                           (const char *const *)sentences->texts, sentences->count, out, why);
}

/* The compiled labels that the request asks for, acquired. */
static enum status classify_job_get_labels(const struct classify_job *job,
                                           const struct job_tools *tools,
                                           struct engine_labels **out, struct fail *why)
{
    const struct classify_request *input = &job->input;
    const char *const *sentences = (const char *const *)input->sentences.texts;
    size_t sentence_count = input->sentences.count;
    const char *sentence =
        job->pool ? engine_pool_info(job->pool->pool)->sentence : engine_default_sentence;
    if (job->label_set) {
        *out = engine_labels_acquire(job->label_set->labels);
        return STATUS_OK;
    }
    if (!input->labels.count)
        return classify_job_get_default_labels(job, tools, out, why);
    if (!sentence_count) {
        sentences = &sentence;
        sentence_count = 1;
    }
    return label_cache_get(job->service->label_cache, tools->session,
                           (const char *const *)input->labels.texts, input->labels.count, sentences,
                           sentence_count, out, why);
}

/* Before the pictures, so that bad labels cost no decoding and a long compile delays no other job
 * of a batch. */
static enum status classify_job_take_labels(struct classify_job *job, const struct job_tools *tools,
                                            struct fail *why)
{
    uint64_t started_us = clock_now_us();
    enum status status = classify_job_get_labels(job, tools, &job->labels, why);
    if (!status && job->pool)
        status = engine_labels_check_pool(job->labels, job->pool->pool, why);
    job->job.timings.text_us = clock_now_us() - started_us;
    return status;
}

/* One for each row. */
static enum status classify_job_make_compositions(struct classify_job *job, struct fail *why)
{
    struct job *base = &job->job;
    if (!job->pool)
        return STATUS_OK;
    base->compositions = mem_zeroed(base->rows, sizeof *base->compositions);
    if (!base->compositions)
        return status_fail(why, STATUS_NO_MEMORY, "no memory for %zu compositions", base->rows);
    enum status status = STATUS_OK;
    for (size_t i = 0; i < base->rows && !status; i++)
        status = engine_composition_create(job->pool->pool, &base->compositions[i], why);
    return status;
}

static void classify_job_note_used(struct classify_job *job)
{
    struct job_used *used = &job->job.used;
    if (job->label_set) {
        memcpy(used->label_set, job->label_set->snapshot.name, sizeof used->label_set);
        used->label_set_version = job->label_set->snapshot.version;
    }
    if (job->pool) {
        memcpy(used->pool, job->pool->snapshot.name, sizeof used->pool);
        used->pool_version = job->pool->snapshot.version;
    }
}

static void classify_job_prepare(struct job *base, const struct job_tools *tools)
{
    struct classify_job *job = (struct classify_job *)base;
    const struct engine_info *info = engine_info(tools->engine);
    struct fail why;
    if (classify_job_read(job, tools, &why) || classify_job_get_label_set(job, &why) ||
        classify_job_get_pool(job, &why)) {
        classify_job_fail(base, ERRORS_BODY, &why);
        return;
    }
    classify_job_note_used(job);
    if (classify_job_take_labels(job, tools, &why)) {
        classify_job_fail(base, ERRORS_LABELS, &why);
        return;
    }
    base->pixels = mem_aligned(job->input.image_count,
                               3 * info->image_size * info->image_size * sizeof(float));
    if (!base->pixels) {
        status_fail(&why, STATUS_NO_MEMORY, "no memory for %zu pictures", job->input.image_count);
        classify_job_fail(base, ERRORS_IMAGE, &why);
        return;
    }
    classify_job_decode(job, tools, base->pixels);
    if (!base->rows && !atomic_load(&base->cancelled))
        classify_job_fail(base, ERRORS_IMAGE, &job->input.images[0].why);
    else if (classify_job_make_compositions(job, &why))
        classify_job_fail(base, ERRORS_IMAGE, &why);
}

/* How many classes there are to choose from. */
static size_t classify_job_classes(const struct classify_job *job)
{
    return job->label_set ? job->label_set->classes : engine_labels_count(job->labels);
}

/* Cosines [rows, classes]; free(). */
static enum status classify_job_score(const struct classify_job *job, const struct job_tools *tools,
                                      float **out, struct fail *why)
{
    const struct job *base = &job->job;
    const struct engine_scoring scoring = {
        .labels = job->labels,
        .count = base->rows,
        .image_features = base->features,
        .compositions = (const struct engine_composition *const *)base->compositions,
        .shortlist = job->input.shortlist};
    float *cosines = mem_zeroed(base->rows, engine_labels_count(job->labels) * sizeof *cosines);
    enum status status = cosines ? engine_score(tools->session, &scoring, cosines, why)
                                 : status_fail(why, STATUS_NO_MEMORY, "no memory for the scores");
    if (!status && job->label_set)
        label_set_reduce(job->label_set, cosines, base->rows);
    if (status)
        free(cosines);
    else
        *out = cosines;
    return status;
}

/* One result a picture, from its row's cosines. predictions [top_k]. */
static enum status classify_job_add_results(const struct classify_job *job,
                                            const struct engine_info *info, const float *cosines,
                                            struct engine_prediction *predictions, size_t top_k,
                                            struct classify_answer *answer, struct fail *why)
{
    const struct classify_request *input = &job->input;
    size_t count = classify_job_classes(job), row = 0;
    float scale = job->pool ? engine_pool_info(job->pool->pool)->logit_scale : info->logit_scale;
    struct classify_result result = {.labels = job->labels,
                                     .label_set = job->label_set,
                                     .predictions = predictions,
                                     .threshold = input->threshold,
                                     .info = info};
    enum status status = STATUS_OK;
    for (size_t i = 0; i < input->image_count && !status; i++) {
        const struct fail *image_why = &input->images[i].why;
        if (image_why->code) {
            struct errors_answer error = errors_answer(ERRORS_IMAGE, image_why->code);
            status = classify_answer_add_error(answer, error.status, error.code, image_why->message,
                                               why);
            continue;
        }
        engine_top(scale, cosines + row * count, count, top_k, predictions, &result.count);
        while (result.count && isinf(predictions[result.count - 1].cosine))
            result.count--; /* aliases left fewer classes than labels on the shortlist */
        result.explained = input->explain ? job->job.compositions[row] : NULL;
        status = classify_answer_add(answer, &result, why);
        row++;
    }
    return status;
}

static enum status classify_job_fill_answer(const struct classify_job *job,
                                            const struct job_tools *tools,
                                            struct classify_answer *answer, struct fail *why)
{
    const struct classify_request *input = &job->input;
    size_t count = classify_job_classes(job);
    size_t top_k = input->top_k < count ? input->top_k : count;
    if (input->shortlist && input->shortlist < top_k)
        top_k = input->shortlist;
    float *cosines = NULL;
    struct engine_prediction *predictions = mem_zeroed(top_k, sizeof *predictions);
    enum status status = predictions
                             ? classify_job_score(job, tools, &cosines, why)
                             : status_fail(why, STATUS_NO_MEMORY, "no memory for the scores");
    if (!status)
        status = classify_job_add_results(job, engine_info(tools->engine), cosines, predictions,
                                          top_k, answer, why);
    free(cosines);
    free(predictions);
    return status;
}

static void classify_job_answer(struct job *base, const struct job_tools *tools)
{
    struct classify_job *job = (struct classify_job *)base;
    struct classify_answer *answer = NULL;
    struct buf text;
    struct fail why;
    buf_init(&text, CLASSIFY_MAX_ANSWER_BYTES);
    uint64_t started_us = clock_now_us();
    for (size_t i = 0; base->compositions && i < base->rows; i++)
        metrics_note_composition(job->service->metrics, base->compositions[i]);
    enum status status = classify_answer_create(&answer, &why);
    if (!status)
        status = classify_job_fill_answer(job, tools, answer, &why);
    uint64_t now_us = clock_now_us();
    base->timings.text_us += now_us - started_us;
    const struct classify_answer_head head = {
        .request_id = base->request_id,
        .model = engine_info(tools->engine)->name,
        .label_set = job->label_set ? &job->label_set->snapshot : NULL,
        .pool = job->pool ? &job->pool->snapshot : NULL,
        .timings = &base->timings,
        .total_us = now_us - base->created_us,
    };
    if (!status)
        status = classify_answer_write(answer, &head, &text, &why);
    if (status)
        classify_job_fail(base, ERRORS_ANSWER, &why);
    else
        reply_set_json(&base->reply, 200, &text);
    buf_finish(&text);
    classify_answer_destroy(answer);
}

static void classify_job_destroy(struct job *base)
{
    struct classify_job *job = (struct classify_job *)base;
    classify_request_finish(&job->input);
    buf_finish(&job->body);
    engine_labels_release(job->labels);
    label_set_release(job->label_set);
    served_pool_release(job->pool);
    job_finish(base);
    free(job);
}

/* ---- On the loop thread ---- */

static const struct job_kind classify_job_kind = {
    .prepare = classify_job_prepare,
    .answer = classify_job_answer,
    .destroy = classify_job_destroy,
};

static enum status classify_job_on_query(void *input, const char *name, const char *value,
                                         struct fail *why)
{
    return classify_request_set(input, name, value, strlen(value), why);
}

/* The part that needs no look at the body. */
static enum status classify_job_read_head(struct classify_job *job, const struct request *request,
                                          struct fail *why)
{
    const struct config *config = job->service->config;
    struct classify_limits limits = {
        .max_images = config->max_images_per_request,
        .max_labels = config->max_labels,
        .max_label_texts = config->max_label_texts,
        .default_labels = job->service->default_names.count,
        .max_timeout_ms = config->max_request_timeout_ms,
    };
    classify_request_init(&job->input, &limits);
    const char *content_type = request_header(request, "Content-Type");
    enum status status = classify_request_body_kind(content_type, &job->kind, why);
    if (status)
        return status;
    int length = snprintf(job->content_type, sizeof job->content_type, "%s", content_type);
    if ((size_t)length >= sizeof job->content_type)
        return status_fail(why, STATUS_UNSUPPORTED, "the Content-Type is longer than %d characters",
                           CLASSIFY_MAX_CONTENT_TYPE - 1);
    return request_each_query(request, classify_job_on_query, &job->input, why);
}

void classify_job_handle(struct request *request, struct service *service)
{
    struct fail why;
    struct classify_job *job = mem_zeroed(1, sizeof *job);
    if (!job) {
        request_reply_problem(request, 500, "internal", "no memory for a job");
        return;
    }
    job_init(&job->job, &classify_job_kind);
    job->service = service;
    if (classify_job_read_head(job, request, &why)) {
        struct errors_answer answer = errors_answer(ERRORS_BODY, why.code);
        request_reply_problem(request, answer.status, answer.code, why.message);
        classify_job_destroy(&job->job);
        return;
    }
    request_take_body(request, &job->body);
    job->job.low_priority = job->input.low_priority;
    if (job->input.timeout_ms)
        atomic_store(&job->job.deadline_us, clock_now_us() + job->input.timeout_ms * 1000);
    request_submit(request, &job->job);
}
