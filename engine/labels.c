#include "engine/labels.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/mem.h"
#include "engine/engine.h"

const char *const engine_default_sentence = "a photo of a {}.";

enum { LABELS_SHOWN = 80 /* bytes of a name or sentence in a message */ };

/* ---- Names and sentences ---- */

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

static void labels_free_texts(char **texts, size_t count)
{
    for (size_t i = 0; texts && i < count; i++)
        free(texts[i]);
    free(texts);
}

static int labels_compare(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Names [count] and those of a set (which may be NULL), together. */
static enum status labels_check_distinct(char *const *names, size_t count,
                                         const struct engine_labels *set, struct fail *why)
{
    size_t others = set ? set->count : 0;
    const char **sorted = mem_zeroed(count + others, sizeof *sorted);
    if (!sorted)
        return status_fail(why, STATUS_NO_MEMORY, "no memory for %zu labels", count);
    memcpy(sorted, names, count * sizeof *sorted);
    for (size_t i = 0; i < others; i++)
        sorted[count + i] = engine_labels_name(set, i);
    qsort(sorted, count + others, sizeof *sorted, labels_compare);
    enum status status = STATUS_OK;
    for (size_t i = 1; i < count + others && !status; i++)
        if (strcmp(sorted[i - 1], sorted[i]) == 0)
            status = status_fail(why, STATUS_INVALID, "label \"%.*s\" is there more than once",
                                 LABELS_SHOWN, sorted[i]);
    free(sorted);
    return status;
}

static enum status labels_take_names(const char *const *names, size_t count, char ***out,
                                     struct fail *why)
{
    char **taken = mem_zeroed(count, sizeof *taken);
    enum status status =
        taken ? STATUS_OK : status_fail(why, STATUS_NO_MEMORY, "no memory for %zu labels", count);
    for (size_t i = 0; i < count && !status; i++) {
        taken[i] = labels_trimmed(names[i]);
        if (!taken[i])
            status = status_fail(why, STATUS_NO_MEMORY, "no memory for %zu labels", count);
        else if (!*taken[i])
            status = status_fail(why, STATUS_INVALID, "label %zu is blank", i + 1);
    }
    if (status)
        labels_free_texts(taken, count);
    else
        *out = taken;
    return status;
}

enum status labels_check_sentence(const char *sentence, struct fail *why)
{
    const char *place = strstr(sentence, "{}");
    if (!place || strstr(place + 2, "{}"))
        return status_fail(why, STATUS_INVALID,
                           "sentence \"%.*s\" must have exactly one {} for the label", LABELS_SHOWN,
                           sentence);
    return STATUS_OK;
}

static enum status labels_take_sentences(struct engine_labels *labels, const char *const *sentences,
                                         size_t count, struct fail *why)
{
    labels->sentences = mem_zeroed(count, sizeof *labels->sentences);
    if (!labels->sentences)
        return status_fail(why, STATUS_NO_MEMORY, "no memory for %zu sentences", count);
    labels->sentence_count = count;
    for (size_t i = 0; i < count; i++) {
        enum status status = labels_check_sentence(sentences[i], why);
        if (status)
            return status;
        labels->sentences[i] = mem_copy_text(sentences[i], strlen(sentences[i]));
        if (!labels->sentences[i])
            return status_fail(why, STATUS_NO_MEMORY, "no memory for %zu sentences", count);
    }
    return STATUS_OK;
}

/* ---- Sets ---- */

/* Where each label is, from the parts. */
static enum status labels_find_places(struct engine_labels *labels, struct fail *why)
{
    labels->places = mem_zeroed(labels->count, sizeof *labels->places);
    if (!labels->places)
        return status_fail(why, STATUS_NO_MEMORY, "no memory for %zu labels", labels->count);
    for (uint32_t part = 0; part < labels->part_count; part++)
        for (uint32_t slot = 0; slot < labels->parts[part].chunk->count; slot++)
            labels->places[labels->parts[part].members[slot]] = (struct labels_place){part, slot};
    return STATUS_OK;
}

/* Makes room for more parts and shares those of another set (NULL: of none). */
static enum status labels_share_parts(struct engine_labels *labels,
                                      const struct engine_labels *from, size_t more,
                                      struct fail *why)
{
    size_t shared = from ? from->part_count : 0;
    labels->parts = mem_zeroed(shared + more, sizeof *labels->parts);
    if (!labels->parts)
        return status_fail(why, STATUS_NO_MEMORY, "no memory for a label set");
    for (size_t i = 0; i < shared; i++) {
        const struct label_part *part = &from->parts[i];
        size_t bytes = part->chunk->count * sizeof *part->members;
        uint32_t *members = malloc(bytes);
        if (!members)
            return status_fail(why, STATUS_NO_MEMORY, "no memory for a label set");
        memcpy(members, part->members, bytes);
        labels->parts[labels->part_count++] =
            (struct label_part){label_chunk_acquire(part->chunk), members};
    }
    return STATUS_OK;
}

/* Adds names [count], trimmed and checked, to a set that has its sentences and nothing else yet,
 * behind those of another set (which may be NULL). */
static enum status labels_build(struct engine_labels *labels, const struct label_maker *maker,
                                const struct engine_labels *from, const char *const *names,
                                size_t count, struct fail *why)
{
    struct label_part *made;
    size_t made_count, before = from ? from->count : 0;
    enum status status =
        label_chunk_make(maker, names, count, (const char *const *)labels->sentences,
                         labels->sentence_count, &made, &made_count, why);
    if (status)
        return status;
    status = labels_share_parts(labels, from, made_count, why);
    for (size_t i = 0; i < made_count; i++) {
        for (size_t slot = 0; slot < made[i].chunk->count; slot++)
            made[i].members[slot] += (uint32_t)before;
        if (status)
            label_chunk_finish_part(&made[i]);
        else
            labels->parts[labels->part_count++] = made[i];
    }
    free(made);
    labels->count = before + count;
    return status ? status : labels_find_places(labels, why);
}

static enum status labels_create(const struct label_maker *maker, const struct engine_labels *from,
                                 const char *const *names, size_t count,
                                 const char *const *sentences, size_t sentence_count,
                                 struct engine_labels **out, struct fail *why)
{
    struct engine_labels *labels = mem_zeroed(1, sizeof *labels);
    if (!labels)
        return status_fail(why, STATUS_NO_MEMORY, "no memory for a label set");
    atomic_init(&labels->references, 1);
    labels->joint_width = maker->joint_width;
    char **taken = NULL;
    enum status status = labels_take_sentences(labels, sentences, sentence_count, why);
    if (!status)
        status = labels_take_names(names, count, &taken, why);
    if (!status)
        status = labels_check_distinct(taken, count, from, why);
    if (!status)
        status = labels_build(labels, maker, from, (const char *const *)taken, count, why);
    labels_free_texts(taken, count);
    if (status)
        engine_labels_release(labels);
    else
        *out = labels;
    return status;
}

enum status labels_compile(const struct label_maker *maker, const char *const *names, size_t count,
                           const char *const *sentences, size_t sentence_count,
                           struct engine_labels **out, struct fail *why)
{
    if (count == 0)
        return status_fail(why, STATUS_INVALID, "there are no labels");
    return labels_create(maker, NULL, names, count,
                         sentence_count ? sentences : &engine_default_sentence,
                         sentence_count ? sentence_count : 1, out, why);
}

enum status labels_extend(const struct label_maker *maker, const struct engine_labels *from,
                          const char *const *names, size_t count, struct engine_labels **out,
                          struct fail *why)
{
    if (count == 0)
        return status_fail(why, STATUS_INVALID, "there are no labels to add");
    return labels_create(maker, from, names, count, (const char *const *)from->sentences,
                         from->sentence_count, out, why);
}

enum status labels_check_room(const struct engine_labels *labels, size_t slots, size_t context,
                              struct fail *why)
{
    for (size_t i = 0; i < labels->part_count; i++) {
        const struct label_chunk *chunk = labels->parts[i].chunk;
        if (1 + slots + chunk->longest <= context)
            continue;
        for (size_t sentence = 0; sentence < chunk->sentences; sentence++) {
            const struct trie *trie = chunk->tries[sentence];
            for (size_t slot = 0; slot < chunk->count; slot++) {
                size_t leaf = trie->nodes - trie->leaves + trie->leaf_of_text[slot];
                if (1 + slots + trie->depths[leaf] + 1 > context)
                    return status_fail(why, STATUS_LIMIT,
                                       "label \"%.*s\" has %u tokens in its sentence; with the "
                                       "pool's %zu they are more than the model's context of %zu",
                                       LABELS_SHOWN, chunk->names[slot], 2 + trie->depths[leaf],
                                       slots, context);
            }
        }
    }
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
    for (size_t i = 0; i < labels->part_count; i++)
        label_chunk_finish_part(&labels->parts[i]);
    labels_free_texts(labels->sentences, labels->sentence_count);
    free(labels->parts);
    free(labels->places);
    free(labels);
}

static size_t labels_chunk_bytes(const struct label_chunk *chunk, size_t joint_width)
{
    size_t bytes = sizeof *chunk + chunk->count * joint_width * sizeof(float);
    for (size_t i = 0; i < chunk->count; i++)
        bytes += sizeof chunk->names[i] + strlen(chunk->names[i]) + 1;
    for (size_t i = 0; i < chunk->sentences; i++) {
        const struct trie *trie = chunk->tries[i];
        bytes +=
            sizeof trie + sizeof *trie + trie->texts * sizeof *trie->leaf_of_text +
            trie->nodes * (sizeof *trie->tokens + sizeof *trie->parents + sizeof *trie->depths);
    }
    return bytes;
}

size_t engine_labels_bytes(const struct engine_labels *labels)
{
    size_t bytes = sizeof *labels + labels->count * sizeof *labels->places;
    for (size_t i = 0; i < labels->part_count; i++) {
        const struct label_chunk *chunk = labels->parts[i].chunk;
        bytes += sizeof labels->parts[i] + chunk->count * sizeof *labels->parts[i].members +
                 labels_chunk_bytes(chunk, labels->joint_width);
    }
    for (size_t i = 0; i < labels->sentence_count; i++)
        bytes += sizeof labels->sentences[i] + strlen(labels->sentences[i]) + 1;
    return bytes;
}

size_t engine_labels_count(const struct engine_labels *labels)
{
    return labels->count;
}

const char *engine_labels_name(const struct engine_labels *labels, size_t index)
{
    struct labels_place place = labels->places[index];
    return labels->parts[place.part].chunk->names[place.slot];
}

const float *engine_labels_feature(const struct engine_labels *labels, size_t index)
{
    struct labels_place place = labels->places[index];
    return labels->parts[place.part].chunk->features + place.slot * labels->joint_width;
}
