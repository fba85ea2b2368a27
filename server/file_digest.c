#include "server/file_digest.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FILE_DIGEST_PIECE = 64 * 1024 };

static enum status file_digest_feed(const char *path, int fd, struct spool_file *copy,
                                    struct digest *digest, struct fail *why)
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
        enum status status = copy ? spool_file_append(copy, piece, (size_t)size, why) : STATUS_OK;
        if (status)
            return status_context(why, status, "cannot copy %s", path);
    }
}

enum status file_digest_read(const char *path, struct spool_file *copy, char out[FILE_DIGEST_BYTES],
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
                             : file_digest_feed(path, fd, copy, &digest, why);
    close(fd);
    if (status)
        return status;
    digest_write(&digest, out);
    return STATUS_OK;
}
