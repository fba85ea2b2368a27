/*
 * Counts of times in buckets that grow with the time (log-linear, as in HdrHistogram): 128 to each
 * power of two, so that what is read from them is at most 1/128 too much, in memory that does not
 * depend on how many there are. One thread at a time.
 */
#ifndef API_CLI_LATENCY_HISTOGRAM_H
#define API_CLI_LATENCY_HISTOGRAM_H

#include <stdint.h>

enum {
    LATENCY_HISTOGRAM_BITS = 7,
    LATENCY_HISTOGRAM_STEPS = 1 << LATENCY_HISTOGRAM_BITS,
    LATENCY_HISTOGRAM_MAX_BITS = 40, /* longer times, past 12 days, count as that long */
    LATENCY_HISTOGRAM_BUCKETS =
        LATENCY_HISTOGRAM_STEPS * (LATENCY_HISTOGRAM_MAX_BITS - LATENCY_HISTOGRAM_BITS + 1)
};

struct latency_histogram {
    uint64_t count;
    uint64_t max_us;
    double sum_us;
    uint64_t buckets[LATENCY_HISTOGRAM_BUCKETS];
}; /* zeros: empty */

/* Counts one time `count` times. */
void latency_histogram_add(struct latency_histogram *histogram, uint64_t us, uint64_t count);

/* The time within which this share (0..1) of all stayed: of n times in order, the one at
 * ceil(share * n), rounded up to the end of its bucket but never past the longest. 0 if empty. */
uint64_t latency_histogram_quantile_us(const struct latency_histogram *histogram, double share);

/* 0 if empty. */
double latency_histogram_mean_us(const struct latency_histogram *histogram);

#endif
