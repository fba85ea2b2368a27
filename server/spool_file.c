#include "server/spool_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static enum status spool_file_fail(const char *what, const char *path, struct fail *why)
{
    return status_fail(why, STATUS_IO, "cannot %s %s: %s", what, path, strerror(errno));
}

enum status spool_file_write_path(const char *dir, const char *name, const char *ending,
                                  char out[SPOOL_FILE_MAX_PATH], struct fail *why)
{
    int length = snprintf(out, SPOOL_FILE_MAX_PATH, "%s/%s%s", dir, name, ending);
    if (length >= SPOOL_FILE_MAX_PATH)
        return status_fail(why, STATUS_LIMIT, "the path %.200s... is too long", dir);
    return STATUS_OK;
}

enum status spool_file_open(struct spool_file *file, const char *dir, struct fail *why)
{
    char path[SPOOL_FILE_MAX_PATH];
    enum status status = spool_file_write_path(dir, "attriprompt-XXXXXX", "", path, why);
    if (status)
        return status;
    int fd = mkostemp(path, O_CLOEXEC);
    if (fd < 0)
        return spool_file_fail("make a file in", dir, why);
    file->fd = fd;
    memcpy(file->path, path, sizeof path);
    return STATUS_OK;
}

enum status spool_file_append(struct spool_file *file, const void *bytes, size_t size,
                              struct fail *why)
{
    const char *next = bytes;
    while (size) {
        ssize_t written = write(file->fd, next, size);
        if (written < 0 && errno != EINTR)
            return spool_file_fail("write to", file->path, why);
        if (written > 0) {
            next += written;
            size -= (size_t)written;
        }
    }
    return STATUS_OK;
}

void spool_file_close(struct spool_file *file)
{
    if (file->fd >= 0)
        close(file->fd);
    file->fd = -1;
}

enum status spool_file_sync_folder(const char *path, struct fail *why)
{
    char folder[SPOOL_FILE_MAX_PATH];
    const char *slash = strrchr(path, '/');
    snprintf(folder, sizeof folder, "%.*s", slash ? (int)(slash - path) + 1 : 1,
             slash ? path : ".");
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return spool_file_fail("open", folder, why);
    int failed = fsync(fd);
    close(fd);
    return failed ? spool_file_fail("sync", folder, why) : STATUS_OK;
}

enum status spool_file_move(struct spool_file *file, const char *path, struct fail *why)
{
    int fd = file->fd >= 0 ? file->fd : open(file->path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return spool_file_fail("open", file->path, why);
    int failed = fsync(fd);
    close(fd);
    file->fd = -1;
    if (failed)
        return spool_file_fail("sync", file->path, why);
    if (rename(file->path, path))
        return spool_file_fail("move a file to", path, why);
    file->path[0] = '\0';
    return spool_file_sync_folder(path, why);
}

void spool_file_finish(struct spool_file *file)
{
    spool_file_close(file);
    if (file->path[0])
        unlink(file->path);
    file->path[0] = '\0';
}

void spool_file_take(struct spool_file *to, struct spool_file *from)
{
    *to = *from;
    from->fd = -1;
    from->path[0] = '\0';
}
