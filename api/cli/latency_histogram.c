#include "api/cli/latency_histogram.h"

#include <math.h>
#include <stddef.h>

static const uint64_t latency_histogram_longest = (UINT64_C(1) << LATENCY_HISTOGRAM_MAX_BITS) - 1;

/* Times of 2^(7+s) to 2^(8+s) have steps of 2^s: their first eight bits say which one. */
static size_t latency_histogram_bucket(uint64_t us)
{
    int bits = us ? 64 - __builtin_clzll(us) : 0;
    int shift = bits > LATENCY_HISTOGRAM_BITS + 1 ? bits - LATENCY_HISTOGRAM_BITS - 1 : 0;
    return (size_t)shift * LATENCY_HISTOGRAM_STEPS + (size_t)(us >> shift);
}

/* The longest time of a bucket. */
static uint64_t latency_histogram_end(size_t bucket)
{
    size_t shift = bucket / LATENCY_HISTOGRAM_STEPS;
    shift -= shift ? 1 : 0;
    return ((uint64_t)(bucket - shift * LATENCY_HISTOGRAM_STEPS + 1) << shift) - 1;
}

void latency_histogram_add(struct latency_histogram *histogram, uint64_t us, uint64_t count)
{
    if (!count)
        return;
    if (us > latency_histogram_longest)
        us = latency_histogram_longest;
    histogram->count += count;
    histogram->sum_us += (double)us * (double)count;
    histogram->buckets[latency_histogram_bucket(us)] += count;
    if (us > histogram->max_us)
        histogram->max_us = us;
}

uint64_t latency_histogram_quantile_us(const struct latency_histogram *histogram, double share)
{
    uint64_t rank = (uint64_t)ceil(share * (double)histogram->count), passed = 0;
    for (size_t i = 0; i < LATENCY_HISTOGRAM_BUCKETS; i++) {
        passed += histogram->buckets[i];
        if (passed && passed >= rank) {
            uint64_t end = latency_histogram_end(i);
            return end < histogram->max_us ? end : histogram->max_us;
        }
    }
    return histogram->max_us;
}

double latency_histogram_mean_us(const struct latency_histogram *histogram)
{
    return histogram->count ? histogram->sum_us / (double)histogram->count : 0;
}
