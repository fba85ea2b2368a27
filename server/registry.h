/*
 * Names that stand for immutable snapshots: label sets, prompt pools. Whoever has acquired a
 * snapshot keeps it, whatever happens to its name meanwhile.
 *
 * Each change of a name makes a new version (1, 2, ...); the last few are kept, and the name can be
 * made to stand for an earlier one again. No version of a name ever comes back with other content,
 * not even after the name was removed.
 *
 * With a store a change is on the disk before anybody sees it, and a change that cannot be stored
 * is not made. Any thread. Changes wait for each other, and for the disk; look-ups wait for
 * neither.
 */
#ifndef SERVER_REGISTRY_H
#define SERVER_REGISTRY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/status.h"
#include "server/snapshot.h"
#include "server/store.h"

enum { REGISTRY_ETAG_BYTES = 48 };

struct registry;

struct registry_options {
    enum store_kind kind;
    const char *noun; /* "label set", in messages */
    size_t max_names;
    size_t max_bytes;     /* of all snapshots that the registry keeps, together */
    size_t kept_versions; /* of a name, the current one included; at least 1 */
    struct store *store;  /* NULL: nothing survives; must outlive the registry */
    /* Either may be NULL; both run while no other change does. keep is the last that may refuse a
     * snapshot that will be stored; dropped is told of each that the store has no more. */
    enum status (*keep)(void *argument, struct snapshot *snapshot, struct fail *why);
    void (*dropped)(void *argument, struct snapshot *snapshot);
    void *argument;
};

enum status registry_create(const struct registry_options *options, struct registry **out,
                            struct fail *why);
void registry_destroy(struct registry *registry); /* NULL is allowed */

/* Puts back what the store has: versions of a name in ascending order, the one that the name stands
 * for marked, also more than there may be. Before anything else uses the registry. The reference
 * stays the caller's. */
enum status registry_restore(struct registry *registry, struct snapshot *snapshot, uint64_t version,
                             bool is_current, struct fail *why);

/* STATUS_LIMIT if the name is new and there are as many names as there may be; asked before work
 * that would be in vain. */
enum status registry_check_room(struct registry *registry, const char *name, struct fail *why);

/* What a change relies on: that the name stands for this snapshot (NULL: for nothing). */
struct registry_condition {
    const struct snapshot *current;
};

/* Makes snapshot what its name stands for, as a new version. condition may be NULL. *out_made (may
 * be NULL): whether the name is new. STATUS_CANCELLED if the condition does not hold (any more),
 * STATUS_LIMIT for too many names or bytes, STATUS_IO if it cannot be stored. The caller keeps its
 * reference in any case. */
enum status registry_publish(struct registry *registry, struct snapshot *snapshot,
                             const struct registry_condition *condition,
                             enum store_default make_default, bool *out_made, struct fail *why);

/* Makes the name stand for an earlier version, or any other that is kept: version, or 0 for the one
 * before the current one. *out: acquired. STATUS_NOT_FOUND if there is no such name, STATUS_INVALID
 * if there is no such version, STATUS_CANCELLED, STATUS_IO. */
enum status registry_roll_back(struct registry *registry, const char *name, uint64_t version,
                               const struct registry_condition *condition, struct snapshot **out,
                               struct fail *why);

/* Changes only whether the name is the default. STATUS_NOT_FOUND, STATUS_CANCELLED, STATUS_IO. */
enum status registry_change_default(struct registry *registry, const char *name,
                                    const struct registry_condition *condition,
                                    enum store_default make_default, struct fail *why);

/* Makes the name stand for nothing. STATUS_NOT_FOUND, STATUS_CANCELLED, STATUS_IO. */
enum status registry_remove(struct registry *registry, const char *name,
                            const struct registry_condition *condition, struct fail *why);

/* What the name stands for, acquired; NULL if there is none of that name. */
struct snapshot *registry_find(struct registry *registry, const char *name);

/* What is used where no name is given, acquired; NULL if there is no default. */
struct snapshot *registry_find_default(struct registry *registry);
bool registry_is_default(struct registry *registry, const char *name);

/* Every current snapshot by name, or every kept version of a name by version; acquired. Array of
 * *out_count, free(). NULL if there is no memory. */
struct snapshot **registry_list(struct registry *registry, size_t *out_count);
struct snapshot **registry_list_versions(struct registry *registry, const char *name,
                                         size_t *out_count);

/* Of a name and version, with its quotation marks; another store or process has others. */
void registry_write_etag(const struct registry *registry, const struct snapshot *snapshot,
                         char out[REGISTRY_ETAG_BYTES]);

#endif
