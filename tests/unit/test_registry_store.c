#include "tests/unit/things.h"

#include <dirent.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

struct events {
    char text[512]; /* what the hooks were told, in order */
    bool refuse, deaf;
};

static void note(struct events *events, const char *what, const struct snapshot *snapshot)
{
    size_t used = strlen(events->text);
    if (!events->deaf)
        snprintf(events->text + used, sizeof events->text - used, "%s %s %llu, ", what,
                 snapshot->name, (unsigned long long)snapshot->version);
}

static enum status on_keep(void *argument, struct snapshot *snapshot, struct fail *why)
{
    struct events *events = argument;
    assert_non_null(snapshot->document);
    note(events, "keep", snapshot);
    return events->refuse ? status_fail(why, STATUS_IO, "the disk is full") : STATUS_OK;
}

static void on_dropped(void *argument, struct snapshot *snapshot)
{
    note(argument, "dropped", snapshot);
}

static void assert_events(struct events *events, const char *expected)
{
    assert_string_equal(events->text, expected);
    events->text[0] = '\0';
}

struct folder {
    char path[64];
    struct store *store;
    struct events events;
    struct registry *registry;
};

/* A run of the program: the store is opened, and what is in it is put back. */
static enum status on_restore(void *argument, const struct store_entry *entry, struct fail *why)
{
    struct snapshot *snapshot =
        things_make_of(entry->name, 1, strtoull(entry->document + strlen("content "), NULL, 10));
    enum status status =
        registry_restore(argument, snapshot, entry->version, entry->is_current, why);
    snapshot_release(snapshot);
    return status;
}

static void start(struct folder *folder, size_t max_names, size_t kept_versions)
{
    struct fail why;
    unit_assert_ok(store_open(folder->path, &folder->store, &why), why);
    folder->registry = things_create_of(&(struct registry_options){.kind = STORE_POOL,
                                                                   .noun = "thing",
                                                                   .max_names = max_names,
                                                                   .max_bytes = 100,
                                                                   .kept_versions = kept_versions,
                                                                   .store = folder->store,
                                                                   .keep = on_keep,
                                                                   .dropped = on_dropped,
                                                                   .argument = &folder->events});
    unit_assert_ok(store_each(folder->store, STORE_POOL, on_restore, folder->registry, &why), why);
}

static void end(struct folder *folder)
{
    registry_destroy(folder->registry);
    store_close(folder->store);
}

static void restart(struct folder *folder)
{
    end(folder);
    start(folder, 10, 2);
}

static void open_folder(struct folder *folder)
{
    *folder = (struct folder){.path = "/tmp/test_registry.XXXXXX"};
    assert_non_null(mkdtemp(folder->path));
    start(folder, 10, 2);
}

static void close_folder(struct folder *folder)
{
    end(folder);
    DIR *directory = opendir(folder->path);
    assert_non_null(directory);
    for (struct dirent *entry; (entry = readdir(directory));)
        unlinkat(dirfd(directory), entry->d_name, 0);
    closedir(directory);
    assert_int_equal(rmdir(folder->path), 0);
}

static void test_everything_comes_back(void **state)
{
    (void)state;
    struct folder folder;
    char before[REGISTRY_ETAG_BYTES], after[REGISTRY_ETAG_BYTES];
    open_folder(&folder);
    for (uint64_t i = 1; i <= 3; i++)
        things_publish_it(folder.registry, things_make_of("a", 1, 10 + i), STORE_DEFAULT_KEEP);
    things_roll_back(folder.registry, "a", 0, 2);
    things_publish_it(folder.registry, things_make_of("b", 1, 21), STORE_DEFAULT_SET);
    for (uint64_t i = 1; i <= 6; i++)
        things_publish_it(folder.registry, things_make_of("gone", 1, 30), STORE_DEFAULT_KEEP);
    things_remove(folder.registry, "gone");
    registry_write_etag(folder.registry, things_find(folder.registry, "a"), before);
    restart(&folder);

    things_assert_names(folder.registry, "a 2, b 1, ");
    things_assert_versions(folder.registry, "a", "a 2, a 3, ");
    assert_string_equal(things_default(folder.registry), "b");
    assert_int_equal(((struct thing *)things_find(folder.registry, "a"))->content, 12);
    registry_write_etag(folder.registry, things_find(folder.registry, "a"), after);
    assert_string_equal(before, after);
    assert_int_equal(things_publish(folder.registry, "new")->version, 7);
    assert_int_equal(things_publish(folder.registry, "a")->version, 4);
    things_roll_back(folder.registry, "a", 3, 3);
    assert_int_equal(((struct thing *)things_find(folder.registry, "a"))->content, 13);
    close_folder(&folder);
}

