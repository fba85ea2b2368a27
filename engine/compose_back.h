/*
 * Text features under compositions, for training: forward for a batch of pictures, and back from
 * the gradient of the features to that of the pool's values. Clusters, queries and the choice of
 * prompts are constants here, and so are all weights.
 *
 * What is kept of the forward pass is the input of every block; the rest is computed again on the
 * way back. A prompt before a block at whose end it is replaced again acts by its key and value
 * alone, and so has a gradient through these and its norm alone.
 *
 * One thread at a time, which shares heavy steps with idle ones. The same bits for any number of
 * threads, given `ways` of the setting.
 */
#ifndef ENGINE_COMPOSE_BACK_H
#define ENGINE_COMPOSE_BACK_H

#include <stddef.h>
#include <stdint.h>

#include "engine/compose_pass.h"

struct compose_back {
    struct compose_pass pass;
    float *inputs; /* [blocks, rows, width] */
    float *ends;   /* [leaves, pictures, width]: what the last block makes of the leaves */
    float *leaves; /* [leaves, pictures, joint]: features before they are made unit */
    float *dleaves;
    float *dx;      /* [rows, width] */
    float *dqkv;    /* [rows, 3 width] */
    float *dnormed; /* [rows, width]; of either norm's output, and of attention's */
    float *middle;  /* [rows, width]: between attention and MLP */
    float *dhidden; /* [rows, mlp_width] */
    /* For each picture and head, [longest] or, of weights, twice that. */
    const float **keys, **values;
    float **dkeys, **dvalues;
    size_t *attended;
    float *weights;
};

/* Bytes of arena for a trie of at most nodes nodes and leaves leaves. */
size_t compose_back_scratch_bytes(const struct clip_model *model, size_t nodes, size_t leaves,
                                  size_t slots, size_t pictures);

/* out_features [pictures, texts of the trie, joint], unit. pool: of a depth of at least 1, and
 * without a table of keys and values, which training would make stale at every step; prompts
 * [pictures, depth, chosen]. The arena must not be rewound before compose_back_gradient. */
void compose_back_forward(struct compose_back *back, const struct compose *compose,
                          const struct trie *trie, const struct engine_pool *pool,
                          const uint16_t *prompts, size_t pictures, struct arena *arena,
                          float *out_features);

/* dfeatures [pictures, texts, joint]: the gradient of the unit features. dvalues [groups, prompts,
 * tokens, width] is added to, picture by picture; prompts that no picture chose are left alone. */
void compose_back_gradient(struct compose_back *back, const float *dfeatures, float *dvalues);

#endif
