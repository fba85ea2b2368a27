#include "server/pool_folder.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "engine/base/log.h"
#include "engine/base/mem.h"
#include "server/clock.h"
#include "server/job.h"

#define POOL_FOLDER_ENDING ".safetensors"

enum {
    POOL_FOLDER_MAX_FILES = 1000,
    POOL_FOLDER_SETTLED_MS = 1500 /* without a change, a file counts as complete */
};

/* By which a change is noticed. */
struct pool_folder_stamp {
    off_t size;
    ino_t inode;
    struct timespec written, changed;
};

struct pool_folder_file {
    char name[SNAPSHOT_MAX_NAME + 1];
    struct pool_folder_stamp stamp;
    uint64_t since_us; /* when it was first seen like this */
    bool done;         /* loaded, or tried */
    bool failed;
    bool there; /* in the scan that is under way */
};

struct pool_folder {
    char path[SPOOL_FILE_MAX_PATH];
    struct pool_folder_file *files; /* [count] */
    size_t count;
    bool unreadable; /* as the last scan found it, so that it is said once */
};

enum status pool_folder_create(const char *path, struct pool_folder **out, struct fail *why)
{
    DIR *dir = opendir(path);
    if (!dir)
        return status_fail(why, STATUS_IO, "cannot read the pool folder %s: %s", path,
                           strerror(errno));
    closedir(dir);
    struct pool_folder *folder = mem_zeroed(1, sizeof *folder);
    struct pool_folder_file *files = mem_zeroed(POOL_FOLDER_MAX_FILES, sizeof *files);
    int length = folder ? snprintf(folder->path, sizeof folder->path, "%s", path) : 0;
    if (!folder || !files || (size_t)length >= sizeof folder->path) {
        free(folder);
        free(files);
        return status_fail(why, STATUS_NO_MEMORY, "no memory for the pool folder");
    }
    folder->files = files;
    *out = folder;
    return STATUS_OK;
}

void pool_folder_destroy(struct pool_folder *folder)
{
    if (!folder)
        return;
    free(folder->files);
    free(folder);
}

enum status pool_folder_write_path(const struct pool_folder *folder, const char *name,
                                   char out[SPOOL_FILE_MAX_PATH], struct fail *why)
{
    return spool_file_write_path(folder->path, name, POOL_FOLDER_ENDING, out, why);
}

/* ---- One file ---- */

/* "groups" of "pools/groups.safetensors"; false if that is no name for a pool. */
static bool pool_folder_stem(const char *path, char out[SNAPSHOT_MAX_NAME + 1])
{
    const char *slash = strrchr(path, '/'), *file = slash ? slash + 1 : path;
    size_t length = strlen(file), ending = strlen(POOL_FOLDER_ENDING);
    if (length <= ending || length - ending > SNAPSHOT_MAX_NAME ||
        strcmp(file + length - ending, POOL_FOLDER_ENDING) != 0)
        return false;
    snprintf(out, SNAPSHOT_MAX_NAME + 1, "%.*s", (int)(length - ending), file);
    return !snapshot_check_name(out, NULL) && strcmp(out, "none") != 0;
}

enum status pool_folder_name(const char *path, char out[SNAPSHOT_MAX_NAME + 1], struct fail *why)
{
    struct engine_pool_file *file;
    enum status status = engine_pool_file_open(path, &file, why);
    if (status)
        return status;
    const char *name = engine_pool_file_info(file)->name;
    size_t length = 0;
    for (; *name && length < SNAPSHOT_MAX_NAME; name++) {
        char letter[] = {*name, '-', '\0'};
        bool good = !snapshot_check_name(letter, NULL);
        if (good || !length || out[length - 1] != '-')
            out[length++] = good ? *name : '-';
    }
    out[length] = '\0';
    engine_pool_file_close(file);
    if (!strcmp(out, "none"))
        return status_fail(why, STATUS_INVALID,
                           "%s: a pool cannot be called none, which stands for no pool", path);
    return snapshot_check_name(out, why);
}

/* The content is there already: as it is, or as the default from now on. */
static enum status pool_folder_keep(const struct service *service,
                                    const struct pool_folder_load *load, struct fail *why)
{
    return load->make_default == STORE_DEFAULT_KEEP
               ? STATUS_OK
               : registry_change_default(service->pools, load->name, NULL, load->make_default, why);
}

static struct served_pool *pool_folder_find_known(const struct service *service,
                                                  const struct pool_folder_load *load,
                                                  const char *digest)
{
    if (!load->asked_for)
        return served_pool_find_digest(service, load->name, digest);
    struct served_pool *current = served_pool_find(service, load->name);
    if (current && !strcmp(current->digest, digest))
        return current;
    served_pool_release(current);
    return NULL;
}

