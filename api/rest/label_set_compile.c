#include "api/rest/label_set_compile.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "api/rest/label_set_document.h"
#include "engine/base/mem.h"
#include "server/clock.h"
#include "server/served_pool.h"

_Static_assert((int)LABEL_SET_REQUEST_MAX_POOL_NAME == (int)SNAPSHOT_MAX_NAME,
               "a pool's name fits a set");

/* ---- What both have in common ---- */

/* The pool that a set is for, acquired; NULL for none. */
static enum status label_set_compile_find_pool(const struct service *service, const char *name,
                                               bool must_exist, struct served_pool **out,
                                               struct fail *why)
{
    *out = NULL;
    if (!*name)
        *out = served_pool_find_default(service);
    else if (strcmp(name, "none") != 0)
        *out = served_pool_find(service, name);
    if (*name && strcmp(name, "none") != 0 && !*out && must_exist)
        return status_fail(why, STATUS_INVALID, "\"pool\": there is no pool \"%s\"", name);
    return STATUS_OK;
}

/* Names and then aliases. free(); the texts stay the request's. */
static const char **label_set_compile_texts(const struct label_set_request *request)
{
    const char **texts = mem_zeroed(request->names.count + request->aliases.count, sizeof *texts);
    for (size_t i = 0; texts && i < request->names.count; i++)
        texts[i] = request->names.texts[i];
    for (size_t i = 0; texts && i < request->aliases.count; i++)
        texts[request->names.count + i] = request->aliases.texts[i];
    return texts;
}

/* The classes of the request's labels, the first of them `classes`. */
static void label_set_compile_add_classes(const struct label_set_request *request, size_t classes,
                                          uint32_t *out)
{
    for (size_t i = 0; i < request->names.count; i++)
        *out++ = (uint32_t)(classes + i);
    for (size_t i = 0; i < request->aliases.count; i++)
        *out++ = (uint32_t)(classes + request->alias_of[i]);
}

/* Takes over labels and class_of in *parts. */
static enum status label_set_compile_finish(const struct service *service,
                                            const struct label_set_parts *parts,
                                            const struct served_pool *pool, struct label_set **out,
                                            struct fail *why)
{
    enum status status =
        pool ? engine_labels_check_pool(parts->labels, pool->pool, why) : STATUS_OK;
    struct label_set *set = label_set_create(parts);
    if (!set)
        return status_fail(why, STATUS_NO_MEMORY, "no memory for a label set");
    if (!status && service->store)
        status = label_set_document_attach(set, why);
    if (status)
        label_set_release(set);
    else
        *out = set;
    return status;
}

/* ---- A new set ---- */

static enum status label_set_compile_labels(struct engine_session *session,
                                            const struct label_set_request *request,
                                            const struct served_pool *pool,
                                            struct engine_labels **out, struct fail *why)
{
    const char *const *sentences = (const char *const *)request->sentences.texts;
    size_t count = request->names.count + request->aliases.count;
    size_t sentence_count = request->sentences.count;
    if (!sentence_count && pool) {
        sentences = &engine_pool_info(pool->pool)->sentence;
        sentence_count = 1;
    }
    const char **texts = label_set_compile_texts(request);
    if (!texts)
        return status_fail(why, STATUS_NO_MEMORY, "no memory for %zu labels", count);
    enum status status =
        engine_labels_compile(session, texts, count, sentences, sentence_count, out, why);
    free(texts);
    return status;
}

enum status label_set_compile_new(const struct service *service, struct engine_session *session,
                                  const char *name, const struct label_set_request *request,
                                  bool with_pool, struct label_set **out, struct fail *why)
{
    uint64_t started_us = clock_now_us();
    struct label_set_parts parts = {.name = name, .pool = request->pool};
    struct served_pool *pool;
    enum status status = label_set_compile_find_pool(service, request->pool, with_pool, &pool, why);
    if (!status)
        status = label_set_compile_labels(session, request, pool, &parts.labels, why);
    if (!status && request->aliases.count) {
        parts.class_of =
            mem_zeroed(request->names.count + request->aliases.count, sizeof *parts.class_of);
        if (parts.class_of)
            label_set_compile_add_classes(request, 0, parts.class_of);
        else
            status = status_fail(why, STATUS_NO_MEMORY, "no memory for aliases");
    }
    parts.compile_us = clock_now_us() - started_us;
    if (status)
        engine_labels_release(parts.labels);
    else
        status = label_set_compile_finish(service, &parts, with_pool ? pool : NULL, out, why);
    served_pool_release(pool);
    return status;
}

/* ---- A set that changes ---- */

/* What a change starts from. */
struct label_set_compile_change {
    const struct label_set *current;
    const struct label_set_request *request;
    size_t labels; /* of current */
    size_t kept;   /* of them */
    bool *removed; /* [labels] */
};

