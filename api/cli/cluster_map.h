/*
 * What a picture was cut into and what it got for that, as text: for each prompted block a map of
 * the patches with a letter for each cluster, and beside it the prompts that the clusters took.
 */
#ifndef API_CLI_CLUSTER_MAP_H
#define API_CLI_CLUSTER_MAP_H

#include <stddef.h>

#include "engine/base/buf.h"
#include "engine/engine.h"

/* grid: patches in a row of the picture. */
enum status cluster_map_append(struct buf *out, const struct engine_composition *composition,
                               size_t grid, struct fail *why);

#endif
