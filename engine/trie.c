#include "engine/trie.h"

#include <stdbool.h>
#include <stdlib.h>

#include "engine/base/mem.h"

/* Grows in the order in which tokens are met. A last token is a node of its own even where another
 * text goes on after the same token. */
struct trie_builder {
    const int32_t *ids;
    const size_t *starts;
    size_t texts, nodes;
    uint32_t *parents, *depths, *first_child, *next_sibling, *end_of_text;
    int32_t *tokens;
    bool *last;
};

static void trie_builder_finish(struct trie_builder *builder)
{
    free(builder->parents);
    free(builder->depths);
    free(builder->first_child);
    free(builder->next_sibling);
    free(builder->end_of_text);
    free(builder->tokens);
    free(builder->last);
}

static enum status trie_builder_start(struct trie_builder *builder, struct fail *why)
{
    size_t most = builder->starts[builder->texts] - builder->starts[0];
    builder->parents = mem_zeroed(most, sizeof *builder->parents);
    builder->depths = mem_zeroed(most, sizeof *builder->depths);
    builder->first_child = mem_zeroed(most + 1, sizeof *builder->first_child);
    builder->next_sibling = mem_zeroed(most, sizeof *builder->next_sibling);
    builder->end_of_text = mem_zeroed(builder->texts, sizeof *builder->end_of_text);
    builder->tokens = mem_zeroed(most, sizeof *builder->tokens);
    builder->last = mem_zeroed(most, sizeof *builder->last);
    if (!builder->parents || !builder->depths || !builder->first_child || !builder->next_sibling ||
        !builder->end_of_text || !builder->tokens || !builder->last)
        return status_fail(why, STATUS_NO_MEMORY, "no memory for the tokens of %zu texts",
                           builder->texts);
    for (size_t i = 0; i <= most; i++)
        builder->first_child[i] = TRIE_ROOT;
    return STATUS_OK;
}

/* The child of a node (of the top for TRIE_ROOT), made if there is none. New children come first:
 * texts in order mostly meet the youngest again. */
static uint32_t trie_builder_child(struct trie_builder *builder, uint32_t parent, int32_t token,
                                   bool last)
{
    uint32_t *first = &builder->first_child[parent == TRIE_ROOT ? 0 : parent + 1];
    for (uint32_t at = *first; at != TRIE_ROOT; at = builder->next_sibling[at])
        if (builder->tokens[at] == token && builder->last[at] == last)
            return at;
    uint32_t made = (uint32_t)builder->nodes++;
    builder->tokens[made] = token;
    builder->last[made] = last;
    builder->parents[made] = parent;
    builder->depths[made] = parent == TRIE_ROOT ? 0 : builder->depths[parent] + 1;
    builder->next_sibling[made] = *first;
    *first = made;
    return made;
}

static void trie_builder_add(struct trie_builder *builder, size_t text)
{
    uint32_t node = TRIE_ROOT;
    size_t end = builder->starts[text + 1];
    for (size_t i = builder->starts[text] + 1; i < end; i++)
        node = trie_builder_child(builder, node, builder->ids[i], i + 1 == end);
    builder->end_of_text[text] = node;
}

static struct trie *trie_allocate(size_t nodes, size_t texts)
{
    struct trie *trie = mem_zeroed(1, sizeof *trie);
    if (!trie)
        return NULL;
    trie->nodes = nodes;
    trie->texts = texts;
    trie->tokens = mem_zeroed(nodes, sizeof *trie->tokens);
    trie->parents = mem_zeroed(nodes, sizeof *trie->parents);
    trie->depths = mem_zeroed(nodes, sizeof *trie->depths);
    trie->leaf_of_text = mem_zeroed(texts, sizeof *trie->leaf_of_text);
    if (trie->tokens && trie->parents && trie->depths && trie->leaf_of_text)
        return trie;
    trie_destroy(trie);
    return NULL;
}

/* Moves the leaves behind all others; otherwise the order stays. number[nodes] is scratch. */
static void trie_arrange(const struct trie_builder *builder, uint32_t *number, struct trie *trie)
{
    uint32_t next = 0;
    for (size_t i = 0; i < builder->nodes; i++)
        if (!builder->last[i])
            number[i] = next++;
    trie->leaves = builder->nodes - next;
    for (size_t i = 0; i < builder->nodes; i++)
        if (builder->last[i])
            number[i] = next++;
    for (size_t i = 0; i < builder->nodes; i++) {
        uint32_t at = number[i], parent = builder->parents[i];
        trie->tokens[at] = builder->tokens[i];
        trie->depths[at] = builder->depths[i];
        trie->parents[at] = parent == TRIE_ROOT ? TRIE_ROOT : number[parent];
        if (builder->depths[i] >= trie->longest)
            trie->longest = builder->depths[i] + 1;
    }
    for (size_t text = 0; text < builder->texts; text++)
        trie->leaf_of_text[text] =
            (uint32_t)(number[builder->end_of_text[text]] - (trie->nodes - trie->leaves));
}

enum status trie_create(const int32_t *ids, const size_t *starts, size_t texts, struct trie **out,
                        struct fail *why)
{
    struct trie_builder builder = {.ids = ids, .starts = starts, .texts = texts};
    enum status status = trie_builder_start(&builder, why);
    for (size_t text = 0; text < texts && !status; text++)
        trie_builder_add(&builder, text);
    struct trie *trie = status ? NULL : trie_allocate(builder.nodes, texts);
    if (!status && !trie)
        status =
            status_fail(why, STATUS_NO_MEMORY, "no memory for a trie of %zu tokens", builder.nodes);
    if (!status) {
        trie_arrange(&builder, builder.next_sibling, trie); /* which has done its work */
        *out = trie;
    }
    trie_builder_finish(&builder);
    return status;
}

void trie_destroy(struct trie *trie)
{
    if (!trie)
        return;
    free(trie->tokens);
    free(trie->parents);
    free(trie->depths);
    free(trie->leaf_of_text);
    free(trie);
}
