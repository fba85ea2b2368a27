#include "server/histogram.h"

const struct histogram_bounds histogram_durations = {
    .unit = 1e-6,
    .count = 16,
    .upper = {100, 500, 1000, 2500, 5000, 10000, 25000, 50000, 100000, 250000, 500000, 1000000,
              2500000, 5000000, 10000000, 30000000},
};

const struct histogram_bounds histogram_rows = {
    .unit = 1,
    .count = 11,
    .upper = {1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024},
};

void histogram_add(struct histogram *histogram, const struct histogram_bounds *bounds,
                   uint64_t value)
{
    size_t bucket = 0;
    while (bucket < bounds->count && value > bounds->upper[bucket])
        bucket++;
    histogram->counts[bucket < bounds->count ? bucket : HISTOGRAM_MOST_BOUNDS]++;
    histogram->sum += value;
}

uint64_t histogram_count(const struct histogram *histogram)
{
    uint64_t count = 0;
    for (size_t i = 0; i <= HISTOGRAM_MOST_BOUNDS; i++)
        count += histogram->counts[i];
    return count;
}
