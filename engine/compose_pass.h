/*
 * What compose.h and its gradient have in common: the rows of some pictures' prompts and of one
 * trie of texts, on their way through the text tower.
 *
 * Row slot * pictures + picture of x is a prompt token of a picture; row (slots + node) * pictures
 * + picture is a node of the trie for it. So what the rows of one picture attend to are rows of
 * that picture, a product takes all pictures at once, and the leaves of all pictures come last.
 *
 * Scratch is the caller's; one thread at a time, which shares heavy steps with idle ones. The same
 * bits for any number of threads.
 */
#ifndef ENGINE_COMPOSE_PASS_H
#define ENGINE_COMPOSE_PASS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/arena.h"
#include "engine/block.h"
#include "engine/clip_model.h"
#include "engine/compose.h"
#include "engine/pool.h"
#include "engine/trie.h"

struct compose_pass {
    const struct compose *compose;
    const struct trie *trie;
    const struct engine_pool *pool;
    const uint16_t *prompts; /* [pictures, depth, chosen] */
    size_t pictures;
    size_t slots; /* 0 without prompts */
    size_t depth;
    size_t rows; /* of slots and nodes, for all pictures */
    float *x;    /* [rows, width] */
    struct block_scratch scratch;
    const float **prompt_keys, **prompt_values; /* [pictures, slots], of the block at hand */
    const float **keys, **values;               /* [chunks, longest]: what a row attends to */
    float *weights;                             /* [chunks, longest] */
    size_t longest;                             /* rows that one row attends to, at most */
};

/* Which rows of a block have an input that matters, and which an output. */
struct compose_pass_rows {
    size_t from;      /* keys and values of rows from..rows-1 are computed, not looked up */
    size_t out_first; /* rows out_first..rows-1 have an output, and so a query */
};

/* pool NULL, or one of depth 0: no prompts, and the pass is of one picture. pictures of at least
 * 1. */
size_t compose_pass_scratch_bytes(const struct clip_model *model, size_t nodes, size_t slots,
                                  size_t pictures);
void compose_pass_begin(struct compose_pass *pass, const struct compose *compose,
                        const struct trie *trie, const struct engine_pool *pool,
                        const uint16_t *prompts, size_t pictures, struct arena *arena);

/* Rows before the first block: of the nodes. */
void compose_pass_embed_nodes(struct compose_pass *pass);

struct compose_pass_rows compose_pass_rows(const struct compose_pass *pass, size_t block);

/* Puts the prompts of the block into their rows, where these are not looked up. */
void compose_pass_enter(struct compose_pass *pass, size_t block);

/* norm1 and the product with qkv of x, into normed and qkv of the scratch, as far as rows say. */
void compose_pass_project(struct compose_pass *pass, size_t block, struct compose_pass_rows rows);

/* What attention makes of that, into normed of the rows that have an output. */
void compose_pass_attend(struct compose_pass *pass, size_t block, struct compose_pass_rows rows);

/* All of a block that its prompts have entered: x of the rows that have an output becomes that. */
void compose_pass_run(struct compose_pass *pass, size_t block);

/* What the row attends to: start of text, the picture's prompts (those before it and itself, if it
 * is one), the nodes above it, itself. keys, values [longest]; returns how many. out_rows
 * [longest]: their rows, or SIZE_MAX for what has none; may be NULL. After compose_pass_attend. */
size_t compose_pass_attended(const struct compose_pass *pass, size_t block, size_t row,
                             const float **keys, const float **values, size_t *out_rows);

/* The first row of the leaves. */
size_t compose_pass_leaves(const struct compose_pass *pass);

#endif
