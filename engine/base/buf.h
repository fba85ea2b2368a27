/*
 * A growable run of bytes with an upper limit. Always followed by a NUL that `size` does not count,
 * so that text in it can be passed on as a string. One thread at a time.
 */
#ifndef ENGINE_BASE_BUF_H
#define ENGINE_BASE_BUF_H

#include <stddef.h>

#include "engine/base/status.h"

struct buf {
    char *data;
    size_t size;
    size_t capacity;
    size_t max_size; /* a request for more fails with STATUS_LIMIT */
};

void buf_init(struct buf *buf, size_t max_size);
void buf_finish(struct buf *buf);
enum status buf_append(struct buf *buf, const void *bytes, size_t size, struct fail *why);
enum status buf_append_text(struct buf *buf, const char *text, struct fail *why);
enum status buf_printf(struct buf *buf, struct fail *why, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Makes room for at least extra more bytes, so that the next appends do not move the data. */
enum status buf_reserve(struct buf *buf, size_t extra, struct fail *why);

/* Reads a whole regular file; STATUS_NOT_FOUND, STATUS_IO or, over max_size, STATUS_LIMIT. */
enum status buf_read_file(struct buf *buf, const char *path, struct fail *why);

#endif
