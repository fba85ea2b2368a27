/*
 * A chunk of a label set: some labels, the token tries of their texts (one a sentence), and their
 * plain text features. A chunk is what one pass of the text tower computes, so its size is bounded,
 * and it is shared by every version of a set that it is in: a set that grows gets a chunk more and
 * keeps the others, together with all that was computed for them.
 *
 * Immutable and reference counted; any thread.
 */
#ifndef ENGINE_LABEL_CHUNK_H
#define ENGINE_LABEL_CHUNK_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/status.h"
#include "engine/trie.h"

struct label_chunk {
    atomic_size_t references;
    uint64_t id; /* no other chunk of the engine ever has it */
    size_t count;
    size_t sentences;
    char **names;        /* [count] */
    struct trie **tries; /* [sentences], each of count texts in the order of names */
    float *features;     /* [count, joint width], unit */
    size_t longest;      /* nodes on the longest path of any trie */
};

/* How texts become tokens and tokens features. */
struct label_maker {
    void *context;
    size_t joint_width;
    size_t max_tokens; /* of a text, start and end included */
    size_t max_nodes;  /* of a trie; at least max_tokens */
    enum status (*tokenize)(void *context, const char *text, int32_t *out_ids, size_t *out_count,
                            struct fail *why);
    /* Fills chunk->features from its tries. */
    enum status (*encode)(void *context, struct label_chunk *chunk, struct fail *why);
    uint64_t (*new_id)(void *context);
};

/* One chunk of a list of labels: slot i of it is label members[i] of the list. */
struct label_part {
    struct label_chunk *chunk;
    uint32_t *members; /* [chunk->count] */
};

/* names [count], trimmed and distinct, count of at least 1; sentences: templates with one "{}". The
 * labels are taken in order of their tokens, so that labels that begin alike come together and the
 * chunks do not depend on the order of the list. out_parts: array of *out_count, free() after
 * label_chunk_finish_part of each. */
enum status label_chunk_make(const struct label_maker *maker, const char *const *names,
                             size_t count, const char *const *sentences, size_t sentence_count,
                             struct label_part **out_parts, size_t *out_count, struct fail *why);

struct label_chunk *label_chunk_acquire(struct label_chunk *chunk);
void label_chunk_release(struct label_chunk *chunk); /* NULL is allowed */
void label_chunk_finish_part(struct label_part *part);

#endif
