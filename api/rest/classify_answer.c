#include "api/rest/classify_answer.h"

#include <jansson.h>
#include <stdlib.h>

#include "api/explanation.h"
#include "engine/base/mem.h"

/* Nine digits give every float back exactly. */
enum { CLASSIFY_ANSWER_FORMAT = JSON_COMPACT | JSON_REAL_PRECISION(9) };

struct classify_answer {
    json_t *results;
};

static enum status classify_answer_no_memory(struct fail *why)
{
    return status_fail(why, STATUS_NO_MEMORY, "cannot write the answer");
}

enum status classify_answer_create(struct classify_answer **out, struct fail *why)
{
    struct classify_answer *answer = mem_zeroed(1, sizeof *answer);
    if (!answer)
        return classify_answer_no_memory(why);
    answer->results = json_array();
    *out = answer;
    return STATUS_OK;
}

void classify_answer_destroy(struct classify_answer *answer)
{
    if (!answer)
        return;
    json_decref(answer->results);
    free(answer);
}

static const char *classify_answer_label(const struct classify_result *result, size_t index)
{
    return result->label_set ? label_set_class_name(result->label_set, index)
                             : engine_labels_name(result->labels, index);
}

enum status classify_answer_add(struct classify_answer *answer,
                                const struct classify_result *result, struct fail *why)
{
    json_t *list = json_array();
    int failed = 0;
    for (size_t i = 0; i < result->count; i++) {
        const struct engine_prediction *prediction = &result->predictions[i];
        if ((double)prediction->probability < result->threshold)
            continue;
        failed |= json_array_append_new(
            list, json_pack("{s:s, s:f, s:f, s:f}", "label",
                            classify_answer_label(result, prediction->label), "score",
                            (double)prediction->probability, "logit", (double)prediction->logit,
                            "cosine", (double)prediction->cosine));
    }
    bool unknown = !json_array_size(list);
    json_t *made = json_pack("{s:o, s:b}", "predictions", list, "unknown", unknown);
    if (result->explained)
        failed |= json_object_set_new(made, "explanation",
                                      explanation_json(result->explained, result->info));
    failed |= json_array_append_new(answer->results, made);
    return failed ? classify_answer_no_memory(why) : STATUS_OK;
}

enum status classify_answer_add_error(struct classify_answer *answer, int status, const char *code,
                                      const char *detail, struct fail *why)
{
    json_t *result =
        json_pack("{s:{s:i, s:s, s:s}}", "error", "status", status, "code", code, "detail", detail);
    return json_array_append_new(answer->results, result) ? classify_answer_no_memory(why)
                                                          : STATUS_OK;
}

struct classify_answer_sink {
    struct buf *out;
    enum status status;
};

static int classify_answer_append(const char *text, size_t size, void *argument)
{
    struct classify_answer_sink *sink = argument;
    sink->status = buf_append(sink->out, text, size, NULL);
    return sink->status ? -1 : 0;
}

static json_t *classify_answer_version(const struct snapshot *snapshot)
{
    return snapshot ? json_pack("{s:s, s:I}", "name", snapshot->name, "version",
                                (json_int_t)snapshot->version)
                    : json_null();
}

static json_t *classify_answer_timings(const struct classify_answer_head *head)
{
    const struct job_timings *timings = head->timings;
    return json_pack("{s:f, s:f, s:f, s:f, s:f, s:f}", "queue", (double)timings->queue_us / 1e3,
                     "decode", (double)timings->decode_us / 1e3, "image",
                     (double)timings->image_us / 1e3, "retrieve",
                     (double)timings->retrieve_us / 1e3, "text", (double)timings->text_us / 1e3,
                     "total", (double)head->total_us / 1e3);
}

enum status classify_answer_write(struct classify_answer *answer,
                                  const struct classify_answer_head *head, struct buf *out,
                                  struct fail *why)
{
    json_t *root = json_pack("{s:s, s:s, s:o, s:o, s:O, s:o}", "id", head->request_id, "model",
                             head->model, "label_set", classify_answer_version(head->label_set),
                             "pool", classify_answer_version(head->pool), "results",
                             answer->results, "timings_ms", classify_answer_timings(head));
    struct classify_answer_sink sink = {.out = out, .status = STATUS_OK};
    int failed = !root ||
                 json_dump_callback(root, classify_answer_append, &sink, CLASSIFY_ANSWER_FORMAT) ||
                 classify_answer_append("\n", 1, &sink);
    json_decref(root);
    if (sink.status == STATUS_LIMIT)
        return status_fail(why, STATUS_LIMIT,
                           "the answer is larger than %zu bytes; a smaller \"top_k\" helps",
                           out->max_size);
    return failed ? classify_answer_no_memory(why) : STATUS_OK;
}
