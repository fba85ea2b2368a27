/*
 * A prompt pool ready for use with one model: the file's content, checked against the model, and
 * what can be computed once. Immutable and reference counted; any thread. The functions behind
 * engine_pool_* of engine.h.
 *
 * A prompt that replaces a row before a block acts on the other rows only by its key and value
 * there: they read nothing else of it, and its own output is thrown away. So for each prompted
 * block but the first there is a table of every prompt's key and value. (In the first block
 * position embeddings, and so the slot, enter; where prompts end before the last block, the last
 * prompted block's go on through the tower. compose.h computes both.)
 */
#ifndef ENGINE_POOL_H
#define ENGINE_POOL_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/block.h"
#include "engine/clip_model.h"
#include "engine/engine.h"
#include "engine/pool_file.h"

struct engine_pool {
    atomic_size_t references;
    uint64_t id; /* no other pool of the engine ever has it */
    struct pool_file file;
    struct engine_pool_info info;
    char *name;
    size_t chosen;      /* prompts in a composition's layer: clusters * per_cluster */
    size_t slots;       /* tokens they take: chosen * tokens */
    size_t patches;     /* of the model's pictures */
    size_t context;     /* of the model's texts */
    double *unit_keys;  /* [groups, prompts, query_width] */
    float *keys_values; /* [depth - 1, prompts, tokens, 2, width], from block 1 on; NULL if empty */
    size_t layer_floats; /* of keys_values in one block */
};

/* text: the setting of the model's text tower. Takes the content of *file over, also on failure.
 * STATUS_INVALID names the field that does not fit the model; STATUS_LIMIT if the table would be
 * too large. name: of a pool whose metadata has none. */
enum status pool_create(const struct block_setting *text, const struct clip_model *model,
                        struct pool_file *file, const char *name, bool any_fingerprint, uint64_t id,
                        struct engine_pool **out, struct fail *why);

/* The same without the table (keys_values is NULL), for training: values and keys of the file may
 * be changed as long as nobody else uses the pool, and the keys must be made unit again then. */
enum status pool_create_trainable(const struct clip_model *model, struct pool_file *file,
                                  const char *name, struct engine_pool **out, struct fail *why);
void pool_refresh_keys(struct engine_pool *pool);

/* The first token of a prompt [tokens, width], and its unit key [query_width], in the group that
 * belongs to the text block. */
const float *pool_value(const struct engine_pool *pool, size_t block, size_t prompt);
const double *pool_unit_key(const struct engine_pool *pool, size_t block, size_t prompt);

/* Key and value [2, width] of a token of a prompt; block of at least 1 and less than the depth. */
const float *pool_key_value(const struct engine_pool *pool, size_t block, size_t prompt,
                            size_t token);

#endif
