#include "engine/train/view.h"

#include <stdlib.h>
#include <string.h>

#include "engine/base/mem.h"
#include "engine/engine_state.h"
#include "engine/pool.h"

/* Pictures are looked at through pools that nothing is taken from: of every depth and no more
 * prompts than must be. Where queries are raw, the fine features need a second one. */
struct view_maker {
    struct engine_session *session;
    struct view_shape shape;
    size_t max_pictures;
    struct engine_pool *pool, *fine_pool; /* the same, or that of the joint space */
    struct engine_composition **compositions, **fine_compositions; /* [max_pictures] */
    float *features;                                               /* [max_pictures, joint] */
};

/* ---- Where things are ---- */

size_t view_floats(const struct view_shape *shape)
{
    return shape->joint + shape->blocks * shape->clusters * shape->query_width +
           shape->clusters * shape->joint + shape->clusters;
}

const float *view_image(const float *view)
{
    return view;
}

const float *view_means(const struct view_shape *shape, const float *view)
{
    return view + shape->joint;
}

const float *view_fine(const struct view_shape *shape, const float *view)
{
    return view_means(shape, view) + shape->blocks * shape->clusters * shape->query_width;
}

const float *view_shares(const struct view_shape *shape, const float *view)
{
    return view_fine(shape, view) + shape->clusters * shape->joint;
}

/* ---- The maker ---- */

static enum status view_maker_make_pool(struct engine *engine, const struct view_setting *setting,
                                        enum pool_query_space query_space, struct engine_pool **out,
                                        struct fail *why)
{
    const struct clip_model_geometry *geometry = &engine->model->geometry;
    size_t clusters = setting->clusters;
    struct pool_file file = {
        .groups = 1,
        .prompts = clusters,
        .tokens = 1,
        .width = geometry->text.width,
        .blocks = geometry->text.blocks,
        .query_width =
            query_space == POOL_QUERY_RAW ? geometry->vision.width : geometry->joint_width,
        .clusters = clusters,
        .per_cluster = 1,
        .depth = geometry->text.blocks,
        .cluster_space = setting->cluster_space,
        .query_space = query_space,
    };
    file.values = mem_zeroed(clusters * file.width, sizeof *file.values);
    file.keys = mem_zeroed(clusters * file.query_width, sizeof *file.keys);
    file.query_mean = mem_zeroed(file.blocks * file.query_width, sizeof *file.query_mean);
    if (!file.values || !file.keys || !file.query_mean) {
        pool_file_finish(&file);
        return status_fail(why, STATUS_NO_MEMORY, "no memory for looking at pictures");
    }
    for (size_t i = 0; i < clusters * file.query_width; i++)
        file.keys[i] = 1;
    return pool_create_trainable(engine->model, &file, "view", out, why);
}

static enum status view_maker_make_compositions(const struct view_maker *maker,
                                                struct engine_pool *pool,
                                                struct engine_composition ***out, struct fail *why)
{
    struct engine_composition **made = mem_zeroed(maker->max_pictures, sizeof(void *));
    enum status status =
        made ? STATUS_OK : status_fail(why, STATUS_NO_MEMORY, "no memory for compositions");
    *out = made;
    for (size_t i = 0; i < maker->max_pictures && !status; i++) {
        status = engine_composition_create(pool, &made[i], why);
        if (!status)
            status = engine_composition_keep_means(made[i], why);
    }
    return status;
}

static enum status view_maker_fill(struct view_maker *maker, const struct view_setting *setting,
                                   struct fail *why)
{
    struct engine *engine = maker->session->engine;
    enum status status =
        view_maker_make_pool(engine, setting, setting->query_space, &maker->pool, why);
    if (status)
        return status;
    if (setting->query_space == POOL_QUERY_JOINT)
        maker->fine_pool = engine_pool_acquire(maker->pool);
    else
        status = view_maker_make_pool(engine, setting, POOL_QUERY_JOINT, &maker->fine_pool, why);
    if (status)
        return status;
    maker->shape.query_width = maker->pool->file.query_width;
    maker->features = mem_zeroed(maker->max_pictures * maker->shape.joint, sizeof *maker->features);
    if (!maker->features)
        return status_fail(why, STATUS_NO_MEMORY, "no memory for features");
    status = view_maker_make_compositions(maker, maker->pool, &maker->compositions, why);
    if (!status && maker->fine_pool != maker->pool)
        status =
            view_maker_make_compositions(maker, maker->fine_pool, &maker->fine_compositions, why);
    return status;
}

