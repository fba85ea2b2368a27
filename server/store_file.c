#include "server/store_file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static enum status store_file_system(const char *path, struct fail *why)
{
    return status_fail(why, STATUS_IO, "%s: %s", path, strerror(errno));
}

static enum status store_file_sync_folder(const char *dir, const char *inside, struct fail *why)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s%s", dir, inside);
    int folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0)
        return store_file_system(path, why);
    enum status status = STATUS_OK;
    if (fsync(folder) && errno != EINVAL) /* some file systems cannot */
        status = store_file_system(path, why);
    close(folder);
    return status;
}

enum status store_file_make_folder(const char *dir, struct fail *why)
{
    if (!mkdir(dir, 0700))
        return store_file_sync_folder(dir, "/..", why);
    return errno == EEXIST ? STATUS_OK : store_file_system(dir, why);
}

static enum status store_file_write(int file, const char *path, const void *bytes, size_t size,
                                    struct fail *why)
{
    if (ftruncate(file, 0))
        return store_file_system(path, why);
    for (const char *at = bytes; size;) {
        ssize_t written = write(file, at, size);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return store_file_system(path, why);
        at += written;
        size -= (size_t)written;
    }
    return fsync(file) ? store_file_system(path, why) : STATUS_OK;
}

static enum status store_file_refuse_logs(const char *of, struct fail *why)
{
    static const char *const suffixes[] = {"-wal", "-journal"};
    for (size_t i = 0; i < sizeof suffixes / sizeof suffixes[0]; i++) {
        char path[PATH_MAX];
        struct stat about;
        snprintf(path, sizeof path, "%s%s", of, suffixes[i]);
        if (!lstat(path, &about) && about.st_size > 0)
            return status_fail(why, STATUS_FORMAT,
                               "%s is there, but the file that it belongs to is not: put that "
                               "back, or move this one away to begin with an empty one",
                               path);
    }
    return STATUS_OK;
}

/* The lock keeps two processes from replacing each other's file; SQLite's own lock cannot, before
 * there is one. It is on what becomes the file, so nothing else stays behind. */
enum status store_file_create(const char *dir, const char *path, const void *bytes, size_t size,
                              struct fail *why)
{
    char temporary[PATH_MAX];
    snprintf(temporary, sizeof temporary, "%s.new", path);
    int file = open(temporary, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
    if (file < 0)
        return store_file_system(temporary, why);
    struct stat about;
    enum status status = STATUS_OK;
    if (flock(file, LOCK_EX | LOCK_NB)) {
        status = errno == EWOULDBLOCK
                     ? status_fail(why, STATUS_IO, "%s is in use by another process", path)
                     : store_file_system(temporary, why);
    } else if (!lstat(path, &about)) {
        unlink(temporary); /* made between the other's last step and ours */
    } else {
        status = store_file_refuse_logs(path, why);
        if (!status)
            status = store_file_write(file, temporary, bytes, size, why);
        if (!status && rename(temporary, path))
            status = store_file_system(path, why);
        if (!status)
            status = store_file_sync_folder(dir, "", why);
    }
    close(file);
    return status;
}
