/* What the tests of the store share: a folder, changes, listings, files and other processes. */
#ifndef TESTS_UNIT_STORE_PARTS_H
#define TESTS_UNIT_STORE_PARTS_H

#include "tests/unit/unit.h"

#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/base/buf.h"
#include "server/store.h"

enum { MOST_BYTES = 1 << 26, PAGE_BYTES = 4096 };

struct place {
    char root[256]; /* made anew for each test */
    char dir[300];  /* of the store, in root */
    char file[340];
    char log[340];
};

static inline int set_up(void **state)
{
    struct place *place = calloc(1, sizeof *place);
    const char *below = getenv("TMPDIR");
    snprintf(place->root, sizeof place->root, "%s/test_store.XXXXXX", below ? below : "/tmp");
    *state = place;
    if (!mkdtemp(place->root))
        return -1;
    snprintf(place->dir, sizeof place->dir, "%s/state", place->root);
    snprintf(place->file, sizeof place->file, "%s/store.sqlite3", place->dir);
    snprintf(place->log, sizeof place->log, "%s-wal", place->file);
    return 0;
}

static inline int remove_one(const char *path, const struct stat *about, int type,
                             struct FTW *where)
{
    (void)about;
    (void)type;
    (void)where;
    return remove(path);
}

static inline void clear(const struct place *place)
{
    nftw(place->dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static inline int tear_down(void **state)
{
    struct place *place = *state;
    int failed = nftw(place->root, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    free(place);
    return failed;
}

static inline struct store *open_store(const struct place *place)
{
    struct fail why;
    struct store *store = NULL;
    unit_assert_ok(store_open(place->dir, &store, &why), why);
    return store;
}

/* ---- Changes ---- */

static inline struct store_change putting(const char *name, uint64_t version, const char *document)
{
    return (struct store_change){
        .name = name,
        .added = version,
        .document = document,
        .document_bytes = strlen(document),
        .current = version,
    };
}

static inline struct store_change removing(const char *name)
{
    return (struct store_change){.name = name};
}

static inline void commit(struct store *store, struct store_change change)
{
    struct fail why;
    unit_assert_ok(store_commit(store, &change, &why), why);
}

static inline void put(struct store *store, const char *name, uint64_t version,
                       const char *document)
{
    commit(store, putting(name, version, document));
}

static inline void put_some(struct store *store)
{
    put(store, "trees", 1, "oak");
    put(store, "birds", 1, "[\"owl\"]");
    put(store, "birds", 2, "[\"owl\",\"duck\"]");
    struct store_change pool = putting("birds", 9, "a pool");
    pool.kind = STORE_POOL;
    pool.make_default = STORE_DEFAULT_SET;
    commit(store, pool);
}

/* ---- All that a store says, as text ---- */

struct listing {
    struct buf text;
    enum store_kind kind;
};

static inline uint32_t digest(const char *bytes, size_t size)
{
    uint32_t hash = 2166136261u;
    for (size_t i = 0; i < size; i++)
        hash = (hash ^ (unsigned char)bytes[i]) * 16777619u;
    return hash;
}

static inline enum status list_entry(void *argument, const struct store_entry *entry,
                                     struct fail *why)
{
    struct listing *listing = argument;
    assert_int_equal(entry->document[entry->document_bytes], '\0');
    enum status status = buf_printf(&listing->text, why, "%d %s %" PRIu64 "%s ", listing->kind,
                                    entry->name, entry->version, entry->is_current ? "*" : "");
    if (status)
        return status;
    if (entry->document_bytes < 100 && !memchr(entry->document, '\0', entry->document_bytes))
        return buf_printf(&listing->text, why, "%s\n", entry->document);
    return buf_printf(&listing->text, why, "%zu:%08x\n", entry->document_bytes,
                      digest(entry->document, entry->document_bytes));
}

/* buf_finish */
static inline struct buf list(struct store *store)
{
    struct fail why;
    struct listing listing;
    buf_init(&listing.text, MOST_BYTES);
    for (int kind = STORE_LABEL_SET; kind <= STORE_POOL; kind++) {
        char name[STORE_MAX_NAME + 1];
        uint64_t floor;
        listing.kind = kind;
        unit_assert_ok(store_each(store, kind, list_entry, &listing, &why), why);
        unit_assert_ok(store_get_default(store, kind, name, &why), why);
        unit_assert_ok(store_get_floor(store, kind, &floor, &why), why);
        unit_assert_ok(
            buf_printf(&listing.text, &why, "%d default=%s floor=%" PRIu64 "\n", kind, name, floor),
            why);
    }
    return listing.text;
}

static inline void expect(struct store *store, const char *text)
{
    struct buf said = list(store);
    assert_string_equal(said.data, text);
    buf_finish(&said);
}

/* Now, and when it is opened the next time. */
static inline void expect_kept(const struct place *place, struct store *store, const char *text)
{
    expect(store, text);
    store_close(store);
    store = open_store(place);
    expect(store, text);
    store_close(store);
}

/* ---- Files ---- */

static inline struct buf read_bytes(const char *path)
{
    struct fail why;
    struct buf bytes;
    buf_init(&bytes, MOST_BYTES);
    unit_assert_ok(buf_read_file(&bytes, path, &why), why);
    return bytes;
}

static inline void write_bytes(const char *path, const char *bytes, size_t size)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

static inline void expect_refused(const struct place *place, enum status status, const char *part)
{
    struct fail why;
    struct store *store = NULL;
    unit_assert_fails(store_open(place->dir, &store, &why), status, why, part);
    assert_null(store);
}

/* ---- Other processes. They start while no store is open here, as SQLite cannot be forked. ---- */

struct child {
    pid_t pid;
    int to, from; /* pipes */
};

typedef int child_body(const struct place *place, int from, int to);

static inline struct child start(const struct place *place, child_body *body)
{
    int to[2], from[2];
    assert_int_equal(pipe(to), 0);
    assert_int_equal(pipe(from), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (!pid) {
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* if a test fails */
        close(to[1]);
        close(from[0]);
        _exit(body(place, to[0], from[1]));
    }
    close(to[0]);
    close(from[1]);
    return (struct child){pid, to[1], from[0]};
}

static inline int finish(struct child *child)
{
    int status;
    close(child->to);
    close(child->from);
    assert_int_equal(waitpid(child->pid, &status, 0), child->pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static inline bool send_number(int pipe, uint64_t number)
{
    return write(pipe, &number, sizeof number) == (ssize_t)sizeof number;
}

static inline bool receive_number(int pipe, uint64_t *out)
{
    return read(pipe, out, sizeof *out) == (ssize_t)sizeof *out;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

#endif
