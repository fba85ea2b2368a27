/* Things to keep in a registry, which know whether all of them were freed. */
#ifndef TESTS_UNIT_THINGS_H
#define TESTS_UNIT_THINGS_H

#include "tests/unit/unit.h"

#include "server/registry.h"

static atomic_int things_alive; /* things that nobody has freed yet */

struct thing {
    struct snapshot snapshot; /* first */
    uint64_t content;
};

static inline void things_destroy(struct snapshot *snapshot)
{
    atomic_fetch_sub(&things_alive, 1);
    free(snapshot);
}

static inline struct snapshot *things_make_of(const char *name, size_t bytes, uint64_t content)
{
    struct thing *thing = calloc(1, sizeof *thing);
    char *document = malloc(32);
    assert_non_null(thing);
    assert_non_null(document);
    snprintf(document, 32, "content %llu", (unsigned long long)content);
    snapshot_init(&thing->snapshot, name, bytes, document, things_destroy);
    thing->content = content;
    atomic_fetch_add(&things_alive, 1);
    return &thing->snapshot;
}

static inline struct snapshot *things_make(const char *name)
{
    return things_make_of(name, 1, 0);
}

static inline int things_setup(void **state)
{
    (void)state;
    atomic_store(&things_alive, 0);
    return 0;
}

static inline int things_teardown(void **state)
{
    (void)state;
    return atomic_load(&things_alive) == 0 ? 0 : -1;
}

static inline struct registry *things_create_of(const struct registry_options *options)
{
    struct fail why;
    struct registry *registry = NULL;
    unit_assert_ok(registry_create(options, &registry, &why), why);
    return registry;
}

static inline struct registry *things_create(size_t max_names, size_t max_bytes,
                                             size_t kept_versions)
{
    return things_create_of(&(struct registry_options){.noun = "thing",
                                                       .max_names = max_names,
                                                       .max_bytes = max_bytes,
                                                       .kept_versions = kept_versions});
}

/* The new version, which only the registry holds. */
static inline struct snapshot *things_publish_it(struct registry *registry,
                                                 struct snapshot *snapshot,
                                                 enum store_default make_default)
{
    struct fail why;
    unit_assert_ok(registry_publish(registry, snapshot, NULL, make_default, NULL, &why), why);
    snapshot_release(snapshot);
    return snapshot;
}

static inline struct snapshot *things_publish(struct registry *registry, const char *name)
{
    return things_publish_it(registry, things_make(name), STORE_DEFAULT_KEEP);
}

static inline void things_assert_not_published(struct registry *registry, struct snapshot *snapshot,
                                               const struct registry_condition *condition,
                                               enum status status, const char *part)
{
    struct fail why;
    bool is_default = registry_is_default(registry, snapshot->name);
    unit_assert_fails(
        registry_publish(registry, snapshot, condition, STORE_DEFAULT_SET, NULL, &why), status, why,
        part);
    assert_int_equal(snapshot->references, 1);
    assert_non_null(snapshot->document);
    assert_int_equal(registry_is_default(registry, snapshot->name), is_default);
    snapshot_release(snapshot);
}

/* What the name stands for, held by the registry only. */
static inline struct snapshot *things_find(struct registry *registry, const char *name)
{
    struct snapshot *snapshot = registry_find(registry, name);
    snapshot_release(snapshot);
    return snapshot;
}

static inline uint64_t things_version(struct registry *registry, const char *name)
{
    const struct snapshot *snapshot = things_find(registry, name);
    return snapshot ? snapshot->version : 0;
}

/* The default's name; "" if there is none. */
static inline const char *things_default(struct registry *registry)
{
    struct snapshot *snapshot = registry_find_default(registry);
    snapshot_release(snapshot);
    return snapshot ? snapshot->name : "";
}

static inline void things_remove(struct registry *registry, const char *name)
{
    struct fail why;
    unit_assert_ok(registry_remove(registry, name, NULL, &why), why);
}

static inline void things_roll_back(struct registry *registry, const char *name, uint64_t version,
                                    uint64_t expected)
{
    struct fail why;
    struct snapshot *out = NULL;
    unit_assert_ok(registry_roll_back(registry, name, version, NULL, &out, &why), why);
    assert_int_equal(out->version, expected);
    assert_ptr_equal(things_find(registry, name), out);
    snapshot_release(out);
}

/* "a 1, b 3, " of a list, which is released. */
static inline void things_write_list(struct snapshot **list, size_t count, char out[256])
{
    assert_non_null(list);
    out[0] = '\0';
    for (size_t i = 0; i < count; i++) {
        size_t used = strlen(out);
        snprintf(out + used, 256 - used, "%s %llu, ", list[i]->name,
                 (unsigned long long)list[i]->version);
        snapshot_release(list[i]);
    }
    free(list);
}

static inline void things_assert_names(struct registry *registry, const char *expected)
{
    size_t count = 99;
    char names[256];
    struct snapshot **list = registry_list(registry, &count);
    things_write_list(list, count, names);
    assert_string_equal(names, expected);
}

static inline void things_assert_versions(struct registry *registry, const char *name,
                                          const char *expected)
{
    size_t count = 99;
    char names[256];
    struct snapshot **list = registry_list_versions(registry, name, &count);
    things_write_list(list, count, names);
    assert_string_equal(names, expected);
}

#define THINGS_TEST(test) cmocka_unit_test_setup_teardown(test, things_setup, things_teardown)

#endif
