/*
 * What has to survive a restart and a loss of power: documents by kind, name and version, which
 * version each name stands for, and which name is the default of its kind. A document is text that
 * means nothing to the store.
 *
 * A change that was reported as done is on the disk; one that failed, or was cut off, has changed
 * nothing. Any thread; the calls of one store wait for each other.
 */
#ifndef SERVER_STORE_H
#define SERVER_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/status.h"

enum store_kind { STORE_LABEL_SET, STORE_POOL };

enum {
    STORE_MAX_NAME = 64,
    STORE_ID_BYTES = 17 /* 16 hexadecimal digits and a NUL */
};

struct store;

/* dir: a folder, which is made if it is not there (the one around it must be). STATUS_IO if it
 * cannot be used or is open already, here or in another process; STATUS_FORMAT if what is there is
 * damaged or not such a store; STATUS_UNSUPPORTED if a newer program wrote it. Nothing that is
 * there is ever replaced or repaired: the message names the file and says what to do. Reads all of
 * the file. A process that has a store open must not use it after fork. */
enum status store_open(const char *dir, struct store **out, struct fail *why);
void store_close(struct store *store); /* NULL is allowed */

/* Random, made with the store and kept: no other store has it. */
const char *store_id(const struct store *store);

enum store_default { STORE_DEFAULT_KEEP, STORE_DEFAULT_SET, STORE_DEFAULT_CLEAR };

/* One step, all of it or nothing. */
struct store_change {
    enum store_kind kind;
    const char *name;     /* of at most STORE_MAX_NAME bytes */
    uint64_t added;       /* a version that is new, with its document; 0: none */
    const char *document; /* [document_bytes] */
    size_t document_bytes;
    uint64_t current; /* the version that the name stands for from now on; 0: the name goes, with
                       * all versions, and is the default no more */
    uint64_t oldest;  /* versions before this one go */
    enum store_default make_default; /* SET: the name becomes the default of its kind. CLEAR: it is
                                      * the default no more, if it was */
};

/* STATUS_INVALID for a version that exists already, a current one that does not exist in the end,
 * versions beyond INT64_MAX and a name that goes and is to be the default; STATUS_LIMIT for a
 * document of about 1 GB; STATUS_IO, also if there is no room. A name that is not there may go. */
enum status store_commit(struct store *store, const struct store_change *change, struct fail *why);

struct store_entry {
    const char *name;
    uint64_t version;
    bool is_current;
    const char *document; /* followed by a NUL that document_bytes does not count */
    size_t document_bytes;
};

/* Every version of every name of the kind, by name (in order of bytes) and then by version, until
 * visit fails, whose status is returned. The entry is gone when visit returns; visit must not call
 * this store. STATUS_FORMAT if the file was damaged meanwhile. */
enum status store_each(struct store *store, enum store_kind kind,
                       enum status (*visit)(void *argument, const struct store_entry *entry,
                                            struct fail *why),
                       void *argument, struct fail *why);

/* The name that is the default of its kind; empty if there is none. */
enum status store_get_default(struct store *store, enum store_kind kind,
                              char out_name[STORE_MAX_NAME + 1], struct fail *why);

/* The greatest version that any name of the kind had when it went; 0 if none ever did. Versions of
 * new names begin after it, so that no name and version ever come back with other content. */
enum status store_get_floor(struct store *store, enum store_kind kind, uint64_t *out,
                            struct fail *why);

#endif