static void test_defaults_are_stored(void **state)
{
    (void)state;
    struct fail why;
    struct folder folder;
    open_folder(&folder);
    things_publish_it(folder.registry, things_make("a"), STORE_DEFAULT_SET);
    things_publish(folder.registry, "b");
    things_roll_back(folder.registry, "a", 1, 1);
    restart(&folder);
    assert_string_equal(things_default(folder.registry), "a");
    unit_assert_ok(registry_change_default(folder.registry, "b", NULL, STORE_DEFAULT_SET, &why),
                   why);
    restart(&folder);
    assert_string_equal(things_default(folder.registry), "b");
    things_assert_names(folder.registry, "a 1, b 1, ");
    things_remove(folder.registry, "b");
    restart(&folder);
    assert_string_equal(things_default(folder.registry), "");
    things_publish_it(folder.registry, things_make("a"), STORE_DEFAULT_SET);
    things_publish_it(folder.registry, things_make("a"), STORE_DEFAULT_CLEAR);
    restart(&folder);
    assert_string_equal(things_default(folder.registry), "");
    close_folder(&folder);
}

static void test_restoring_knows_its_limits(void **state)
{
    (void)state;
    struct fail why;
    struct folder folder;
    open_folder(&folder);
    things_publish(folder.registry, "a");
    things_publish(folder.registry, "a");
    things_publish_it(folder.registry, things_make_of("b", 98, 0), STORE_DEFAULT_KEEP);
    things_assert_not_published(folder.registry, things_make("c"), NULL, STATUS_LIMIT,
                                "100 are in use");
    end(&folder);
    start(&folder, 10, 1); /* fewer versions than there are: the next change drops the rest */
    folder.events.text[0] = '\0';
    things_assert_versions(folder.registry, "a", "a 1, a 2, ");
    things_publish(folder.registry, "a");
    things_assert_versions(folder.registry, "a", "a 3, ");
    assert_events(&folder.events, "keep a 3, dropped a 1, dropped a 2, ");
    end(&folder);

    start(&folder, 2, 2);
    for (char name[] = "c"; *name <= 'k'; ++*name) { /* more than there may be, and found again */
        struct snapshot *more = things_make(name);
        unit_assert_ok(registry_restore(folder.registry, more, 1, true, &why), why);
        snapshot_release(more);
        char expected[] = "c 1, ";
        expected[0] = *name;
        things_assert_versions(folder.registry, name, expected);
    }
    things_assert_not_published(folder.registry, things_make("z"), NULL, STATUS_LIMIT, "already");
    close_folder(&folder);
}

static void test_hooks_are_told_of_what_the_store_has(void **state)
{
    (void)state;
    struct folder folder;
    open_folder(&folder);
    things_publish_it(folder.registry, things_make_of("a", 1, 5), STORE_DEFAULT_KEEP);
    assert_events(&folder.events, "keep a 1, ");
    things_publish_it(folder.registry, things_make_of("a", 1, 6), STORE_DEFAULT_KEEP);
    assert_events(&folder.events, "keep a 2, ");
    things_publish_it(folder.registry, things_make_of("a", 1, 7), STORE_DEFAULT_KEEP);
    assert_events(&folder.events, "keep a 3, dropped a 1, ");
    things_roll_back(folder.registry, "a", 0, 2);
    assert_events(&folder.events, "");
    const struct registry_condition nothing = {NULL};
    things_assert_not_published(folder.registry, things_make("a"), &nothing, STATUS_CANCELLED,
                                "meanwhile");
    things_assert_not_published(folder.registry, things_make_of("b", 99, 0), NULL, STATUS_LIMIT,
                                "2 are in use");
    assert_events(&folder.events, "");
    things_remove(folder.registry, "a");
    assert_events(&folder.events, "dropped a 2, dropped a 3, ");
    restart(&folder);
    assert_events(&folder.events, "");
    close_folder(&folder);
}

static void test_hooks_are_not_told_without_a_store(void **state)
{
    (void)state;
    struct events events = {.refuse = true};
    struct registry *registry = things_create_of(&(struct registry_options){.noun = "thing",
                                                                            .max_names = 1,
                                                                            .max_bytes = 10,
                                                                            .kept_versions = 1,
                                                                            .keep = on_keep,
                                                                            .dropped = on_dropped,
                                                                            .argument = &events});
    things_publish(registry, "a");
    things_publish(registry, "a");
    things_remove(registry, "a");
    assert_events(&events, "");
    registry_destroy(registry);
}

