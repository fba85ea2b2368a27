/*
 * How the file of a store comes into being: complete and on the disk, or not at all, whenever the
 * process or the machine dies. Any thread.
 */
#ifndef SERVER_STORE_FILE_H
#define SERVER_STORE_FILE_H

#include <stddef.h>

#include "engine/base/status.h"

enum { STORE_FILE_MAX_SUFFIX = 16 }; /* paths have room for as much more below PATH_MAX */

/* Does nothing if the folder is there. Only its owner may enter; the folder around it must exist.
 * STATUS_IO. */
enum status store_file_make_folder(const char *dir, struct fail *why);

/* path: in dir. A file that is there, or that another process makes meanwhile, is left alone, and
 * that is no failure. Its bytes go to another name first, which is used again if this is cut off: a
 * file that is empty or cut short is never the trace of a crash in here. STATUS_IO; STATUS_FORMAT
 * if there is a log without its file, which SQLite would take for one of the new file. */
enum status store_file_create(const char *dir, const char *path, const void *bytes, size_t size,
                              struct fail *why);

#endif
