#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>

#include "engine/base/mem.h"
#include "server/store.h"
#include "server/store_file.h"

#define STORE_SQLITE_FILE "/store.sqlite3"

enum {
    STORE_SQLITE_APPLICATION = 0x41507374, /* in the header of the file: whose it is */
    STORE_SQLITE_VERSION = 1,              /* of the tables */
    STORE_SQLITE_PAGE_BYTES = 4096,
    STORE_SQLITE_WRITE_FORMAT_AT = 18, /* bytes of the header that SQLite documents */
    STORE_SQLITE_READ_FORMAT_AT = 19,
    STORE_SQLITE_FORMAT_WAL = 2
};

_Static_assert(STORE_LABEL_SET == 0 && STORE_POOL == 1, "files have these numbers in them");
_Static_assert(STORE_MAX_NAME == 64, "so do the tables");

/* As SQLite keeps them: an existing file must have exactly these. */
static const char *const store_sqlite_tables[] = {
    ("CREATE TABLE store(only INTEGER PRIMARY KEY CHECK(only = 1), "
     "id TEXT NOT NULL CHECK(length(id) = 16)) STRICT"),

    ("CREATE TABLE kinds(kind INTEGER PRIMARY KEY CHECK(kind IN (0, 1)), "
     "floor INTEGER NOT NULL CHECK(floor >= 0), default_name TEXT, "
     "FOREIGN KEY(kind, default_name) REFERENCES names DEFERRABLE INITIALLY DEFERRED) STRICT"),

    ("CREATE TABLE names(kind INTEGER NOT NULL CHECK(kind IN (0, 1)), "
     "name TEXT NOT NULL CHECK(length(CAST(name AS BLOB)) BETWEEN 1 AND 64), "
     "current INTEGER NOT NULL, PRIMARY KEY(kind, name), "
     "FOREIGN KEY(kind, name, current) REFERENCES versions DEFERRABLE INITIALLY DEFERRED) "
     "STRICT, WITHOUT ROWID"),

    ("CREATE TABLE versions(kind INTEGER NOT NULL, name TEXT NOT NULL, "
     "version INTEGER NOT NULL CHECK(version > 0), document TEXT NOT NULL, "
     "PRIMARY KEY(kind, name, version), "
     "FOREIGN KEY(kind, name) REFERENCES names DEFERRABLE INITIALLY DEFERRED) STRICT"),
};

enum { STORE_SQLITE_TABLES = sizeof store_sqlite_tables / sizeof store_sqlite_tables[0] };

struct store {
    pthread_mutex_t lock; /* for everything below but the file's name and the id */
    sqlite3 *base;
    char id[STORE_ID_BYTES];
    char file[PATH_MAX];
};

/* ---- Failures ---- */

static enum status store_sqlite_damaged(const struct store *store, const char *how,
                                        struct fail *why)
{
    return status_fail(why, STATUS_FORMAT,
                       "%s: %s; it was left as it is: move it and files named after it away to "
                       "begin with an empty one",
                       store->file, how);
}

/* code: what a function of SQLite just returned. */
static enum status store_sqlite_error(const struct store *store, int code, struct fail *why)
{
    const char *text = store->base ? sqlite3_errmsg(store->base) : sqlite3_errstr(code);
    switch (code & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return status_fail(why, STATUS_IO, "%s is in use by another process", store->file);
    case SQLITE_ERROR: /* the statements are right, so the tables are not */
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return store_sqlite_damaged(store, text, why);
    case SQLITE_NOMEM:
        return status_fail(why, STATUS_NO_MEMORY, "%s: %s", store->file, text);
    case SQLITE_TOOBIG:
        return status_fail(why, STATUS_LIMIT, "%s: %s", store->file, text);
    case SQLITE_CONSTRAINT:
        return status_fail(why, STATUS_INVALID, "%s: %s", store->file, text);
    default:
        return status_fail(why, STATUS_IO, "%s: %s", store->file, text);
    }
}

/* ---- Statements ---- */

static int store_sqlite_bind_number(sqlite3_stmt *statement, const char *name, uint64_t value)
{
    int index = sqlite3_bind_parameter_index(statement, name);
    return index ? sqlite3_bind_int64(statement, index, (sqlite3_int64)value) : SQLITE_OK;
}