static void test_what_cannot_be_kept_is_not_published(void **state)
{
    (void)state;
    struct folder folder;
    open_folder(&folder);
    struct snapshot *first = things_publish(folder.registry, "a");
    things_publish(folder.registry, "a");
    folder.events = (struct events){.refuse = true};
    things_assert_not_published(folder.registry, things_make("a"), NULL, STATUS_IO,
                                "the disk is full");
    things_assert_not_published(folder.registry, things_make("b"), NULL, STATUS_IO,
                                "the disk is full");
    assert_events(&folder.events, "keep a 3, keep b 1, ");
    things_assert_versions(folder.registry, "a", "a 1, a 2, ");
    assert_int_equal(first->references, 1);
    things_assert_names(folder.registry, "a 2, ");
    restart(&folder);
    things_assert_names(folder.registry, "a 2, ");
    folder.events.refuse = false;
    assert_int_equal(things_publish(folder.registry, "a")->version, 3);
    close_folder(&folder);
}

/* Nothing can be written any more, as on a disk that is full. */
static void fill_disk(bool full)
{
    struct rlimit limit;
    signal(SIGXFSZ, full ? SIG_IGN : SIG_DFL);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = full ? 0 : limit.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static void test_what_cannot_be_stored_is_not_done(void **state)
{
    (void)state;
    struct fail why;
    struct snapshot *out = NULL;
    struct folder folder;
    open_folder(&folder);
    things_publish(folder.registry, "a");
    things_publish_it(folder.registry, things_make("a"), STORE_DEFAULT_SET);
    things_publish(folder.registry, "b");
    folder.events.text[0] = '\0';

    fill_disk(true);
    struct snapshot *third = things_make("a");
    enum status published =
        registry_publish(folder.registry, third, NULL, STORE_DEFAULT_CLEAR, NULL, NULL);
    enum status rolled_back = registry_roll_back(folder.registry, "a", 0, NULL, &out, NULL);
    enum status changed =
        registry_change_default(folder.registry, "b", NULL, STORE_DEFAULT_SET, NULL);
    enum status removed = registry_remove(folder.registry, "a", NULL, &why);
    fill_disk(false);
    assert_int_equal(published, STATUS_IO);
    assert_int_equal(rolled_back, STATUS_IO);
    assert_int_equal(changed, STATUS_IO);
    unit_assert_fails(removed, STATUS_IO, why, folder.path);
    assert_null(out);
    assert_int_equal(third->references, 1);
    assert_non_null(third->document);
    snapshot_release(third);
    assert_events(&folder.events, "keep a 3, dropped a 3, ");

    for (int i = 0; i < 2; i++) {
        things_assert_names(folder.registry, "a 2, b 1, ");
        things_assert_versions(folder.registry, "a", "a 1, a 2, ");
        assert_string_equal(things_default(folder.registry), "a");
        restart(&folder);
    }
    assert_int_equal(things_publish(folder.registry, "a")->version, 3);
    close_folder(&folder);
}

/* ---- Threads ---- */

enum { HAMMER_THREADS = 4, HAMMER_NAMES = 3, HAMMER_VERSIONS = 2 };

struct hammer {
    struct registry *registry;
    unsigned seed;
    int steps;
    size_t published, removed;
    bool wrong;
};

static void hammer_list(struct hammer *hammer, const char *name)
{
    size_t count;
    struct snapshot **list = registry_list(hammer->registry, &count);
    hammer->wrong |= !list || count > HAMMER_NAMES;
    for (size_t i = 0; i < count; i++)
        hammer->wrong |= i && strcmp(list[i - 1]->name, list[i]->name) >= 0;
    for (size_t i = 0; i < count; i++)
        snapshot_release(list[i]);
    free(list);
    list = registry_list_versions(hammer->registry, name, &count);
    hammer->wrong |= !list || count > HAMMER_VERSIONS;
    for (size_t i = 0; i < count; i++)
        hammer->wrong |=
            strcmp(list[i]->name, name) || (i && list[i - 1]->version >= list[i]->version);
    for (size_t i = 0; i < count; i++)
        snapshot_release(list[i]);
    free(list);
    snapshot_release(registry_find_default(hammer->registry));
}

static bool hammer_allows(enum status status)
{
    return !status || status == STATUS_CANCELLED || status == STATUS_NOT_FOUND ||
           status == STATUS_INVALID;
}

/* Made if the name still stands for what was found, and else refused as it should. */
static void hammer_publish(struct hammer *hammer, const char *name, struct snapshot *found)
{
    struct thing *thing = (struct thing *)things_make(name);
    const struct registry_condition condition = {found};
    bool made = false;
    enum status status = registry_publish(hammer->registry, &thing->snapshot, &condition,
                                          STORE_DEFAULT_SET, &made, NULL);
    hammer->published += !status;
    hammer->wrong |= status && status != STATUS_CANCELLED;
    hammer->wrong |= !status && made != !found;
    hammer->wrong |= !status && found && thing->snapshot.version <= found->version;
    snapshot_release(&thing->snapshot);
}

static void hammer_change(struct hammer *hammer, const char *name, unsigned choice)
{
    struct snapshot *found = registry_find(hammer->registry, name), *earlier = NULL;
    const struct registry_condition condition = {found};
    enum status status = STATUS_OK;
    hammer->wrong |= found && (strcmp(found->name, name) != 0 || !found->version);
    if (choice == 0 && found) {
        status = registry_remove(hammer->registry, name, &condition, NULL);
        hammer->removed += !status;
    } else if (choice == 1 && found) {
        status = registry_roll_back(hammer->registry, name, 0, &condition, &earlier, NULL);
        hammer->wrong |= !status && earlier->version >= found->version;
    } else if (choice == 2 && found) {
        status = registry_change_default(hammer->registry, name, NULL, STORE_DEFAULT_CLEAR, NULL);
    } else {
        hammer_publish(hammer, name, found);
    }
    hammer->wrong |= !hammer_allows(status);
    snapshot_release(earlier);
    snapshot_release(found);
}

static void *hammer_run(void *argument)
{
    struct hammer *hammer = argument;
    static const char *const names[HAMMER_NAMES] = {"a", "b", "c"};
    uint32_t state = hammer->seed;
    for (int i = 0; i < hammer->steps; i++) {
        uint32_t random = unit_random(&state);
        const char *name = names[random / 8 % HAMMER_NAMES];
        if (random % 8 < 2)
            hammer_list(hammer, name);
        else
            hammer_change(hammer, name, random / 64 % 10);
    }
    return NULL;
}

static void hammer(struct registry *registry, int steps)
{
    struct hammer hammers[HAMMER_THREADS];
    pthread_t threads[HAMMER_THREADS];
    size_t published = 0, removed = 0, count;
    for (unsigned i = 0; i < HAMMER_THREADS; i++) {
        hammers[i] = (struct hammer){.registry = registry, .seed = i + 1, .steps = steps};
        assert_int_equal(pthread_create(&threads[i], NULL, hammer_run, &hammers[i]), 0);
    }
    for (size_t i = 0; i < HAMMER_THREADS; i++) {
        pthread_join(threads[i], NULL);
        assert_false(hammers[i].wrong);
        published += hammers[i].published;
        removed += hammers[i].removed;
    }
    assert_true(published > removed && removed > 0);
    struct snapshot **list = registry_list(registry, &count);
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        size_t versions;
        struct snapshot **all = registry_list_versions(registry, list[i]->name, &versions);
        for (size_t k = 0; k < versions; k++) {
            assert_int_equal(all[k]->references, all[k] == list[i] ? 3 : 2);
            snapshot_release(all[k]);
        }
        free(all);
        kept += versions;
        snapshot_release(list[i]);
    }
    free(list);
    assert_int_equal(kept, atomic_load(&things_alive));
}

