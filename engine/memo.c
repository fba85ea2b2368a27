#include "engine/memo.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/mem.h"

enum { MEMO_BUCKETS = 1 << 14 };

struct memo_entry {
    struct memo_entry *next_in_bucket;
    struct memo_entry *newer, *older;
    size_t references; /* the memo's own included; under the lock */
    size_t bytes;
    uint64_t hash, subject, pool;
    uint32_t part;
    uint16_t *prompts; /* [count], behind the floats */
    size_t count;
    float floats[];
};

struct memo {
    pthread_mutex_t lock;
    struct memo_figures figures;
    struct memo_entry *newest, *oldest;
    struct memo_entry *buckets[MEMO_BUCKETS];
};

static uint64_t memo_mix(uint64_t hash, uint64_t value)
{
    hash = (hash ^ value) * 0x9e3779b97f4a7c15u;
    return hash ^ hash >> 29;
}

static uint64_t memo_hash(const struct memo_key *key)
{
    uint64_t hash = memo_mix(memo_mix(memo_mix(0, key->subject), key->pool), key->part);
    for (size_t i = 0; i < key->count; i++)
        hash = memo_mix(hash, key->prompts[i]);
    return memo_mix(hash, key->count);
}

static struct memo_entry **memo_bucket(struct memo *memo, uint64_t hash)
{
    return &memo->buckets[hash % MEMO_BUCKETS];
}

static struct memo_entry *memo_look_up(struct memo *memo, const struct memo_key *key, uint64_t hash)
{
    struct memo_entry *entry = *memo_bucket(memo, hash);
    while (
        entry &&
        (entry->hash != hash || entry->subject != key->subject || entry->pool != key->pool ||
         entry->part != key->part || entry->count != key->count ||
         (key->count && memcmp(entry->prompts, key->prompts, key->count * sizeof *key->prompts))))
        entry = entry->next_in_bucket;
    return entry;
}

static void memo_unlink(struct memo *memo, struct memo_entry *entry)
{
    *(entry->newer ? &entry->newer->older : &memo->newest) = entry->older;
    *(entry->older ? &entry->older->newer : &memo->oldest) = entry->newer;
}

static void memo_link_newest(struct memo *memo, struct memo_entry *entry)
{
    entry->newer = NULL;
    entry->older = memo->newest;
    *(memo->newest ? &memo->newest->newer : &memo->oldest) = entry;
    memo->newest = entry;
}

static void memo_unreference(struct memo_entry *entry)
{
    if (--entry->references == 0)
        free(entry);
}

static void memo_drop(struct memo *memo, struct memo_entry *entry)
{
    struct memo_entry **link = memo_bucket(memo, entry->hash);
    while (*link != entry)
        link = &(*link)->next_in_bucket;
    *link = entry->next_in_bucket;
    memo_unlink(memo, entry);
    memo->figures.entries--;
    memo->figures.bytes -= entry->bytes;
    memo_unreference(entry);
}

enum status memo_create(size_t max_bytes, struct memo **out, struct fail *why)
{
    struct memo *memo = mem_zeroed(1, sizeof *memo);
    if (!memo)
        return status_fail(why, STATUS_NO_MEMORY, "no memory for a memo");
    memo->figures.max_bytes = max_bytes;
    pthread_mutex_init(&memo->lock, NULL);
    *out = memo;
    return STATUS_OK;
}

void memo_destroy(struct memo *memo)
{
    if (!memo)
        return;
    while (memo->newest)
        memo_drop(memo, memo->newest);
    pthread_mutex_destroy(&memo->lock);
    free(memo);
}

struct memo_entry *memo_find(struct memo *memo, const struct memo_key *key)
{
    uint64_t hash = memo_hash(key);
    pthread_mutex_lock(&memo->lock);
    struct memo_entry *entry = memo_look_up(memo, key, hash);
    if (entry) {
        memo_unlink(memo, entry);
        memo_link_newest(memo, entry);
        entry->references++;
        memo->figures.hits++;
    } else {
        memo->figures.misses++;
    }
    pthread_mutex_unlock(&memo->lock);
    return entry;
}

const float *memo_floats(const struct memo_entry *entry)
{
    return entry->floats;
}

void memo_release(struct memo *memo, struct memo_entry *entry)
{
    if (!entry)
        return;
    pthread_mutex_lock(&memo->lock);
    memo_unreference(entry);
    pthread_mutex_unlock(&memo->lock);
}

/* One allocation, and so no small ones between the large ones, which would keep the room of those
 * that left from being used for longer ones. */
static struct memo_entry *memo_make_entry(const struct memo_key *key, const float *floats,
                                          size_t count, size_t bytes)
{
    struct memo_entry *entry = malloc(bytes);
    if (!entry)
        return NULL;
    *entry = (struct memo_entry){.references = 1,
                                 .bytes = bytes,
                                 .hash = memo_hash(key),
                                 .subject = key->subject,
                                 .pool = key->pool,
                                 .part = key->part,
                                 .prompts = (uint16_t *)(entry->floats + count),
                                 .count = key->count};
    memcpy(entry->floats, floats, count * sizeof *floats);
    if (key->count)
        memcpy(entry->prompts, key->prompts, key->count * sizeof *key->prompts);
    return entry;
}

void memo_keep(struct memo *memo, const struct memo_key *key, const float *floats, size_t count)
{
    size_t bytes =
        sizeof(struct memo_entry) + key->count * sizeof *key->prompts + count * sizeof(float);
    struct memo_entry *entry =
        bytes <= memo->figures.max_bytes ? memo_make_entry(key, floats, count, bytes) : NULL;
    if (!entry)
        return;
    pthread_mutex_lock(&memo->lock);
    struct memo_entry *twin = memo_look_up(memo, key, entry->hash);
    if (twin)
        memo_drop(memo, twin);
    struct memo_entry **bucket = memo_bucket(memo, entry->hash);
    entry->next_in_bucket = *bucket;
    *bucket = entry;
    memo_link_newest(memo, entry);
    memo->figures.entries++;
    memo->figures.bytes += bytes;
    while (memo->figures.bytes > memo->figures.max_bytes) {
        memo_drop(memo, memo->oldest);
        memo->figures.evictions++;
    }
    pthread_mutex_unlock(&memo->lock);
}

void memo_figures(struct memo *memo, struct memo_figures *out)
{
    pthread_mutex_lock(&memo->lock);
    *out = memo->figures;
    pthread_mutex_unlock(&memo->lock);
}
