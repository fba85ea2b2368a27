#include "engine/train/start.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/mem.h"
#include "engine/kernels.h"

enum { START_MOST_QUERIES = 20000, START_ROUNDS = 20 };

/* ---- Queries ---- */

/* The unit mean of a cluster, [query width]. */
static void start_unit_mean(const struct gallery *gallery, size_t view, size_t layer,
                            size_t cluster, double *out)
{
    const struct view_shape *shape = &gallery->shape;
    const float *row = view_means(shape, gallery->rows + view * view_floats(shape)) +
                       (layer * shape->clusters + cluster) * shape->query_width;
    double squares = 0;
    for (size_t i = 0; i < shape->query_width; i++)
        squares += (double)row[i] * (double)row[i];
    for (size_t i = 0; i < shape->query_width; i++)
        out[i] = squares > 0 ? (double)row[i] / sqrt(squares) : 0;
}

/* query_mean [blocks, width] */
static enum status start_centre(const struct gallery *gallery, float *query_mean, struct fail *why)
{
    const struct view_shape *shape = &gallery->shape;
    size_t width = shape->query_width, views = gallery->pictures * gallery->views;
    double *unit = mem_zeroed(2 * width, sizeof *unit), *sum = unit + width;
    if (!unit)
        return status_fail(why, STATUS_NO_MEMORY, "no memory for the mean of the queries");
    for (size_t layer = 0; layer < shape->blocks; layer++) {
        memset(sum, 0, width * sizeof *sum);
        for (size_t view = 0; view < views; view++)
            for (size_t cluster = 0; cluster < shape->clusters; cluster++) {
                start_unit_mean(gallery, view, layer, cluster, unit);
                for (size_t i = 0; i < width; i++)
                    sum[i] += unit[i];
            }
        for (size_t i = 0; i < width; i++)
            query_mean[layer * width + i] = (float)(sum[i] / (double)(views * shape->clusters));
    }
    free(unit);
    return STATUS_OK;
}

/* ---- Keys: spherical k-means++ of the queries ---- */

struct start_queries {
    const struct kernels *kernels;
    size_t count, width, centres;
    float *rows;    /* [count, width], unit */
    float *nearest; /* [count]: the greatest cosine with a centre */
    uint32_t *of;   /* [count]: which centre that is */
    float *sums;    /* [centres, width] */
};

static void start_queries_finish(struct start_queries *queries)
{
    free(queries->rows);
    free(queries->nearest);
    free(queries->of);
    free(queries->sums);
}

/* Layers first.. of the pool's depth, or some of their queries by lot if there are too many. */
static enum status start_queries_take(struct start_queries *queries, const struct gallery *gallery,
                                      const float *query_mean, size_t first, size_t layers,
                                      struct rng *rng, struct fail *why)
{
    const struct view_shape *shape = &gallery->shape;
    size_t views = gallery->pictures * gallery->views, width = shape->query_width;
    size_t all = views * layers * shape->clusters;
    queries->count = all < START_MOST_QUERIES ? all : START_MOST_QUERIES;
    queries->width = width;
    queries->rows = mem_aligned(queries->count * width, sizeof(float));
    queries->nearest = mem_zeroed(queries->count, sizeof(float));
    queries->of = mem_zeroed(queries->count, sizeof *queries->of);
    queries->sums = mem_aligned(queries->centres * width, sizeof(float));
    double *unit = mem_zeroed(width, sizeof *unit);
    if (!queries->rows || !queries->nearest || !queries->of || !queries->sums || !unit) {
        free(unit);
        return status_fail(why, STATUS_NO_MEMORY, "no memory for %zu queries", queries->count);
    }
    for (size_t i = 0; i < queries->count; i++) {
        size_t at = all > queries->count ? (size_t)(rng_uniform(rng) * (double)all) : i;
        size_t layer = first + at / shape->clusters % layers;
        float *row = queries->rows + i * width;
        start_unit_mean(gallery, at / (shape->clusters * layers), layer, at % shape->clusters,
                        unit);
        for (size_t k = 0; k < width; k++)
            row[k] = (float)(unit[k] - (double)query_mean[layer * width + k]);
        kernels_make_unit(queries->kernels, row, width);
    }
    free(unit);
    return STATUS_OK;
}

