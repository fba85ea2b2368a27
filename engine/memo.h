/*
 * Blocks of floats that were computed once, by a key, within a budget of bytes: the least recently
 * used leave first. Any thread; the lock is held to look up, keep and drop, never while a block is
 * computed, copied or read.
 */
#ifndef ENGINE_MEMO_H
#define ENGINE_MEMO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/status.h"

struct memo;
struct memo_entry;

/* What a block is of: the prompts of the first layers of a pool, and what was computed with them.
 */
struct memo_key {
    uint64_t subject; /* who keeps the block: a number of the caller's */
    uint64_t pool;
    uint32_t part;           /* of the subject */
    const uint16_t *prompts; /* [count] */
    size_t count;
};

/* A budget of 0 keeps nothing. */
enum status memo_create(size_t max_bytes, struct memo **out, struct fail *why);
/* No entry may be held. NULL is allowed. */
void memo_destroy(struct memo *memo);

/* NULL if there is none; else it stays as it is until memo_release, even if it is dropped. */
struct memo_entry *memo_find(struct memo *memo, const struct memo_key *key);
const float *memo_floats(const struct memo_entry *entry);
void memo_release(struct memo *memo, struct memo_entry *entry); /* NULL is allowed */

/* Keeps a copy, if it fits and there is memory; nothing depends on it. */
void memo_keep(struct memo *memo, const struct memo_key *key, const float *floats, size_t count);

struct memo_figures {
    size_t entries, bytes, max_bytes; /* bytes: of the blocks, keys and links together */
    uint64_t hits, misses, evictions;
};

void memo_figures(struct memo *memo, struct memo_figures *out);

#endif
