/*
 * The files of the pools that the store knows, in the folder "pools" of the state folder, each by
 * its digest; and the folder "incoming" for those that are not known yet. Blocks; not for the loop
 * thread.
 */
#ifndef SERVER_POOL_FILES_H
#define SERVER_POOL_FILES_H

#include "server/registry.h"
#include "server/spool_file.h"

struct pool_files {
    char dir[SPOOL_FILE_MAX_PATH];
    char incoming[SPOOL_FILE_MAX_PATH];
    struct registry *pools;
};

/* Makes the folders, and removes what the last run left in "incoming". */
enum status pool_files_open(struct pool_files *files, const char *state_dir, struct fail *why);

/* The registry's hooks, with a struct pool_files as argument: its `keep` moves the file of a
 * struct served_pool into the folder, its `dropped` removes it unless another version has it. */
enum status pool_files_keep(void *files, struct snapshot *snapshot, struct fail *why);
void pool_files_drop(void *files, struct snapshot *snapshot);

/* STATUS_LIMIT if the path would be too long. */
enum status pool_files_write_path(const struct pool_files *files, const char *digest,
                                  char out[SPOOL_FILE_MAX_PATH], struct fail *why);

/* Removes files that no version has: what was cut off between writing and storing. */
void pool_files_clean(const struct pool_files *files);

#endif
