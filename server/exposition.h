/*
 * Writes metrics in the text format 0.0.4 of Prometheus. A failure (no memory, the buffer's limit)
 * stays in `status`, and nothing is written any more. One thread at a time.
 */
#ifndef SERVER_EXPOSITION_H
#define SERVER_EXPOSITION_H

#include "engine/base/buf.h"
#include "server/histogram.h"

#define EXPOSITION_CONTENT_TYPE "text/plain; version=0.0.4; charset=utf-8"

struct exposition {
    struct buf *out;
    enum status status;
    struct fail *why;
};

enum { EXPOSITION_MOST_LABELS = 4 };

/* In order; the first without a name ends them. Values are any UTF-8 text. */
struct exposition_labels {
    struct {
        const char *name, *value;
    } pairs[EXPOSITION_MOST_LABELS];
};

/* A family, whose samples follow. type: "counter", "gauge" or "histogram"; help: one line. */
void exposition_begin(struct exposition *exposition, const char *name, const char *type,
                      const char *help);

/* labels: NULL for none. */
void exposition_count(struct exposition *exposition, const char *name,
                      const struct exposition_labels *labels, uint64_t value);
void exposition_number(struct exposition *exposition, const char *name,
                       const struct exposition_labels *labels, double value);
/* All buckets, sum and count. At most EXPOSITION_MOST_LABELS - 1 labels. */
void exposition_histogram(struct exposition *exposition, const char *name,
                          const struct exposition_labels *labels, const struct histogram *histogram,
                          const struct histogram_bounds *bounds);

/* A family of one sample. */
void exposition_only_count(struct exposition *exposition, const char *name, const char *type,
                           const char *help, uint64_t value);
void exposition_only_number(struct exposition *exposition, const char *name, const char *type,
                            const char *help, double value);

#endif
