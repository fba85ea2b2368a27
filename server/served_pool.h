/*
 * A version of a prompt pool that requests can name: the engine's pool, ready for use, and the
 * model's own labels in its sentence. Immutable; any thread. Loading blocks and computes.
 */
#ifndef SERVER_SERVED_POOL_H
#define SERVER_SERVED_POOL_H

#include "engine/engine.h"
#include "server/file_digest.h"
#include "server/registry.h"
#include "server/service.h"
#include "server/spool_file.h"

struct served_pool {
    struct snapshot snapshot; /* first, so that one is the other */
    struct engine_pool *pool;
    struct engine_labels *default_labels; /* NULL if the model folder has no labels.txt */
    char digest[FILE_DIGEST_BYTES];       /* of the file */
    const char *origin;                   /* "upload", "folder" or "option"; static storage */
    uint64_t load_us;
    struct spool_file file; /* for the store, until that has it; see pool_files.h */
};

void served_pool_release(struct served_pool *pool); /* NULL is allowed */

/* Acquired; NULL if there is none. */
struct served_pool *served_pool_find(const struct service *service, const char *name);
struct served_pool *served_pool_find_default(const struct service *service);
/* The kept version of the name whose file has this digest. */
struct served_pool *served_pool_find_digest(const struct service *service, const char *name,
                                            const char *digest);

/* A file to load: where it lies, and what is in it. */
struct served_pool_file {
    struct spool_file spool; /* a copy of our own, or none */
    char path[SPOOL_FILE_MAX_PATH];
    char digest[FILE_DIGEST_BYTES];
};

/* Somebody else's file; copied if the store is to have it, since it may change. Failures as of
 * file_digest_read, naming the pool. */
enum status served_pool_read_file(const struct service *service, const char *name, const char *path,
                                  struct served_pool_file *out, struct fail *why);
/* One that came in; taken over, also on failure. */
enum status served_pool_receive_file(struct spool_file *spool, struct served_pool_file *out,
                                     struct fail *why);
void served_pool_finish_file(struct served_pool_file *file);

/* Checks the file, builds the pool and tries it with a picture. The copy in *file is taken over if
 * there is one. Failures as of engine_pool_load, naming the pool and the field; STATUS_CANCELLED if
 * the session is told to stop. *out is not published yet. */
enum status served_pool_load(const struct service *service, struct engine_session *session,
                             const char *name, const char *origin, struct served_pool_file *file,
                             struct served_pool **out, struct fail *why);

/* What the store has of a pool: its digest and origin. STATUS_FORMAT if the text is not such. */
enum status served_pool_read_document(const char *document, char out_digest[FILE_DIGEST_BYTES],
                                      const char **out_origin, struct fail *why);

#endif
