#include "engine/pool_file.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/buf.h"
#include "engine/base/mem.h"
#include "engine/base/utf8.h"
#include "engine/labels.h"
#include "engine/safetensors.h"
#include "engine/safetensors_write.h"

enum { POOL_FILE_MAX_BYTES = 1 << 30 };

/* In CLIP it is 4.6. */
static const double pool_file_logit_scale_limit = 10;

const char *const pool_file_cluster_spaces[] = {"raw", "ln", "joint", NULL};
const char *const pool_file_query_spaces[] = {"joint", "raw", NULL};
const char *const pool_file_retrievals[] = {"distinct", "topk_pooled", NULL};

/* ---- Metadata ---- */

const char *pool_file_metadata(const struct pool_file *file, const char *key)
{
    for (size_t i = 0; i < file->metadata_count; i++)
        if (!strcmp(file->metadata[i].key, key))
            return file->metadata[i].value;
    return NULL;
}

static int pool_file_compare_keys(const void *a, const void *b)
{
    const struct engine_pool_metadata *left = a, *right = b;
    return strcmp(left->key, right->key);
}

static enum status pool_file_add_metadata(void *context, const char *key, const char *value,
                                          struct fail *why)
{
    struct pool_file *file = context;
    struct engine_pool_metadata *grown =
        mem_resize(file->metadata, file->metadata_count + 1, sizeof *file->metadata);
    if (!grown)
        return status_fail(why, STATUS_NO_MEMORY, "no memory for the metadata");
    file->metadata = grown;
    struct engine_pool_metadata *added = &grown[file->metadata_count++];
    added->key = mem_copy_text(key, strlen(key));
    added->value = mem_copy_text(value, strlen(value));
    return added->key && added->value
               ? STATUS_OK
               : status_fail(why, STATUS_NO_MEMORY, "no memory for the metadata");
}

static enum status pool_file_require(const struct pool_file *file, const char *key,
                                     const char **out, struct fail *why)
{
    *out = pool_file_metadata(file, key);
    return *out ? STATUS_OK : status_fail(why, STATUS_INVALID, "metadata \"%s\" is missing", key);
}

static enum status pool_file_read_number(const struct pool_file *file, const char *key,
                                         size_t least, size_t most, size_t *out, struct fail *why)
{
    const char *text;
    char *end;
    enum status status = pool_file_require(file, key, &text, why);
    if (status)
        return status;
    unsigned long long value = strtoull(text, &end, 10);
    if (!isdigit((unsigned char)*text) || *end || value < least || value > most)
        return status_fail(why, STATUS_INVALID,
                           "metadata \"%s\" is \"%.40s\"; must be a whole number from %zu to %zu",
                           key, text, least, most);
    *out = (size_t)value;
    return STATUS_OK;
}

static enum status pool_file_read_choice(const struct pool_file *file, const char *key,
                                         const char *const *choices, unsigned *out,
                                         struct fail *why)
{
    const char *text;
    enum status status = pool_file_require(file, key, &text, why);
    if (status)
        return status;
    for (*out = 0; choices[*out]; ++*out)
        if (!strcmp(text, choices[*out]))
            return STATUS_OK;
    struct buf list;
    buf_init(&list, 256);
    for (unsigned i = 0; choices[i]; i++)
        buf_printf(&list, NULL, "%s%s", i ? ", " : "", choices[i]);
    status = status_fail(why, STATUS_INVALID, "metadata \"%s\" is \"%.40s\"; must be one of %s",
                         key, text, list.data ? list.data : "");
    buf_finish(&list);
    return status;
}

static enum status pool_file_read_logit_scale(struct pool_file *file, struct fail *why)
{
    const char *text = pool_file_metadata(file, "logit_scale");
    if (!text)
        return STATUS_OK;
    char *end;
    double value = strtod(text, &end);
    if (end == text || *end || strspn(text, "0123456789+-.eE") != strlen(text) ||
        !(fabs(value) <= pool_file_logit_scale_limit))
        return status_fail(why, STATUS_INVALID,
                           "metadata \"logit_scale\" is \"%.40s\"; must be a number from -%g to %g "
                           "(the natural logarithm of the scale)",
                           text, pool_file_logit_scale_limit, pool_file_logit_scale_limit);
    file->has_logit_scale = true;
    file->logit_scale = (float)exp(value);
    return STATUS_OK;
}