/* Each next centre is a query, the likelier the farther it is from those before. */
static void start_seed_centres(struct start_queries *queries, struct rng *rng, float *keys)
{
    size_t width = queries->width, next = rng_below(rng, (uint32_t)queries->count);
    for (size_t i = 0; i < queries->count; i++)
        queries->nearest[i] = -1;
    for (size_t centre = 0; centre < queries->centres; centre++) {
        double total = 0;
        memcpy(keys + centre * width, queries->rows + next * width, width * sizeof *keys);
        for (size_t i = 0; i < queries->count; i++) {
            float cosine =
                queries->kernels->dot(queries->rows + i * width, keys + centre * width, width);
            queries->nearest[i] = fmaxf(queries->nearest[i], cosine);
            total += (double)fmaxf(0, 1 - queries->nearest[i]);
        }
        double drawn = rng_uniform(rng) * total;
        for (next = 0; next + 1 < queries->count; next++) {
            drawn -= (double)fmaxf(0, 1 - queries->nearest[next]);
            if (drawn < 0)
                break;
        }
    }
}

/* Whether any query changed its centre. */
static bool start_assign(struct start_queries *queries, const float *keys)
{
    bool changed = false;
    for (size_t i = 0; i < queries->count; i++) {
        uint32_t best = 0;
        float most = -2;
        for (uint32_t centre = 0; centre < queries->centres; centre++) {
            float cosine = queries->kernels->dot(queries->rows + i * queries->width,
                                                 keys + centre * queries->width, queries->width);
            if (cosine > most) {
                most = cosine;
                best = centre;
            }
        }
        changed |= best != queries->of[i];
        queries->of[i] = best;
    }
    return changed;
}

/* A centre that nobody is near to stays where it is. */
static void start_move_centres(struct start_queries *queries, float *keys)
{
    size_t width = queries->width;
    memset(queries->sums, 0, queries->centres * width * sizeof *queries->sums);
    for (size_t i = 0; i < queries->count; i++)
        queries->kernels->accumulate(queries->sums + queries->of[i] * width,
                                     queries->rows + i * width, width);
    for (size_t centre = 0; centre < queries->centres; centre++) {
        float *sum = queries->sums + centre * width;
        if (queries->kernels->dot(sum, sum, width) <= 0)
            continue;
        kernels_make_unit(queries->kernels, sum, width);
        memcpy(keys + centre * width, sum, width * sizeof *keys);
    }
}

static enum status start_group_keys(const struct kernels *kernels, const struct gallery *gallery,
                                    const float *query_mean, size_t first, size_t layers,
                                    size_t prompts, struct rng *rng, float *keys, struct fail *why)
{
    struct start_queries queries = {.kernels = kernels, .centres = prompts};
    enum status status = start_queries_take(&queries, gallery, query_mean, first, layers, rng, why);
    if (!status) {
        start_seed_centres(&queries, rng, keys);
        for (int round = 0; round < START_ROUNDS; round++) {
            if (!start_assign(&queries, keys) && round)
                break;
            start_move_centres(&queries, keys);
        }
    }
    start_queries_finish(&queries);
    return status;
}

static enum status start_keys(const struct kernels *kernels, const struct start_setting *setting,
                              const struct gallery *gallery, const struct pool_file *file,
                              struct rng *rng, struct fail *why)
{
    size_t floats = file->prompts * file->query_width;
    enum status status = STATUS_OK;
    for (size_t i = 0; i < file->groups * floats && setting->keys_by_lot; i++)
        file->keys[i] = (float)rng_normal(rng);
    for (size_t group = 0; group < file->groups && !setting->keys_by_lot && !status; group++)
        status = start_group_keys(kernels, gallery, file->query_mean, file->groups > 1 ? group : 0,
                                  file->groups > 1 ? 1 : file->depth, file->prompts, rng,
                                  file->keys + group * floats, why);
    for (size_t i = 0; i < file->groups * file->prompts && !status; i++) {
        float *key = file->keys + i * file->query_width;
        key[0] += kernels_plain.dot(key, key, file->query_width) > 0 ? 0 : 1;
        kernels_make_unit(&kernels_plain, key, file->query_width);
    }
    return status;
}