static int store_sqlite_bind_text(sqlite3_stmt *statement, const char *name, const char *text,
                                  size_t bytes)
{
    int index = sqlite3_bind_parameter_index(statement, name);
    return index ? sqlite3_bind_text64(statement, index, bytes ? text : "", bytes, SQLITE_STATIC,
                                       SQLITE_UTF8)
                 : SQLITE_OK;
}

/* change: NULL if the statement names none of its fields. sqlite3_finalize(*out). */
static enum status store_sqlite_prepare(const struct store *store, const char *sql,
                                        const struct store_change *change, sqlite3_stmt **out,
                                        struct fail *why)
{
    sqlite3_stmt *statement = NULL;
    int code = sqlite3_prepare_v2(store->base, sql, -1, &statement, NULL);
    if (!code && change) {
        size_t length = change->name ? strlen(change->name) : 0;
        code = store_sqlite_bind_number(statement, ":kind", (uint64_t)change->kind);
        if (!code)
            code = store_sqlite_bind_number(statement, ":added", change->added);
        if (!code)
            code = store_sqlite_bind_number(statement, ":current", change->current);
        if (!code)
            code = store_sqlite_bind_number(statement, ":oldest", change->oldest);
        if (!code)
            code = store_sqlite_bind_text(statement, ":name", change->name, length);
        if (!code)
            code = store_sqlite_bind_text(statement, ":document", change->document,
                                          change->document_bytes);
    }
    if (code) {
        enum status status = store_sqlite_error(store, code, why);
        sqlite3_finalize(statement);
        return status;
    }
    *out = statement;
    return STATUS_OK;
}

static enum status store_sqlite_run(const struct store *store, const char *sql,
                                    const struct store_change *change, struct fail *why)
{
    sqlite3_stmt *statement = NULL;
    enum status status = store_sqlite_prepare(store, sql, change, &statement, why);
    if (status)
        return status;
    int code = sqlite3_step(statement);
    if (code != SQLITE_DONE && code != SQLITE_ROW)
        status = store_sqlite_error(store, code, why);
    sqlite3_finalize(statement);
    return status;
}

/* The first row of the answer, which must have one. sqlite3_finalize(*out). */
static enum status store_sqlite_ask(const struct store *store, const char *sql,
                                    const struct store_change *change, sqlite3_stmt **out,
                                    struct fail *why)
{
    sqlite3_stmt *statement = NULL;
    enum status status = store_sqlite_prepare(store, sql, change, &statement, why);
    if (status)
        return status;
    int code = sqlite3_step(statement);
    if (code == SQLITE_ROW) {
        *out = statement;
        return STATUS_OK;
    }
    status = code == SQLITE_DONE ? store_sqlite_damaged(store, "a row is missing", why)
                                 : store_sqlite_error(store, code, why);
    sqlite3_finalize(statement);
    return status;
}

static enum status store_sqlite_ask_number(const struct store *store, const char *sql,
                                           const struct store_change *change, int64_t *out,
                                           struct fail *why)
{
    sqlite3_stmt *statement = NULL;
    enum status status = store_sqlite_ask(store, sql, change, &statement, why);
    if (status)
        return status;
    *out = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    return STATUS_OK;
}

/* ---- A new file ---- */

static enum status store_sqlite_fill(const struct store *store, struct fail *why)
{
    uint64_t id;
    if (getrandom(&id, sizeof id, 0) != (ssize_t)sizeof id)
        return status_fail(why, STATUS_IO, "no random numbers: %s", strerror(errno));
    char size[32], rows[256];
    snprintf(size, sizeof size, "PRAGMA page_size = %d", STORE_SQLITE_PAGE_BYTES);
    snprintf(rows, sizeof rows,
             "INSERT INTO store VALUES(1, '%016" PRIx64 "');"
             "INSERT INTO kinds VALUES(0, 0, NULL), (1, 0, NULL);"
             "PRAGMA application_id = %d; PRAGMA user_version = %d",
             id, STORE_SQLITE_APPLICATION, STORE_SQLITE_VERSION);
    int code = sqlite3_exec(store->base, size, NULL, NULL, NULL);
    for (size_t i = 0; i < STORE_SQLITE_TABLES && !code; i++)
        code = sqlite3_exec(store->base, store_sqlite_tables[i], NULL, NULL, NULL);
    if (!code)
        code = sqlite3_exec(store->base, rows, NULL, NULL, NULL);
    return code ? store_sqlite_error(store, code, why) : STATUS_OK;
}