static enum status pool_file_check_texts(const struct pool_file *file, struct fail *why)
{
    const char *sentence, *fingerprint = pool_file_metadata(file, "model_fingerprint");
    const char *name = pool_file_metadata(file, "name");
    enum status status = pool_file_require(file, "sentence", &sentence, why);
    if (!status && labels_check_sentence(sentence, why))
        status = status_context(why, STATUS_INVALID, "metadata");
    if (!status && fingerprint &&
        (strlen(fingerprint) != 64 || strspn(fingerprint, "0123456789abcdef") != 64))
        status = status_fail(why, STATUS_INVALID,
                             "metadata \"model_fingerprint\" is not 64 digits of lower-case "
                             "hexadecimal");
    if (!status && name && (!*name || strlen(name) > POOL_FILE_MAX_NAME))
        status = status_fail(why, STATUS_INVALID, "metadata \"name\" must have 1 to %d bytes",
                             POOL_FILE_MAX_NAME);
    return status;
}

/* After the tensors, which bound the numbers. */
static enum status pool_file_read_fields(struct pool_file *file, struct fail *why)
{
    size_t pos0 = 0;
    unsigned cluster_space = 0, query_space = 0, retrieval = 0;
    enum status status =
        pool_file_read_number(file, "clusters", 1, POOL_FILE_MAX_PROMPTS, &file->clusters, why);
    if (!status)
        status = pool_file_read_number(file, "per_cluster", 1, POOL_FILE_MAX_PROMPTS,
                                       &file->per_cluster, why);
    if (!status && file->clusters * file->per_cluster > file->prompts)
        status =
            status_fail(why, STATUS_INVALID,
                        "metadata \"clusters\" times \"per_cluster\" is %zu, more than the %zu "
                        "prompts of the pool",
                        file->clusters * file->per_cluster, file->prompts);
    if (!status)
        status = pool_file_read_number(file, "depth", 0, file->blocks, &file->depth, why);
    if (!status)
        status = pool_file_read_number(file, "pos0", 0, 1, &pos0, why);
    if (!status)
        status = pool_file_read_choice(file, "cluster_space", pool_file_cluster_spaces,
                                       &cluster_space, why);
    if (!status)
        status =
            pool_file_read_choice(file, "query_space", pool_file_query_spaces, &query_space, why);
    if (!status)
        status = pool_file_read_choice(file, "retrieval", pool_file_retrievals, &retrieval, why);
    if (status)
        return status;
    file->pos0 = pos0;
    file->cluster_space = (enum pool_cluster_space)cluster_space;
    file->query_space = (enum pool_query_space)query_space;
    file->retrieval = (enum pool_retrieval)retrieval;
    status = pool_file_check_texts(file, why);
    return status ? status : pool_file_read_logit_scale(file, why);
}

static enum status pool_file_check_format(const struct pool_file *file, struct fail *why)
{
    const char *format;
    enum status status = pool_file_require(file, "format", &format, why);
    if (!status && strcmp(format, POOL_FILE_FORMAT) != 0)
        status = status_fail(why, STATUS_UNSUPPORTED,
                             "metadata \"format\" is \"%.40s\"; this program reads \"%s\"", format,
                             POOL_FILE_FORMAT);
    return status;
}

/* ---- Tensors ---- */

static enum status pool_file_read_tensor(const struct safetensors *from, const char *name,
                                         uint32_t rank, const char *shape, float **out,
                                         const struct safetensors_tensor **out_tensor,
                                         struct fail *why)
{
    char found[128];
    const struct safetensors_tensor *tensor = safetensors_find(from, name);
    if (!tensor)
        return status_fail(why, STATUS_INVALID, "tensor %s is missing", name);
    if (tensor->rank != rank || !tensor->count)
        return status_fail(why, STATUS_INVALID, "tensor %s has shape %s; expected %s", name,
                           safetensors_shape_text(tensor, found, sizeof found), shape);
    *out_tensor = tensor;
    *out = mem_aligned(tensor->count, sizeof(float));
    if (!*out)
        return status_fail(why, STATUS_NO_MEMORY, "no memory for tensor %s", name);
    return safetensors_to_f32(tensor, *out, why);
}

/* A key of length zero points nowhere. */
static enum status pool_file_check_keys(const struct pool_file *file, struct fail *why)
{
    for (size_t i = 0; i < file->groups * file->prompts; i++) {
        const float *key = file->keys + i * file->query_width;
        double squares = 0;
        for (size_t d = 0; d < file->query_width; d++)
            squares += (double)key[d] * key[d];
        if (!(squares > 0))
            return status_fail(why, STATUS_INVALID,
                               "tensor pool.keys: the key of prompt %zu in group %zu is zero",
                               i % file->prompts, i / file->prompts);
    }
    return STATUS_OK;
}

