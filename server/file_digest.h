/* SHA-256 of a file, by which equal files are known. Blocks; not for the loop thread. */
#ifndef SERVER_FILE_DIGEST_H
#define SERVER_FILE_DIGEST_H

#include "engine/base/digest.h"
#include "engine/base/status.h"

enum { FILE_DIGEST_BYTES = DIGEST_TEXT_BYTES };

/* Also writes what it reads to copy_fd, unless that is -1. STATUS_NOT_FOUND, STATUS_IO,
 * STATUS_INVALID for what is not a regular file. */
enum status file_digest_read(const char *path, int copy_fd, char out[FILE_DIGEST_BYTES],
                             struct fail *why);

#endif
