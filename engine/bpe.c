#include "engine/bpe.h"

#include <stdlib.h>
#include <string.h>

#include "engine/base/mem.h"

#define BPE_NO_RANK UINT32_MAX

struct bpe_pair {
    int32_t left, right;
    uint32_t rank;
};

static int bpe_compare_pairs(const void *a, const void *b)
{
    const struct bpe_pair *x = a, *y = b;
    if (x->left != y->left)
        return x->left < y->left ? -1 : 1;
    if (x->right != y->right)
        return x->right < y->right ? -1 : 1;
    return x->rank < y->rank ? -1 : x->rank > y->rank;
}

/* Fills followers and first from sorted pairs; of equal pairs the last, which has the highest rank,
 * is kept. */
static void bpe_index_pairs(struct bpe *bpe, const struct bpe_pair *pairs, size_t count,
                            size_t id_count)
{
    uint32_t used = 0;
    size_t i = 0;
    for (size_t id = 0; id < id_count; id++) {
        bpe->first[id] = used;
        for (; i < count && (size_t)pairs[i].left == id; i++) {
            if (i + 1 < count && pairs[i + 1].left == pairs[i].left &&
                pairs[i + 1].right == pairs[i].right)
                continue;
            bpe->followers[used++] = (struct bpe_follower){pairs[i].right, pairs[i].rank};
        }
    }
    bpe->first[id_count] = used;
}

enum status bpe_init(struct bpe *bpe, const int32_t inside[256], const int32_t last[256],
                     const struct bpe_merge *merges, size_t merge_count, size_t id_count,
                     struct fail *why)
{
    if (merge_count >= BPE_NO_RANK)
        return status_fail(why, STATUS_LIMIT, "more than %u merges", BPE_NO_RANK - 1);
    struct bpe_pair *pairs = mem_zeroed(merge_count, sizeof *pairs);
    struct bpe built = {
        .first = mem_zeroed(id_count + 1, sizeof *built.first),
        .followers = mem_zeroed(merge_count, sizeof *built.followers),
        .results = mem_zeroed(merge_count, sizeof *built.results),
    };
    if (!pairs || !built.first || !built.followers || !built.results) {
        free(pairs);
        bpe_finish(&built);
        return status_fail(why, STATUS_NO_MEMORY, "no memory for %zu merges", merge_count);
    }
    memcpy(built.inside, inside, sizeof built.inside);
    memcpy(built.last, last, sizeof built.last);
    for (size_t i = 0; i < merge_count; i++) {
        pairs[i] = (struct bpe_pair){merges[i].left, merges[i].right, (uint32_t)i};
        built.results[i] = merges[i].result;
    }
    qsort(pairs, merge_count, sizeof *pairs, bpe_compare_pairs);
    bpe_index_pairs(&built, pairs, merge_count, id_count);
    free(pairs);
    *bpe = built;
    return STATUS_OK;
}

void bpe_finish(struct bpe *bpe)
{
    if (!bpe)
        return;
    free(bpe->first);
    free(bpe->followers);
    free(bpe->results);
    *bpe = (struct bpe){0};
}

static uint32_t bpe_rank(const struct bpe *bpe, int32_t left, int32_t right)
{
    uint32_t low = bpe->first[left], high = bpe->first[left + 1];
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (bpe->followers[middle].right < right)
            low = middle + 1;
        else
            high = middle;
    }
    if (low < bpe->first[left + 1] && bpe->followers[low].right == right)
        return bpe->followers[low].rank;
    return BPE_NO_RANK;
}

enum status bpe_scratch_init(struct bpe_scratch *scratch, size_t max_piece, struct fail *why)
{
    scratch->symbols = scratch->small_symbols;
    scratch->heap = scratch->small_heap;
    scratch->heap_size = 0;
    if (max_piece <= BPE_SMALL_PIECE)
        return STATUS_OK;
    /* A piece of n symbols starts with n - 1 pairs and each of at most n - 1 joins takes one out
     * and puts two in. */
    struct bpe_symbol *symbols = mem_resize(NULL, max_piece, sizeof *symbols);
    uint64_t *heap = mem_resize(NULL, max_piece, 2 * sizeof *heap);
    if (!symbols || !heap) {
        free(symbols);
        free(heap);
        return status_fail(why, STATUS_NO_MEMORY, "no memory to encode %zu bytes of text",
                           max_piece);
    }
    scratch->symbols = symbols;
    scratch->heap = heap;
    return STATUS_OK;
}