static enum status pool_file_check_shapes(const struct pool_file *file,
                                          const struct safetensors_tensor *keys,
                                          const struct safetensors_tensor *mean, struct fail *why)
{
    char found[128];
    if (file->prompts > POOL_FILE_MAX_PROMPTS)
        return status_fail(why, STATUS_LIMIT,
                           "tensor pool.values holds %zu prompts in a group; at most %d",
                           file->prompts, POOL_FILE_MAX_PROMPTS);
    if (file->blocks > POOL_FILE_MAX_BLOCKS)
        return status_fail(why, STATUS_LIMIT, "tensor query_mean has %zu rows; at most %d",
                           file->blocks, POOL_FILE_MAX_BLOCKS);
    if (keys->shape[0] != file->groups || keys->shape[1] != file->prompts)
        return status_fail(why, STATUS_INVALID,
                           "tensor pool.keys has shape %s; pool.values wants [%zu, %zu, width]",
                           safetensors_shape_text(keys, found, sizeof found), file->groups,
                           file->prompts);
    if (mean->shape[1] != file->query_width)
        return status_fail(why, STATUS_INVALID,
                           "tensor query_mean has shape %s; pool.keys wants [blocks, %zu]",
                           safetensors_shape_text(mean, found, sizeof found), file->query_width);
    if (file->groups != 1 && file->groups != file->blocks)
        return status_fail(why, STATUS_INVALID,
                           "tensor pool.values has %zu groups; must be 1, or %zu as query_mean has "
                           "text blocks",
                           file->groups, file->blocks);
    return pool_file_check_keys(file, why);
}

static enum status pool_file_read_tensors(const struct safetensors *from, struct pool_file *file,
                                          struct fail *why)
{
    const struct safetensors_tensor *values, *keys, *mean;
    enum status status = pool_file_read_tensor(
        from, "pool.values", 4, "[groups, prompts, tokens, width]", &file->values, &values, why);
    if (!status)
        status = pool_file_read_tensor(from, "pool.keys", 3, "[groups, prompts, width]",
                                       &file->keys, &keys, why);
    if (!status)
        status = pool_file_read_tensor(from, "query_mean", 2, "[blocks, width]", &file->query_mean,
                                       &mean, why);
    if (status)
        return status;
    file->groups = values->shape[0];
    file->prompts = values->shape[1];
    file->tokens = values->shape[2];
    file->width = values->shape[3];
    file->blocks = mean->shape[0];
    file->query_width = keys->shape[2];
    return pool_file_check_shapes(file, keys, mean, why);
}

/* ---- Files ---- */

static enum status pool_file_read(const struct safetensors *from, struct pool_file *out,
                                  struct fail *why)
{
    struct pool_file file = {0};
    enum status status = safetensors_each_metadata(from, pool_file_add_metadata, &file, why);
    if (!status && file.metadata_count)
        qsort(file.metadata, file.metadata_count, sizeof *file.metadata, pool_file_compare_keys);
    if (!status)
        status = pool_file_check_format(&file, why);
    if (!status)
        status = pool_file_read_tensors(from, &file, why);
    if (!status)
        status = pool_file_read_fields(&file, why);
    if (status)
        pool_file_finish(&file);
    else
        *out = file;
    return status;
}

enum status pool_file_parse(const unsigned char *bytes, size_t size, struct pool_file *out,
                            struct fail *why)
{
    struct safetensors *from;
    enum status status = safetensors_parse(bytes, size, &from, why);
    if (status)
        return status;
    status = pool_file_read(from, out, why);
    safetensors_close(from);
    return status;
}

/* Read, not mapped: pools are replaced while the program runs, and a mapped file that shrinks ends
 * the process. */
enum status pool_file_load(const char *path, struct pool_file *out, struct fail *why)
{
    struct buf bytes;
    buf_init(&bytes, POOL_FILE_MAX_BYTES);
    enum status status = buf_read_file(&bytes, path, why);
    if (!status) {
        status = pool_file_parse((const unsigned char *)bytes.data, bytes.size, out, why);
        if (status)
            status_context(why, status, "%s", path);
    }
    buf_finish(&bytes);
    return status;
}

