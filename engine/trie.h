/*
 * The token trie of some texts. Nothing that stands before a token of a causal text tower can
 * depend on what follows it, so texts that begin alike share the work of their beginning: one node
 * is one token after one beginning, and what a block computes for it is the same for every text
 * that passes through it (METHOD in README, "The text side").
 *
 * Start of text is not a node: it is the same for all. Nodes are in topological order, the leaves
 * (the last token of each text, end of text) after all others. Immutable; any thread.
 */
#ifndef ENGINE_TRIE_H
#define ENGINE_TRIE_H

#include <stddef.h>
#include <stdint.h>

#include "engine/base/status.h"

#define TRIE_ROOT UINT32_MAX

struct trie {
    size_t nodes; /* leaves included */
    size_t leaves;
    size_t texts;
    size_t longest;         /* nodes on the longest path */
    int32_t *tokens;        /* [nodes] */
    uint32_t *parents;      /* [nodes], less than the node's own number; TRIE_ROOT at the top */
    uint32_t *depths;       /* [nodes]: how many nodes are above it */
    uint32_t *leaf_of_text; /* [texts]: 0 is node nodes - leaves; texts of the same tokens share */
};

/* ids: all texts one after the other, text i from starts[i] to starts[i + 1] - 1, each with start
 * of text first and at least one token more. texts of at least 1, together fewer than TRIE_ROOT
 * tokens. */
enum status trie_create(const int32_t *ids, const size_t *starts, size_t texts, struct trie **out,
                        struct fail *why);
void trie_destroy(struct trie *trie);

#endif
