#include "engine/label_chunk.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/mem.h"

/* The texts of all labels, tokenised: text sentence * count + label. */
struct label_texts {
    const struct label_maker *maker;
    const char *const *names;
    size_t count, sentences;
    int32_t *ids;
    size_t capacity;
    size_t *starts; /* [sentences * count + 1] */
};

/* ---- Tokens ---- */

static char *label_chunk_write_text(const char *sentence, const char *name)
{
    size_t before = (size_t)(strstr(sentence, "{}") - sentence);
    size_t bytes = strlen(sentence) - 2 + strlen(name) + 1;
    char *text = malloc(bytes);
    if (text)
        snprintf(text, bytes, "%.*s%s%s", (int)before, sentence, name, sentence + before + 2);
    return text;
}

static enum status label_texts_add(struct label_texts *texts, size_t number, const char *sentence,
                                   const char *name, struct fail *why)
{
    size_t used = texts->starts[number], wanted = used + texts->maker->max_tokens;
    if (wanted > texts->capacity) {
        size_t capacity = 2 * wanted;
        int32_t *grown = mem_resize(texts->ids, capacity, sizeof *grown);
        if (!grown)
            return status_fail(why, STATUS_NO_MEMORY, "no memory for the tokens of %zu labels",
                               texts->count);
        texts->ids = grown;
        texts->capacity = capacity;
    }
    char *text = label_chunk_write_text(sentence, name);
    if (!text)
        return status_fail(why, STATUS_NO_MEMORY, "no memory for a sentence");
    size_t tokens = 0;
    enum status status =
        texts->maker->tokenize(texts->maker->context, text, texts->ids + used, &tokens, why);
    texts->starts[number + 1] = used + tokens;
    free(text);
    return status;
}

static enum status label_texts_fill(struct label_texts *texts, const char *const *sentences,
                                    struct fail *why)
{
    size_t total;
    if (!mem_multiply(texts->sentences, texts->count, &total) || total >= UINT32_MAX)
        return status_fail(why, STATUS_LIMIT, "%zu labels times %zu sentences are too many texts",
                           texts->count, texts->sentences);
    texts->starts = mem_zeroed(total + 1, sizeof *texts->starts);
    enum status status = texts->starts
                             ? STATUS_OK
                             : status_fail(why, STATUS_NO_MEMORY, "no memory for %zu texts", total);
    for (size_t i = 0; i < total && !status; i++)
        status = label_texts_add(texts, i, sentences[i / texts->count],
                                 texts->names[i % texts->count], why);
    return status;
}

static void label_texts_finish(struct label_texts *texts)
{
    free(texts->ids);
    free(texts->starts);
}

/* How many tokens two texts have in common from the start on. */
static size_t label_texts_common(const struct label_texts *texts, size_t a, size_t b)
{
    const int32_t *left = texts->ids + texts->starts[a], *right = texts->ids + texts->starts[b];
    size_t most = texts->starts[a + 1] - texts->starts[a], same = 0;
    if (texts->starts[b + 1] - texts->starts[b] < most)
        most = texts->starts[b + 1] - texts->starts[b];
    while (same < most && left[same] == right[same])
        same++;
    return same;
}

/* By tokens, then by name. By the first sentence, whose texts have the numbers of the labels. */
static int label_texts_compare(const void *a, const void *b, void *context)
{
    const struct label_texts *texts = context;
    size_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;
    size_t same = label_texts_common(texts, left, right);
    size_t left_tokens = texts->starts[left + 1] - texts->starts[left];
    size_t right_tokens = texts->starts[right + 1] - texts->starts[right];
    if (same == left_tokens || same == right_tokens)
        return left_tokens != right_tokens ? (left_tokens < right_tokens ? -1 : 1)
                                           : strcmp(texts->names[left], texts->names[right]);
    return texts->ids[texts->starts[left] + same] < texts->ids[texts->starts[right] + same] ? -1
                                                                                            : 1;
}

/* ---- A chunk ---- */

struct label_chunk *label_chunk_acquire(struct label_chunk *chunk)
{
    atomic_fetch_add_explicit(&chunk->references, 1, memory_order_relaxed);
    return chunk;
}

void label_chunk_release(struct label_chunk *chunk)
{
    if (!chunk || atomic_fetch_sub_explicit(&chunk->references, 1, memory_order_acq_rel) != 1)
        return;
    for (size_t i = 0; chunk->names && i < chunk->count; i++)
        free(chunk->names[i]);
    for (size_t i = 0; chunk->tries && i < chunk->sentences; i++)
        trie_destroy(chunk->tries[i]);
    free(chunk->names);
    free(chunk->tries);
    free(chunk->features);
    free(chunk);
}

void label_chunk_finish_part(struct label_part *part)
{
    label_chunk_release(part->chunk);
    free(part->members);
}

/* The trie of the members' texts in one sentence. ids and starts are scratch. */
static enum status label_chunk_make_trie(struct label_chunk *chunk, const uint32_t *members,
                                         size_t sentence, const struct label_texts *texts,
                                         int32_t *ids, size_t *starts, struct fail *why)
{
    starts[0] = 0;
    for (size_t i = 0; i < chunk->count; i++) {
        size_t text = sentence * texts->count + members[i];
        size_t tokens = texts->starts[text + 1] - texts->starts[text];
        memcpy(ids + starts[i], texts->ids + texts->starts[text], tokens * sizeof *ids);
        starts[i + 1] = starts[i] + tokens;
    }
    enum status status = trie_create(ids, starts, chunk->count, &chunk->tries[sentence], why);
    if (!status && chunk->tries[sentence]->longest > chunk->longest)
        chunk->longest = chunk->tries[sentence]->longest;
    return status;
}