/* The bytes of an empty store. sqlite3_free(*out). */
static enum status store_sqlite_make_image(struct store *store, unsigned char **out,
                                           size_t *out_bytes, struct fail *why)
{
    unsigned char *image = NULL;
    sqlite3_int64 bytes = 0;
    int code = sqlite3_open(":memory:", &store->base);
    enum status status =
        code ? store_sqlite_error(store, code, why) : store_sqlite_fill(store, why);
    if (!status) {
        image = sqlite3_serialize(store->base, "main", &bytes, 0);
        if (!image)
            status = store_sqlite_error(store, SQLITE_NOMEM, why);
    }
    sqlite3_close(store->base);
    store->base = NULL;
    if (status)
        return status;
    image[STORE_SQLITE_WRITE_FORMAT_AT] = STORE_SQLITE_FORMAT_WAL;
    image[STORE_SQLITE_READ_FORMAT_AT] = STORE_SQLITE_FORMAT_WAL;
    *out = image;
    *out_bytes = (size_t)bytes;
    return STATUS_OK;
}

/* ---- Opening ---- */

/* SQLite takes a file of no byte or one for a new one, and removes the log beside it; and it reads
 * zeros behind the end of a page that is cut short. The latter may be the trace of a crash, but
 * then there is a log. */
static bool store_sqlite_is_cut_short(const struct store *store, const struct stat *about)
{
    char path[PATH_MAX];
    struct stat log;
    snprintf(path, sizeof path, "%s-wal", store->file);
    return about->st_size < STORE_SQLITE_PAGE_BYTES ||
           (about->st_size % STORE_SQLITE_PAGE_BYTES && (stat(path, &log) || !log.st_size));
}

/* Before SQLite sees it. The file is not opened: closing it would drop the locks that this process
 * may have on it. */
static enum status store_sqlite_find(struct store *store, const char *dir, struct fail *why)
{
    struct stat about;
    if (lstat(store->file, &about) && errno == ENOENT) {
        unsigned char *image = NULL;
        size_t bytes = 0;
        enum status status = store_sqlite_make_image(store, &image, &bytes, why);
        if (!status)
            status = store_file_create(dir, store->file, image, bytes, why);
        sqlite3_free(image);
        if (status)
            return status;
    }
    if (stat(store->file, &about))
        return status_fail(why, STATUS_IO, "%s: %s", store->file, strerror(errno));
    if (!S_ISREG(about.st_mode))
        return store_sqlite_damaged(store, "is not a regular file", why);
    if (store_sqlite_is_cut_short(store, &about))
        return store_sqlite_damaged(store, "is empty or cut short", why);
    return STATUS_OK;
}