enum status pool_file_save(const struct pool_file *file, const char *path, struct fail *why)
{
    const struct safetensors_output tensors[] = {
        {"pool.keys", 3, {file->groups, file->prompts, file->query_width}, file->keys},
        {"pool.values", 4, {file->groups, file->prompts, file->tokens, file->width}, file->values},
        {"query_mean", 2, {file->blocks, file->query_width}, file->query_mean},
    };
    struct safetensors_text *texts = mem_zeroed(file->metadata_count, sizeof *texts);
    if (!texts)
        return status_fail(why, STATUS_NO_MEMORY, "no memory for the metadata");
    for (size_t i = 0; i < file->metadata_count; i++)
        texts[i] = (struct safetensors_text){file->metadata[i].key, file->metadata[i].value};
    enum status status = safetensors_write(path, tensors, sizeof tensors / sizeof *tensors, texts,
                                           file->metadata_count, why);
    free(texts);
    return status;
}

/* ---- Writing ---- */

enum status pool_file_set_metadata(struct pool_file *file, const char *key, const char *value,
                                   struct fail *why)
{
    for (size_t i = 0; i < file->metadata_count; i++) {
        if (strcmp(file->metadata[i].key, key) != 0)
            continue;
        char *copy = mem_copy_text(value, strlen(value));
        if (!copy)
            return status_fail(why, STATUS_NO_MEMORY, "no memory for the metadata");
        free((char *)file->metadata[i].value);
        file->metadata[i].value = copy;
        return STATUS_OK;
    }
    enum status status = pool_file_add_metadata(file, key, value, why);
    if (!status)
        qsort(file->metadata, file->metadata_count, sizeof *file->metadata, pool_file_compare_keys);
    return status;
}

enum status pool_file_set_fields(struct pool_file *file, const char *sentence,
                                 const char *fingerprint, struct fail *why)
{
    char clusters[24], per_cluster[24], depth[24];
    snprintf(clusters, sizeof clusters, "%zu", file->clusters);
    snprintf(per_cluster, sizeof per_cluster, "%zu", file->per_cluster);
    snprintf(depth, sizeof depth, "%zu", file->depth);
    const struct engine_pool_metadata fields[] = {
        {"format", POOL_FILE_FORMAT},
        {"clusters", clusters},
        {"per_cluster", per_cluster},
        {"depth", depth},
        {"pos0", file->pos0 ? "1" : "0"},
        {"sentence", sentence},
        {"cluster_space", pool_file_cluster_spaces[file->cluster_space]},
        {"query_space", pool_file_query_spaces[file->query_space]},
        {"retrieval", pool_file_retrievals[file->retrieval]},
        {"model_fingerprint", fingerprint},
    };
    enum status status = STATUS_OK;
    for (size_t i = 0; i < sizeof fields / sizeof *fields && !status; i++)
        if (fields[i].value)
            status = pool_file_set_metadata(file, fields[i].key, fields[i].value, why);
    return status;
}

char *pool_file_name(const char *path)
{
    static const char ending[] = ".safetensors";
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    size_t length = strlen(name), ending_length = sizeof ending - 1;
    if (length > ending_length && !strcmp(name + length - ending_length, ending))
        length -= ending_length;
    char *copy = mem_copy_text(name, utf8_cut(name, length, POOL_FILE_MAX_NAME));
    if (copy)
        utf8_clean(copy);
    return copy;
}

void pool_file_describe(const struct pool_file *file, struct engine_pool_info *out)
{
    *out = (struct engine_pool_info){
        .name = pool_file_metadata(file, "name"),
        .sentence = pool_file_metadata(file, "sentence"),
        .groups = file->groups,
        .prompts = file->prompts,
        .tokens = file->tokens,
        .text_width = file->width,
        .text_blocks = file->blocks,
        .query_width = file->query_width,
        .clusters = file->clusters,
        .per_cluster = file->per_cluster,
        .depth = file->depth,
        .pos0 = file->pos0,
        .cluster_space = pool_file_cluster_spaces[file->cluster_space],
        .query_space = pool_file_query_spaces[file->query_space],
        .retrieval = pool_file_retrievals[file->retrieval],
        .logit_scale = file->has_logit_scale ? file->logit_scale : 0,
        .metadata = file->metadata,
        .metadata_count = file->metadata_count,
    };
}

void pool_file_finish(struct pool_file *file)
{
    if (!file)
        return;
    free(file->values);
    free(file->keys);
    free(file->query_mean);
    for (size_t i = 0; i < file->metadata_count; i++) {
        free((char *)file->metadata[i].key);
        free((char *)file->metadata[i].value);
    }
    free(file->metadata);
    *file = (struct pool_file){0};
}
