#include "server/file_digest.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FILE_DIGEST_PIECE = 64 * 1024 };

static bool file_digest_write(int fd, const uint8_t *bytes, size_t size)
{
    while (size) {
        ssize_t written = write(fd, bytes, size);
        if (written < 0 && errno != EINTR)
            return false;
        if (written > 0) {
            bytes += written;
            size -= (size_t)written;
        }
    }
    return true;
}

static enum status file_digest_feed(const char *path, int fd, int copy_fd, struct digest *digest,
                                    struct fail *why)
{
    uint8_t piece[FILE_DIGEST_PIECE];
    for (;;) {
        ssize_t size = read(fd, piece, sizeof piece);
        if (!size)
            return STATUS_OK;
        if (size < 0 && errno == EINTR)
            continue;
        if (size < 0)
            return status_fail(why, STATUS_IO, "%s: %s", path, strerror(errno));
        digest_append(digest, piece, (size_t)size);
        if (copy_fd >= 0 && !file_digest_write(copy_fd, piece, (size_t)size))
            return status_fail(why, STATUS_IO, "cannot copy %s: %s", path, strerror(errno));
    }
}

enum status file_digest_read(const char *path, int copy_fd, char out[FILE_DIGEST_BYTES],
                             struct fail *why)
{
    struct stat status_of;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe would wait for a writer */
    if (fd < 0)
        return status_fail(why, errno == ENOENT ? STATUS_NOT_FOUND : STATUS_IO, "%s: %s", path,
                           strerror(errno));
    struct digest digest;
    digest_init(&digest);
    enum status status = fstat(fd, &status_of) || !S_ISREG(status_of.st_mode)
                             ? status_fail(why, STATUS_INVALID, "%s: not a regular file", path)
                             : file_digest_feed(path, fd, copy_fd, &digest, why);
    close(fd);
    if (status)
        return status;
    digest_write(&digest, out);
    return STATUS_OK;
}
