/*
 * The file of a prompt pool: safetensors with the tensors (F32, F16 or BF16)
 *     pool.values  [groups, prompts, tokens, text width]   what enters the text tower
 *     pool.keys    [groups, prompts, query width]          what queries are compared with
 *     query_mean   [text blocks, query width]              taken off every unit query
 * and metadata, all of it text: format, clusters, per_cluster, depth, pos0, sentence,
 * cluster_space, query_space, retrieval; optionally name, model, model_fingerprint, logit_scale
 * (the natural logarithm of the scale, as in CLIP checkpoints), training. Unknown keys are kept,
 * other tensors are passed over.
 *
 * Checked here: all that can be said without a model. Whether a pool fits a model: pool.h.
 * A struct pool_file owns its arrays; one thread at a time until it is only read.
 */
#ifndef ENGINE_POOL_FILE_H
#define ENGINE_POOL_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/status.h"
#include "engine/engine.h"

#define POOL_FILE_FORMAT "attriprompt.pool/1"

enum {
    POOL_FILE_MAX_PROMPTS = 65535, /* numbered in 16 bits */
    POOL_FILE_MAX_NAME = 64,
    POOL_FILE_MAX_BLOCKS = 256, /* as in clip_geometry.c */
};

/* What patch rows are compared by when they are clustered: as they are, after the vision tower's
 * last norm, or in the joint space. */
enum pool_cluster_space { POOL_CLUSTER_RAW, POOL_CLUSTER_LN, POOL_CLUSTER_JOINT };

/* Where a cluster's mean is compared with keys: in the joint space or as it is. */
enum pool_query_space { POOL_QUERY_JOINT, POOL_QUERY_RAW };

/* Each cluster takes per_cluster prompts that no other took, or the best prompts of all. */
enum pool_retrieval { POOL_RETRIEVAL_DISTINCT, POOL_RETRIEVAL_TOPK_POOLED };

/* Their names in a file, NULL at the end. */
extern const char *const pool_file_cluster_spaces[], *const pool_file_query_spaces[];
extern const char *const pool_file_retrievals[];

struct pool_file {
    size_t groups;  /* 1: all text blocks share their prompts; else one group a block */
    size_t prompts; /* in a group */
    size_t tokens;  /* of a prompt */
    size_t width;   /* of the text tower */
    size_t blocks;  /* of the text tower */
    size_t query_width;
    float *values;     /* [groups, prompts, tokens, width] */
    float *keys;       /* [groups, prompts, query_width] */
    float *query_mean; /* [blocks, query_width] */

    size_t clusters, per_cluster; /* chosen in a block: clusters * per_cluster prompts */
    size_t depth;                 /* text blocks that get prompts, from the first on */
    bool pos0;                    /* prompts of the first block get position embeddings */
    enum pool_cluster_space cluster_space;
    enum pool_query_space query_space;
    enum pool_retrieval retrieval;
    bool has_logit_scale;
    float logit_scale; /* exp of the stored one */

    struct engine_pool_metadata *metadata; /* [metadata_count], all of it, in order of key */
    size_t metadata_count;
};

/* Failures name the file and the field. STATUS_NOT_FOUND, STATUS_IO, STATUS_FORMAT (no safetensors
 * file), STATUS_INVALID (a field that is missing or wrong), STATUS_UNSUPPORTED (format, dtype),
 * STATUS_LIMIT. */
enum status pool_file_load(const char *path, struct pool_file *out, struct fail *why);
/* The same over bytes in memory, which are not needed afterwards. */
enum status pool_file_parse(const unsigned char *bytes, size_t size, struct pool_file *out,
                            struct fail *why);

/* Writes the tensors in F32 and the metadata as it stands (the fields above were read from it),
 * under a temporary name that is synced and then renamed: the path holds the old file or
 * the new one, never a part. The same pool gives the same bytes. */
enum status pool_file_save(const struct pool_file *file, const char *path, struct fail *why);

void pool_file_finish(struct pool_file *file); /* NULL is allowed */

/* Puts the metadata there that the fields above are read from, with the sentence and, if it is not
 * NULL, the model's fingerprint. */
enum status pool_file_set_fields(struct pool_file *file, const char *sentence,
                                 const char *fingerprint, struct fail *why);

/* Puts a text there, in place of that under the same key. */
enum status pool_file_set_metadata(struct pool_file *file, const char *key, const char *value,
                                   struct fail *why);

/* NULL if there is no such key. */
const char *pool_file_metadata(const struct pool_file *file, const char *key);

/* What a pool is called that has no name of its own: the path without its folders and without
 * ".safetensors", at most POOL_FILE_MAX_NAME bytes of valid UTF-8. free(); NULL if there is no
 * memory. */
char *pool_file_name(const char *path);

/* What engine.h tells of it; the texts and the metadata stay the file's. */
void pool_file_describe(const struct pool_file *file, struct engine_pool_info *out);

#endif