static int label_set_compile_compare(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static size_t label_set_compile_class(const struct label_set *set, size_t label)
{
    return set->class_of ? set->class_of[label] : label;
}

/* Marks the labels of the classes to remove. STATUS_INVALID names one that is not in the set. */
static enum status label_set_compile_mark(struct label_set_compile_change *change, struct fail *why)
{
    const struct text_list *list = &change->request->removed;
    const struct label_set *set = change->current;
    change->kept = change->labels;
    if (!list->count)
        return STATUS_OK;
    bool *found = mem_zeroed(list->count, sizeof *found);
    if (!found)
        return status_fail(why, STATUS_NO_MEMORY, "no memory for %zu labels", list->count);
    for (size_t i = 0; i < change->labels; i++) {
        const char *name = label_set_class_name(set, label_set_compile_class(set, i));
        char **at = bsearch(&name, list->texts, list->count, sizeof *list->texts,
                            label_set_compile_compare);
        change->removed[i] = at;
        change->kept -= at != NULL;
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

static enum status label_set_compile_check_limits(const struct service *service,
                                                  const struct label_set_compile_change *change,
                                                  struct fail *why)
{
    const struct config *config = service->config;
    const struct label_set_request *request = change->request;
    size_t after = change->kept + request->names.count + request->aliases.count;
    size_t sentences = engine_labels_sentence_count(change->current->labels);
    if (after > config->max_set_labels)
        return status_fail(why, STATUS_LIMIT, "more than %" PRIu64 " labels in a set",
                           config->max_set_labels);
    if (after > config->max_set_texts / sentences)
        return status_fail(why, STATUS_LIMIT,
                           "%zu labels times %zu sentences are more than %" PRIu64 " texts", after,
                           sentences, config->max_set_texts);
    return STATUS_OK;
}

/* No added label may be among those that stay. */
static enum status label_set_compile_check_twins(const struct label_set_compile_change *change,
                                                 const char *const *added, size_t count,
                                                 struct fail *why)
{
    const char **texts = mem_zeroed(change->kept + count, sizeof *texts);
    size_t used = 0;
    if (!texts)
        return status_fail(why, STATUS_NO_MEMORY, "no memory for %zu labels", change->kept);
    for (size_t i = 0; i < change->labels; i++)
        if (!change->removed[i])
            texts[used++] = engine_labels_name(change->current->labels, i);
    for (size_t i = 0; i < count; i++)
        texts[used++] = added[i];
    enum status status = label_set_request_check_twins(texts, used, why);
    free(texts);
    return status;
}

/* Numbers the classes that stay from 0 on, and the new ones after them. NULL: no memory. */
static uint32_t *label_set_compile_renumber(const struct label_set_compile_change *change)
{
    const struct label_set *set = change->current;
    const struct label_set_request *request = change->request;
    size_t count = change->kept + request->names.count + request->aliases.count;
    uint32_t *class_of = mem_zeroed(count, sizeof *class_of);
    uint32_t *numbers = mem_zeroed(set->classes, sizeof *numbers);
    size_t used = 0, classes = 0;
    for (size_t i = 0; class_of && numbers && i < change->labels; i++) {
        size_t class = label_set_compile_class(set, i);
        if (change->removed[i])
            continue;
        if (!set->name_of || set->name_of[class] == i)
            numbers[class] = (uint32_t)classes++;
        class_of[used++] = numbers[class];
    }
    if (class_of && numbers)
        label_set_compile_add_classes(request, classes, class_of + used);
    else
        free(class_of);
    bool made = class_of && numbers;
    free(numbers);
    return made ? class_of : NULL;
}

static enum status label_set_compile_change(const struct service *service,
                                            struct engine_session *session,
                                            struct label_set_compile_change *change,
                                            struct label_set_parts *parts, struct fail *why)
{
    const struct label_set_request *request = change->request;
    size_t count = request->names.count + request->aliases.count;
    const char **texts = label_set_compile_texts(request);
    enum status status =
        texts ? label_set_compile_mark(change, why)
              : status_fail(why, STATUS_NO_MEMORY, "no memory for %zu labels", count);
    if (!status)
        status = label_set_compile_check_limits(service, change, why);
    if (!status)
        status = label_set_compile_check_twins(change, texts, count, why);
    if (!status)
        status = engine_labels_revise(session, change->current->labels, change->removed, texts,
                                      count, &parts->labels, why);
    if (!status && (change->current->class_of || request->aliases.count)) {
        parts->class_of = label_set_compile_renumber(change);
        if (!parts->class_of)
            status = status_fail(why, STATUS_NO_MEMORY, "no memory for aliases");
    }
    free(texts);
    return status;
}

enum status label_set_compile_revised(const struct service *service, struct engine_session *session,
                                      const struct label_set *current,
                                      struct label_set_request *request, struct label_set **out,
                                      struct fail *why)
{
    uint64_t started_us = clock_now_us();
    struct label_set_parts parts = {.name = current->snapshot.name, .pool = current->pool};
    struct label_set_compile_change change = {
        .current = current, .request = request, .labels = engine_labels_count(current->labels)};
    struct text_list *removed = &request->removed;
    struct served_pool *pool = NULL;
    if (removed->count)
        qsort(removed->texts, removed->count, sizeof *removed->texts, label_set_compile_compare);
    enum status status = label_set_compile_find_pool(service, current->pool, false, &pool, why);
    change.removed = mem_zeroed(change.labels, sizeof *change.removed);
    if (!change.removed)
        status = status_fail(why, STATUS_NO_MEMORY, "no memory for %zu labels", change.labels);
    if (!status)
        status = label_set_compile_change(service, session, &change, &parts, why);
    parts.compile_us = clock_now_us() - started_us;
    if (status)
        engine_labels_release(parts.labels);
    else
        status = label_set_compile_finish(service, &parts, pool, out, why);
    free(change.removed);
    served_pool_release(pool);
    return status;
}
