#include "engine/base/rng.h"

#include <math.h>
#include <string.h>

enum { RNG_MIDDLE = 397 };

static void rng_init_by_word(struct rng *rng, uint32_t seed)
{
    rng->words[0] = seed;
    for (uint32_t i = 1; i < RNG_WORDS; i++)
        rng->words[i] = 1812433253u * (rng->words[i - 1] ^ (rng->words[i - 1] >> 30)) + i;
    rng->next = RNG_WORDS;
}

/* The generator's own initialisation by an array, which CPython uses with the 32-bit digits of the
 * seed, the lowest first. */
void rng_init(struct rng *rng, uint64_t seed)
{
    const uint32_t digits[] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    uint32_t count = digits[1] ? 2 : 1, i = 1, j = 0, *words = rng->words;
    rng_init_by_word(rng, 19650218u);
    for (uint32_t k = 0; k < RNG_WORDS; k++) {
        words[i] = (words[i] ^ ((words[i - 1] ^ (words[i - 1] >> 30)) * 1664525u)) + digits[j] + j;
        j = (j + 1) % count;
        if (++i == RNG_WORDS) {
            words[0] = words[RNG_WORDS - 1];
            i = 1;
        }
    }
    for (uint32_t k = 1; k < RNG_WORDS; k++) {
        words[i] = (words[i] ^ ((words[i - 1] ^ (words[i - 1] >> 30)) * 1566083941u)) - i;
        if (++i == RNG_WORDS) {
            words[0] = words[RNG_WORDS - 1];
            i = 1;
        }
    }
    words[0] = 0x80000000u;
}

static void rng_renew(struct rng *rng)
{
    uint32_t *words = rng->words;
    for (uint32_t i = 0; i < RNG_WORDS; i++) {
        uint32_t y = (words[i] & 0x80000000u) | (words[(i + 1) % RNG_WORDS] & 0x7fffffffu);
        words[i] = words[(i + RNG_MIDDLE) % RNG_WORDS] ^ (y >> 1) ^ (y & 1 ? 0x9908b0dfu : 0);
    }
    rng->next = 0;
}

uint32_t rng_word(struct rng *rng)
{
    if (rng->next >= RNG_WORDS)
        rng_renew(rng);
    uint32_t y = rng->words[rng->next++];
    y ^= y >> 11;
    y ^= (y << 7) & 0x9d2c5680u;
    y ^= (y << 15) & 0xefc60000u;
    return y ^ (y >> 18);
}

double rng_uniform(struct rng *rng)
{
    uint32_t high = rng_word(rng) >> 5, low = rng_word(rng) >> 6;
    return (high * 67108864.0 + low) / 9007199254740992.0;
}

uint32_t rng_below(struct rng *rng, uint32_t count)
{
    uint32_t bits = 0, drawn;
    while (bits < 32 && count >> bits)
        bits++;
    do
        drawn = rng_word(rng) >> (32 - bits);
    while (drawn >= count);
    return drawn;
}

double rng_normal(struct rng *rng)
{
    double radius = sqrt(-2 * log(1 - rng_uniform(rng)));
    return radius * cos(6.283185307179586 * rng_uniform(rng));
}

void rng_shuffle(struct rng *rng, uint32_t *items, uint32_t count)
{
    for (uint32_t i = count; i-- > 1;) {
        uint32_t j = rng_below(rng, i + 1), item = items[i];
        items[i] = items[j];
        items[j] = item;
    }
}

/* Up to what population CPython draws from a list; from a larger one it draws again what it has
 * drawn before. */
static uint64_t rng_list_limit(uint32_t count)
{
    uint64_t limit = 21, power = 1;
    if (count <= 5)
        return limit;
    while (power < 3 * (uint64_t)count)
        power *= 4;
    return limit + power;
}

void rng_sample(struct rng *rng, uint32_t population, uint32_t count, uint32_t *scratch,
                uint32_t *out)
{
    if (population <= rng_list_limit(count)) {
        for (uint32_t i = 0; i < population; i++)
            scratch[i] = i;
        for (uint32_t i = 0; i < count; i++) {
            uint32_t j = rng_below(rng, population - i);
            out[i] = scratch[j];
            scratch[j] = scratch[population - i - 1];
        }
        return;
    }
    memset(scratch, 0, population * sizeof *scratch);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t j;
        do
            j = rng_below(rng, population);
        while (scratch[j]);
        scratch[j] = 1;
        out[i] = j;
    }
}
