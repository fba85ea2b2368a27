/*
 * Why a picture got its prompts, as JSON: for answers over HTTP and on the command line alike. Any
 * thread.
 */
#ifndef API_EXPLANATION_H
#define API_EXPLANATION_H

#include "engine/engine.h"

struct json_t;

/* Which of a layer's prompts comes at a place of the order by clusters, the best first in each; 0
 * to chosen - 1 for both. */
size_t explanation_choice(const struct engine_composition *composition, size_t layer, size_t place);

/* All of these are new values; NULL if there is no memory. */

/* {"layers": [{"prompts", "margin", "clusters": {"grid", "assignment", "prompt", "cluster",
 * "similarity"}}...], "margin"}: for each prompted text block the prompts it gets, in ascending
 * order; the grid [rows, columns] of patches and the cluster of each, row by row; and which prompt
 * was taken by which cluster with what similarity, cluster by cluster, the best first. */
struct json_t *explanation_json(const struct engine_composition *composition,
                                const struct engine_info *info);

/* [[prompts of the first block, ascending], ...] */
struct json_t *explanation_prompts(const struct engine_composition *composition);

/* A margin, or null where there was no choice. */
struct json_t *explanation_margin(float margin);

#endif
