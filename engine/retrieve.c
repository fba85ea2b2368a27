#include "engine/retrieve.h"

#include <math.h>

enum { RETRIEVE_NOBODY = UINT16_MAX, RETRIEVE_SUMS = 8 };

/* Eight sums, so that the processor need not wait for one; added up in one order everywhere. */
double retrieve_dot(const double *a, const double *b, size_t count)
{
    double sums[RETRIEVE_SUMS] = {0};
    size_t i = 0;
    for (; i + RETRIEVE_SUMS <= count; i += RETRIEVE_SUMS)
        for (size_t s = 0; s < RETRIEVE_SUMS; s++)
            sums[s] += a[i + s] * b[i + s];
    for (size_t s = 0; i < count; i++, s++)
        sums[s] += a[i] * b[i];
    return ((sums[0] + sums[1]) + (sums[2] + sums[3])) +
           ((sums[4] + sums[5]) + (sums[6] + sums[7]));
}

static double retrieve_at(const struct retrieve_problem *problem, size_t cluster, size_t prompt)
{
    return problem->similarity[cluster * problem->prompts + prompt];
}

/* The best prompt for a cluster that nobody has; RETRIEVE_NOBODY if there is none left. */
static uint16_t retrieve_find_favourite(const struct retrieve_problem *problem,
                                        const uint16_t *taken_by, size_t cluster)
{
    uint16_t best = RETRIEVE_NOBODY;
    for (size_t prompt = 0; prompt < problem->prompts; prompt++)
        if (taken_by[prompt] == RETRIEVE_NOBODY &&
            (best == RETRIEVE_NOBODY ||
             retrieve_at(problem, cluster, prompt) > retrieve_at(problem, cluster, best)))
            best = (uint16_t)prompt;
    return best;
}

/* The cluster whose favourite is the next of all pairs. */
static size_t retrieve_next_cluster(const struct retrieve_problem *problem,
                                    const struct retrieve_scratch *scratch)
{
    size_t next = problem->clusters;
    for (size_t cluster = 0; cluster < problem->clusters; cluster++) {
        if (!scratch->wants[cluster])
            continue;
        if (next == problem->clusters) {
            next = cluster;
            continue;
        }
        double lead = retrieve_at(problem, cluster, scratch->favourite[cluster]) -
                      retrieve_at(problem, next, scratch->favourite[next]);
        if (lead > 0 || (!(lead < 0) && scratch->favourite[cluster] < scratch->favourite[next]))
            next = cluster;
    }
    return next;
}

/* Lets the cluster take its favourite; returns its lead over the rivals. */
static double retrieve_take(const struct retrieve_problem *problem,
                            const struct retrieve_scratch *scratch, size_t cluster)
{
    uint16_t prompt = scratch->favourite[cluster];
    double taken = retrieve_at(problem, cluster, prompt), rival = -(double)INFINITY;
    scratch->taken_by[prompt] = (uint16_t)cluster;
    scratch->wants[cluster]--;
    for (size_t other = 0; other < problem->clusters; other++) {
        if (other != cluster && scratch->wants[other] &&
            retrieve_at(problem, other, prompt) > rival)
            rival = retrieve_at(problem, other, prompt);
        if (scratch->favourite[other] == prompt && (scratch->wants[other] || other == cluster))
            scratch->favourite[other] = retrieve_find_favourite(problem, scratch->taken_by, other);
    }
    uint16_t instead = scratch->favourite[cluster];
    if (!scratch->wants[cluster] && instead != RETRIEVE_NOBODY &&
        retrieve_at(problem, cluster, instead) > rival)
        rival = retrieve_at(problem, cluster, instead);
    return taken - rival;
}

static double retrieve_distinct(const struct retrieve_problem *problem,
                                const struct retrieve_scratch *scratch)
{
    double margin = (double)INFINITY;
    for (size_t cluster = 0; cluster < problem->clusters; cluster++) {
        scratch->wants[cluster] = (uint16_t)problem->per_cluster;
        scratch->favourite[cluster] = retrieve_find_favourite(problem, scratch->taken_by, cluster);
    }
    for (size_t pick = 0; pick < problem->clusters * problem->per_cluster; pick++) {
        double lead = retrieve_take(problem, scratch, retrieve_next_cluster(problem, scratch));
        margin = lead < margin ? lead : margin;
    }
    return margin;
}

static size_t retrieve_best_cluster(const struct retrieve_problem *problem, size_t prompt)
{
    size_t best = 0;
    for (size_t cluster = 1; cluster < problem->clusters; cluster++)
        if (retrieve_at(problem, cluster, prompt) > retrieve_at(problem, best, prompt))
            best = cluster;
    return best;
}

/* The prompt that nobody has and whose best similarity is greatest. */
static size_t retrieve_best_prompt(const struct retrieve_problem *problem, const uint16_t *taken_by,
                                   double *out_similarity)
{
    size_t best = problem->prompts;
    for (size_t prompt = 0; prompt < problem->prompts; prompt++) {
        if (taken_by[prompt] != RETRIEVE_NOBODY)
            continue;
        double similarity = retrieve_at(problem, retrieve_best_cluster(problem, prompt), prompt);
        if (best == problem->prompts || similarity > *out_similarity) {
            best = prompt;
            *out_similarity = similarity;
        }
    }
    return best;
}

static double retrieve_topk_pooled(const struct retrieve_problem *problem,
                                   const struct retrieve_scratch *scratch)
{
    double last = 0, next = 0;
    for (size_t pick = 0; pick < problem->clusters * problem->per_cluster; pick++) {
        size_t prompt = retrieve_best_prompt(problem, scratch->taken_by, &last);
        scratch->taken_by[prompt] = (uint16_t)retrieve_best_cluster(problem, prompt);
    }
    if (retrieve_best_prompt(problem, scratch->taken_by, &next) == problem->prompts)
        return (double)INFINITY;
    return last - next;
}

void retrieve_choose(const struct retrieve_problem *problem, const struct retrieve_scratch *scratch,
                     struct retrieve_choice *out)
{
    for (size_t prompt = 0; prompt < problem->prompts; prompt++)
        scratch->taken_by[prompt] = RETRIEVE_NOBODY;
    out->margin = problem->retrieval == POOL_RETRIEVAL_DISTINCT
                      ? retrieve_distinct(problem, scratch)
                      : retrieve_topk_pooled(problem, scratch);
    if (problem->clusters * problem->per_cluster == problem->prompts)
        out->margin = (double)INFINITY;
    size_t count = 0;
    for (size_t prompt = 0; prompt < problem->prompts; prompt++) {
        uint16_t cluster = scratch->taken_by[prompt];
        if (cluster == RETRIEVE_NOBODY)
            continue;
        out->prompts[count] = (uint16_t)prompt;
        out->clusters[count] = cluster;
        out->similarity[count] = (float)retrieve_at(problem, cluster, prompt);
        count++;
    }
}
