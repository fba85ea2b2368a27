/* A pool file taken apart: one of tests/golden/prompted, to be changed and put together again. */
#ifndef TESTS_UNIT_POOL_PARTS_H
#define TESTS_UNIT_POOL_PARTS_H

#include "tests/unit/unit.h"

#include <jansson.h>
#include <unistd.h>

#include "engine/base/buf.h"
#include "engine/pool_file.h"
#include "engine/safetensors.h"
#include "tests/unit/prompted.h"

enum { POOL_PARTS_TENSORS = 3, POOL_PARTS_MOST_BYTES = 1 << 24 };

struct pool_part {
    const char *name; /* NULL: left out */
    const char *dtype;
    uint32_t rank;
    size_t shape[SAFETENSORS_MAX_RANK];
    size_t bytes;
    unsigned char *data;
};

struct pool_parts {
    struct pool_part keys, values, mean;
    json_t *metadata;
};

static inline void pool_parts_take(const struct safetensors *file, const char *name,
                                   struct pool_part *out)
{
    const struct safetensors_tensor *tensor = safetensors_find(file, name);
    assert_non_null(tensor);
    *out = (struct pool_part){.name = name,
                              .dtype = safetensors_dtype_name(tensor->dtype),
                              .rank = tensor->rank,
                              .bytes = tensor->bytes,
                              .data = malloc(tensor->bytes)};
    memcpy(out->shape, tensor->shape, sizeof out->shape);
    memcpy(out->data, tensor->data, tensor->bytes);
}

static inline enum status pool_parts_take_text(void *context, const char *key, const char *value,
                                               struct fail *why)
{
    (void)why;
    assert_int_equal(json_object_set_new(context, key, json_string(value)), 0);
    return STATUS_OK;
}

static inline void pool_parts_open(struct pool_parts *parts, const char *model, const char *variant)
{
    struct fail why;
    char name[64];
    snprintf(name, sizeof name, "%s.pool", variant);
    struct safetensors *file = prompted_file(model, name);
    parts->metadata = json_object();
    unit_assert_ok(safetensors_each_metadata(file, pool_parts_take_text, parts->metadata, &why),
                   why);
    pool_parts_take(file, "pool.keys", &parts->keys);
    pool_parts_take(file, "pool.values", &parts->values);
    pool_parts_take(file, "query_mean", &parts->mean);
    safetensors_close(file);
}

static inline void pool_parts_close(struct pool_parts *parts)
{
    json_decref(parts->metadata);
    free(parts->keys.data);
    free(parts->values.data);
    free(parts->mean.data);
}

static inline const char *pool_parts_text(const struct pool_parts *parts, const char *key)
{
    return json_string_value(json_object_get(parts->metadata, key));
}

/* value NULL: no such key. */
static inline void pool_parts_set(struct pool_parts *parts, const char *key, const char *value)
{
    if (value)
        assert_int_equal(json_object_set_new(parts->metadata, key, json_string(value)), 0);
    else
        json_object_del(parts->metadata, key);
}

/* Another shape, and numbers of its own for it, in F32. */
static inline void pool_parts_reshape(struct pool_part *part, uint32_t rank, const size_t *shape)
{
    uint32_t seed = 1 + rank;
    size_t count = 1;
    part->dtype = "F32";
    part->rank = rank;
    for (uint32_t i = 0; i < rank; i++)
        count *= part->shape[i] = shape[i];
    part->bytes = count * sizeof(float);
    free(part->data);
    part->data = malloc(part->bytes + 1);
    for (size_t i = 0; i < count; i++) {
        float value = unit_random_float(&seed, 1);
        memcpy(part->data + i * sizeof value, &value, sizeof value);
    }
}

#define POOL_PARTS_RESHAPE(part, ...)                                                              \
    pool_parts_reshape(part, sizeof((const size_t[]){__VA_ARGS__}) / sizeof(size_t),               \
                       (const size_t[]){__VA_ARGS__})

/* Number index of a part in F32. */
static inline void pool_parts_put(struct pool_part *part, size_t index, float value)
{
    assert_string_equal(part->dtype, "F32");
    assert_true((index + 1) * sizeof value <= part->bytes);
    memcpy(part->data + index * sizeof value, &value, sizeof value);
}

