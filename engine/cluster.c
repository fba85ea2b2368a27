#include "engine/cluster.h"

#include <stdbool.h>
#include <string.h>

#include "engine/base/arena.h"

struct cluster_run {
    const struct kernels *kernels;
    const float *rows;
    size_t count, width, clusters;
    float *centres;    /* [clusters, width] */
    float *similarity; /* of a row to the centres, or of a centre to the rows */
    float *own;        /* [count]: of each row to its own (or so far nearest) centre */
    uint32_t *sizes;   /* [clusters] */
    uint32_t *changed; /* [clusters]: whether rows came or went since its centre was made */
    uint16_t *before;  /* [count]: the assignment of the round before */
    uint16_t *assignment;
};

size_t cluster_scratch_floats(size_t count, size_t width, size_t clusters)
{
    return clusters * width + (count > clusters ? count : clusters) + count +
           2 * arena_floats_for(clusters, sizeof(uint32_t)) +
           arena_floats_for(count, sizeof(uint16_t));
}

static size_t cluster_largest(const float *values, size_t count)
{
    size_t best = 0;
    for (size_t i = 1; i < count; i++)
        if (values[i] > values[best])
            best = i;
    return best;
}

static size_t cluster_smallest(const float *values, size_t count)
{
    size_t best = 0;
    for (size_t i = 1; i < count; i++)
        if (values[i] < values[best])
            best = i;
    return best;
}

static void cluster_choose_centre(struct cluster_run *run, size_t cluster, size_t row)
{
    float *nearness = run->similarity;
    memcpy(run->centres + cluster * run->width, run->rows + row * run->width,
           run->width * sizeof(float));
    run->kernels->dot_rows(run->centres + cluster * run->width, run->rows, run->width, run->count,
                           run->width, nearness);
    for (size_t i = 0; i < run->count; i++)
        if (cluster == 0 || nearness[i] > run->own[i])
            run->own[i] = nearness[i];
}

static void cluster_choose_centres(struct cluster_run *run)
{
    float *sum = run->centres;
    memset(sum, 0, run->width * sizeof(float));
    for (size_t row = 0; row < run->count; row++)
        run->kernels->accumulate(sum, run->rows + row * run->width, run->width);
    run->kernels->dot_rows(sum, run->rows, run->width, run->count, run->width, run->similarity);
    cluster_choose_centre(run, 0, cluster_largest(run->similarity, run->count));
    for (size_t cluster = 1; cluster < run->clusters; cluster++)
        cluster_choose_centre(run, cluster, cluster_smallest(run->own, run->count));
}

static void cluster_assign(struct cluster_run *run)
{
    memset(run->sizes, 0, run->clusters * sizeof *run->sizes);
    for (size_t row = 0; row < run->count; row++) {
        float *similarity = run->similarity;
        run->kernels->dot_rows(run->rows + row * run->width, run->centres, run->width,
                               run->clusters, run->width, similarity);
        size_t best = cluster_largest(similarity, run->clusters);
        run->assignment[row] = (uint16_t)best;
        run->own[row] = similarity[best];
        run->sizes[best]++;
    }
}

/* There is always a row to take: no more clusters than rows. */
static void cluster_fill(struct cluster_run *run, size_t cluster)
{
    size_t taken = run->count;
    for (size_t row = 0; row < run->count; row++)
        if (run->sizes[run->assignment[row]] > 1 &&
            (taken == run->count || run->own[row] < run->own[taken]))
            taken = row;
    run->sizes[run->assignment[taken]]--;
    run->sizes[cluster] = 1;
    run->assignment[taken] = (uint16_t)cluster;
}

/* Of the clusters that changed; the others would come out the same. */
static void cluster_move_centres(struct cluster_run *run)
{
    for (size_t cluster = 0; cluster < run->clusters; cluster++)
        if (run->changed[cluster])
            memset(run->centres + cluster * run->width, 0, run->width * sizeof(float));
    for (size_t row = 0; row < run->count; row++)
        if (run->changed[run->assignment[row]])
            run->kernels->accumulate(run->centres + run->assignment[row] * run->width,
                                     run->rows + row * run->width, run->width);
    for (size_t cluster = 0; cluster < run->clusters; cluster++)
        if (run->changed[cluster])
            kernels_make_unit(run->kernels, run->centres + cluster * run->width, run->width);
}

/* Which clusters differ between `before` and the assignment, which then becomes `before`; false if
 * none. In the first round all do. */
static bool cluster_compare(struct cluster_run *run, bool first)
{
    bool any = first;
    for (size_t cluster = 0; cluster < run->clusters; cluster++)
        run->changed[cluster] = first;
    for (size_t row = 0; row < run->count; row++) {
        if (!first && run->before[row] != run->assignment[row]) {
            run->changed[run->before[row]] = run->changed[run->assignment[row]] = 1;
            any = true;
        }
        run->before[row] = run->assignment[row];
    }
    return any;
}

/* number [clusters] is scratch. */
static void cluster_renumber(struct cluster_run *run, uint32_t *number)
{
    uint32_t next = 0, none = (uint32_t)run->clusters;
    for (size_t cluster = 0; cluster < run->clusters; cluster++)
        number[cluster] = none;
    for (size_t row = 0; row < run->count; row++) {
        uint32_t *own = &number[run->assignment[row]];
        if (*own == none)
            *own = next++;
        run->assignment[row] = (uint16_t)*own;
    }
}

void cluster_rows(const struct kernels *kernels, const float *rows, size_t count, size_t width,
                  size_t clusters, size_t max_rounds, float *scratch, uint16_t *out_assignment)
{
    struct cluster_run run = {.kernels = kernels,
                              .rows = rows,
                              .count = count,
                              .width = width,
                              .clusters = clusters,
                              .assignment = out_assignment};
    run.centres = scratch;
    run.similarity = run.centres + clusters * width;
    run.own = run.similarity + (count > clusters ? count : clusters);
    run.sizes = (uint32_t *)(run.own + count);
    run.changed = run.sizes + clusters;
    run.before = (uint16_t *)(run.changed + clusters);

    cluster_choose_centres(&run);
    for (size_t round = 0; round < max_rounds; round++) {
        if (round)
            cluster_move_centres(&run);
        cluster_assign(&run);
        for (size_t cluster = 0; cluster < clusters; cluster++)
            if (!run.sizes[cluster])
                cluster_fill(&run, cluster);
        if (!cluster_compare(&run, round == 0))
            break;
    }
    cluster_renumber(&run, run.sizes);
}
