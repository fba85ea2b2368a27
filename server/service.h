/*
 * What handlers and jobs work with. Made once at start, outlives every request; the parts are
 * immutable or guard themselves, except the last few, which are the loop thread's.
 */
#ifndef SERVER_SERVICE_H
#define SERVER_SERVICE_H

#include <stdbool.h>

#include "config/config.h"
#include "engine/engine.h"
#include "server/registry.h"

struct access_log;
struct label_cache;
struct metrics;
struct pool_folder;
struct store_entry;
struct workers;

struct service {
    const struct config *config;
    double started_s; /* since 1970 */
    struct metrics *metrics;
    struct access_log *access_log; /* NULL: none is wanted */
    struct engine *engine;
    struct workers *workers;
    struct label_cache *label_cache;
    struct store *store;                    /* NULL: nothing survives a restart */
    struct registry *label_sets;            /* of struct label_set */
    struct registry *pools;                 /* of struct served_pool */
    struct pool_folder *pool_folder;        /* NULL: none is configured */
    struct pool_files *pool_files;          /* NULL without a store */
    const char *spool_dir;                  /* where files that come in are written */
    struct engine_label_list default_names; /* the model's own; count 0 if it has none */
    struct engine_labels *default_labels;   /* in the engine's sentence; NULL if there are none */

    bool leaving;  /* asked to stop, and not ready any more */
    bool draining; /* takes nothing new any more */
};

/* What a kind of snapshot is restored by: reads the document of an entry. */
typedef enum status service_restore_entry(const struct service *service,
                                          struct engine_session *session,
                                          const struct store_entry *entry, struct snapshot **out,
                                          struct fail *why);

/* Opens the model, the store and all that needs no worker. service: zeroes but for the fields
 * before engine, whose owner is another. Call service_close also after a failure. */
enum status service_open(struct service *service, struct fail *why);

/* With the workers there to help: what the store has, the configured pool and those of the folder,
 * and a test of the whole. */
enum status service_restore(struct service *service, service_restore_entry *restore_label_set,
                            struct fail *why);

/* One classification through the session of every worker, with the default pool if there is one, so
 * that no request is the first. */
enum status service_warm_up(struct service *service, struct fail *why);

/* No job may be left. */
void service_close(struct service *service);

#endif
