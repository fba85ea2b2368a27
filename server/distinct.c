#include "server/distinct.h"

#include <math.h>

static uint64_t distinct_hash(uint64_t seed, const unsigned char *bytes, size_t size)
{
    uint64_t hash = 14695981039346656037u ^ seed; /* FNV-1a, then the end of splitmix64 */
    for (size_t i = 0; i < size; i++)
        hash = (hash ^ bytes[i]) * 1099511628211u;
    hash = (hash ^ (hash >> 30)) * 0xbf58476d1ce4e5b9u;
    hash = (hash ^ (hash >> 27)) * 0x94d049bb133111ebu;
    return hash ^ (hash >> 31);
}

void distinct_add(struct distinct *distinct, uint64_t seed, const void *bytes, size_t size)
{
    uint64_t hash = distinct_hash(seed, bytes, size) % DISTINCT_BITS, bit = 1ull << hash % 64;
    _Atomic uint64_t *word = &distinct->words[hash / 64];
    if (!(atomic_load_explicit(word, memory_order_relaxed) & bit))
        atomic_fetch_or_explicit(word, bit, memory_order_relaxed);
}

double distinct_estimate(const struct distinct *distinct)
{
    double empty = 0;
    for (size_t i = 0; i < DISTINCT_BITS / 64; i++)
        empty += 64 - __builtin_popcountll(
                          atomic_load_explicit(&distinct->words[i], memory_order_relaxed));
    return empty < 1 ? DISTINCT_MOST : DISTINCT_BITS * log(DISTINCT_BITS / empty);
}
