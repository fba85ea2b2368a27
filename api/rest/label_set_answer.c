#include "api/rest/label_set_answer.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void label_set_answer_etag(const struct label_set *set, char out[LABEL_SET_ANSWER_ETAG_BYTES])
{
    snprintf(out, LABEL_SET_ANSWER_ETAG_BYTES, "\"%" PRIu64 "-%" PRIx64 "\"", set->version,
             set->serial);
}

bool label_set_answer_matches(const char *if_match, const struct label_set *set)
{
    char etag[LABEL_SET_ANSWER_ETAG_BYTES];
    if (!set)
        return false;
    if (!strcmp(if_match, "*"))
        return true;
    label_set_answer_etag(set, etag);
    for (const char *at = if_match; (at = strstr(at, etag)); at++) /* one of a list */
        if (at == if_match || at[-1] != '/')                       /* a weak one never matches */
            return true;
    return false;
}

static json_t *label_set_answer_sentences(const struct engine_labels *labels)
{
    json_t *array = json_array();
    for (size_t i = 0; i < engine_labels_sentence_count(labels); i++)
        json_array_append_new(array, json_string(engine_labels_sentence(labels, i)));
    return array;
}

static int label_set_answer_add_labels(json_t *root, const struct engine_labels *labels)
{
    json_t *array = json_array();
    for (size_t i = 0; i < engine_labels_count(labels); i++)
        json_array_append_new(array, json_string(engine_labels_name(labels, i)));
    return json_object_set_new(root, "labels", array);
}

json_t *label_set_answer_json(const struct label_set *set, bool with_labels)
{
    json_t *pool = *set->pool ? json_string(set->pool) : json_null();
    json_t *root =
        json_pack("{s:s, s:I, s:I, s:o, s:o, s:f}", "name", set->name, "version",
                  (json_int_t)set->version, "count", (json_int_t)engine_labels_count(set->labels),
                  "sentence", label_set_answer_sentences(set->labels), "pool", pool, "compile_ms",
                  (double)set->compile_us / 1e3);
    if (root && with_labels && label_set_answer_add_labels(root, set->labels)) {
        json_decref(root);
        return NULL;
    }
    return root;
}

enum status label_set_answer_write(json_t *value, struct buf *out, struct fail *why)
{
    char *text = value ? json_dumps(value, JSON_COMPACT | JSON_REAL_PRECISION(9)) : NULL;
    json_decref(value);
    enum status status = text ? buf_append_text(out, text, why)
                              : status_fail(why, STATUS_NO_MEMORY, "cannot write the answer");
    free(text);
    return status ? status : buf_append_text(out, "\n", why);
}
