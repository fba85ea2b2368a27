/*
 * A file on its way in: written piece by piece under a name of its own, and gone at the end unless
 * somebody has moved it. One thread at a time.
 */
#ifndef SERVER_SPOOL_FILE_H
#define SERVER_SPOOL_FILE_H

#include <stddef.h>

#include "engine/base/status.h"

enum { SPOOL_FILE_MAX_PATH = 1024 };

struct spool_file {
    int fd;                         /* -1: closed */
    char path[SPOOL_FILE_MAX_PATH]; /* empty: there is no file */
};

/* An empty file in the folder. */
enum status spool_file_open(struct spool_file *file, const char *dir, struct fail *why);
enum status spool_file_append(struct spool_file *file, const void *bytes, size_t size,
                              struct fail *why);
/* Closes it; with nothing to write any more. Not needed before spool_file_finish. */
void spool_file_close(struct spool_file *file);
/* To a path in the same file system, for good: it is on the disk when this returns. */
enum status spool_file_move(struct spool_file *file, const char *path, struct fail *why);
/* dir/name and the ending; STATUS_LIMIT if that is too long. */
enum status spool_file_write_path(const char *dir, const char *name, const char *ending,
                                  char out[SPOOL_FILE_MAX_PATH], struct fail *why);

/* A new name is on the disk when its folder is: syncs the folder that path lies in. */
enum status spool_file_sync_folder(const char *path, struct fail *why);
/* Removes it if it was not moved. A zeroed struct with fd -1 is allowed. */
void spool_file_finish(struct spool_file *file);

/* Moves the file out of *from, which holds none afterwards. */
void spool_file_take(struct spool_file *to, struct spool_file *from);

#endif