/* ---- The file ---- */

static enum status start_allocate(const struct clip_model *model,
                                  const struct start_setting *setting, struct pool_file *file,
                                  struct fail *why)
{
    const struct clip_model_geometry *geometry = &model->geometry;
    *file = (struct pool_file){
        .groups = setting->groups,
        .prompts = setting->prompts,
        .tokens = setting->tokens,
        .width = geometry->text.width,
        .blocks = geometry->text.blocks,
        .query_width =
            setting->query_space == POOL_QUERY_RAW ? geometry->vision.width : geometry->joint_width,
        .clusters = setting->clusters,
        .per_cluster = setting->per_cluster,
        .depth = setting->depth,
        .pos0 = setting->pos0,
        .cluster_space = setting->cluster_space,
        .query_space = setting->query_space,
        .retrieval = setting->retrieval,
    };
    size_t values, keys;
    bool fits = mem_multiply(file->groups * file->tokens * file->width, file->prompts, &values) &&
                mem_multiply(file->groups * file->query_width, file->prompts, &keys);
    file->values = fits ? mem_zeroed(values, sizeof(float)) : NULL;
    file->keys = fits ? mem_zeroed(keys, sizeof(float)) : NULL;
    file->query_mean = mem_zeroed(file->blocks * file->query_width, sizeof(float));
    if (!file->values || !file->keys || !file->query_mean)
        return status_fail(why, STATUS_NO_MEMORY, "no memory for a pool of %zu prompts",
                           setting->prompts);
    return pool_file_set_fields(file, setting->sentence, model->fingerprint, why);
}

/* ---- Prompts ---- */

/* What the prompts of a group are drawn around, [width]: without the position that the first block
 * adds. Returns the deviation within it. */
static double start_centre_of_prompts(const struct compose *compose, const struct pool_file *file,
                                      size_t group, double *centre)
{
    size_t width = file->width, first = file->groups > 1 ? group : 0;
    size_t count = file->groups > 1 ? 1 : file->depth;
    double mean = 0, squares = 0;
    for (size_t i = 0; i < width; i++) {
        centre[i] = 0;
        for (size_t block = first; block < first + count; block++)
            centre[i] += (double)compose->start_rows[block * width + i] / (double)count;
        if (first == 0 && count == 1 && file->pos0)
            centre[i] -= (double)compose->model->text_positions[width + i];
        mean += centre[i] / (double)width;
    }
    for (size_t i = 0; i < width; i++)
        squares += (centre[i] - mean) * (centre[i] - mean) / (double)width;
    return sqrt(squares);
}

static enum status start_prompts(const struct compose *compose, const struct start_setting *setting,
                                 const struct pool_file *file, struct rng *rng, struct fail *why)
{
    size_t width = file->width, each = file->prompts * file->tokens * width;
    double *centre = mem_zeroed(width, sizeof *centre), within = 1;
    if (!centre)
        return status_fail(why, STATUS_NO_MEMORY, "no memory for prompts");
    for (size_t group = 0; group < file->groups; group++) {
        if (!setting->prompts_by_lot)
            within = start_centre_of_prompts(compose, file, group, centre);
        for (size_t i = 0; i < each; i++)
            file->values[group * each + i] =
                (float)(centre[i % width] + setting->deviation * within * rng_normal(rng));
    }
    free(centre);
    return STATUS_OK;
}

enum status start_pool(const struct compose *compose, const struct start_setting *setting,
                       const struct gallery *gallery, struct rng *rng, struct pool_file *out,
                       struct fail *why)
{
    struct pool_file file;
    enum status status = start_allocate(compose->model, setting, &file, why);
    if (!status && setting->centred)
        status = start_centre(gallery, file.query_mean, why);
    if (!status)
        status = start_keys(compose->setting->kernels, setting, gallery, &file, rng, why);
    if (!status)
        status = start_prompts(compose, setting, &file, rng, why);
    if (status)
        pool_file_finish(&file);
    else
        *out = file;
    return status;
}