static inline void pool_parts_build(const struct pool_parts *parts, struct buf *out)
{
    struct fail why;
    const struct pool_part *tensors[POOL_PARTS_TENSORS] = {&parts->mean, &parts->keys,
                                                           &parts->values};
    uint64_t length = 0;
    size_t begin = 0;
    char *texts = json_dumps(parts->metadata, JSON_COMPACT);
    buf_init(out, POOL_PARTS_MOST_BYTES);
    buf_append(out, &length, sizeof length, NULL);
    buf_printf(out, NULL, "{\"__metadata__\":%s", texts);
    free(texts);
    for (size_t i = 0; i < POOL_PARTS_TENSORS; i++) {
        struct safetensors_tensor shaped = {.rank = tensors[i]->rank};
        char shape[128];
        memcpy(shaped.shape, tensors[i]->shape, sizeof shaped.shape);
        if (!tensors[i]->name)
            continue;
        buf_printf(out, NULL, ",\"%s\":{\"dtype\":\"%s\",\"shape\":%s,\"data_offsets\":[%zu,%zu]}",
                   tensors[i]->name, tensors[i]->dtype,
                   safetensors_shape_text(&shaped, shape, sizeof shape), begin,
                   begin + tensors[i]->bytes);
        begin += tensors[i]->bytes;
    }
    buf_append_text(out, "}", NULL);
    length = out->size - sizeof length;
    memcpy(out->data, &length, sizeof length);
    for (size_t i = 0; i < POOL_PARTS_TENSORS; i++)
        if (tensors[i]->name)
            unit_assert_ok(buf_append(out, tensors[i]->data, tensors[i]->bytes, &why), why);
}

/* From an allocation of just that size, so that a sanitizer sees who reads beyond it. */
static inline enum status pool_parts_parse_bytes(const void *bytes, size_t size,
                                                 struct pool_file *out, struct fail *why)
{
    unsigned char *copy = malloc(size ? size : 1);
    if (size)
        memcpy(copy, bytes, size);
    enum status status = pool_file_parse(copy, size, out, why);
    free(copy);
    return status;
}

static inline enum status pool_parts_parse(const struct pool_parts *parts, struct pool_file *out,
                                           struct fail *why)
{
    struct buf bytes;
    pool_parts_build(parts, &bytes);
    enum status status = pool_parts_parse_bytes(bytes.data, bytes.size, out, why);
    buf_finish(&bytes);
    return status;
}

/* Fails, saying so, and leaves what it should have filled as it was. */
static inline void pool_parts_refused(const struct pool_parts *parts, enum status status,
                                      const char *part)
{
    struct fail why = {0};
    struct pool_file file, untouched;
    memset(&file, 0x5a, sizeof file);
    memcpy(&untouched, &file, sizeof file);
    unit_assert_fails(pool_parts_parse(parts, &file, &why), status, why, part);
    assert_memory_equal(&file, &untouched, sizeof file);
    assert_int_equal(pool_parts_parse(parts, &file, NULL), status);
}

/* pool_file_finish it. */
static inline struct pool_file pool_parts_good(const struct pool_parts *parts)
{
    struct fail why;
    struct pool_file file;
    unit_assert_ok(pool_parts_parse(parts, &file, &why), why);
    return file;
}

static inline void pool_parts_accepted(const struct pool_parts *parts)
{
    struct pool_file file = pool_parts_good(parts);
    pool_file_finish(&file);
}

/* Refused with this text under the key, which is put back afterwards. */
static inline void pool_parts_refuse_text(struct pool_parts *parts, const char *key,
                                          const char *value, enum status status, const char *part)
{
    const char *text = pool_parts_text(parts, key);
    char *before = text ? strdup(text) : NULL;
    pool_parts_set(parts, key, value);
    pool_parts_refused(parts, status, part);
    pool_parts_set(parts, key, before);
    free(before);
}

static inline void pool_parts_write_bytes(const char *path, const void *bytes, size_t size)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, size, file), size);
    fclose(file);
}

static inline void pool_parts_write(const struct pool_parts *parts, const char *path)
{
    struct buf bytes;
    pool_parts_build(parts, &bytes);
    pool_parts_write_bytes(path, bytes.data, bytes.size);
    buf_finish(&bytes);
}

#endif
