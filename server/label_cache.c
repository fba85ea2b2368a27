#include "server/label_cache.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/buf.h"
#include "engine/base/mem.h"

enum { LABEL_CACHE_MAX_KEY_BYTES = 1 << 26, LABEL_CACHE_MAX_ENTRIES = 1024 };

struct label_cache_entry {
    struct label_cache_entry *newer, *older;
    struct engine_labels *labels;
    size_t bytes; /* in the account of the cache */
    uint64_t hash;
    size_t key_size;
    char key[];
};

struct label_cache {
    pthread_mutex_t lock;
    size_t max_bytes;
    struct label_cache_figures figures;
    struct label_cache_entry *newest, *oldest;
};

/* Every text with its NUL, an empty one between names and sentences: no two lists give one key,
 * since no name is empty. */
static enum status label_cache_write_key(struct buf *key, const char *const *names, size_t count,
                                         const char *const *sentences, size_t sentence_count,
                                         struct fail *why)
{
    enum status status = STATUS_OK;
    for (size_t i = 0; i < count && !status; i++)
        status = buf_append(key, names[i], strlen(names[i]) + 1, why);
    if (!status)
        status = buf_append(key, "", 1, why);
    for (size_t i = 0; i < sentence_count && !status; i++)
        status = buf_append(key, sentences[i], strlen(sentences[i]) + 1, why);
    return status ? status_context(why, status, "labels and sentences together") : STATUS_OK;
}

static uint64_t label_cache_hash(const struct buf *key)
{
    uint64_t hash = 14695981039346656037u; /* FNV-1a */
    for (size_t i = 0; i < key->size; i++)
        hash = (hash ^ (unsigned char)key->data[i]) * 1099511628211u;
    return hash;
}

static void label_cache_unlink(struct label_cache *cache, struct label_cache_entry *entry)
{
    if (entry->newer)
        entry->newer->older = entry->older;
    else
        cache->newest = entry->older;
    if (entry->older)
        entry->older->newer = entry->newer;
    else
        cache->oldest = entry->newer;
}

static void label_cache_link_newest(struct label_cache *cache, struct label_cache_entry *entry)
{
    entry->newer = NULL;
    entry->older = cache->newest;
    if (cache->newest)
        cache->newest->newer = entry;
    else
        cache->oldest = entry;
    cache->newest = entry;
}

static void label_cache_drop(struct label_cache *cache, struct label_cache_entry *entry)
{
    label_cache_unlink(cache, entry);
    cache->figures.entries--;
    cache->figures.bytes -= entry->bytes;
    engine_labels_release(entry->labels);
    free(entry);
}

static struct label_cache_entry *label_cache_find(struct label_cache *cache, const struct buf *key,
                                                  uint64_t hash)
{
    struct label_cache_entry *entry = cache->newest;
    while (entry && (entry->hash != hash || entry->key_size != key->size ||
                     memcmp(entry->key, key->data, key->size) != 0))
        entry = entry->older;
    return entry;
}

static struct engine_labels *label_cache_look_up(struct label_cache *cache, const struct buf *key,
                                                 uint64_t hash)
{
    struct engine_labels *labels = NULL;
    pthread_mutex_lock(&cache->lock);
    struct label_cache_entry *entry = label_cache_find(cache, key, hash);
    if (entry) {
        label_cache_unlink(cache, entry);
        label_cache_link_newest(cache, entry);
        labels = engine_labels_acquire(entry->labels);
        cache->figures.hits++;
    } else {
        cache->figures.misses++;
    }
    pthread_mutex_unlock(&cache->lock);
    return labels;
}

/* Keeps the labels if they fit; nothing depends on it. */
static void label_cache_keep(struct label_cache *cache, const struct buf *key, uint64_t hash,
                             struct engine_labels *labels)
{
    size_t bytes = sizeof(struct label_cache_entry) + key->size + engine_labels_bytes(labels);
    struct label_cache_entry *entry =
        bytes <= cache->max_bytes ? mem_zeroed(1, sizeof *entry + key->size) : NULL;
    if (!entry)
        return;
    entry->labels = engine_labels_acquire(labels);
    entry->bytes = bytes;
    entry->hash = hash;
    entry->key_size = key->size;
    memcpy(entry->key, key->data, key->size);

    pthread_mutex_lock(&cache->lock);
    struct label_cache_entry *twin = label_cache_find(cache, key, hash);
    if (twin)
        label_cache_drop(cache, twin);
    label_cache_link_newest(cache, entry);
    cache->figures.entries++;
    cache->figures.bytes += bytes;
    while (cache->figures.bytes > cache->max_bytes ||
           cache->figures.entries > LABEL_CACHE_MAX_ENTRIES) {
        label_cache_drop(cache, cache->oldest);
        cache->figures.evictions++;
    }
    pthread_mutex_unlock(&cache->lock);
}

enum status label_cache_create(size_t max_bytes, struct label_cache **out, struct fail *why)
{
    struct label_cache *cache = mem_zeroed(1, sizeof *cache);
    if (!cache)
        return status_fail(why, STATUS_NO_MEMORY, "no memory for the label cache");
    cache->max_bytes = max_bytes;
    pthread_mutex_init(&cache->lock, NULL);
    *out = cache;
    return STATUS_OK;
}

void label_cache_destroy(struct label_cache *cache)
{
    if (!cache)
        return;
    while (cache->newest)
        label_cache_drop(cache, cache->newest);
    pthread_mutex_destroy(&cache->lock);
    free(cache);
}

enum status label_cache_get(struct label_cache *cache, struct engine_session *session,
                            const char *const *names, size_t count, const char *const *sentences,
                            size_t sentence_count, struct engine_labels **out, struct fail *why)
{
    struct buf key;
    buf_init(&key, LABEL_CACHE_MAX_KEY_BYTES);
    enum status status = label_cache_write_key(&key, names, count, sentences, sentence_count, why);
    uint64_t hash = label_cache_hash(&key);
    struct engine_labels *labels = status ? NULL : label_cache_look_up(cache, &key, hash);
    if (!status && !labels) {
        status =
            engine_labels_compile(session, names, count, sentences, sentence_count, &labels, why);
        if (!status)
            label_cache_keep(cache, &key, hash, labels);
    }
    buf_finish(&key);
    if (!status)
        *out = labels;
    return status;
}

void label_cache_figures(struct label_cache *cache, struct label_cache_figures *out)
{
    pthread_mutex_lock(&cache->lock);
    *out = cache->figures;
    pthread_mutex_unlock(&cache->lock);
}
