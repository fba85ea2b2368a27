#include "engine/base/buf.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/mem.h"

enum { BUF_FIRST_CAPACITY = 256, BUF_READ_STEP = 65536 };

void buf_init(struct buf *buf, size_t max_size)
{
    *buf = (struct buf){.max_size = max_size};
}

void buf_finish(struct buf *buf)
{
    if (!buf)
        return;
    free(buf->data);
    *buf = (struct buf){0};
}

enum status buf_reserve(struct buf *buf, size_t extra, struct fail *why)
{
    size_t needed;
    if (!mem_add(buf->size, extra, &needed) || needed > buf->max_size)
        return status_fail(why, STATUS_LIMIT, "more than %zu bytes", buf->max_size);
    if (buf->data && needed < buf->capacity)
        return STATUS_OK;
    size_t capacity = buf->capacity ? buf->capacity : BUF_FIRST_CAPACITY;
    while (capacity <= needed)
        capacity += capacity / 2;
    char *data = mem_resize(buf->data, capacity, 1);
    if (!data)
        return status_fail(why, STATUS_NO_MEMORY, "no memory for %zu bytes", capacity);
    buf->data = data;
    buf->capacity = capacity;
    return STATUS_OK;
}

enum status buf_append(struct buf *buf, const void *bytes, size_t size, struct fail *why)
{
    enum status status = buf_reserve(buf, size, why);
    if (status)
        return status;
    if (size)
        memcpy(buf->data + buf->size, bytes, size);
    buf->size += size;
    buf->data[buf->size] = '\0';
    return STATUS_OK;
}

enum status buf_append_text(struct buf *buf, const char *text, struct fail *why)
{
    return buf_append(buf, text, strlen(text), why);
}

enum status buf_printf(struct buf *buf, struct fail *why, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int length = vsnprintf(NULL, 0, format, args);
    va_end(args);
    enum status status = length < 0 ? status_fail(why, STATUS_INTERNAL, "cannot format text")
                                    : buf_reserve(buf, (size_t)length, why);
    if (!status) {
        vsnprintf(buf->data + buf->size, (size_t)length + 1, format, again);
        buf->size += (size_t)length;
    }
    va_end(again);
    return status;
}

static enum status buf_read_stream(struct buf *buf, FILE *file, struct fail *why)
{
    char step[BUF_READ_STEP];
    size_t got;
    while ((got = fread(step, 1, sizeof step, file)) > 0) {
        enum status status = buf_append(buf, step, got, why);
        if (status)
            return status;
    }
    if (ferror(file))
        return status_fail(why, STATUS_IO, "%s", strerror(errno));
    return buf_append(buf, "", 0, why);
}

/* Opening a pipe would wait for its other end; a folder opens but cannot be read. */
static FILE *buf_open_regular(const char *path, struct fail *why)
{
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) {
        status_fail(why, errno == ENOENT ? STATUS_NOT_FOUND : STATUS_IO, "%s: %s", path,
                    strerror(errno));
        return NULL;
    }
    struct stat about;
    FILE *file = NULL;
    if (fstat(fd, &about) || !S_ISREG(about.st_mode))
        status_fail(why, STATUS_IO, "%s: not a regular file", path);
    else if (!(file = fdopen(fd, "rb")))
        status_fail(why, STATUS_IO, "%s: %s", path, strerror(errno));
    if (!file)
        close(fd);
    return file;
}

enum status buf_read_file(struct buf *buf, const char *path, struct fail *why)
{
    struct fail reason = {.code = STATUS_IO};
    FILE *file = buf_open_regular(path, &reason);
    size_t size_before = buf->size;
    enum status status = file ? buf_read_stream(buf, file, &reason) : reason.code;
    if (file) {
        fclose(file);
        if (status)
            status_context(&reason, status, "%s", path);
    }
    if (status) {
        buf->size = size_before;
        if (why)
            *why = reason;
    }
    return status;
}
