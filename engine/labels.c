#include "engine/labels.h"

#include <math.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/mem.h"
#include "engine/engine.h"

const char *const engine_default_sentence = "a photo of a {}.";

struct engine_labels {
    atomic_size_t references;
    size_t count;
    char **names;    /* [count], trimmed */
    float *features; /* [count, joint_width] */
};

enum {
    LABELS_TEXTS_A_STEP = 256, /* how many sentences are written out at a time */
    LABELS_SHOWN = 80,         /* bytes of a name or sentence in a message */
};

static bool labels_is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static char *labels_trimmed(const char *name)
{
    while (labels_is_space(*name))
        name++;
    size_t length = strlen(name);
    while (length && labels_is_space(name[length - 1]))
        length--;
    return mem_copy_text(name, length);
}

static int labels_compare(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static enum status labels_check_distinct(char *const *names, size_t count, struct fail *why)
{
    const char **sorted = mem_zeroed(count, sizeof *sorted);
    if (!sorted)
        return status_fail(why, STATUS_NO_MEMORY, "no memory for %zu labels", count);
    memcpy(sorted, names, count * sizeof *sorted);
    qsort(sorted, count, sizeof *sorted, labels_compare);
    enum status status = STATUS_OK;
    for (size_t i = 1; i < count && !status; i++)
        if (strcmp(sorted[i - 1], sorted[i]) == 0)
            status = status_fail(why, STATUS_INVALID, "label \"%.*s\" is there more than once",
                                 LABELS_SHOWN, sorted[i]);
    free(sorted);
    return status;
}

static enum status labels_take_names(struct engine_labels *labels, const char *const *names,
                                     size_t count, struct fail *why)
{
    labels->names = mem_zeroed(count, sizeof *labels->names);
    if (!labels->names)
        return status_fail(why, STATUS_NO_MEMORY, "no memory for %zu labels", count);
    for (; labels->count < count; labels->count++) {
        char *name = labels_trimmed(names[labels->count]);
        if (!name)
            return status_fail(why, STATUS_NO_MEMORY, "no memory for %zu labels", count);
        labels->names[labels->count] = name;
        if (!*name) {
            size_t number = ++labels->count;
            return status_fail(why, STATUS_INVALID, "label %zu is blank", number);
        }
    }
    return labels_check_distinct(labels->names, count, why);
}

static enum status labels_check_sentence(const char *sentence, struct fail *why)
{
    const char *place = strstr(sentence, "{}");
    if (!place || strstr(place + 2, "{}"))
        return status_fail(why, STATUS_INVALID,
                           "sentence \"%.*s\" must have exactly one {} for the label", LABELS_SHOWN,
                           sentence);
    return STATUS_OK;
}

static char *labels_write_sentence(const char *sentence, const char *name)
{
    size_t before = (size_t)(strstr(sentence, "{}") - sentence);
    size_t bytes = strlen(sentence) - 2 + strlen(name) + 1;
    char *text = malloc(bytes);
    if (text)
        snprintf(text, bytes, "%.*s%s%s", (int)before, sentence, name, sentence + before + 2);
    return text;
}

struct labels_pass {
    const struct engine_labels *labels;
    size_t joint_width;
    labels_embed *embed;
    void *context;
    float *step_features; /* [LABELS_TEXTS_A_STEP, joint_width] */
};

/* Adds the unit features of labels first..first+count-1 in one sentence to their sums. */
static enum status labels_add_step(const struct labels_pass *pass, const char *sentence,
                                   size_t first, size_t count, struct fail *why)
{
    char *texts[LABELS_TEXTS_A_STEP] = {0};
    enum status status = STATUS_OK;
    for (size_t i = 0; i < count && !status; i++) {
        texts[i] = labels_write_sentence(sentence, pass->labels->names[first + i]);
        if (!texts[i])
            status = status_fail(why, STATUS_NO_MEMORY, "no memory for a sentence");
    }
    if (!status)
        status =
            pass->embed(pass->context, (const char *const *)texts, count, pass->step_features, why);
    float *sums = pass->labels->features + first * pass->joint_width;
    for (size_t i = 0; i < count * pass->joint_width && !status; i++)
        sums[i] += pass->step_features[i];
    for (size_t i = 0; i < count; i++)
        free(texts[i]);
    return status;
}

static enum status labels_add_sentence(const struct labels_pass *pass, const char *sentence,
                                       struct fail *why)
{
    enum status status = STATUS_OK;
    for (size_t first = 0; first < pass->labels->count && !status; first += LABELS_TEXTS_A_STEP) {
        size_t left = pass->labels->count - first;
        status = labels_add_step(pass, sentence, first,
                                 left < LABELS_TEXTS_A_STEP ? left : LABELS_TEXTS_A_STEP, why);
    }
    return status;
}

static void labels_make_unit(float *features, size_t count, size_t width)
{
    for (size_t label = 0; label < count; label++) {
        float *feature = features + label * width;
        double squares = 0;
        for (size_t i = 0; i < width; i++)
            squares += (double)feature[i] * feature[i];
        double scale = squares > 0 ? 1 / sqrt(squares) : 0;
        for (size_t i = 0; i < width; i++)
            feature[i] = (float)(feature[i] * scale);
    }
}

static enum status labels_compute(struct engine_labels *labels, const char *const *sentences,
                                  size_t sentence_count, size_t joint_width, labels_embed *embed,
                                  void *context, struct fail *why)
{
    size_t floats;
    if (!mem_multiply(labels->count, joint_width, &floats))
        return status_fail(why, STATUS_LIMIT, "%zu labels are too many", labels->count);
    labels->features = mem_zeroed(floats, sizeof(float));
    struct labels_pass pass = {.labels = labels,
                               .joint_width = joint_width,
                               .embed = embed,
                               .context = context,
                               .step_features =
                                   mem_aligned(LABELS_TEXTS_A_STEP * joint_width, sizeof(float))};
    enum status status = STATUS_OK;
    if (!labels->features || !pass.step_features)
        status = status_fail(why, STATUS_NO_MEMORY, "no memory for the features of %zu labels",
                             labels->count);
    for (size_t i = 0; i < sentence_count && !status; i++)
        status = labels_add_sentence(&pass, sentences[i], why);
    if (!status && sentence_count > 1)
        labels_make_unit(labels->features, labels->count, joint_width);
    free(pass.step_features);
    return status;
}

enum status labels_compile(const char *const *names, size_t count, const char *const *sentences,
                           size_t sentence_count, size_t joint_width, labels_embed *embed,
                           void *context, struct engine_labels **out, struct fail *why)
{
    if (count == 0)
        return status_fail(why, STATUS_INVALID, "there are no labels");
    if (sentence_count == 0) {
        sentences = &engine_default_sentence;
        sentence_count = 1;
    }
    struct engine_labels *labels = mem_zeroed(1, sizeof *labels);
    if (!labels)
        return status_fail(why, STATUS_NO_MEMORY, "no memory for a label set");
    atomic_init(&labels->references, 1);
    enum status status = STATUS_OK;
    for (size_t i = 0; i < sentence_count && !status; i++)
        status = labels_check_sentence(sentences[i], why);
    if (!status)
        status = labels_take_names(labels, names, count, why);
    if (!status)
        status =
            labels_compute(labels, sentences, sentence_count, joint_width, embed, context, why);
    if (status) {
        engine_labels_release(labels);
        return status;
    }
    *out = labels;
    return STATUS_OK;
}

struct engine_labels *engine_labels_acquire(struct engine_labels *labels)
{
    atomic_fetch_add_explicit(&labels->references, 1, memory_order_relaxed);
    return labels;
}

void engine_labels_release(struct engine_labels *labels)
{
    if (!labels || atomic_fetch_sub_explicit(&labels->references, 1, memory_order_acq_rel) != 1)
        return;
    for (size_t i = 0; i < labels->count; i++)
        free(labels->names[i]);
    free(labels->names);
    free(labels->features);
    free(labels);
}

size_t engine_labels_count(const struct engine_labels *labels)
{
    return labels->count;
}

const char *engine_labels_name(const struct engine_labels *labels, size_t index)
{
    return labels->names[index];
}

const float *engine_labels_features(const struct engine_labels *labels)
{
    return labels->features;
}
