/* SHA-256 of a file, by which equal files are known. Blocks; not for the loop thread. */
#ifndef SERVER_FILE_DIGEST_H
#define SERVER_FILE_DIGEST_H

#include "engine/base/digest.h"
#include "engine/base/status.h"
#include "server/spool_file.h"

enum { FILE_DIGEST_BYTES = DIGEST_TEXT_BYTES };

/* Also appends what it reads to copy, unless that is NULL. STATUS_NOT_FOUND, STATUS_IO,
 * STATUS_INVALID for what is not a regular file. */
enum status file_digest_read(const char *path, struct spool_file *copy, char out[FILE_DIGEST_BYTES],
                             struct fail *why);

#endif