static enum status label_chunk_fill(struct label_chunk *chunk, const uint32_t *members,
                                    const struct label_texts *texts, struct fail *why)
{
    size_t tokens = chunk->count * texts->maker->max_tokens;
    int32_t *ids = mem_zeroed(tokens, sizeof *ids);
    size_t *starts = mem_zeroed(chunk->count + 1, sizeof *starts);
    chunk->names = mem_zeroed(chunk->count, sizeof *chunk->names);
    chunk->tries = mem_zeroed(chunk->sentences, sizeof *chunk->tries);
    chunk->features = mem_aligned(chunk->count * texts->maker->joint_width, sizeof(float));
    bool complete = ids && starts && chunk->names && chunk->tries && chunk->features;
    for (size_t i = 0; i < chunk->count && complete; i++) {
        const char *name = texts->names[members[i]];
        chunk->names[i] = mem_copy_text(name, strlen(name));
        complete = chunk->names[i];
    }
    enum status status =
        complete ? STATUS_OK
                 : status_fail(why, STATUS_NO_MEMORY, "no memory for %zu labels", chunk->count);
    for (size_t i = 0; i < chunk->sentences && !status; i++)
        status = label_chunk_make_trie(chunk, members, i, texts, ids, starts, why);
    free(ids);
    free(starts);
    return status ? status : texts->maker->encode(texts->maker->context, chunk, why);
}

static enum status label_chunk_create(const struct label_texts *texts, const uint32_t *members,
                                      size_t count, struct label_part *out, struct fail *why)
{
    struct label_part part = {.chunk = mem_zeroed(1, sizeof *part.chunk),
                              .members = mem_zeroed(count, sizeof *part.members)};
    if (!part.chunk || !part.members) {
        free(part.chunk);
        free(part.members);
        return status_fail(why, STATUS_NO_MEMORY, "no memory for %zu labels", count);
    }
    atomic_init(&part.chunk->references, 1);
    part.chunk->id = texts->maker->new_id(texts->maker->context);
    part.chunk->count = count;
    part.chunk->sentences = texts->sentences;
    memcpy(part.members, members, count * sizeof *members);
    enum status status = label_chunk_fill(part.chunk, members, texts, why);
    if (status)
        label_chunk_finish_part(&part);
    else
        *out = part;
    return status;
}

/* ---- All chunks ---- */

/* How many members from `first` on fit into one chunk: in every sentence, the tokens that each text
 * does not share with the one before, and at least one a label. */
static size_t label_chunk_extent(const struct label_texts *texts, const uint32_t *order,
                                 size_t first, size_t *nodes)
{
    memset(nodes, 0, texts->sentences * sizeof *nodes);
    for (size_t i = first; i < texts->count; i++)
        for (size_t sentence = 0; sentence < texts->sentences; sentence++) {
            size_t text = sentence * texts->count + order[i];
            size_t fresh = texts->starts[text + 1] - texts->starts[text] - 1;
            if (i > first) {
                size_t same =
                    label_texts_common(texts, text, sentence * texts->count + order[i - 1]);
                fresh = same > fresh ? 1 : fresh + 1 - same;
            }
            nodes[sentence] += fresh;
            if (i > first && nodes[sentence] > texts->maker->max_nodes)
                return i - first;
        }
    return texts->count - first;
}

static enum status label_chunk_make_all(const struct label_texts *texts, uint32_t *order,
                                        size_t *nodes, struct label_part **parts, size_t *count,
                                        struct fail *why)
{
    for (uint32_t i = 0; i < texts->count; i++)
        order[i] = i;
    qsort_r(order, texts->count, sizeof *order, label_texts_compare, (void *)texts);
    enum status status = STATUS_OK;
    for (size_t first = 0; first < texts->count && !status;) {
        size_t extent = label_chunk_extent(texts, order, first, nodes);
        struct label_part *grown = mem_resize(*parts, *count + 1, sizeof *grown);
        if (!grown)
            return status_fail(why, STATUS_NO_MEMORY, "no memory for %zu labels", texts->count);
        *parts = grown;
        status = label_chunk_create(texts, order + first, extent, &grown[*count], why);
        *count += !status;
        first += extent;
    }
    return status;
}

enum status label_chunk_make(const struct label_maker *maker, const char *const *names,
                             size_t count, const char *const *sentences, size_t sentence_count,
                             struct label_part **out_parts, size_t *out_count, struct fail *why)
{
    struct label_texts texts = {
        .maker = maker, .names = names, .count = count, .sentences = sentence_count};
    struct label_part *parts = NULL;
    size_t made = 0;
    enum status status = label_texts_fill(&texts, sentences, why);
    uint32_t *order = mem_zeroed(count, sizeof *order);
    size_t *nodes = mem_zeroed(sentence_count, sizeof *nodes);
    if (!status && (!order || !nodes))
        status = status_fail(why, STATUS_NO_MEMORY, "no memory for %zu labels", count);
    if (!status)
        status = label_chunk_make_all(&texts, order, nodes, &parts, &made, why);
    free(order);
    free(nodes);
    label_texts_finish(&texts);
    if (!status) {
        *out_parts = parts;
        *out_count = made;
        return STATUS_OK;
    }
    while (made)
        label_chunk_finish_part(&parts[--made]);
    free(parts);
    return status;
}
