/*
 * What handlers and jobs work with. Made once at start, outlives every request; the parts are
 * immutable or guard themselves, except `draining`, which is the loop thread's.
 */
#ifndef SERVER_SERVICE_H
#define SERVER_SERVICE_H

#include <stdbool.h>

#include "config/config.h"
#include "engine/engine.h"

struct label_cache;
struct label_sets;
struct workers;

struct service {
    const struct config *config;
    struct engine *engine;
    struct workers *workers;
    struct label_cache *label_cache;
    struct label_sets *label_sets;
    struct engine_pool *pool;             /* NULL: plain CLIP */
    const char *default_sentence;         /* the pool's, else the engine's */
    struct engine_labels *default_labels; /* in it; NULL if the model folder has no labels.txt */
    bool draining;
};

#endif