static void test_threads(void **state)
{
    (void)state;
    struct registry *registry =
        things_create(HAMMER_NAMES, HAMMER_NAMES * HAMMER_VERSIONS, HAMMER_VERSIONS);
    hammer(registry, 1000);
    registry_destroy(registry);
}

static void test_threads_with_a_store(void **state)
{
    (void)state;
    struct folder folder;
    char names[256];
    size_t count;
    open_folder(&folder);
    folder.events.deaf = true;
    hammer(folder.registry, 60);
    struct snapshot **list = registry_list(folder.registry, &count);
    things_write_list(list, count, names);
    restart(&folder);
    things_assert_names(folder.registry, names);
    close_folder(&folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        THINGS_TEST(test_everything_comes_back),
        THINGS_TEST(test_defaults_are_stored),
        THINGS_TEST(test_restoring_knows_its_limits),
        THINGS_TEST(test_hooks_are_told_of_what_the_store_has),
        THINGS_TEST(test_hooks_are_not_told_without_a_store),
        THINGS_TEST(test_what_cannot_be_kept_is_not_published),
        THINGS_TEST(test_what_cannot_be_stored_is_not_done),
        THINGS_TEST(test_threads),
        THINGS_TEST(test_threads_with_a_store),
    };
    return cmocka_run_group_tests_name("registry_store", tests, NULL, NULL);
}
