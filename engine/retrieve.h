/*
 * Which prompts the clusters of one layer take, by the similarity of their queries with the keys.
 *
 * distinct: the pairs of cluster and prompt are visited from the most similar on (ties: the lower
 * prompt, then the lower cluster); a cluster takes the prompt if it still needs one and no other
 * has it. So every cluster gets per_cluster prompts that no other got, however the clusters are
 * numbered. topk_pooled: the prompts whose best similarity over the clusters is greatest.
 *
 * margin says how firm the choice is: as long as no similarity moves by half of it or more, the
 * same prompts are chosen. For distinct it is the least, over the prompts taken, of the lead over
 * other clusters that wanted the prompt then and, where a cluster takes its last, over the prompts
 * it could have had instead. INFINITY if every prompt is chosen.
 *
 * Similarities are double, and their sums have one order, so that a choice depends on the numbers
 * alone. Matching by cosine is what L2P does; the rest is a reconstruction. Pure functions; any
 * thread.
 */
#ifndef ENGINE_RETRIEVE_H
#define ENGINE_RETRIEVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/pool_file.h"

struct retrieve_problem {
    enum pool_retrieval retrieval;
    size_t clusters, prompts, per_cluster; /* clusters * per_cluster <= prompts <= 65535 */
    const double *similarity;              /* [clusters, prompts] */
};

struct retrieve_choice {
    uint16_t *prompts;  /* [clusters * per_cluster], ascending */
    uint16_t *clusters; /* which cluster took each of them */
    float *similarity;  /* of the two */
    double margin;
};

struct retrieve_scratch {
    uint16_t *taken_by;  /* [prompts] */
    uint16_t *favourite; /* [clusters]: the best prompt that nobody has */
    uint16_t *wants;     /* [clusters]: how many more it needs */
};

/* a · b, [count]. */
double retrieve_dot(const double *a, const double *b, size_t count);

/* Fills the arrays of *out. */
void retrieve_choose(const struct retrieve_problem *problem, const struct retrieve_scratch *scratch,
                     struct retrieve_choice *out);

#endif
