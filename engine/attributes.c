#include "engine/attributes.h"

#include <math.h>
#include <string.h>

#include "engine/cluster.h"

/* What patch rows are compared by. */
static size_t attributes_compared_width(const struct clip_model *model,
                                        const struct engine_pool *pool)
{
    return pool->file.cluster_space == POOL_CLUSTER_JOINT ? model->geometry.joint_width
                                                          : model->geometry.vision.width;
}

/* How many floats each array of the scratch takes, in the order of its members. */
enum { ATTRIBUTES_ARRAYS = 7 };

static void attributes_sizes(const struct clip_model *model, const struct engine_pool *pool,
                             size_t sizes[ATTRIBUTES_ARRAYS])
{
    const struct pool_file *file = &pool->file;
    size_t rows = file->depth * file->clusters;
    sizes[0] = rows * model->geometry.vision.width;
    sizes[1] = rows * file->query_width;
    sizes[2] = arena_floats_for(file->clusters * file->query_width, sizeof(double));
    sizes[3] = arena_floats_for(file->clusters * file->prompts, sizeof(double));
    sizes[4] = arena_floats_for(file->prompts, sizeof(uint16_t));
    sizes[5] = arena_floats_for(file->clusters, sizeof(uint16_t));
    sizes[6] = sizes[5];
}

size_t attributes_scratch_bytes(const struct clip_model *model, const struct engine_pool *pool)
{
    size_t sizes[ATTRIBUTES_ARRAYS], bytes = 0;
    attributes_sizes(model, pool, sizes);
    for (size_t i = 0; i < ATTRIBUTES_ARRAYS; i++)
        bytes += arena_floats_bytes(sizes[i]);
    return bytes;
}

void attributes_scratch_take(struct attributes_scratch *scratch, const struct clip_model *model,
                             const struct engine_pool *pool, struct arena *arena)
{
    size_t sizes[ATTRIBUTES_ARRAYS];
    attributes_sizes(model, pool, sizes);
    scratch->means = arena_floats(arena, sizes[0]);
    scratch->embedded = arena_floats(arena, sizes[1]);
    scratch->queries = (void *)arena_floats(arena, sizes[2]);
    scratch->similarities = (void *)arena_floats(arena, sizes[3]);
    scratch->retrieve.taken_by = (void *)arena_floats(arena, sizes[4]);
    scratch->retrieve.favourite = (void *)arena_floats(arena, sizes[5]);
    scratch->retrieve.wants = (void *)arena_floats(arena, sizes[6]);
}

size_t attributes_lane_bytes(const struct clip_model *model, const struct engine_pool *pool)
{
    size_t patches = model->geometry.patches, compared = attributes_compared_width(model, pool);
    return arena_floats_bytes(patches * compared) +
           arena_floats_bytes(patches * model->geometry.vision.width) +
           arena_floats_bytes(cluster_scratch_floats(patches, compared, pool->file.clusters));
}

void attributes_lane_take(struct attributes_lane *lane, const struct clip_model *model,
                          const struct engine_pool *pool, struct arena *arena)
{
    size_t patches = model->geometry.patches, compared = attributes_compared_width(model, pool);
    lane->rows = arena_floats(arena, patches * compared);
    lane->normed = arena_floats(arena, patches * model->geometry.vision.width);
    lane->clustering =
        arena_floats(arena, cluster_scratch_floats(patches, compared, pool->file.clusters));
}

size_t attributes_vision_block(const struct clip_model_geometry *geometry, size_t layer)
{
    return (layer + 1) * geometry->vision.blocks / geometry->text.blocks;
}

static void attributes_norm(const struct block_setting *vision, const struct clip_model *model,
                            const float *x, size_t rows, float *y)
{
    size_t width = model->geometry.vision.width;
    vision->kernels->layer_norm(x, width, rows, width, model->vision_post_norm.weight,
                                model->vision_post_norm.bias, vision->epsilon, y, width);
}

/* The unit rows that are clustered. */
static void attributes_compare_rows(const struct block_setting *vision,
                                    const struct clip_model *model, const struct engine_pool *pool,
                                    const float *patches, const struct attributes_lane *lane)
{
    size_t count = model->geometry.patches, width = model->geometry.vision.width;
    size_t compared = attributes_compared_width(model, pool);
    switch (pool->file.cluster_space) {
    case POOL_CLUSTER_RAW:
        memcpy(lane->rows, patches, count * width * sizeof(float));
        break;
    case POOL_CLUSTER_LN:
        attributes_norm(vision, model, patches, count, lane->rows);
        break;
    case POOL_CLUSTER_JOINT:
        attributes_norm(vision, model, patches, count, lane->normed);
        gemm_multiply(model->vision_projection, lane->normed, width, count, lane->rows, compared);
        break;
    }
    for (size_t row = 0; row < count; row++)
        kernels_make_unit(vision->kernels, lane->rows + row * compared, compared);
}

