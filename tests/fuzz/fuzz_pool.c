/* The first byte chooses: the rest is a pool file (even), or shapes and metadata of one (odd),
 * around which a file is made. What parses is tried with a tiny model, from the root of the
 * repository.
 *
 * Shapes: flaws, a bit each (below); dtype; groups, prompts, tokens, width, blocks, query width;
 * then lines of text: the values of keys[] in order, and of further keys. A line "~" leaves its key
 * out. */
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "engine/base/buf.h"
#include "engine/engine_state.h"
#include "engine/pool.h"

#define MODEL "tests/golden/prompted/even"

enum {
    SHAPE_BYTES = 8,
    MOST_NUMBERS = 1 << 12,
    MOST_TEXT = 1 << 12,
    MOST_FILE = 1 << 20,
    TENSORS = 3,
    DTYPES = 5
};

enum flaw {
    FLAW_FEWER_KEYS = 1,
    FLAW_GROUPS_OF_KEYS = 2,
    FLAW_WIDTH_OF_MEAN = 4,
    FLAW_RANK = 8,
    FLAW_ZERO_KEY = 16,
    FLAW_NOT_FINITE = 32,
    FLAW_MISSING = 64,
    FLAW_CUT = 128
};

struct tensor {
    const char *name;
    uint32_t rank;
    size_t shape[5];
};

static const char *const keys[] = {
    "clusters",  "per_cluster", "depth", "pos0",        "cluster_space",     "query_space",
    "retrieval", "sentence",    "name",  "logit_scale", "model_fingerprint", "format"};

static struct engine *engine;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
    if (!condition)
        abort();
}

static void open_model(void)
{
    struct fail why;
    const struct engine_options options = {.composition_cache_bytes = 0};
    if (engine || !engine_open(MODEL, &options, &engine, &why))
        return;
    fprintf(stderr, "%s\n", why.message);
    abort();
}

/* ---- What holds of all that is accepted ---- */

static void check_file(const struct pool_file *file)
{
    struct engine_pool_info info;
    require(file->prompts >= 1 && file->prompts <= POOL_FILE_MAX_PROMPTS);
    require(file->tokens && file->width && file->blocks && file->query_width);
    require(file->groups == 1 || file->groups == file->blocks);
    require(file->clusters && file->per_cluster && file->depth <= file->blocks);
    require(file->clusters <= file->prompts / file->per_cluster);
    size_t all = file->groups * file->prompts;
    for (size_t i = 0; i < all * file->tokens * file->width; i++)
        require(isfinite(file->values[i]));
    for (size_t i = 0; i < all * file->query_width; i++)
        require(isfinite(file->keys[i]));
    for (size_t i = 0; i < file->blocks * file->query_width; i++)
        require(isfinite(file->query_mean[i]));
    for (size_t i = 1; i < file->metadata_count; i++)
        require(strcmp(file->metadata[i - 1].key, file->metadata[i].key) < 0);
    pool_file_describe(file, &info);
    require(strstr(info.sentence, "{}") && info.cluster_space && info.query_space);
    require(!info.name || (*info.name && strlen(info.name) <= POOL_FILE_MAX_NAME));
    require(!file->has_logit_scale || (file->logit_scale > 0 && isfinite(file->logit_scale)));
}

static void check_pool(struct engine_pool *pool)
{
    const struct engine_pool_info *info = engine_pool_info(pool);
    require(info->text_width == engine->model->geometry.text.width);
    require(pool->slots + 3 <= pool->context && info->clusters <= pool->patches);
    for (size_t block = 0; block < info->text_blocks; block++)
        for (size_t prompt = 0; prompt < info->prompts; prompt++) {
            const double *key = pool_unit_key(pool, block, prompt);
            double squares = 0;
            for (size_t d = 0; d < info->query_width; d++)
                squares += key[d] * key[d];
            require(fabs(squares - 1) < 1e-9 && isfinite(*pool_value(pool, block, prompt)));
        }
    volatile float seen = 0;
    for (size_t block = 1; block < info->depth; block++)
        seen = pool_key_value(pool, block, info->prompts - 1,
                              info->tokens - 1)[2 * info->text_width - 1];
    (void)seen;
    engine_pool_release(pool);
}

static void try_file(const void *bytes, size_t size)
{
    struct fail why = {.message = ""};
    struct pool_file file;
    struct engine_pool *pool;
    enum status status = pool_file_parse(bytes, size, &file, &why);
    if (status) {
        require(why.code == status && *why.message && status != STATUS_INTERNAL);
        return;
    }
    check_file(&file);
    bool any_fingerprint = file.prompts % 2;
    status =
        pool_create(&engine->text, engine->model, &file, "fuzz", any_fingerprint, 1, &pool, &why);
    require(!file.values && !file.metadata);
    if (status)
        require(why.code == status && *why.message && status != STATUS_INTERNAL);
    else
        check_pool(pool);
}

/* ---- A file around shapes and texts ---- */

static json_t *make_metadata(const char *text, size_t size)
{
    json_t *metadata = json_object();
    for (size_t line = 0; size || line < sizeof keys / sizeof *keys; line++) {
        const char *end = size ? memchr(text, '\n', size) : NULL;
        size_t length = end ? (size_t)(end - text) : size;
        char key[32];
        snprintf(key, sizeof key, "other %zu", line);
        const char *name = line < sizeof keys / sizeof *keys ? keys[line] : key;
        if (!size && !strcmp(name, "format"))
            json_object_set_new(metadata, name, json_string(POOL_FILE_FORMAT));
        else if (size && !(length == 1 && *text == '~'))
            json_object_set_new(metadata, name, json_stringn(text, length));
        size_t taken = length + (end ? 1 : 0);
        text += taken;
        size -= taken;
    }
    return metadata;
}

