#include "engine/labels.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/mem.h"
#include "engine/engine.h"

const char *const engine_default_sentence = "a photo of a {}.";

enum {
    LABELS_SHOWN = 80,        /* bytes of a name or sentence in a message */
    LABELS_MAX_SMALL = 32,    /* small chunks in a set, beyond which they become one */
    LABELS_SMALL_FRACTION = 8 /* of what a chunk may hold: less is small */
};

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

static enum status labels_check_distinct(const char *const *names, size_t count, struct fail *why)
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
        for (uint32_t slot = 0; slot < labels->parts[part].chunk->count; slot++) {
            uint32_t member = labels->parts[part].members[slot];
            if (member != LABELS_NOBODY)
                labels->places[member] = (struct labels_place){part, slot};
        }
    return STATUS_OK;
}

/* A set on its way from another one (NULL: from nothing). */
struct labels_plan {
    const struct engine_labels *from;
    uint32_t *moved;    /* [labels of from]: the index in the new set, or LABELS_NOBODY */
    const char **names; /* [count] of the new set */
    uint32_t *make;     /* [make_count]: which of them must be compiled */
    size_t count, make_count;
};

static void labels_finish_plan(struct labels_plan *plan)
{
    free(plan->moved);
    free(plan->names);
    free(plan->make);
}

static enum status labels_start_plan(struct labels_plan *plan, const struct engine_labels *from,
                                     const bool *removed, const char *const *names, size_t count,
                                     struct fail *why)
{
    size_t before = from ? from->count : 0;
    *plan = (struct labels_plan){.from = from,
                                 .moved = mem_zeroed(before, sizeof *plan->moved),
                                 .names = mem_zeroed(before + count, sizeof *plan->names),
                                 .make = mem_zeroed(before + count, sizeof *plan->make)};
    if (!plan->moved || !plan->names || !plan->make)
        return status_fail(why, STATUS_NO_MEMORY, "no memory for %zu labels", before + count);
    for (size_t i = 0; i < before; i++) {
        plan->moved[i] = removed && removed[i] ? LABELS_NOBODY : (uint32_t)plan->count;
        if (plan->moved[i] != LABELS_NOBODY)
            plan->names[plan->count++] = engine_labels_name(from, i);
    }
    for (size_t i = 0; i < count; i++) {
        plan->make[plan->make_count++] = (uint32_t)plan->count;
        plan->names[plan->count++] = names[i];
    }
    if (!plan->count)
        return status_fail(why, STATUS_INVALID, "there are no labels");
    return labels_check_distinct(plan->names, plan->count, why);
}

/* Fills members [chunk->count] of a shared part; returns how many labels of it are left. */
static size_t labels_move_members(const struct labels_plan *plan, const struct label_part *part,
                                  uint32_t *members)
{
    size_t left = 0;
    for (size_t slot = 0; slot < part->chunk->count; slot++) {
        uint32_t member = part->members[slot];
        members[slot] = member == LABELS_NOBODY ? member : plan->moved[member];
        left += members[slot] != LABELS_NOBODY;
    }
    return left;
}

static bool labels_is_small(const struct label_chunk *chunk, const struct label_maker *maker)
{
    return chunk->tries[0]->nodes < maker->max_nodes / LABELS_SMALL_FRACTION;
}

/* Every revision may leave a small chunk, and each costs a pass of its own. */
static bool labels_has_too_many_small(const struct engine_labels *from,
                                      const struct label_maker *maker)
{
    size_t small = 0;
    for (size_t i = 0; from && i < from->part_count; i++)
        small += labels_is_small(from->parts[i].chunk, maker);
    return small >= LABELS_MAX_SMALL;
}

/* Shares the chunks that are still wanted for the most part; what is left of others is compiled
 * anew. labels->parts has room for them all. */
