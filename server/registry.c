#include "server/registry.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "engine/base/mem.h"

struct registry_entry {
    struct snapshot **versions; /* [count], at least one, ascending */
    size_t count;
    size_t current; /* index in versions */
};

struct registry {
    struct registry_options options;
    char id[STORE_ID_BYTES];
    /* Held through a change, the store's part included. What it guards is written under both locks,
     * so that either is enough to read it. */
    pthread_mutex_t change;
    pthread_mutex_t lock;           /* never held across work */
    struct registry_entry *entries; /* [count], by name; room for capacity */
    size_t count, capacity, bytes;
    uint64_t floor; /* see store_get_floor */
    char default_name[SNAPSHOT_MAX_NAME + 1];
};

/* ---- Looking up, under one of the locks ---- */

static const char *registry_name(const struct registry_entry *entry)
{
    return entry->versions[0]->name;
}

/* Where the name is, or belongs. */
static size_t registry_place(const struct registry *registry, const char *name)
{
    size_t low = 0, high = registry->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (strcmp(registry_name(&registry->entries[middle]), name) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static struct registry_entry *registry_look_up(const struct registry *registry, const char *name)
{
    size_t place = registry_place(registry, name);
    struct registry_entry *entry = &registry->entries[place];
    return place < registry->count && !strcmp(registry_name(entry), name) ? entry : NULL;
}

static struct snapshot *registry_current(const struct registry_entry *entry)
{
    return entry ? entry->versions[entry->current] : NULL;
}

static enum status registry_check_condition(const struct registry *registry,
                                            const struct registry_entry *entry,
                                            const struct registry_condition *condition,
                                            struct fail *why)
{
    if (!condition || registry_current(entry) == condition->current)
        return STATUS_OK;
    return status_fail(why, STATUS_CANCELLED, "the %s was changed meanwhile",
                       registry->options.noun);
}

static enum status registry_refuse_name(const struct registry *registry, const char *name,
                                        struct fail *why)
{
    return status_fail(why, STATUS_NOT_FOUND, "there is no %s \"%.80s\"", registry->options.noun,
                       name);
}

/* ---- Changing, under both locks ---- */

/* Makes versions [count], of which the last may be a new one, what the entry has. The memory is
 * taken over; whoever is in it is acquired already. */
static void registry_set_versions(struct registry_entry *entry, struct snapshot **versions,
                                  size_t count, size_t current)
{
    free(entry->versions);
    *entry = (struct registry_entry){.versions = versions, .count = count, .current = current};
}

/* For one more name than there may be: what was let in once comes back, whatever the limits are
 * now.
 */
static bool registry_make_room(struct registry *registry)
{
    if (registry->count < registry->capacity)
        return true;
    size_t capacity = registry->capacity * 2;
    struct registry_entry *entries =
        mem_resize(registry->entries, capacity, sizeof *registry->entries);
    if (!entries)
        return false;
    registry->entries = entries;
    registry->capacity = capacity;
    return true;
}

static struct registry_entry *registry_insert(struct registry *registry, const char *name)
{
    size_t place = registry_place(registry, name);
    struct registry_entry *entry = &registry->entries[place];
    memmove(entry + 1, entry, (registry->count - place) * sizeof *entry);
    registry->count++;
    *entry = (struct registry_entry){.versions = NULL};
    return entry;
}

static void registry_take_out(struct registry *registry, struct registry_entry *entry)
{
    size_t place = (size_t)(entry - registry->entries);
    registry->count--;
    memmove(entry, entry + 1, (registry->count - place) * sizeof *entry);
}

static void registry_set_default(struct registry *registry, const char *name,
                                 enum store_default make_default)
{
    if (make_default == STORE_DEFAULT_SET)
        snprintf(registry->default_name, sizeof registry->default_name, "%s", name);
    else if (make_default == STORE_DEFAULT_CLEAR && !strcmp(registry->default_name, name))
        registry->default_name[0] = '\0';
}

/* ---- The whole ---- */

static enum status registry_read_store(struct registry *registry, struct fail *why)
{
    const struct registry_options *options = &registry->options;
    if (!options->store) {
        uint64_t id;
        if (getrandom(&id, sizeof id, 0) != (ssize_t)sizeof id)
            return status_fail(why, STATUS_IO, "no random numbers");
        snprintf(registry->id, sizeof registry->id, "%016" PRIx64, id);
        return STATUS_OK;
    }
    snprintf(registry->id, sizeof registry->id, "%s", store_id(options->store));
    enum status status =
        store_get_default(options->store, options->kind, registry->default_name, why);
    return status ? status : store_get_floor(options->store, options->kind, &registry->floor, why);
}

enum status registry_create(const struct registry_options *options, struct registry **out,
                            struct fail *why)
{
    struct registry *registry = mem_zeroed(1, sizeof *registry);
    struct registry_entry *entries = mem_zeroed(options->max_names + 1, sizeof *entries);
    if (!registry || !entries) {
        free(registry);
        free(entries);
        return status_fail(why, STATUS_NO_MEMORY, "no memory for %zu %ss", options->max_names,
                           options->noun);
    }
    pthread_mutex_init(&registry->change, NULL);
    pthread_mutex_init(&registry->lock, NULL);
    registry->options = *options;
    registry->entries = entries;
    registry->capacity = options->max_names + 1;
    enum status status = registry_read_store(registry, why);
    if (status)
        registry_destroy(registry);
    else
        *out = registry;
    return status;
}

void registry_destroy(struct registry *registry)
{
    if (!registry)
        return;
    for (size_t i = 0; i < registry->count; i++) {
        for (size_t k = 0; k < registry->entries[i].count; k++)
            snapshot_release(registry->entries[i].versions[k]);
        free(registry->entries[i].versions);
    }
    pthread_mutex_destroy(&registry->lock);
    pthread_mutex_destroy(&registry->change);
    free(registry->entries);
    free(registry);
}

static enum status registry_check_names(const struct registry *registry,
                                        const struct registry_entry *entry, struct fail *why)
{
    if (!entry && registry->count >= registry->options.max_names)
        return status_fail(why, STATUS_LIMIT, "there are %zu %ss already, the most there may be",
                           registry->count, registry->options.noun);
    return STATUS_OK;
}

enum status registry_check_room(struct registry *registry, const char *name, struct fail *why)
{
    pthread_mutex_lock(&registry->lock);
    enum status status = registry_check_names(registry, registry_look_up(registry, name), why);
    pthread_mutex_unlock(&registry->lock);
    return status;
}

/* Without `change`: no change is possible yet, and the store, which calls back under a lock of its
 * own, is called under it. */
enum status registry_restore(struct registry *registry, struct snapshot *snapshot, uint64_t version,
                             bool is_current, struct fail *why)
{
    pthread_mutex_lock(&registry->lock);
    struct registry_entry *entry = registry_look_up(registry, snapshot->name);
    size_t count = entry ? entry->count : 0;
    struct snapshot **versions = mem_zeroed(count + 1, sizeof(struct snapshot *));
    enum status status = STATUS_OK;
    if (!versions || (!entry && !registry_make_room(registry)))
        status = status_fail(why, STATUS_NO_MEMORY, "no memory for a %s", registry->options.noun);
    if (!status) {
        if (!entry)
            entry = registry_insert(registry, snapshot->name);
        for (size_t i = 0; i < count; i++)
            versions[i] = entry->versions[i];
        versions[count] = snapshot_acquire(snapshot);
        snapshot->version = version;
        registry->bytes += snapshot->bytes;
        registry_set_versions(entry, versions, count + 1, is_current ? count : entry->current);
    } else {
        free(versions);
    }
    pthread_mutex_unlock(&registry->lock);
    return status;
}

/* ---- Publishing ---- */

/* A change on its way, under `change`. */
struct registry_step {
    struct registry *registry;
    struct registry_entry *entry; /* NULL: the name is new */
    struct snapshot *snapshot;
    size_t dropped; /* so many of the entry's versions, the oldest, go */
    enum store_default make_default;
};

static enum status registry_check_bytes(const struct registry_step *step, struct fail *why)
{
    const struct registry *registry = step->registry;
    size_t used = registry->bytes, most = registry->options.max_bytes;
    for (size_t i = 0; i < step->dropped; i++)
        used -= step->entry->versions[i]->bytes;
    if (used > most || step->snapshot->bytes > most - used)
        return status_fail(why, STATUS_LIMIT,
                           "the %s takes %zu bytes, and all %ss together may take %zu, of which "
                           "%zu are in use",
                           registry->options.noun, step->snapshot->bytes, registry->options.noun,
                           most, used);
    return STATUS_OK;
}

static void registry_tell_dropped(const struct registry *registry, struct snapshot *snapshot)
{
    const struct registry_options *options = &registry->options;
    if (options->store && options->dropped)
        options->dropped(options->argument, snapshot);
}

/* The new version into the store, if there is one. */
static enum status registry_store_version(const struct registry_step *step, struct fail *why)
{
    const struct registry_options *options = &step->registry->options;
    struct snapshot *snapshot = step->snapshot;
    if (!options->store)
        return STATUS_OK;
    enum status status =
        options->keep ? options->keep(options->argument, snapshot, why) : STATUS_OK;
    if (status)
        return status;
    bool others = step->entry && step->entry->count > step->dropped;
    const struct store_change change = {
        .kind = options->kind,
        .name = snapshot->name,
        .added = snapshot->version,
        .document = snapshot->document,
        .document_bytes = strlen(snapshot->document),
        .current = snapshot->version,
        .oldest = others ? step->entry->versions[step->dropped]->version : snapshot->version,
        .make_default = step->make_default,
    };
    status = store_commit(options->store, &change, why);
    if (status)
        registry_tell_dropped(step->registry, snapshot);
    return status;
}

/* Looks at all that can stand in the way, and says what will go. */
static enum status registry_plan(struct registry_step *step,
                                 const struct registry_condition *condition, struct fail *why)
{
    struct registry *registry = step->registry;
    const struct registry_entry *entry = step->entry;
    size_t kept = registry->options.kept_versions;
    step->dropped = entry && entry->count + 1 > kept ? entry->count + 1 - kept : 0;
    step->snapshot->version =
        entry ? entry->versions[entry->count - 1]->version + 1 : registry->floor + 1;
    enum status status = registry_check_condition(registry, entry, condition, why);
    if (!status)
        status = registry_check_names(registry, entry, why);
    return status ? status : registry_check_bytes(step, why);
}

/* What nothing can stop any more. *out_old: the versions as they were, to be told of and released
 * [step->dropped]; free(). */
static void registry_show(const struct registry_step *step, struct snapshot **versions,
                          struct snapshot **out_old)
{
    struct registry *registry = step->registry;
    struct registry_entry *entry = step->entry;
    size_t count = 0, before = entry ? entry->count : 0;
    pthread_mutex_lock(&registry->lock);
    if (!entry)
        entry = registry_insert(registry, step->snapshot->name);
    for (size_t i = 0; i < before; i++)
        if (i < step->dropped) {
            out_old[i] = entry->versions[i];
            registry->bytes -= entry->versions[i]->bytes;
        } else {
            versions[count++] = entry->versions[i];
        }
    versions[count++] = snapshot_acquire(step->snapshot);
    registry->bytes += step->snapshot->bytes;
    registry_set_versions(entry, versions, count, count - 1);
    registry_set_default(registry, step->snapshot->name, step->make_default);
    pthread_mutex_unlock(&registry->lock);
}

static enum status registry_take_step(const struct registry_step *step, struct fail *why)
{
    size_t before = step->entry ? step->entry->count : 0;
    struct snapshot **versions = mem_zeroed(before + 1, sizeof(struct snapshot *));
    struct snapshot **old = mem_zeroed(step->dropped, sizeof(struct snapshot *));
    enum status status = versions && old ? registry_store_version(step, why)
                                         : status_fail(why, STATUS_NO_MEMORY, "no memory for a %s",
                                                       step->registry->options.noun);
    if (status) {
        free(versions);
        free(old);
        return status;
    }
    registry_show(step, versions, old);
    for (size_t i = 0; i < step->dropped; i++) {
        registry_tell_dropped(step->registry, old[i]);
        snapshot_release(old[i]);
    }
    free(old);
    return STATUS_OK;
}

enum status registry_publish(struct registry *registry, struct snapshot *snapshot,
                             const struct registry_condition *condition,
                             enum store_default make_default, bool *out_made, struct fail *why)
{
    pthread_mutex_lock(&registry->change);
    struct registry_step step = {.registry = registry,
                                 .entry = registry_look_up(registry, snapshot->name),
                                 .snapshot = snapshot,
                                 .make_default = make_default};
    bool made = !step.entry;
    enum status status = registry_plan(&step, condition, why);
    if (!status)
        status = registry_take_step(&step, why);
    if (!status) { /* which has been stored, and is needed no more */
        free(snapshot->document);
        snapshot->document = NULL;
    }
    pthread_mutex_unlock(&registry->change);
    if (!status && out_made)
        *out_made = made;
    return status;
}

/* ---- Rolling back ---- */

/* The place of the version, or of the one before the current one. */
static enum status registry_find_version(const struct registry *registry,
                                         const struct registry_entry *entry, uint64_t version,
                                         size_t *out, struct fail *why)
{
    const char *noun = registry->options.noun;
    const struct snapshot *current = registry_current(entry);
    if (!version && !entry->current)
        return status_fail(why, STATUS_INVALID,
                           "no version of the %s \"%s\" before %" PRIu64 " is kept", noun,
                           current->name, current->version);
    for (size_t i = 0; i < entry->count; i++)
        if (version ? entry->versions[i]->version == version : i + 1 == entry->current) {
            *out = i;
            return STATUS_OK;
        }
    return status_fail(why, STATUS_INVALID, "version %" PRIu64 " of the %s \"%s\" is not kept",
                       version, noun, current->name);
}

/* Under `change`. */
static enum status registry_point(struct registry *registry, struct registry_entry *entry,
                                  uint64_t version, struct snapshot **out, struct fail *why)
{
    size_t place = 0;
    enum status status = registry_find_version(registry, entry, version, &place, why);
    if (status)
        return status;
    struct snapshot *snapshot = entry->versions[place];
    const struct store_change change = {.kind = registry->options.kind,
                                        .name = snapshot->name,
                                        .current = snapshot->version,
                                        .oldest = entry->versions[0]->version};
    if (registry->options.store)
        status = store_commit(registry->options.store, &change, why);
    if (status)
        return status;
    pthread_mutex_lock(&registry->lock);
    entry->current = place;
    pthread_mutex_unlock(&registry->lock);
    *out = snapshot_acquire(snapshot);
    return STATUS_OK;
}

enum status registry_roll_back(struct registry *registry, const char *name, uint64_t version,
                               const struct registry_condition *condition, struct snapshot **out,
                               struct fail *why)
{
    pthread_mutex_lock(&registry->change);
    struct registry_entry *entry = registry_look_up(registry, name);
    enum status status = entry ? registry_check_condition(registry, entry, condition, why)
                               : registry_refuse_name(registry, name, why);
    if (!status)
        status = registry_point(registry, entry, version, out, why);
    pthread_mutex_unlock(&registry->change);
    return status;
}

enum status registry_change_default(struct registry *registry, const char *name,
                                    const struct registry_condition *condition,
                                    enum store_default make_default, struct fail *why)
{
    pthread_mutex_lock(&registry->change);
    const struct registry_entry *entry = registry_look_up(registry, name);
    enum status status = entry ? registry_check_condition(registry, entry, condition, why)
                               : registry_refuse_name(registry, name, why);
    if (!status && registry->options.store) {
        const struct store_change change = {.kind = registry->options.kind,
                                            .name = name,
                                            .current = registry_current(entry)->version,
                                            .oldest = entry->versions[0]->version,
                                            .make_default = make_default};
        status = store_commit(registry->options.store, &change, why);
    }
    if (!status) {
        pthread_mutex_lock(&registry->lock);
        registry_set_default(registry, name, make_default);
        pthread_mutex_unlock(&registry->lock);
    }
    pthread_mutex_unlock(&registry->change);
    return status;
}

/* ---- Removing ---- */

/* Under `change`; the entry's versions are the caller's afterwards. */
static enum status registry_take_away(struct registry *registry, struct registry_entry *entry,
                                      const char *name, struct fail *why)
{
    const struct store_change change = {.kind = registry->options.kind, .name = name};
    enum status status = STATUS_OK;
    if (registry->options.store)
        status = store_commit(registry->options.store, &change, why);
    if (status)
        return status;
    uint64_t last = entry->versions[entry->count - 1]->version;
    pthread_mutex_lock(&registry->lock);
    if (last > registry->floor)
        registry->floor = last;
    for (size_t i = 0; i < entry->count; i++)
        registry->bytes -= entry->versions[i]->bytes;
    registry_take_out(registry, entry);
    registry_set_default(registry, name, STORE_DEFAULT_CLEAR);
    pthread_mutex_unlock(&registry->lock);
    return STATUS_OK;
}

enum status registry_remove(struct registry *registry, const char *name,
                            const struct registry_condition *condition, struct fail *why)
{
    pthread_mutex_lock(&registry->change);
    struct registry_entry *entry = registry_look_up(registry, name);
    enum status status = entry ? registry_check_condition(registry, entry, condition, why)
                               : registry_refuse_name(registry, name, why);
    struct registry_entry old = {.versions = NULL};
    if (!status) {
        old = *entry;
        status = registry_take_away(registry, entry, name, why);
    }
    for (size_t i = 0; !status && i < old.count; i++) {
        registry_tell_dropped(registry, old.versions[i]);
        snapshot_release(old.versions[i]);
    }
    if (!status)
        free(old.versions);
    pthread_mutex_unlock(&registry->change);
    return status;
}

/* ---- Reading ---- */

struct snapshot *registry_find(struct registry *registry, const char *name)
{
    pthread_mutex_lock(&registry->lock);
    struct snapshot *snapshot = registry_current(registry_look_up(registry, name));
    if (snapshot)
        snapshot_acquire(snapshot);
    pthread_mutex_unlock(&registry->lock);
    return snapshot;
}

struct snapshot *registry_find_default(struct registry *registry)
{
    pthread_mutex_lock(&registry->lock);
    struct snapshot *snapshot =
        registry_current(registry_look_up(registry, registry->default_name));
    if (snapshot)
        snapshot_acquire(snapshot);
    pthread_mutex_unlock(&registry->lock);
    return snapshot;
}

bool registry_is_default(struct registry *registry, const char *name)
{
    pthread_mutex_lock(&registry->lock);
    bool is_default = *name && !strcmp(registry->default_name, name);
    pthread_mutex_unlock(&registry->lock);
    return is_default;
}

struct snapshot **registry_list(struct registry *registry, size_t *out_count)
{
    pthread_mutex_lock(&registry->lock);
    struct snapshot **list = mem_zeroed(registry->count, sizeof(struct snapshot *));
    *out_count = list ? registry->count : 0;
    for (size_t i = 0; i < *out_count; i++)
        list[i] = snapshot_acquire(registry_current(&registry->entries[i]));
    pthread_mutex_unlock(&registry->lock);
    return list;
}

struct snapshot **registry_list_versions(struct registry *registry, const char *name,
                                         size_t *out_count)
{
    pthread_mutex_lock(&registry->lock);
    const struct registry_entry *entry = registry_look_up(registry, name);
    size_t count = entry ? entry->count : 0;
    struct snapshot **list = mem_zeroed(count, sizeof(struct snapshot *));
    *out_count = list ? count : 0;
    for (size_t i = 0; i < *out_count; i++)
        list[i] = snapshot_acquire(entry->versions[i]);
    pthread_mutex_unlock(&registry->lock);
    return list;
}

void registry_write_etag(const struct registry *registry, const struct snapshot *snapshot,
                         char out[REGISTRY_ETAG_BYTES])
{
    snprintf(out, REGISTRY_ETAG_BYTES, "\"%" PRIu64 "-%s\"", snapshot->version, registry->id);
}
