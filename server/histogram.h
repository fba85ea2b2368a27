/*
 * How often a value fell between which bounds. Fixed buckets, whole numbers inside; one thread at a
 * time, or a lock around it.
 */
#ifndef SERVER_HISTOGRAM_H
#define SERVER_HISTOGRAM_H

#include <stddef.h>
#include <stdint.h>

enum { HISTOGRAM_MOST_BOUNDS = 16 };

struct histogram_bounds {
    double unit; /* what a value of 1 is when it is shown */
    size_t count;
    uint64_t upper[HISTOGRAM_MOST_BOUNDS]; /* ascending; a value equal to one is below it */
};

extern const struct histogram_bounds histogram_durations; /* in microseconds, shown in seconds */
extern const struct histogram_bounds histogram_rows;

struct histogram {
    uint64_t counts[HISTOGRAM_MOST_BOUNDS + 1]; /* each bucket's own; the last: above all bounds */
    uint64_t sum;
};

void histogram_add(struct histogram *histogram, const struct histogram_bounds *bounds,
                   uint64_t value);
uint64_t histogram_count(const struct histogram *histogram);

#endif
