/* A model folder taken apart: the tensors of one of the small models of tests/golden/towers, to be
 * changed one at a time and written to a temporary folder again. */
#ifndef TESTS_UNIT_MODEL_PARTS_H
#define TESTS_UNIT_MODEL_PARTS_H

#include "tests/unit/unit.h"

#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/buf.h"
#include "engine/clip_model.h"
#include "engine/safetensors.h"

#define TOWERS "tests/golden/towers/"

enum { MOST_TENSORS = 128, MOST_FILE_BYTES = 1 << 20 };

struct entry {
    char name[160];
    const char *dtype;
    uint32_t rank;
    size_t shape[SAFETENSORS_MAX_RANK];
    unsigned char *data;
    size_t bytes;
};

/* A model taken apart, to be changed and written again. */
struct parts {
    char folder[64];
    size_t count;
    struct entry entries[MOST_TENSORS];
};

static inline void path_of(const struct parts *parts, const char *name, char *out)
{
    snprintf(out, 128, "%s/%s", parts->folder, name);
}

static inline void write_file(const struct parts *parts, const char *name, const void *bytes,
                              size_t size)
{
    char path[128];
    path_of(parts, name, path);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, size, file), size);
    fclose(file);
}

static inline void write_text(const struct parts *parts, const char *name, const char *text)
{
    write_file(parts, name, text, strlen(text));
}

static inline void remove_file(const struct parts *parts, const char *name)
{
    char path[128];
    path_of(parts, name, path);
    unlink(path);
}

static inline void take_apart(const char *model, struct parts *parts)
{
    struct fail why;
    struct safetensors *file;
    char path[256];
    snprintf(path, sizeof path, TOWERS "%s/model.safetensors", model);
    unit_assert_ok(safetensors_open(path, &file, &why), why);
    parts->count = safetensors_count(file);
    assert_true(parts->count < MOST_TENSORS);
    for (size_t i = 0; i < parts->count; i++) {
        const struct safetensors_tensor *tensor = safetensors_at(file, i);
        struct entry *entry = &parts->entries[i];
        *entry = (struct entry){.dtype = safetensors_dtype_name(tensor->dtype),
                                .rank = tensor->rank,
                                .bytes = tensor->bytes};
        snprintf(entry->name, sizeof entry->name, "%s", tensor->name);
        memcpy(entry->shape, tensor->shape, sizeof entry->shape);
        entry->data = malloc(tensor->bytes);
        memcpy(entry->data, tensor->data, tensor->bytes);
    }
    safetensors_close(file);
}

static inline struct parts *open_parts(const char *model, bool with_config)
{
    struct parts *parts = calloc(1, sizeof *parts);
    strcpy(parts->folder, "/tmp/test_clip_model.XXXXXX");
    assert_non_null(mkdtemp(parts->folder));
    take_apart(model, parts);
    if (with_config) {
        struct fail why;
        struct buf config;
        char path[256];
        snprintf(path, sizeof path, TOWERS "%s/config.json", model);
        buf_init(&config, MOST_FILE_BYTES);
        unit_assert_ok(buf_read_file(&config, path, &why), why);
        write_file(parts, "config.json", config.data, config.size);
        buf_finish(&config);
    }
    return parts;
}

static inline void close_parts(struct parts *parts)
{
    remove_file(parts, "model.safetensors");
    remove_file(parts, "config.json");
    rmdir(parts->folder);
    for (size_t i = 0; i < parts->count; i++)
        free(parts->entries[i].data);
    free(parts);
}

static inline struct entry *find(struct parts *parts, const char *name)
{
    for (size_t i = 0; i < parts->count; i++)
        if (!strcmp(parts->entries[i].name, name))
            return &parts->entries[i];
    fail_msg("no tensor %s", name);
    return NULL;
}

/* A tensor of zeros; rank 0 for a scalar. */
static inline void add(struct parts *parts, const char *name, uint32_t rank, size_t rows)
{
    struct entry *entry = &parts->entries[parts->count++];
    *entry = (struct entry){.dtype = "F32", .rank = rank, .shape = {rows}, .bytes = 4 * rows};
    snprintf(entry->name, sizeof entry->name, "%s", name);
    entry->data = calloc(rows, 4);
}

static inline void write_model(const struct parts *parts, const struct entry *left_out)
{
    struct fail why;
    struct buf header, data;
    buf_init(&header, MOST_FILE_BYTES);
    buf_init(&data, MOST_FILE_BYTES);
    uint64_t length = 0;
    buf_append(&header, &length, sizeof length, &why);
    for (size_t i = 0; i < parts->count; i++) {
        const struct entry *entry = &parts->entries[i];
        if (entry == left_out)
            continue;
        const struct safetensors_tensor shaped = {.rank = entry->rank};
        struct safetensors_tensor tensor = shaped;
        char shape[128];
        memcpy(tensor.shape, entry->shape, sizeof tensor.shape);
        buf_printf(&header, &why,
                   "%c\"%s\":{\"dtype\":\"%s\",\"shape\":%s,\"data_offsets\":[%zu,%zu]}",
                   header.size == sizeof length ? '{' : ',', entry->name, entry->dtype,
                   safetensors_shape_text(&tensor, shape, sizeof shape), data.size,
                   data.size + entry->bytes);
        buf_append(&data, entry->data, entry->bytes, &why);
    }
    unit_assert_ok(buf_append_text(&header, "}", &why), why);
    length = header.size - sizeof length;
    memcpy(header.data, &length, sizeof length);
    unit_assert_ok(buf_append(&header, data.data, data.size, &why), why);
    write_file(parts, "model.safetensors", header.data, header.size);
    buf_finish(&header);
    buf_finish(&data);
}

static inline void expect_model(const struct parts *parts, int activation, struct clip_model **out)
{
    struct fail why;
    const struct clip_model_options options = {.activation = activation};
    unit_assert_ok(clip_model_load(parts->folder, &options, out, &why), why);
}

static inline void expect_refused(const struct parts *parts, enum status status, const char *part)
{
    struct fail why = {0};
    struct clip_model *model = NULL;
    const struct clip_model_options options = {.activation = -1};
    unit_assert_fails(clip_model_load(parts->folder, &options, &model, &why), status, why, part);
    assert_null(model);
    assert_non_null(strstr(why.message, parts->folder));
    assert_int_equal(clip_model_load(parts->folder, &options, &model, NULL), status);
}

#endif