static enum status store_sqlite_connect(struct store *store, struct fail *why)
{
    static const char *const settings[] = {
        "PRAGMA locking_mode = EXCLUSIVE", "PRAGMA synchronous = FULL",
        "PRAGMA cell_size_check = ON",     "PRAGMA foreign_keys = ON",
        "PRAGMA temp_store = MEMORY", /* there may be no other folder to write in */
    };
    int code = sqlite3_open_v2(store->file, &store->base,
                               SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
    if (code)
        return store_sqlite_error(store, code, why);
    if (sqlite3_db_readonly(store->base, "main"))
        return status_fail(why, STATUS_IO, "%s cannot be written", store->file);
    sqlite3_db_config(store->base, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    sqlite3_db_config(store->base, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
    /* Until the file is known to be sound, so that a damaged one is not written to. */
    sqlite3_db_config(store->base, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    enum status status = STATUS_OK;
    for (size_t i = 0; i < sizeof settings / sizeof settings[0] && !status; i++)
        status = store_sqlite_run(store, settings[i], NULL, why);
    return status;
}

static enum status store_sqlite_check_owner(const struct store *store, struct fail *why)
{
    int64_t application = 0, version = 0;
    enum status status =
        store_sqlite_ask_number(store, "PRAGMA application_id", NULL, &application, why);
    if (!status)
        status = store_sqlite_ask_number(store, "PRAGMA user_version", NULL, &version, why);
    if (status)
        return status;
    if (application != STORE_SQLITE_APPLICATION || version < STORE_SQLITE_VERSION)
        return store_sqlite_damaged(store, "is a database of another program", why);
    if (version > STORE_SQLITE_VERSION)
        return status_fail(why, STATUS_UNSUPPORTED,
                           "%s was written by a newer version of this program; it was left as it "
                           "is",
                           store->file);
    return STATUS_OK;
}

static enum status store_sqlite_check_tables(const struct store *store, struct fail *why)
{
    sqlite3_stmt *statement = NULL;
    enum status status = store_sqlite_prepare(
        store, "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY rowid", NULL,
        &statement, why);
    if (status)
        return status;
    size_t same = 0;
    int code = sqlite3_step(statement);
    for (; code == SQLITE_ROW; code = sqlite3_step(statement)) {
        const char *sql = (const char *)sqlite3_column_text(statement, 0);
        if (same == STORE_SQLITE_TABLES || !sql || strcmp(sql, store_sqlite_tables[same]) != 0)
            break;
        same++;
    }
    if (code == SQLITE_ROW || (code == SQLITE_DONE && same < STORE_SQLITE_TABLES))
        status = store_sqlite_damaged(store, "its tables are not those of such a file", why);
    else if (code != SQLITE_DONE)
        status = store_sqlite_error(store, code, why);
    sqlite3_finalize(statement);
    return status;
}

/* After the tables, since SQLite evaluates what they say. */
static enum status store_sqlite_check_rows(const struct store *store, struct fail *why)
{
    sqlite3_stmt *statement = NULL;
    enum status status =
        store_sqlite_ask(store, "PRAGMA integrity_check(1)", NULL, &statement, why);
    if (status)
        return status;
    const char *said = (const char *)sqlite3_column_text(statement, 0);
    if (!said || strcmp(said, "ok") != 0)
        status = store_sqlite_damaged(store, said ? said : "cannot be checked", why);
    sqlite3_finalize(statement);
    int64_t orphans = 0;
    if (!status)
        status = store_sqlite_ask_number(store, "SELECT count(*) FROM pragma_foreign_key_check()",
                                         NULL, &orphans, why);
    if (!status && orphans)
        status = store_sqlite_damaged(store, "its tables contradict each other", why);
    return status;
}

static enum status store_sqlite_read_id(struct store *store, struct fail *why)
{
    sqlite3_stmt *statement = NULL;
    enum status status =
        store_sqlite_ask(store, "SELECT id FROM store WHERE (SELECT count(*) FROM kinds) = 2", NULL,
                         &statement, why);
    if (status)
        return status;
    const char *id = (const char *)sqlite3_column_text(statement, 0);
    if (id && strspn(id, "0123456789abcdef") == STORE_ID_BYTES - 1)
        snprintf(store->id, sizeof store->id, "%s", id);
    else
        status = store_sqlite_damaged(store, "its id is malformed", why);
    sqlite3_finalize(statement);
    return status;
}

/* Every commit is copied from the log into the file at once: the log never grows beyond one, and
 * nothing but the last one hangs on its being sound. */
static enum status store_sqlite_begin_log(const struct store *store, struct fail *why)
{
    sqlite3_stmt *statement = NULL;
    enum status status =
        store_sqlite_ask(store, "PRAGMA journal_mode = WAL", NULL, &statement, why);
    if (status)
        return status;
    const char *mode = (const char *)sqlite3_column_text(statement, 0);
    if (!mode || strcmp(mode, "wal") != 0)
        status = status_fail(why, STATUS_IO, "%s: there can be no log beside it", store->file);
    sqlite3_finalize(statement);
    sqlite3_wal_autocheckpoint(store->base, 1);
    return status;
}

static enum status store_sqlite_open(struct store *store, const char *dir, struct fail *why)
{
    enum status status = store_file_make_folder(dir, why);
    if (!status)
        status = store_sqlite_find(store, dir, why);
    if (!status)
        status = store_sqlite_connect(store, why);
    if (!status)
        status = store_sqlite_check_owner(store, why);
    if (!status)
        status = store_sqlite_check_tables(store, why);
    if (!status)
        status = store_sqlite_check_rows(store, why);
    if (!status)
        status = store_sqlite_read_id(store, why);
    if (!status)
        status = store_sqlite_begin_log(store, why);
    if (!status)
        sqlite3_db_config(store->base, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0, NULL);
    return status;
}

enum status store_open(const char *dir, struct store **out, struct fail *why)
{
    if (!*dir || strlen(dir) >= PATH_MAX - sizeof STORE_SQLITE_FILE - STORE_FILE_MAX_SUFFIX)
        return status_fail(why, STATUS_INVALID, "the folder's name is empty or too long");
    struct store *store = mem_zeroed(1, sizeof *store);
    if (!store)
        return status_fail(why, STATUS_NO_MEMORY, "no memory for the store");
    pthread_mutex_init(&store->lock, NULL);
    snprintf(store->file, sizeof store->file, "%s%s", dir, STORE_SQLITE_FILE);
    enum status status = store_sqlite_open(store, dir, why);
    if (status)
        store_close(store);
    else
        *out = store;
    return status;
}

void store_close(struct store *store)
{
    if (!store)
        return;
    sqlite3_close(store->base);
    pthread_mutex_destroy(&store->lock);
    free(store);
}

const char *store_id(const struct store *store)
{
    return store->id;
}

/* ---- Changes ---- */

static enum status store_sqlite_check_change(const struct store_change *change, struct fail *why)
{
    size_t length = change->name ? strnlen(change->name, STORE_MAX_NAME + 1) : 0;
    if (!length || length > STORE_MAX_NAME)
        return status_fail(why, STATUS_INVALID, "a name has 1 to %d bytes", STORE_MAX_NAME);
    if (change->added > INT64_MAX || change->current > INT64_MAX || change->oldest > INT64_MAX)
        return status_fail(why, STATUS_INVALID, "the greatest version is %" PRId64, INT64_MAX);
    if (!change->current && change->make_default == STORE_DEFAULT_SET)
        return status_fail(why, STATUS_INVALID, "a name that goes cannot be the default");
    return STATUS_OK;
}

static enum status store_sqlite_remove(const struct store *store, const struct store_change *change,
                                       struct fail *why)
{
    static const char *const steps[] = {
        ("UPDATE kinds SET floor = max(floor, coalesce((SELECT max(version) FROM versions "
         "WHERE kind = :kind AND name = :name), 0)) WHERE kind = :kind"),
        "DELETE FROM versions WHERE kind = :kind AND name = :name",
        "DELETE FROM names WHERE kind = :kind AND name = :name",
    };
    enum status status = STATUS_OK;
    for (size_t i = 0; i < sizeof steps / sizeof steps[0] && !status; i++)
        status = store_sqlite_run(store, steps[i], change, why);
    return status;
}

static enum status store_sqlite_point(const struct store *store, const struct store_change *change,
                                      struct fail *why)
{
    enum status status = store_sqlite_run(
        store, "DELETE FROM versions WHERE kind = :kind AND name = :name AND version < :oldest",
        change, why);
    if (!status)
        status = store_sqlite_run(
            store,
            "INSERT INTO names SELECT kind, name, version FROM versions WHERE kind = :kind "
            "AND name = :name AND version = :current "
            "ON CONFLICT(kind, name) DO UPDATE SET current = excluded.current",
            change, why);
    if (!status && !sqlite3_changes(store->base))
        status = status_fail(why, STATUS_INVALID, "there is no version %" PRIu64 " of '%s'",
                             change->current, change->name);
    return status;
}

static enum status store_sqlite_apply(const struct store *store, const struct store_change *change,
                                      struct fail *why)
{
    enum status status = STATUS_OK;
    if (change->added) {
        status = store_sqlite_run(store,
                                  "INSERT INTO versions VALUES(:kind, :name, :added, :document) "
                                  "ON CONFLICT DO NOTHING",
                                  change, why);
        if (!status && !sqlite3_changes(store->base))
            status = status_fail(why, STATUS_INVALID, "version %" PRIu64 " of '%s' exists already",
                                 change->added, change->name);
    }
    if (!status)
        status = change->current ? store_sqlite_point(store, change, why)
                                 : store_sqlite_remove(store, change, why);
    if (!status && change->make_default == STORE_DEFAULT_SET)
        status = store_sqlite_run(store, "UPDATE kinds SET default_name = :name WHERE kind = :kind",
                                  change, why);
    else if (!status && (!change->current || change->make_default == STORE_DEFAULT_CLEAR))
        status = store_sqlite_run(store,
                                  "UPDATE kinds SET default_name = NULL "
                                  "WHERE kind = :kind AND default_name = :name",
                                  change, why);
    return status;
}

/* status: of the change so far. */
static enum status store_sqlite_finish(const struct store *store, enum status status,
                                       struct fail *why)
{
    bool complete = !status;
    if (complete)
        status = store_sqlite_run(store, "COMMIT", NULL, why);
    if (status && !sqlite3_get_autocommit(store->base))
        store_sqlite_run(store, "ROLLBACK", NULL, NULL);
    /* The log may hold all of it, only not safely, and the next start would take it for done. */
    if (status && complete)
        sqlite3_wal_checkpoint_v2(store->base, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
    return status;
}

enum status store_commit(struct store *store, const struct store_change *change, struct fail *why)
{
    enum status status = store_sqlite_check_change(change, why);
    if (status)
        return status;
    pthread_mutex_lock(&store->lock);
    status = store_sqlite_run(store, "BEGIN IMMEDIATE", NULL, why);
    if (!status) {
        status = store_sqlite_apply(store, change, why);
        status = store_sqlite_finish(store, status, why);
    }
    pthread_mutex_unlock(&store->lock);
    return status;
}

/* ---- Questions ---- */

static enum status store_sqlite_read_entry(const struct store *store, sqlite3_stmt *row,
                                           struct store_entry *out, struct fail *why)
{
    if (sqlite3_column_type(row, 0) != SQLITE_TEXT ||
        sqlite3_column_type(row, 1) != SQLITE_INTEGER || sqlite3_column_int64(row, 1) <= 0 ||
        sqlite3_column_type(row, 3) != SQLITE_TEXT)
        return store_sqlite_damaged(store, "a row has values of the wrong type", why);
    out->name = (const char *)sqlite3_column_text(row, 0);
    out->version = (uint64_t)sqlite3_column_int64(row, 1);
    out->is_current = sqlite3_column_int(row, 2) != 0;
    out->document = (const char *)sqlite3_column_text(row, 3);
    out->document_bytes = (size_t)sqlite3_column_bytes(row, 3);
    if (!out->name || !out->document)
        return store_sqlite_error(store, SQLITE_NOMEM, why);
    size_t length = strlen(out->name);
    if (!length || length > STORE_MAX_NAME || length != (size_t)sqlite3_column_bytes(row, 0))
        return store_sqlite_damaged(store, "a name is malformed", why);
    return STATUS_OK;
}

enum status store_each(struct store *store, enum store_kind kind,
                       enum status (*visit)(void *argument, const struct store_entry *entry,
                                            struct fail *why),
                       void *argument, struct fail *why)
{
    struct store_change of = {.kind = kind};
    sqlite3_stmt *statement = NULL;
    pthread_mutex_lock(&store->lock);
    enum status status = store_sqlite_prepare(
        store,
        "SELECT v.name, v.version, v.version IS n.current, v.document FROM versions AS v "
        "LEFT JOIN names AS n ON n.kind = v.kind AND n.name = v.name "
        "WHERE v.kind = :kind ORDER BY v.name, v.version",
        &of, &statement, why);
    if (!status) {
        int code;
        while (!status && (code = sqlite3_step(statement)) == SQLITE_ROW) {
            struct store_entry entry;
            status = store_sqlite_read_entry(store, statement, &entry, why);
            if (!status)
                status = visit(argument, &entry, why);
        }
        if (!status && code != SQLITE_DONE)
            status = store_sqlite_error(store, code, why);
        sqlite3_finalize(statement);
    }
    pthread_mutex_unlock(&store->lock);
    return status;
}

enum status store_get_default(struct store *store, enum store_kind kind,
                              char out_name[STORE_MAX_NAME + 1], struct fail *why)
{
    struct store_change of = {.kind = kind};
    sqlite3_stmt *statement = NULL;
    pthread_mutex_lock(&store->lock);
    enum status status =
        store_sqlite_ask(store, "SELECT coalesce(default_name, '') FROM kinds WHERE kind = :kind",
                         &of, &statement, why);
    if (!status) {
        const char *name = (const char *)sqlite3_column_text(statement, 0);
        if (!name)
            status = store_sqlite_error(store, SQLITE_NOMEM, why);
        else if (strlen(name) > STORE_MAX_NAME)
            status = store_sqlite_damaged(store, "a name is malformed", why);
        else
            snprintf(out_name, STORE_MAX_NAME + 1, "%s", name);
        sqlite3_finalize(statement);
    }
    pthread_mutex_unlock(&store->lock);
    return status;
}

enum status store_get_floor(struct store *store, enum store_kind kind, uint64_t *out,
                            struct fail *why)
{
    struct store_change of = {.kind = kind};
    int64_t floor = 0;
    pthread_mutex_lock(&store->lock);
    enum status status = store_sqlite_ask_number(
        store, "SELECT floor FROM kinds WHERE kind = :kind", &of, &floor, why);
    pthread_mutex_unlock(&store->lock);
    if (!status)
        *out = (uint64_t)floor;
    return status;
}
