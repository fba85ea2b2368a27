#include "server/snapshot.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void snapshot_init(struct snapshot *snapshot, const char *name, size_t bytes, char *document,
                   void (*destroy)(struct snapshot *snapshot))
{
    atomic_init(&snapshot->references, 1);
    snprintf(snapshot->name, sizeof snapshot->name, "%s", name);
    snapshot->bytes = bytes;
    snapshot->document = document;
    snapshot->destroy = destroy;
}

struct snapshot *snapshot_acquire(struct snapshot *snapshot)
{
    atomic_fetch_add_explicit(&snapshot->references, 1, memory_order_relaxed);
    return snapshot;
}

void snapshot_release(struct snapshot *snapshot)
{
    if (!snapshot || atomic_fetch_sub_explicit(&snapshot->references, 1, memory_order_acq_rel) != 1)
        return;
    free(snapshot->document);
    snapshot->destroy(snapshot);
}

enum status snapshot_check_name(const char *name, struct fail *why)
{
    size_t length = strlen(name);
    bool dots = !strcmp(name, ".") || !strcmp(name, ".."); /* which clients take out of a path */
    if (!length || length > SNAPSHOT_MAX_NAME || dots ||
        strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-") != length)
        return status_fail(why, STATUS_INVALID,
                           "the name \"%.80s\" must be 1 to %d letters, digits, dots, underscores "
                           "and hyphens, and not . or ..",
                           name, SNAPSHOT_MAX_NAME);
    return STATUS_OK;
}
