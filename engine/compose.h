/*
 * Text features that depend on a picture, for the price of the label's own tokens.
 *
 * The sequence of a text is start of text, the S prompt tokens of the composition, the text's
 * tokens, end of text; before each of the first `depth` blocks the prompt rows are replaced by that
 * block's prompts (in the first with the position embeddings 1 to S, if the pool's pos0 says so).
 * The mask is causal. Hence, exactly and not as an approximation:
 *   - the row of start of text sees itself alone: its keys and values are constants of the model;
 *   - a replaced prompt row acts by its key and value only: they come from the pool's table;
 *   - a token's row depends on what stands before it only: texts that begin alike share rows (the
 *     trie), and nothing after end of text is ever computed;
 *   - the last block is read at end of text only: other rows need keys and values there, no more;
 *   - where prompts end before the last block, the last prompted block's rows go on through the
 *     tower as rows of their own, once for all texts;
 *   - the features depend on the choice of prompts alone, and the rows after block i on the choices
 *     up to i: both are kept in memos.
 * compose_plain.h is the same without any of this, for tests and benchmarks to compare with.
 *
 * The same composition and trie give the same bits, found in a memo or not, for any number of
 * threads. Immutable once made (the memos guard themselves): any thread.
 */
#ifndef ENGINE_COMPOSE_H
#define ENGINE_COMPOSE_H

#include <stddef.h>
#include <stdint.h>

#include "engine/base/arena.h"
#include "engine/block.h"
#include "engine/clip_model.h"
#include "engine/memo.h"
#include "engine/pool.h"
#include "engine/trie.h"

struct compose {
    const struct block_setting *setting; /* of the text tower */
    const struct clip_model *model;
    float *start;      /* [blocks, 2, width]: key and value of start of text before each block */
    float *start_rows; /* [blocks, width]: its row there */
    struct memo *rows;
};

/* setting and model must outlive it; rows is for the memo of rows between blocks. start_token: the
 * id of start of text. */
enum status compose_init(struct compose *compose, const struct block_setting *setting,
                         const struct clip_model *model, struct memo *rows, int32_t start_token,
                         struct fail *why);
void compose_finish(struct compose *compose);

/* What the rows that are kept belong to: a trie by the numbers of its owner. */
struct compose_text {
    const struct trie *trie;
    uint64_t subject; /* 0: nothing is kept */
    uint32_t part;
};

/* Bytes of arena for a trie of at most nodes nodes and a pool of at most slots slots. */
size_t compose_scratch_bytes(const struct clip_model *model, size_t nodes, size_t slots);

/* out_features [texts of the trie, joint], unit. pool NULL, or one of depth 0: the features of
 * plain CLIP. prompts [depth, chosen]: the composition, ascending in each layer; the trie's longest
 * path and the pool's slots fit the context. The arena is left as it was. */
void compose_features(const struct compose *compose, const struct compose_text *text,
                      const struct engine_pool *pool, const uint16_t *prompts, struct arena *arena,
                      float *out_features);

#endif