enum status view_maker_create(struct engine_session *session, const struct view_setting *setting,
                              size_t max_pictures, struct view_maker **out, struct fail *why)
{
    const struct clip_model_geometry *geometry = &session->engine->model->geometry;
    struct view_maker *maker = mem_zeroed(1, sizeof *maker);
    if (!maker)
        return status_fail(why, STATUS_NO_MEMORY, "no memory for looking at pictures");
    maker->session = session;
    maker->max_pictures = max_pictures;
    maker->shape = (struct view_shape){.joint = geometry->joint_width,
                                       .blocks = geometry->text.blocks,
                                       .clusters = setting->clusters};
    enum status status = view_maker_fill(maker, setting, why);
    if (status)
        view_maker_destroy(maker);
    else
        *out = maker;
    return status;
}

static void view_maker_destroy_compositions(struct engine_composition **compositions, size_t count)
{
    for (size_t i = 0; compositions && i < count; i++)
        engine_composition_destroy(compositions[i]);
    free(compositions);
}

void view_maker_destroy(struct view_maker *maker)
{
    if (!maker)
        return;
    view_maker_destroy_compositions(maker->compositions, maker->max_pictures);
    view_maker_destroy_compositions(maker->fine_compositions, maker->max_pictures);
    engine_pool_release(maker->pool);
    engine_pool_release(maker->fine_pool);
    free(maker->features);
    free(maker);
}

const struct view_shape *view_maker_shape(const struct view_maker *maker)
{
    return &maker->shape;
}

size_t view_maker_most(const struct view_maker *maker)
{
    return maker->max_pictures;
}

/* ---- Looking ---- */

static void view_maker_write(const struct view_maker *maker, size_t picture, float *view)
{
    const struct view_shape *shape = &maker->shape;
    struct engine_composition *const *fine_from =
        maker->fine_compositions ? maker->fine_compositions : maker->compositions;
    const struct engine_composition *own = maker->compositions[picture];
    const struct engine_composition *fine = fine_from[picture];
    size_t last = (shape->blocks - 1) * shape->clusters * shape->joint, patches = fine->patches;
    float *means = view + shape->joint;
    float *features = means + shape->blocks * shape->clusters * shape->query_width;
    float *shares = features + shape->clusters * shape->joint;
    memcpy(view, maker->features + picture * shape->joint, shape->joint * sizeof *view);
    memcpy(means, own->means, shape->blocks * shape->clusters * shape->query_width * sizeof *means);
    memcpy(features, fine->means + last, shape->clusters * shape->joint * sizeof *features);
    for (size_t cluster = 0; cluster < shape->clusters; cluster++) {
        kernels_make_unit(maker->session->engine->vision.kernels, features + cluster * shape->joint,
                          shape->joint);
        size_t members = 0;
        for (size_t patch = 0; patch < patches; patch++)
            members += fine->assignment[(shape->blocks - 1) * patches + patch] == cluster;
        shares[cluster] = (float)members / (float)patches;
    }
}

enum status view_maker_look(struct view_maker *maker, const float *pixels, size_t count,
                            float *out_views, struct fail *why)
{
    enum status status = engine_compose_images(maker->session, pixels, count, maker->compositions,
                                               maker->features, why);
    if (!status && maker->fine_compositions)
        status = engine_compose_images(maker->session, pixels, count, maker->fine_compositions,
                                       maker->features, why);
    for (size_t i = 0; i < count && !status; i++)
        view_maker_write(maker, i, out_views + i * view_floats(&maker->shape));
    return status;
}
