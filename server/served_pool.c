#include "server/served_pool.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/mem.h"
#include "server/clock.h"
#include "server/metrics.h"
#include "server/self_test.h"

static const char *const served_pool_origins[] = {"upload", "folder", "option"};

static void served_pool_destroy(struct snapshot *snapshot)
{
    struct served_pool *pool = (struct served_pool *)snapshot;
    engine_labels_release(pool->default_labels);
    engine_pool_release(pool->pool);
    spool_file_finish(&pool->file);
    free(pool);
}

void served_pool_release(struct served_pool *pool)
{
    snapshot_release((struct snapshot *)pool);
}

struct served_pool *served_pool_find(const struct service *service, const char *name)
{
    return (struct served_pool *)registry_find(service->pools, name);
}

struct served_pool *served_pool_find_default(const struct service *service)
{
    return (struct served_pool *)registry_find_default(service->pools);
}

struct served_pool *served_pool_find_digest(const struct service *service, const char *name,
                                            const char *digest)
{
    size_t count;
    struct snapshot **versions = registry_list_versions(service->pools, name, &count);
    struct served_pool *found = NULL;
    for (size_t i = 0; i < count; i++) {
        struct served_pool *pool = (struct served_pool *)versions[i];
        if (!found && !strcmp(pool->digest, digest))
            found = pool;
        else
            served_pool_release(pool);
    }
    free(versions);
    return found;
}

/* ---- The file ---- */

/* Names the pool instead of the path, which means nothing to those who sent the file. */
static enum status served_pool_explain(const char *name, const char *path, struct fail *why)
{
    size_t length = strlen(path);
    if (!strncmp(why->message, path, length) && !strncmp(why->message + length, ": ", 2))
        memmove(why->message, why->message + length + 2, strlen(why->message + length + 2) + 1);
    return status_context(why, why->code, "pool \"%s\"", name);
}

enum status served_pool_read_file(const struct service *service, const char *name, const char *path,
                                  struct served_pool_file *out, struct fail *why)
{
    struct spool_file spool = {.fd = -1};
    enum status status = STATUS_OK;
    if (strlen(path) >= sizeof out->path)
        return status_fail(why, STATUS_LIMIT, "the path %.200s... is too long", path);
    if (service->store)
        status = spool_file_open(&spool, service->spool_dir, why);
    if (!status)
        status = file_digest_read(path, service->store ? &spool : NULL, out->digest, why);
    if (status) {
        spool_file_finish(&spool);
        return served_pool_explain(name, path, why);
    }
    spool_file_close(&spool);
    snprintf(out->path, sizeof out->path, "%s", service->store ? spool.path : path);
    spool_file_take(&out->spool, &spool);
    return STATUS_OK;
}

enum status served_pool_receive_file(struct spool_file *spool, struct served_pool_file *out,
                                     struct fail *why)
{
    spool_file_close(spool);
    enum status status = file_digest_read(spool->path, NULL, out->digest, why);
    if (status) {
        spool_file_finish(spool);
        return status;
    }
    snprintf(out->path, sizeof out->path, "%s", spool->path);
    spool_file_take(&out->spool, spool);
    return STATUS_OK;
}

void served_pool_finish_file(struct served_pool_file *file)
{
    spool_file_finish(&file->spool);
}

/* ---- Loading ---- */

/* The model's own labels in the sentence of the pool. */
static enum status served_pool_compile(const struct service *service,
                                       struct engine_session *session, struct served_pool *pool,
                                       struct fail *why)
{
    const char *sentence = engine_pool_info(pool->pool)->sentence;
    const struct engine_label_list *list = &service->default_names;
    if (!list->count)
        return STATUS_OK;
    enum status status = STATUS_OK;
    if (!strcmp(sentence, engine_default_sentence))
        pool->default_labels = engine_labels_acquire(service->default_labels);
    else
        status = engine_labels_compile(session, list->names, list->count, &sentence, 1,
                                       &pool->default_labels, why);
    if (!status)
        status = engine_labels_check_pool(pool->default_labels, pool->pool, why);
    return status ? status_context(why, status, "the model's own labels") : STATUS_OK;
}

static char *served_pool_write_document(const struct served_pool *pool)
{
    char document[FILE_DIGEST_BYTES + 32];
    int length = snprintf(document, sizeof document, "%s %s", pool->digest, pool->origin);
    return mem_copy_text(document, (size_t)length);
}

enum status served_pool_load(const struct service *service, struct engine_session *session,
                             const char *name, const char *origin, struct served_pool_file *file,
                             struct served_pool **out, struct fail *why)
{
    const struct engine_pool_options options = {
        .any_fingerprint = service->config->pool_fingerprint == CONFIG_ANY};
    uint64_t started_us = clock_now_us();
    struct served_pool *pool = mem_zeroed(1, sizeof *pool);
    if (!pool)
        return status_fail(why, STATUS_NO_MEMORY, "no memory for a pool");
    snapshot_init(&pool->snapshot, name, 0, NULL, served_pool_destroy);
    pool->origin = origin;
    spool_file_take(&pool->file, &file->spool);
    memcpy(pool->digest, file->digest, sizeof pool->digest);
    enum status status = engine_pool_load(service->engine, file->path, &options, &pool->pool, why);
    if (!status)
        status = served_pool_compile(service, session, pool, why);
    if (!status)
        status = self_test_run(service->engine, session, pool->pool, pool->default_labels, why);
    metrics_count_pool_load(service->metrics, status);
    if (status) {
        served_pool_explain(name, file->path, why);
        served_pool_release(pool);
        return status;
    }
    pool->snapshot.bytes = engine_pool_bytes(pool->pool);
    pool->snapshot.document = served_pool_write_document(pool);
    pool->load_us = clock_now_us() - started_us;
    if (!service->store)
        spool_file_finish(&pool->file);
    if (!pool->snapshot.document) {
        served_pool_release(pool);
        return status_fail(why, STATUS_NO_MEMORY, "no memory for a pool");
    }
    *out = pool;
    return STATUS_OK;
}

enum status served_pool_read_document(const char *document, char out_digest[FILE_DIGEST_BYTES],
                                      const char **out_origin, struct fail *why)
{
    size_t digits = FILE_DIGEST_BYTES - 1;
    if (strspn(document, "0123456789abcdef") == digits && document[digits] == ' ')
        for (size_t i = 0; i < sizeof served_pool_origins / sizeof served_pool_origins[0]; i++)
            if (!strcmp(document + digits + 1, served_pool_origins[i])) {
                memcpy(out_digest, document, digits);
                out_digest[digits] = '\0';
                *out_origin = served_pool_origins[i];
                return STATUS_OK;
            }
    return status_fail(why, STATUS_FORMAT, "\"%.80s\" is not a digest and an origin", document);
}
