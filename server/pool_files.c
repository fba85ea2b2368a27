#include "server/pool_files.h"

#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/log.h"
#include "server/served_pool.h"

#define POOL_FILES_ENDING ".safetensors"

static enum status pool_files_make_folder(char out[SPOOL_FILE_MAX_PATH], const char *state_dir,
                                          const char *name, struct fail *why)
{
    struct stat found;
    enum status status = spool_file_write_path(state_dir, name, "", out, why);
    if (status)
        return status;
    if (mkdir(out, 0700) && errno != EEXIST)
        return status_fail(why, STATUS_IO, "cannot make %s: %s", out, strerror(errno));
    if (stat(out, &found) || !S_ISDIR(found.st_mode))
        return status_fail(why, STATUS_IO, "%s is not a folder", out);
    return STATUS_OK;
}

static void pool_files_remove(const char *dir, const char *name)
{
    char path[SPOOL_FILE_MAX_PATH + 256];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    if (unlink(path) && errno != ENOENT)
        log_line(LOG_WARN, "cannot remove %s: %s", path, strerror(errno));
}

/* Calls remove_it for every entry but "." and "..". */
static void pool_files_empty(const struct pool_files *files, const char *dir,
                             bool (*remove_it)(const struct pool_files *files, const char *name))
{
    DIR *folder = opendir(dir);
    if (!folder) {
        log_line(LOG_WARN, "cannot read %s: %s", dir, strerror(errno));
        return;
    }
    for (struct dirent *entry = readdir(folder); entry; entry = readdir(folder))
        if (entry->d_name[0] != '.' && remove_it(files, entry->d_name))
            pool_files_remove(dir, entry->d_name);
    closedir(folder);
}

static bool pool_files_is_left_over(const struct pool_files *files, const char *name)
{
    (void)files;
    (void)name;
    return true;
}

enum status pool_files_open(struct pool_files *files, const char *state_dir, struct fail *why)
{
    enum status status = pool_files_make_folder(files->dir, state_dir, "pools", why);
    if (!status)
        status = pool_files_make_folder(files->incoming, state_dir, "incoming", why);
    if (!status)
        status = spool_file_sync_folder(files->dir, why);
    if (!status)
        pool_files_empty(files, files->incoming, pool_files_is_left_over);
    return status;
}

enum status pool_files_write_path(const struct pool_files *files, const char *digest,
                                  char out[SPOOL_FILE_MAX_PATH], struct fail *why)
{
    return spool_file_write_path(files->dir, digest, POOL_FILES_ENDING, out, why);
}

enum status pool_files_keep(void *argument, struct snapshot *snapshot, struct fail *why)
{
    struct served_pool *pool = (struct served_pool *)snapshot;
    char path[SPOOL_FILE_MAX_PATH];
    enum status status = pool_files_write_path(argument, pool->digest, path, why);
    return status ? status : spool_file_move(&pool->file, path, why);
}

static bool pool_files_is_known(const struct pool_files *files, const char *digest)
{
    size_t count, version_count;
    struct snapshot **pools = registry_list(files->pools, &count);
    bool known = !pools; /* with no memory to look, none is removed */
    for (size_t i = 0; i < count; i++) {
        struct snapshot **versions =
            registry_list_versions(files->pools, pools[i]->name, &version_count);
        known |= !versions;
        for (size_t k = 0; k < version_count; k++) {
            known |= !strcmp(((struct served_pool *)versions[k])->digest, digest);
            snapshot_release(versions[k]);
        }
        free(versions);
        snapshot_release(pools[i]);
    }
    free(pools);
    return known;
}

void pool_files_drop(void *argument, struct snapshot *snapshot)
{
    const struct pool_files *files = argument;
    const char *digest = ((struct served_pool *)snapshot)->digest;
    char name[FILE_DIGEST_BYTES + sizeof POOL_FILES_ENDING];
    if (pool_files_is_known(files, digest))
        return;
    snprintf(name, sizeof name, "%s" POOL_FILES_ENDING, digest);
    pool_files_remove(files->dir, name);
}

static bool pool_files_is_unknown(const struct pool_files *files, const char *name)
{
    char digest[FILE_DIGEST_BYTES];
    if (strlen(name) != FILE_DIGEST_BYTES - 1 + strlen(POOL_FILES_ENDING) ||
        strcmp(name + FILE_DIGEST_BYTES - 1, POOL_FILES_ENDING) != 0)
        return false; /* not ours */
    snprintf(digest, sizeof digest, "%s", name);
    return !pool_files_is_known(files, digest);
}

void pool_files_clean(const struct pool_files *files)
{
    pool_files_empty(files, files->dir, pool_files_is_unknown);
}
