/*
 * Random numbers: the Mersenne Twister (MT19937, Matsumoto and Nishimura 1998), seeded and read in
 * the way of CPython's random module, whose draws published few-shot splits come from. Same seed,
 * same numbers, on every machine. A plain struct: a copy of it goes on from the same place. One
 * thread at a time.
 */
#ifndef ENGINE_BASE_RNG_H
#define ENGINE_BASE_RNG_H

#include <stddef.h>
#include <stdint.h>

enum { RNG_WORDS = 624 };

struct rng {
    uint32_t words[RNG_WORDS];
    uint32_t next; /* 1 to RNG_WORDS: words used up since they were last renewed */
};

/* As random.seed(seed). */
void rng_init(struct rng *rng, uint64_t seed);

uint32_t rng_word(struct rng *rng);

/* As random.random(): in [0, 1), a multiple of 2^-53. */
double rng_uniform(struct rng *rng);

/* As random._randbelow(count): less than count, which is 1 to 2^32 - 1. */
uint32_t rng_below(struct rng *rng, uint32_t count);

/* Normally distributed, mean 0 and deviation 1 (Box and Muller, one of the two). */
double rng_normal(struct rng *rng);

/* As random.shuffle. */
void rng_shuffle(struct rng *rng, uint32_t *items, uint32_t count);

/* As random.sample(range(population), count), into out [count]; count <= population. scratch
 * [population]. */
void rng_sample(struct rng *rng, uint32_t population, uint32_t count, uint32_t *scratch,
                uint32_t *out);

#endif
