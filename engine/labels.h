/*
 * A compiled label set: names, the sentences they stand in, and the chunks that hold their tries
 * and features. Immutable and reference counted; any thread. The functions behind engine_labels_*
 * of engine.h are here too.
 */
#ifndef ENGINE_LABELS_H
#define ENGINE_LABELS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/status.h"
#include "engine/label_chunk.h"

/* The member of a slot whose label was removed from this set; the chunk has it still. */
#define LABELS_NOBODY UINT32_MAX

struct labels_place {
    uint32_t part, slot;
};

struct engine_labels {
    atomic_size_t references;
    size_t joint_width;
    size_t count;
    struct labels_place *places; /* [count] */
    struct label_part *parts;    /* [part_count]; their members are indices of this set */
    size_t part_count;
    char **sentences; /* [sentence_count] */
    size_t sentence_count;
};

/* As engine_labels_compile. */
enum status labels_compile(const struct label_maker *maker, const char *const *names, size_t count,
                           const char *const *sentences, size_t sentence_count,
                           struct engine_labels **out, struct fail *why);

/* As engine_labels_revise. */
enum status labels_revise(const struct label_maker *maker, const struct engine_labels *from,
                          const bool *removed, const char *const *names, size_t count,
                          struct engine_labels **out, struct fail *why);

/* STATUS_INVALID unless the sentence has exactly one "{}". */
enum status labels_check_sentence(const char *sentence, struct fail *why);

/* STATUS_LIMIT names a label whose text, with slots tokens of prompts before it, does not fit the
 * context. */
enum status labels_check_room(const struct engine_labels *labels, size_t slots, size_t context,
                              struct fail *why);

#endif