/* means [clusters, width] of the rows of each cluster. */
static void attributes_average(const struct kernels *kernels, const float *rows, size_t count,
                               size_t width, const uint16_t *assignment, size_t clusters,
                               float *means)
{
    memset(means, 0, clusters * width * sizeof(float));
    for (size_t row = 0; row < count; row++)
        kernels->accumulate(means + assignment[row] * width, rows + row * width, width);
    for (size_t cluster = 0; cluster < clusters; cluster++) {
        size_t members = 0;
        for (size_t row = 0; row < count; row++)
            members += assignment[row] == cluster;
        for (size_t i = 0; i < width; i++)
            means[cluster * width + i] /= (float)members;
    }
}

void attributes_cluster(const struct block_setting *vision, const struct clip_model *model,
                        size_t layer, const float *patches, const struct attributes_lane *lane,
                        const struct attributes_scratch *scratch,
                        struct engine_composition *composition)
{
    const struct engine_pool *pool = composition->pool;
    size_t count = model->geometry.patches, width = model->geometry.vision.width;
    size_t clusters = pool->file.clusters;
    uint16_t *assignment = composition->assignment + layer * count;
    attributes_compare_rows(vision, model, pool, patches, lane);
    cluster_rows(vision->kernels, lane->rows, count, attributes_compared_width(model, pool),
                 clusters, CLUSTER_MAX_ROUNDS, lane->clustering, assignment);
    attributes_average(vision->kernels, patches, count, width, assignment, clusters,
                       scratch->means + layer * clusters * width);
}

static void attributes_make_unit(double *z, size_t count)
{
    double length = sqrt(retrieve_dot(z, z, count));
    for (size_t i = 0; i < count && length > 0; i++)
        z[i] /= length;
}

void attributes_make_queries(const struct engine_pool *pool, size_t layer,
                             const struct attributes_scratch *scratch)
{
    size_t width = pool->file.query_width, clusters = pool->file.clusters;
    const float *mean = pool->file.query_mean + layer * width;
    for (size_t cluster = 0; cluster < clusters; cluster++) {
        const float *embedded = scratch->embedded + (layer * clusters + cluster) * width;
        double *query = scratch->queries + cluster * width;
        for (size_t i = 0; i < width; i++)
            query[i] = (double)embedded[i];
        attributes_make_unit(query, width);
        for (size_t i = 0; i < width; i++)
            query[i] -= (double)mean[i];
        attributes_make_unit(query, width);
    }
}

static void attributes_choose_in_layer(size_t layer, const struct attributes_scratch *scratch,
                                       struct engine_composition *composition)
{
    const struct engine_pool *pool = composition->pool;
    size_t width = pool->file.query_width, prompts = pool->file.prompts;
    attributes_make_queries(pool, layer, scratch);
    for (size_t cluster = 0; cluster < pool->file.clusters; cluster++)
        for (size_t prompt = 0; prompt < prompts; prompt++)
            scratch->similarities[cluster * prompts + prompt] = retrieve_dot(
                scratch->queries + cluster * width, pool_unit_key(pool, layer, prompt), width);
    const struct retrieve_problem problem = {.retrieval = pool->file.retrieval,
                                             .clusters = pool->file.clusters,
                                             .prompts = prompts,
                                             .per_cluster = pool->file.per_cluster,
                                             .similarity = scratch->similarities};
    size_t first = layer * composition->chosen;
    struct retrieve_choice choice = {.prompts = composition->prompts + first,
                                     .clusters = composition->clusters + first,
                                     .similarity = composition->similarities + first};
    retrieve_choose(&problem, &scratch->retrieve, &choice);
    composition->margins[layer] = (float)choice.margin;
}

void attributes_embed(const struct block_setting *vision, const struct clip_model *model,
                      const struct attributes_scratch *scratch,
                      const struct engine_composition *composition)
{
    const struct pool_file *file = &composition->pool->file;
    size_t rows = file->depth * file->clusters, width = model->geometry.vision.width;
    if (file->query_space == POOL_QUERY_RAW) {
        memcpy(scratch->embedded, scratch->means, rows * width * sizeof(float));
        return;
    }
    attributes_norm(vision, model, scratch->means, rows, scratch->means);
    block_linear(vision, model->vision_projection, false, scratch->means, width, rows,
                 scratch->embedded, file->query_width);
}

void attributes_choose(const struct attributes_scratch *scratch,
                       struct engine_composition *composition)
{
    const struct pool_file *file = &composition->pool->file;
    if (composition->means)
        memcpy(composition->means, scratch->embedded,
               composition->layers * file->clusters * file->query_width * sizeof(float));
    for (size_t layer = 0; layer < composition->layers; layer++)
        attributes_choose_in_layer(layer, scratch, composition);
}