static size_t count_of(const struct tensor *tensor)
{
    size_t count = 1;
    for (uint32_t i = 0; i < tensor->rank; i++)
        count *= tensor->shape[i];
    return count;
}

static void add_header(struct buf *file, const struct tensor *tensors, size_t dtype_bytes,
                       const char *dtype, unsigned flaws)
{
    size_t begin = 0;
    for (size_t i = 0; i < TENSORS; i++) {
        const struct tensor *tensor = &tensors[i];
        size_t bytes = count_of(tensor) * dtype_bytes;
        if (flaws & FLAW_MISSING && tensor->shape[0] % TENSORS == i)
            continue;
        buf_printf(file, NULL, ",\"%s\":{\"dtype\":\"%s\",\"data_offsets\":[%zu,%zu],\"shape\":[",
                   tensor->name, dtype, begin, begin + bytes);
        for (uint32_t d = 0; d < tensor->rank; d++)
            buf_printf(file, NULL, "%s%zu", d ? "," : "", tensor->shape[d]);
        buf_append_text(file, "]}", NULL);
        begin += bytes;
    }
}

/* Bytes that are small numbers in each of the dtypes; then flaws. */
static void add_data(struct buf *file, const struct tensor *tensors, size_t dtype_bytes,
                     unsigned flaws)
{
    for (size_t i = 0; i < TENSORS; i++) {
        size_t bytes = count_of(&tensors[i]) * dtype_bytes;
        bool chosen = tensors[i].shape[0] % TENSORS == i;
        if (flaws & FLAW_MISSING && chosen)
            continue;
        require(!buf_reserve(file, bytes, NULL));
        char *at = file->data + file->size;
        for (size_t j = 0; j < bytes; j++)
            at[j] = (char)(j % 2 ? j % 5 * 2 + 0x36 : j * 7);
        if (flaws & FLAW_ZERO_KEY && i == 0 && bytes)
            memset(at, 0, tensors[i].shape[2] * dtype_bytes);
        for (size_t j = bytes - dtype_bytes; flaws & FLAW_NOT_FINITE && chosen && j < bytes; j++)
            at[j] = (char)(j % 2 ? 0x7f : 0x80);
        file->size += bytes;
    }
}

/* From an allocation of just that size, so that a sanitizer sees who reads beyond it. */
static void try_copy(const char *bytes, size_t size)
{
    char *copy = malloc(size);
    require(copy != NULL);
    memcpy(copy, bytes, size);
    try_file(copy, size);
    free(copy);
}

static void try_shapes(const uint8_t *data, size_t size)
{
    static const struct {
        const char *name;
        size_t bytes;
    } dtypes[DTYPES] = {{"F32", 4}, {"F16", 2}, {"BF16", 2}, {"I64", 8}, {"U8", 1}};
    if (size < SHAPE_BYTES || size > MOST_TEXT)
        return;
    unsigned flaws = data[0];
    size_t dtype = data[1] % DTYPES;
    size_t groups = data[2], prompts = data[3], tokens = data[4], width = data[5];
    size_t blocks = data[6], query_width = data[7];
    struct tensor tensors[TENSORS] = {
        {"pool.keys", 3, {groups, prompts, query_width}},
        {"pool.values", 4, {groups, prompts, tokens, width}},
        {"query_mean", 2, {blocks, query_width}},
    };
    tensors[0].shape[1] -= flaws & FLAW_FEWER_KEYS && prompts ? 1 : 0;
    tensors[0].shape[0] += flaws & FLAW_GROUPS_OF_KEYS ? 1 : 0;
    tensors[2].shape[1] += flaws & FLAW_WIDTH_OF_MEAN ? 1 : 0;
    struct tensor *changed = &tensors[prompts % TENSORS];
    if (flaws & FLAW_RANK)
        changed->shape[changed->rank++] = 1;
    for (size_t i = 0; i < TENSORS; i++)
        if (count_of(&tensors[i]) > MOST_NUMBERS)
            return;
    struct buf file;
    buf_init(&file, MOST_FILE);
    uint64_t length = 0;
    json_t *metadata = make_metadata((const char *)data + SHAPE_BYTES, size - SHAPE_BYTES);
    char *texts = json_dumps(metadata, JSON_COMPACT);
    require(!buf_append(&file, &length, sizeof length, NULL));
    buf_printf(&file, NULL, "{\"__metadata__\":%s", texts);
    add_header(&file, tensors, dtypes[dtype].bytes, dtypes[dtype].name, flaws);
    buf_append_text(&file, "}", NULL);
    length = file.size - sizeof length;
    memcpy(file.data, &length, sizeof length);
    add_data(&file, tensors, dtypes[dtype].bytes, flaws);
    try_copy(file.data, file.size - (flaws & FLAW_CUT ? 1 : 0));
    buf_finish(&file);
    json_decref(metadata);
    free(texts);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    open_model();
    if (size == 0)
        return 0;
    if (data[0] % 2)
        try_shapes(data + 1, size - 1);
    else
        try_file(data + 1, size - 1);
    return 0;
}