static enum status labels_share_parts(struct engine_labels *labels, struct labels_plan *plan,
                                      const struct label_maker *maker, struct fail *why)
{
    bool merge = labels_has_too_many_small(plan->from, maker);
    for (size_t i = 0; plan->from && i < plan->from->part_count; i++) {
        const struct label_part *part = &plan->from->parts[i];
        uint32_t *members = mem_zeroed(part->chunk->count, sizeof *members);
        if (!members)
            return status_fail(why, STATUS_NO_MEMORY, "no memory for a label set");
        bool wanted = 2 * labels_move_members(plan, part, members) >= part->chunk->count;
        if (wanted && !(merge && labels_is_small(part->chunk, maker))) {
            labels->parts[labels->part_count++] =
                (struct label_part){label_chunk_acquire(part->chunk), members};
            continue;
        }
        for (size_t slot = 0; slot < part->chunk->count; slot++)
            if (members[slot] != LABELS_NOBODY)
                plan->make[plan->make_count++] = members[slot];
        free(members);
    }
    return STATUS_OK;
}

/* Compiles what the plan says must be, and adds the parts. */
static enum status labels_make_parts(struct engine_labels *labels, const struct label_maker *maker,
                                     const struct labels_plan *plan, struct fail *why)
{
    struct label_part *made = NULL;
    size_t made_count = 0;
    const char **names = mem_zeroed(plan->make_count, sizeof *names);
    if (!names)
        return status_fail(why, STATUS_NO_MEMORY, "no memory for a label set");
    for (size_t i = 0; i < plan->make_count; i++)
        names[i] = plan->names[plan->make[i]];
    enum status status = plan->make_count
                             ? label_chunk_make(maker, names, plan->make_count,
                                                (const char *const *)labels->sentences,
                                                labels->sentence_count, &made, &made_count, why)
                             : STATUS_OK;
    free(names);
    struct label_part *grown =
        status ? NULL : mem_resize(labels->parts, labels->part_count + made_count, sizeof *grown);
    if (!status && !grown)
        status = status_fail(why, STATUS_NO_MEMORY, "no memory for a label set");
    if (grown)
        labels->parts = grown;
    for (size_t i = 0; i < made_count; i++) {
        for (size_t slot = 0; slot < made[i].chunk->count; slot++)
            made[i].members[slot] = plan->make[made[i].members[slot]];
        if (status)
            label_chunk_finish_part(&made[i]);
        else
            labels->parts[labels->part_count++] = made[i];
    }
    free(made);
    return status;
}

/* names [count] are trimmed. */
static enum status labels_build(struct engine_labels *labels, const struct label_maker *maker,
                                const struct engine_labels *from, const bool *removed,
                                const char *const *names, size_t count, struct fail *why)
{
    struct labels_plan plan;
    enum status status = labels_start_plan(&plan, from, removed, names, count, why);
    if (!status) {
        labels->parts = mem_zeroed(from ? from->part_count : 0, sizeof *labels->parts);
        if (!labels->parts)
            status = status_fail(why, STATUS_NO_MEMORY, "no memory for a label set");
    }
    if (!status)
        status = labels_share_parts(labels, &plan, maker, why);
    if (!status)
        status = labels_make_parts(labels, maker, &plan, why);
    labels->count = plan.count;
    labels_finish_plan(&plan);
    return status ? status : labels_find_places(labels, why);
}

static enum status labels_create(const struct label_maker *maker, const struct engine_labels *from,
                                 const bool *removed, const char *const *names, size_t count,
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
        status = labels_build(labels, maker, from, removed, (const char *const *)taken, count, why);
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
    return labels_create(maker, NULL, NULL, names, count,
                         sentence_count ? sentences : &engine_default_sentence,
                         sentence_count ? sentence_count : 1, out, why);
}

enum status labels_revise(const struct label_maker *maker, const struct engine_labels *from,
                          const bool *removed, const char *const *names, size_t count,
                          struct engine_labels **out, struct fail *why)
{
    return labels_create(maker, from, removed, names, count, (const char *const *)from->sentences,
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
                if (labels->parts[i].members[slot] == LABELS_NOBODY)
                    continue;
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

size_t engine_labels_sentence_count(const struct engine_labels *labels)
{
    return labels->sentence_count;
}

const char *engine_labels_sentence(const struct engine_labels *labels, size_t index)
{
    return labels->sentences[index];
}

const float *engine_labels_feature(const struct engine_labels *labels, size_t index)
{
    struct labels_place place = labels->places[index];
    return labels->parts[place.part].chunk->features + place.slot * labels->joint_width;
}