void bpe_scratch_finish(struct bpe_scratch *scratch)
{
    if (!scratch || scratch->symbols == scratch->small_symbols)
        return;
    free(scratch->symbols);
    free(scratch->heap);
    scratch->symbols = NULL;
    scratch->heap = NULL;
}

static void bpe_heap_push(struct bpe_scratch *scratch, uint64_t entry)
{
    uint64_t *heap = scratch->heap;
    size_t i = scratch->heap_size++;
    for (; i > 0 && heap[(i - 1) / 2] > entry; i = (i - 1) / 2)
        heap[i] = heap[(i - 1) / 2];
    heap[i] = entry;
}

static uint64_t bpe_heap_pop(struct bpe_scratch *scratch)
{
    uint64_t *heap = scratch->heap, least = heap[0];
    size_t count = --scratch->heap_size, i = 0;
    uint64_t moved = heap[count];
    for (size_t child; (child = 2 * i + 1) < count; i = child) {
        if (child + 1 < count && heap[child + 1] < heap[child])
            child++;
        if (moved <= heap[child])
            break;
        heap[i] = heap[child];
    }
    heap[i] = moved;
    return least;
}

/* Looks up the pair that starts at symbol i and queues it if it can be joined. */
static void bpe_refresh(const struct bpe *bpe, struct bpe_scratch *scratch, int32_t i)
{
    struct bpe_symbol *symbol = &scratch->symbols[i];
    symbol->rank = BPE_NO_RANK;
    if (symbol->next >= 0)
        symbol->rank = bpe_rank(bpe, symbol->id, scratch->symbols[symbol->next].id);
    if (symbol->rank != BPE_NO_RANK)
        bpe_heap_push(scratch, (uint64_t)symbol->rank << 32 | (uint32_t)i);
}

static void bpe_join(const struct bpe *bpe, struct bpe_scratch *scratch, int32_t i)
{
    struct bpe_symbol *symbols = scratch->symbols, *left = &symbols[i];
    struct bpe_symbol *right = &symbols[left->next];
    left->id = bpe->results[left->rank];
    left->next = right->next;
    right->id = -1;
    right->rank = BPE_NO_RANK;
    if (left->next >= 0)
        symbols[left->next].previous = i;
    bpe_refresh(bpe, scratch, i);
    if (left->previous >= 0)
        bpe_refresh(bpe, scratch, left->previous);
}

size_t bpe_encode(const struct bpe *bpe, struct bpe_scratch *scratch, const char *piece,
                  size_t length, int32_t *out_ids, size_t room)
{
    struct bpe_symbol *symbols = scratch->symbols;
    for (size_t i = 0; i < length; i++) {
        unsigned char byte = (unsigned char)piece[i];
        symbols[i].id = i + 1 < length ? bpe->inside[byte] : bpe->last[byte];
        symbols[i].previous = (int32_t)i - 1;
        symbols[i].next = i + 1 < length ? (int32_t)i + 1 : -1;
    }
    scratch->heap_size = 0;
    for (size_t i = 0; i < length; i++)
        bpe_refresh(bpe, scratch, (int32_t)i);
    while (scratch->heap_size > 0) {
        uint64_t entry = bpe_heap_pop(scratch);
        int32_t i = (int32_t)(entry & UINT32_MAX);
        if (symbols[i].rank == (uint32_t)(entry >> 32)) /* else out of date */
            bpe_join(bpe, scratch, i);
    }
    size_t count = 0;
    for (int32_t i = 0; i >= 0; i = symbols[i].next, count++) {
        if (count < room)
            out_ids[count] = symbols[i].id;
    }
    return count;
}
