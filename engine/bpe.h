/*
 * Byte pair encoding of one piece of text: its bytes become symbols, the last one in its end of
 * word form, and the pair of neighbours with the lowest rank is joined until none has a rank; of
 * equal ranks the leftmost goes first. n bytes cost O(n log n).
 */
#ifndef ENGINE_BPE_H
#define ENGINE_BPE_H

#include <stddef.h>
#include <stdint.h>

#include "engine/base/status.h"

struct bpe_merge {
    int32_t left, right, result;
};

struct bpe_follower {
    int32_t right;
    uint32_t rank;
};

/* Immutable after bpe_init: any thread. */
struct bpe {
    int32_t inside[256];            /* the symbol of each byte value */
    int32_t last[256];              /* the same at the end of a piece */
    uint32_t *first;                /* followers of symbol i: followers[first[i] .. first[i + 1]) */
    struct bpe_follower *followers; /* sorted by left, then right */
    int32_t *results;               /* by rank */
};

/* Work space of one thread. Small pieces need no allocation. Not to be moved once initialised. */
enum { BPE_SMALL_PIECE = 128 };
struct bpe_symbol {
    int32_t id; /* negative once joined into its left neighbour */
    int32_t previous, next;
    uint32_t rank; /* of the pair of this symbol and the next */
};
struct bpe_scratch {
    struct bpe_symbol *symbols;
    uint64_t *heap; /* rank << 32 | index of the left symbol */
    size_t heap_size;
    struct bpe_symbol small_symbols[BPE_SMALL_PIECE];
    uint64_t small_heap[2 * BPE_SMALL_PIECE];
};

/* merges[i] has rank i; if a pair occurs twice the later counts. All ids are in [0, id_count) and
 * nothing of the arguments is kept. */
enum status bpe_init(struct bpe *bpe, const int32_t inside[256], const int32_t last[256],
                     const struct bpe_merge *merges, size_t merge_count, size_t id_count,
                     struct fail *why);
void bpe_finish(struct bpe *bpe);

enum status bpe_scratch_init(struct bpe_scratch *scratch, size_t max_piece, struct fail *why);
void bpe_scratch_finish(struct bpe_scratch *scratch);

/* length is at least 1 and at most scratch's max_piece. Writes the first `room` ids and returns
 * how many the piece has. */
size_t bpe_encode(const struct bpe *bpe, struct bpe_scratch *scratch, const char *piece,
                  size_t length, int32_t *out_ids, size_t room);

#endif
