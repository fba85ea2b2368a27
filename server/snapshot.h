/*
 * An immutable thing with a name and a version, counted by its references. First member of whatever
 * a registry holds. Any thread.
 */
#ifndef SERVER_SNAPSHOT_H
#define SERVER_SNAPSHOT_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/status.h"

enum { SNAPSHOT_MAX_NAME = 64 };

struct snapshot {
    atomic_size_t references;
    char name[SNAPSHOT_MAX_NAME + 1];
    uint64_t version; /* set by the registry that publishes it */
    size_t bytes;     /* of memory, for the registry's limit */
    char *document;   /* what a store shall keep of it, NUL-terminated; owned; NULL afterwards */
    void (*destroy)(struct snapshot *snapshot); /* frees the whole, but for `document` */
};

/* One reference, the caller's. Takes document over; *snapshot has zeroes before. */
void snapshot_init(struct snapshot *snapshot, const char *name, size_t bytes, char *document,
                   void (*destroy)(struct snapshot *snapshot));
struct snapshot *snapshot_acquire(struct snapshot *snapshot);
void snapshot_release(struct snapshot *snapshot); /* NULL is allowed */

/* STATUS_INVALID says what a name must be: letters, digits, dot, underscore and hyphen. */
enum status snapshot_check_name(const char *name, struct fail *why);

#endif
