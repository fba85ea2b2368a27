#include "api/rest/label_set_document.h"

#include <jansson.h>
#include <stdlib.h>

#include "api/rest/label_set_compile.h"
#include "api/rest/label_set_request.h"
#include "engine/base/mem.h"
#include "server/registry.h"
#include "server/store.h"

static json_t *label_set_document_sentences(const struct engine_labels *labels)
{
    json_t *array = json_array();
    for (size_t i = 0; i < engine_labels_sentence_count(labels); i++)
        json_array_append_new(array, json_string(engine_labels_sentence(labels, i)));
    return array;
}

/* Makes the class's name an object with the alias, or adds the alias to it. */
static int label_set_document_add_alias(json_t *classes, size_t index, const char *alias)
{
    json_t *item = json_array_get(classes, index);
    if (json_is_string(item)) {
        json_t *made = json_pack("{s:O, s:[]}", "name", item, "aliases");
        if (json_array_set_new(classes, index, made))
            return -1;
        item = made;
    }
    return json_array_append_new(json_object_get(item, "aliases"), json_string(alias));
}

/* Strings, and objects for those with aliases. NULL if there is no memory. */
static json_t *label_set_document_labels(const struct label_set *set)
{
    json_t *array = json_array();
    int failed = !array;
    for (size_t i = 0; i < set->classes && !failed; i++)
        failed = json_array_append_new(array, json_string(label_set_class_name(set, i)));
    size_t labels = set->class_of ? engine_labels_count(set->labels) : 0;
    for (size_t i = 0; i < labels && !failed; i++)
        if (set->name_of[set->class_of[i]] != i)
            failed = label_set_document_add_alias(array, set->class_of[i],
                                                  engine_labels_name(set->labels, i));
    if (!failed)
        return array;
    json_decref(array);
    return NULL;
}

json_t *label_set_document_json(const struct service *service, const struct label_set *set,
                                bool with_labels)
{
    const struct snapshot *snapshot = &set->snapshot;
    json_t *pool = *set->pool ? json_string(set->pool) : json_null();
    json_t *root =
        json_pack("{s:s, s:I, s:I, s:o, s:o, s:b, s:f}", "name", snapshot->name, "version",
                  (json_int_t)snapshot->version, "count", (json_int_t)set->classes, "sentence",
                  label_set_document_sentences(set->labels), "pool", pool, "default",
                  registry_is_default(service->label_sets, snapshot->name), "compile_ms",
                  (double)set->compile_us / 1e3);
    if (root && with_labels &&
        json_object_set_new(root, "labels", label_set_document_labels(set))) {
        json_decref(root);
        return NULL;
    }
    return root;
}

enum status label_set_document_attach(struct label_set *set, struct fail *why)
{
    json_t *root = json_pack("{s:o, s:o}", "labels", label_set_document_labels(set), "sentence",
                             label_set_document_sentences(set->labels));
    int failed = !root;
    if (!failed && *set->pool)
        failed = json_object_set_new(root, "pool", json_string(set->pool));
    char *text = failed ? NULL : json_dumps(root, JSON_COMPACT);
    json_decref(root);
    if (!text)
        return status_fail(why, STATUS_NO_MEMORY, "no memory to store a label set");
    set->snapshot.document = text;
    return STATUS_OK;
}

enum status label_set_document_restore(const struct service *service,
                                       struct engine_session *session,
                                       const struct store_entry *entry, struct snapshot **out,
                                       struct fail *why)
{
    /* What was let in once is let in again, whatever the limits are now. */
    const struct label_set_limits limits = {
        .max_labels = UINT32_MAX, .max_texts = SIZE_MAX, .max_timeout_ms = 1};
    struct label_set_request request;
    struct label_set *set = NULL;
    enum status status = label_set_request_read(&request, false, entry->document,
                                                entry->document_bytes, &limits, why);
    if (!status)
        status = label_set_compile_new(service, session, entry->name, &request, false, &set, why);
    label_set_request_finish(&request);
    if (!status)
        *out = &set->snapshot;
    return status;
}
