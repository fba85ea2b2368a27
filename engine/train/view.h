/*
 * What training and evaluation need of one picture, seen in one way (a crop, a flip): nothing of it
 * depends on what is trained, so it is computed once. A view is a row of floats:
 *
 *   image   [joint]                        unit feature of the picture
 *   means   [blocks, clusters, query]      the clusters' means in the query space, for each text
 *                                          block; queries are made of them (attributes.h)
 *   fine    [clusters, joint]              unit features of the clusters of the last vision block
 *   shares  [clusters]                     their shares of the patches
 *
 * A maker makes views with a session, whose thread it belongs to.
 */
#ifndef ENGINE_TRAIN_VIEW_H
#define ENGINE_TRAIN_VIEW_H

#include <stddef.h>

#include "engine/engine.h"
#include "engine/pool_file.h"

struct view_shape {
    size_t joint, blocks, clusters, query_width;
};

/* How the patches are clustered, and what becomes of a cluster's mean. */
struct view_setting {
    size_t clusters;
    enum pool_cluster_space cluster_space;
    enum pool_query_space query_space;
};

struct view_maker;

/* The engine of the session must outlive the maker; at most max_pictures of the session at a time.
 * STATUS_INVALID if there are more clusters than patches. */
enum status view_maker_create(struct engine_session *session, const struct view_setting *setting,
                              size_t max_pictures, struct view_maker **out, struct fail *why);
void view_maker_destroy(struct view_maker *maker); /* NULL is allowed */

const struct view_shape *view_maker_shape(const struct view_maker *maker);
size_t view_maker_most(const struct view_maker *maker); /* max_pictures */
size_t view_floats(const struct view_shape *shape);

/* pixels [count, 3, image_size, image_size] -> out_views [count, view_floats]; count at most
 * max_pictures. */
enum status view_maker_look(struct view_maker *maker, const float *pixels, size_t count,
                            float *out_views, struct fail *why);

const float *view_image(const float *view);
const float *view_means(const struct view_shape *shape, const float *view);
const float *view_fine(const struct view_shape *shape, const float *view);
const float *view_shares(const struct view_shape *shape, const float *view);

#endif
