#include "server/service.h"

#include <stdlib.h>
#include <string.h>

#include "engine/base/log.h"
#include "engine/base/mem.h"
#include "server/label_cache.h"
#include "server/pool_files.h"
#include "server/pool_folder.h"
#include "server/self_test.h"
#include "server/served_pool.h"
#include "server/store.h"
#include "server/workers.h"

/* ---- Opening ---- */

static enum status service_open_model(struct service *service, struct fail *why)
{
    const struct config *config = service->config;
    static const char *const activations[] = {
        [CONFIG_ACTIVATION_OF_MODEL] = NULL,
        [CONFIG_QUICK_GELU] = "quick_gelu",
        [CONFIG_GELU] = "gelu",
    };
    const struct engine_options options = {.activation = activations[config->activation],
                                           .composition_cache_bytes =
                                               config->composition_cache_bytes};
    enum status status = engine_open(config->model, &options, &service->engine, why);
    if (status)
        return status;
    const struct engine_info *info = engine_info(service->engine);
    log_line(LOG_INFO, "model %s: %zu parameters, %zux%zu pixels, %s", info->name, info->parameters,
             info->image_size, info->image_size, info->backend);
    return label_cache_create(config->label_cache_bytes, &service->label_cache, why);
}

static enum status service_open_store(struct service *service, struct fail *why)
{
    const char *dir = service->config->state_dir;
    const char *temporary = getenv("TMPDIR");
    if (!dir) {
        service->spool_dir = temporary && *temporary ? temporary : "/tmp";
        log_line(LOG_INFO, "no --state-dir: label sets and pools are forgotten at the end");
        return STATUS_OK;
    }
    enum status status = store_open(dir, &service->store, why);
    if (status)
        return status;
    service->pool_files = mem_zeroed(1, sizeof *service->pool_files);
    if (!service->pool_files)
        return status_fail(why, STATUS_NO_MEMORY, "no memory for the state folder");
    service->spool_dir = service->pool_files->incoming;
    return pool_files_open(service->pool_files, dir, why);
}

static enum status service_open_registries(struct service *service, struct fail *why)
{
    const struct config *config = service->config;
    const struct registry_options label_sets = {.kind = STORE_LABEL_SET,
                                                .noun = "label set",
                                                .max_names = config->max_label_sets,
                                                .max_bytes = config->label_set_bytes,
                                                .kept_versions = 1,
                                                .store = service->store};
    const struct registry_options pools = {.kind = STORE_POOL,
                                           .noun = "pool",
                                           .max_names = config->max_pools,
                                           .max_bytes = config->pool_bytes,
                                           .kept_versions = config->pool_versions,
                                           .store = service->store,
                                           .keep = pool_files_keep,
                                           .dropped = pool_files_drop,
                                           .argument = service->pool_files};
    enum status status = registry_create(&label_sets, &service->label_sets, why);
    if (!status)
        status = registry_create(&pools, &service->pools, why);
    if (!status && service->pool_files)
        service->pool_files->pools = service->pools;
    return status;
}

enum status service_open(struct service *service, struct fail *why)
{
    enum status status = service_open_model(service, why);
    if (!status)
        status = service_open_store(service, why);
    if (!status)
        status = service_open_registries(service, why);
    if (!status && service->config->pool_dir)
        status = pool_folder_create(service->config->pool_dir, &service->pool_folder, why);
    return status;
}

/* ---- Restoring ---- */

struct service_restoring {
    struct service *service;
    struct engine_session *session;
    struct registry *registry;
    service_restore_entry *restore;
    size_t count;
};

/* Requests that bring no labels use the model's own, if it has any. */
static enum status service_compile_labels(struct service *service, struct engine_session *session,
                                          struct fail *why)
{
    struct engine_label_list *list = &service->default_names;
    enum status status = engine_default_labels(service->engine, list, why);
    if (status)
        return status == STATUS_NOT_FOUND ? STATUS_OK : status;
    status = engine_labels_compile(session, list->names, list->count, NULL, 0,
                                   &service->default_labels, why);
    return status ? status_context(why, status, "labels.txt") : STATUS_OK;
}

static enum status service_restore_pool(const struct service *service,
                                        struct engine_session *session,
                                        const struct store_entry *entry, struct snapshot **out,
                                        struct fail *why)
{
    char digest[FILE_DIGEST_BYTES];
    const char *origin;
    struct served_pool_file file = {.spool = {.fd = -1}};
    struct served_pool *pool = NULL;
    enum status status = served_pool_read_document(entry->document, digest, &origin, why);
    if (!status)
        status = pool_files_write_path(service->pool_files, digest, file.path, why);
    if (!status)
        status = file_digest_read(file.path, NULL, file.digest, why);
    if (!status && strcmp(digest, file.digest) != 0)
        status = status_fail(why, STATUS_FORMAT, "%s is not the file that was stored", file.path);
    if (!status)
        status = served_pool_load(service, session, entry->name, origin, &file, &pool, why);
    if (!status)
        *out = &pool->snapshot;
    return status;
}

