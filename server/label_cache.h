/*
 * Compiled labels of earlier requests, by their names and sentences, bounded in bytes; the least
 * recently used leave first. Any thread; the lock is held to look up, keep and drop entries, never
 * while compiling.
 */
#ifndef SERVER_LABEL_CACHE_H
#define SERVER_LABEL_CACHE_H

#include <stddef.h>

#include "engine/engine.h"

struct label_cache;

enum status label_cache_create(size_t max_bytes, struct label_cache **out, struct fail *why);
void label_cache_destroy(struct label_cache *cache);

/* The labels of these names and sentences (as for engine_labels_compile, which the session is for),
 * from the cache or compiled now. Release them with engine_labels_release. */
enum status label_cache_get(struct label_cache *cache, struct engine_session *session,
                            const char *const *names, size_t count, const char *const *sentences,
                            size_t sentence_count, struct engine_labels **out, struct fail *why);

struct label_cache_figures {
    size_t entries, bytes, hits, misses, evictions;
};

void label_cache_figures(struct label_cache *cache, struct label_cache_figures *out);

#endif
