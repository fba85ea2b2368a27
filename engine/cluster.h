/*
 * Spherical k-means of unit rows, without any chance in it: the same rows give the same clusters.
 *
 * The first centre is the row nearest to the mean of all, each further one the row whose nearest
 * centre so far is farthest. In a round every row goes to its nearest centre; then an empty cluster
 * takes, from clusters of more than one row, the row that is farthest from its own centre; then
 * each centre becomes the unit sum of its rows. It ends when a round changes nothing, or after
 * CLUSTER_MAX_ROUNDS. Ties go to the lowest row, or cluster. At last the clusters are numbered in
 * order of their lowest rows.
 *
 * Nearness is the dot product. k-means is what summaries of the paper name; these details are a
 * reconstruction. Pure functions; any thread.
 */
#ifndef ENGINE_CLUSTER_H
#define ENGINE_CLUSTER_H

#include <stddef.h>
#include <stdint.h>

#include "engine/kernels.h"

enum { CLUSTER_MAX_ROUNDS = 10 };

/* Floats of scratch for a call. */
size_t cluster_scratch_floats(size_t count, size_t width, size_t clusters);

/* rows [count, width], each of unit length or zero; 1 <= clusters <= count <= 65536.
 * out_assignment [count]: the cluster of each row, every one from 0 to clusters - 1 with at least
 * one row. */
void cluster_rows(const struct kernels *kernels, const float *rows, size_t count, size_t width,
                  size_t clusters, size_t max_rounds, float *scratch, uint16_t *out_assignment);

#endif
