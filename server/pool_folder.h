/*
 * A folder of pool files, NAME.safetensors for the pool NAME: whatever appears or changes there is
 * loaded and published. What disappears stays in use.
 *
 * Scans follow each other; one at a time, on any thread. They block and compute.
 */
#ifndef SERVER_POOL_FOLDER_H
#define SERVER_POOL_FOLDER_H

#include <stdbool.h>

#include "server/served_pool.h"

struct job;
struct pool_folder;

/* STATUS_IO if it is not a folder that can be read. */
enum status pool_folder_create(const char *path, struct pool_folder **out, struct fail *why);
void pool_folder_destroy(struct pool_folder *folder); /* NULL is allowed */

/* Loads files that are new or have changed, once nothing has been written to them for a while; with
 * at_once also those that may still be written to, and those that failed before. A file that cannot
 * be used is logged and left until it changes. */
void pool_folder_scan(struct pool_folder *folder, const struct service *service,
                      struct engine_session *session, bool at_once);

/* The same as background work for a server's loop; NULL if there is no memory. */
struct job *pool_folder_make_scan(const struct service *service, bool at_once);

/* The path of a pool's file in the folder. */
enum status pool_folder_write_path(const struct pool_folder *folder, const char *name,
                                   char out[SPOOL_FILE_MAX_PATH], struct fail *why);

struct pool_folder_load {
    const char *path, *name;
    const char *origin; /* as in served_pool.h */
    const struct registry_condition *condition;
    enum store_default make_default;
    bool asked_for; /* then only the current version counts as having the same content */
};

/* Loads and publishes a file, unless a kept version of the name has the same content: one that was
 * rolled back from does not come back by itself. *out_made:
 * whether there is a new version; after a failure, whether one was loaded but not published. *out:
 * that version, or the one that is current; acquired. Failures of served_pool_read_file,
 * served_pool_load and registry_publish. */
enum status pool_folder_load(const struct service *service, struct engine_session *session,
                             const struct pool_folder_load *load, struct served_pool **out,
                             bool *out_made, struct fail *why);

/* What a file by itself says that its pool is called, or its own name without the ending; whatever
 * a name may not have becomes a hyphen. STATUS_INVALID for "none". */
enum status pool_folder_name(const char *path, char out[SNAPSHOT_MAX_NAME + 1], struct fail *why);

#endif