static enum status service_restore_one(void *argument, const struct store_entry *entry,
                                       struct fail *why)
{
    struct service_restoring *restoring = argument;
    struct snapshot *snapshot = NULL;
    enum status status =
        restoring->restore(restoring->service, restoring->session, entry, &snapshot, why);
    if (!status)
        status =
            registry_restore(restoring->registry, snapshot, entry->version, entry->is_current, why);
    snapshot_release(snapshot);
    restoring->count++;
    return status ? status_context(why, status, "%s, version %llu", entry->name,
                                   (unsigned long long)entry->version)
                  : STATUS_OK;
}

static enum status service_restore_kind(struct service_restoring *restoring, enum store_kind kind,
                                        const char *noun, struct fail *why)
{
    restoring->count = 0;
    enum status status =
        store_each(restoring->service->store, kind, service_restore_one, restoring, why);
    if (status)
        return status_context(why, status, "cannot restore %s", noun);
    log_line(LOG_INFO, "restored %zu %s", restoring->count, noun);
    return STATUS_OK;
}

static enum status service_restore_store(struct service *service, struct engine_session *session,
                                         service_restore_entry *restore_label_set, struct fail *why)
{
    if (!service->store)
        return STATUS_OK;
    struct service_restoring pools = {service, session, service->pools, service_restore_pool, 0};
    struct service_restoring sets = {service, session, service->label_sets, restore_label_set, 0};
    enum status status = service_restore_kind(&pools, STORE_POOL, "versions of pools", why);
    if (!status)
        status = service_restore_kind(&sets, STORE_LABEL_SET, "label sets", why);
    if (!status)
        pool_files_clean(service->pool_files);
    return status;
}

/* The pool of --pool, which is the default from now on. */
static enum status service_load_option(struct service *service, struct engine_session *session,
                                       struct fail *why)
{
    const char *path = service->config->pool;
    char name[SNAPSHOT_MAX_NAME + 1];
    struct served_pool *pool = NULL;
    bool made;
    if (!path)
        return STATUS_OK;
    enum status status = pool_folder_name(path, name, why);
    const struct pool_folder_load load = {
        .path = path, .name = name, .origin = "option", .make_default = STORE_DEFAULT_SET};
    if (!status)
        status = pool_folder_load(service, session, &load, &pool, &made, why);
    if (status)
        return strncmp(why->message, path, strlen(path)) != 0
                   ? status_context(why, status, "%s", path)
                   : status;
    const struct engine_pool_info *info = engine_pool_info(pool->pool);
    log_line(LOG_INFO, "pool %s: %zu prompts, %zu clusters take %zu each, %zu text blocks", name,
             info->prompts, info->clusters, info->per_cluster, info->depth);
    served_pool_release(pool);
    return STATUS_OK;
}

enum status service_restore(struct service *service, service_restore_entry *restore_label_set,
                            struct fail *why)
{
    struct engine_session *session = NULL;
    enum status status = engine_session_create(service->engine, 1, &session, why);
    if (!status)
        status = service_compile_labels(service, session, why);
    if (!status)
        status = self_test_run(service->engine, session, NULL, service->default_labels, why);
    if (!status)
        status = service_restore_store(service, session, restore_label_set, why);
    if (!status)
        status = service_load_option(service, session, why);
    if (!status && service->pool_folder)
        pool_folder_scan(service->pool_folder, service, session, true);
    engine_session_destroy(session);
    return status;
}

/* ---- Before the first request ---- */

struct service_warming {
    struct engine *engine;
    struct served_pool *pool; /* NULL: none */
    struct engine_labels *labels;
};

static enum status service_warm_session(void *argument, struct engine_session *session,
                                        struct fail *why)
{
    const struct service_warming *warming = argument;
    struct engine_pool *pool = warming->pool ? warming->pool->pool : NULL;
    return self_test_run(warming->engine, session, pool, warming->labels, why);
}

enum status service_warm_up(struct service *service, struct fail *why)
{
    struct service_warming warming = {service->engine, served_pool_find_default(service),
                                      service->default_labels};
    if (warming.pool)
        warming.labels = warming.pool->default_labels;
    enum status status =
        workers_each_session(service->workers, service_warm_session, &warming, why);
    served_pool_release(warming.pool);
    return status;
}

void service_close(struct service *service)
{
    pool_folder_destroy(service->pool_folder);
    registry_destroy(service->pools);
    registry_destroy(service->label_sets);
    store_close(service->store);
    free(service->pool_files);
    label_cache_destroy(service->label_cache);
    engine_labels_release(service->default_labels);
    engine_label_list_finish(&service->default_names);
    engine_close(service->engine);
}
