/*
 * About how many different things there have been, in a fixed 8 KiB (linear counting): within 2 %
 * up to 100,000, and no more than DISTINCT_MOST. Any thread.
 */
#ifndef SERVER_DISTINCT_H
#define SERVER_DISTINCT_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

enum { DISTINCT_BITS = 1 << 16, DISTINCT_MOST = 726817 }; /* bits * log(bits) */

struct distinct {
    _Atomic uint64_t words[DISTINCT_BITS / 64];
};

/* bytes [size]: what tells one thing from another; seed: also. */
void distinct_add(struct distinct *distinct, uint64_t seed, const void *bytes, size_t size);
double distinct_estimate(const struct distinct *distinct);

#endif
