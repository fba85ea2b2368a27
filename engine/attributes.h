/*
 * From what a picture looks like to the prompts it gets: text block i reads the patch rows X after
 * vision block floor((i + 1) V / T) of V (0: before the first block, after the first norm), T being
 * the number of text blocks; clusters them; and turns the mean c of each cluster into a query
 *     joint  e = post_norm(c) projection, q = unit(unit(e) - mean_i)
 *     raw    q = unit(unit(c) - mean_i)
 * which is compared with the pool's keys. That every layer's features are clustered and the
 * clusters choose prompts is the paper's; the pairing of layers, the mean, and the centring are
 * reconstruction (TextRefiner projects intermediate layers in the same way).
 *
 * Pure functions over one picture; the scratch is the caller's. Any thread; all but
 * attributes_embed also inside a chunk of parallel.h.
 */
#ifndef ENGINE_ATTRIBUTES_H
#define ENGINE_ATTRIBUTES_H

#include <stddef.h>

#include "engine/block.h"
#include "engine/clip_model.h"
#include "engine/pool.h"
#include "engine/retrieve.h"

/* For clustering the rows of one block. */
struct attributes_lane {
    float *rows;       /* [patches, width that is compared] */
    float *normed;     /* [patches, vision width] */
    float *clustering; /* of cluster_rows */
};

struct attributes_scratch {
    float *means;         /* [layers, clusters, vision width] */
    float *embedded;      /* [layers, clusters, query width] */
    double *queries;      /* [clusters, query width] */
    double *similarities; /* [clusters, prompts] */
    struct retrieve_scratch retrieve;
};

/* Bytes of arena for one picture under the pool, and for a lane of it. */
size_t attributes_scratch_bytes(const struct clip_model *model, const struct engine_pool *pool);
size_t attributes_lane_bytes(const struct clip_model *model, const struct engine_pool *pool);
void attributes_scratch_take(struct attributes_scratch *scratch, const struct clip_model *model,
                             const struct engine_pool *pool, struct arena *arena);
void attributes_lane_take(struct attributes_lane *lane, const struct clip_model *model,
                          const struct engine_pool *pool, struct arena *arena);

/* The vision block whose patch rows text block `layer` reads: 0 to the number of vision blocks. */
size_t attributes_vision_block(const struct clip_model_geometry *geometry, size_t layer);

/* First for every layer of the composition, with the patch rows [patches, vision width] of its
 * vision block: fills its assignment. vision: the setting of the vision tower. */
void attributes_cluster(const struct block_setting *vision, const struct clip_model *model,
                        size_t layer, const float *patches, const struct attributes_lane *lane,
                        const struct attributes_scratch *scratch,
                        struct engine_composition *composition);

/* Then once: what becomes queries. Shares its product with idle threads, so not inside a chunk. */
void attributes_embed(const struct block_setting *vision, const struct clip_model *model,
                      const struct attributes_scratch *scratch,
                      const struct engine_composition *composition);

/* scratch->queries [clusters, query width] of a layer, unit. */
void attributes_make_queries(const struct engine_pool *pool, size_t layer,
                             const struct attributes_scratch *scratch);

/* Then once: fills the rest. */
void attributes_choose(const struct attributes_scratch *scratch,
                       struct engine_composition *composition);

#endif