enum status pool_folder_load(const struct service *service, struct engine_session *session,
                             const struct pool_folder_load *load, struct served_pool **out,
                             bool *out_made, struct fail *why)
{
    struct served_pool_file file = {.spool = {.fd = -1}};
    struct served_pool *pool = NULL;
    *out_made = false;
    enum status status = served_pool_read_file(service, load->name, load->path, &file, why);
    if (status)
        return status;
    struct served_pool *known = pool_folder_find_known(service, load, file.digest);
    if (known) {
        status = pool_folder_keep(service, load, why);
        pool = status ? NULL : served_pool_find(service, load->name);
        if (!status && !pool) /* removed just now */
            status = status_fail(why, STATUS_CANCELLED, "the pool was removed meanwhile");
    } else {
        status = served_pool_load(service, session, load->name, load->origin, &file, &pool, why);
        *out_made = !status;
        if (!status)
            status = registry_publish(service->pools, &pool->snapshot, load->condition,
                                      load->make_default, NULL, why);
    }
    served_pool_finish_file(&file);
    served_pool_release(known);
    if (status)
        served_pool_release(pool);
    else
        *out = pool;
    return status;
}

/* ---- Scanning ---- */

static void pool_folder_load_file(struct pool_folder *folder, struct pool_folder_file *file,
                                  const struct service *service, struct engine_session *session)
{
    char path[SPOOL_FILE_MAX_PATH];
    struct served_pool *pool = NULL;
    bool made = false;
    struct fail why;
    enum status status = pool_folder_write_path(folder, file->name, path, &why);
    const struct pool_folder_load load = {.path = path, .name = file->name, .origin = "folder"};
    if (!status)
        status = pool_folder_load(service, session, &load, &pool, &made, &why);
    file->done = status != STATUS_CANCELLED;
    file->failed = status;
    if (status && file->done)
        log_line(LOG_WARN, "pool folder: %s", why.message);
    else if (made)
        log_line(LOG_INFO, "pool folder: %s is version %llu of the pool", file->name,
                 (unsigned long long)pool->snapshot.version);
    served_pool_release(pool);
}

static struct pool_folder_file *pool_folder_find(struct pool_folder *folder, const char *name)
{
    for (size_t i = 0; i < folder->count; i++)
        if (!strcmp(folder->files[i].name, name))
            return &folder->files[i];
    if (folder->count == POOL_FOLDER_MAX_FILES)
        return NULL;
    struct pool_folder_file *file = &folder->files[folder->count++];
    *file = (struct pool_folder_file){.done = false};
    snprintf(file->name, sizeof file->name, "%s", name);
    return file;
}

static void pool_folder_note(struct pool_folder *folder, const char *entry)
{
    char name[SNAPSHOT_MAX_NAME + 1], path[SPOOL_FILE_MAX_PATH];
    struct stat found;
    if (!pool_folder_stem(entry, name) || pool_folder_write_path(folder, name, path, NULL) ||
        stat(path, &found) || !S_ISREG(found.st_mode))
        return;
    struct pool_folder_file *file = pool_folder_find(folder, name);
    if (!file)
        return;
    struct pool_folder_stamp stamp;
    memset(&stamp, 0, sizeof stamp); /* the padding too, since all of it is compared */
    stamp.size = found.st_size;
    stamp.inode = found.st_ino;
    stamp.written = found.st_mtim;
    stamp.changed = found.st_ctim;
    file->there = true;
    if (!memcmp(&stamp, &file->stamp, sizeof stamp))
        return;
    file->stamp = stamp;
    file->since_us = clock_now_us();
    file->done = file->failed = false;
}

static void pool_folder_look(struct pool_folder *folder)
{
    for (size_t i = 0; i < folder->count; i++)
        folder->files[i].there = false;
    DIR *dir = opendir(folder->path);
    if (!dir && !folder->unreadable)
        log_line(LOG_WARN, "cannot read the pool folder %s: %s", folder->path, strerror(errno));
    folder->unreadable = !dir;
    for (struct dirent *entry = dir ? readdir(dir) : NULL; entry; entry = readdir(dir))
        pool_folder_note(folder, entry->d_name);
    if (dir)
        closedir(dir);
    size_t count = 0;
    for (size_t i = 0; i < folder->count; i++)
        if (folder->files[i].there)
            folder->files[count++] = folder->files[i];
    folder->count = count;
}

void pool_folder_scan(struct pool_folder *folder, const struct service *service,
                      struct engine_session *session, bool at_once)
{
    pool_folder_look(folder);
    for (size_t i = 0; i < folder->count; i++) {
        struct pool_folder_file *file = &folder->files[i];
        bool settled = clock_now_us() - file->since_us >= POOL_FOLDER_SETTLED_MS * 1000;
        if (at_once ? !file->done || file->failed : !file->done && settled)
            pool_folder_load_file(folder, file, service, session);
    }
}

/* ---- As a job ---- */

struct pool_folder_job {
    struct job job; /* first, so that one is the other */
    const struct service *service;
    bool at_once;
};

static void pool_folder_prepare(struct job *base, const struct job_tools *tools)
{
    const struct pool_folder_job *job = (struct pool_folder_job *)base;
    pool_folder_scan(job->service->pool_folder, job->service, tools->session, job->at_once);
}

static void pool_folder_finish_job(struct job *base)
{
    job_finish(base);
    free(base);
}

struct job *pool_folder_make_scan(const struct service *service, bool at_once)
{
    static const struct job_kind kind = {
        .background = true, .prepare = pool_folder_prepare, .destroy = pool_folder_finish_job};
    struct pool_folder_job *job = mem_zeroed(1, sizeof *job);
    if (!job)
        return NULL;
    job_init(&job->job, &kind);
    job->service = service;
    job->at_once = at_once;
    return &job->job;
}
