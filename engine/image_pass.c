/* Pictures through the vision tower: engine_embed_images and engine_compose_images of engine.h. */
#include <string.h>
#include <time.h>

#include "engine/attributes.h"
#include "engine/engine.h"
#include "engine/engine_state.h"
#include "engine/vision.h"

enum { IMAGE_PASS_MOST_LANES = 4 };

/* A pass that fills compositions. Where there are fewer pictures than cores, the rows after some
 * blocks are held back, so that each core clusters those of another block. */
struct image_pass {
    struct engine_session *session;
    size_t count;
    struct engine_composition *const *compositions; /* [count], some may be NULL */
    size_t lanes;                                   /* blocks that are looked at together */
    struct attributes_scratch *scratch;             /* [count] */
    struct attributes_lane *lane_scratch;           /* [count, lanes] */
    size_t row_floats;                              /* [count, 1 + patches, vision width] */
    float *held;                                    /* [lanes - 1, row_floats] */
    size_t last;                                    /* block that anybody looks at */
    size_t pending;
    size_t blocks[IMAGE_PASS_MOST_LANES]; /* [pending], and their rows: */
    const float *rows[IMAGE_PASS_MOST_LANES];
};

static uint64_t image_pass_now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

/* ---- Looking ---- */

static void image_pass_cluster_chunk(void *argument, size_t index)
{
    const struct image_pass *pass = argument;
    const struct engine *engine = pass->session->engine;
    const struct clip_model_geometry *geometry = &engine->model->geometry;
    size_t image = index / pass->pending, lane = index % pass->pending;
    struct engine_composition *composition = pass->compositions[image];
    const float *patches =
        pass->rows[lane] + (image * (1 + geometry->patches) + 1) * geometry->vision.width;
    for (size_t layer = 0; composition && layer < composition->layers; layer++)
        if (attributes_vision_block(geometry, layer) == pass->blocks[lane])
            attributes_cluster(&engine->vision, engine->model, layer, patches,
                               &pass->lane_scratch[image * pass->lanes + lane],
                               &pass->scratch[image], composition);
}

static bool image_pass_looks_at(const struct image_pass *pass, size_t block)
{
    const struct clip_model_geometry *geometry = &pass->session->engine->model->geometry;
    for (size_t layer = 0; layer < geometry->text.blocks; layer++)
        if (attributes_vision_block(geometry, layer) == block)
            return true;
    return false;
}

static void image_pass_look(void *context, size_t block, const float *x)
{
    struct image_pass *pass = context;
    if (!image_pass_looks_at(pass, block))
        return;
    uint64_t started_us = image_pass_now_us();
    size_t lane = pass->pending++;
    bool hold = pass->pending < pass->lanes && block < pass->last;
    pass->blocks[lane] = block;
    pass->rows[lane] = x;
    if (hold) {
        float *held = pass->held + lane * pass->row_floats;
        memcpy(held, x, pass->row_floats * sizeof *held);
        pass->rows[lane] = held;
    } else {
        parallel_for(pass->session->engine->team, pass->count * pass->pending,
                     image_pass_cluster_chunk, pass);
        pass->pending = 0;
    }
    pass->session->retrieve_us += image_pass_now_us() - started_us;
}

static void image_pass_choose_chunk(void *argument, size_t image)
{
    const struct image_pass *pass = argument;
    if (pass->compositions[image])
        attributes_choose(&pass->scratch[image], pass->compositions[image]);
}

static void image_pass_choose(const struct image_pass *pass)
{
    const struct engine *engine = pass->session->engine;
    uint64_t started_us = image_pass_now_us();
    for (size_t i = 0; i < pass->count; i++)
        if (pass->compositions[i])
            attributes_embed(&engine->vision, engine->model, &pass->scratch[i],
                             pass->compositions[i]);
    parallel_for(engine->team, pass->count, image_pass_choose_chunk, (void *)pass);
    pass->session->retrieve_us += image_pass_now_us() - started_us;
}

/* ---- Scratch ---- */

/* Whether any composition looks at a block at all, and which is the last. */
static bool image_pass_find_last(struct image_pass *pass)
{
    bool any = false;
    for (size_t i = 0; i < pass->count; i++) {
        if (!pass->compositions || !pass->compositions[i] || !pass->compositions[i]->layers)
            continue;
        size_t block = attributes_vision_block(&pass->session->engine->model->geometry,
                                               pass->compositions[i]->layers - 1);
        pass->last = block > pass->last ? block : pass->last;
        any = true;
    }
    return any;
}

static void image_pass_choose_lanes(struct image_pass *pass)
{
    const struct engine *engine = pass->session->engine;
    const struct clip_model_geometry *geometry = &engine->model->geometry;
    pass->lanes = (engine->vision.ways + pass->count - 1) / pass->count;
    if (pass->lanes > IMAGE_PASS_MOST_LANES)
        pass->lanes = IMAGE_PASS_MOST_LANES;
    pass->row_floats = pass->count * (1 + geometry->patches) * geometry->vision.width;
}

/* The arena is replaced by a larger one where it must be. */
static enum status image_pass_reserve(struct arena *arena, size_t bytes, struct fail *why)
{
    if (bytes > arena->capacity_bytes) {
        arena_finish(arena);
        enum status status = arena_init(arena, bytes, why);
        if (status)
            return status;
    }
    arena_rewind(arena, 0);
    return STATUS_OK;
}

static enum status image_pass_take_scratch(struct image_pass *pass, struct fail *why)
{
    struct arena *arena = &pass->session->attributes;
    const struct clip_model *model = pass->session->engine->model;
    image_pass_choose_lanes(pass);
    size_t structs = pass->count * sizeof *pass->scratch / sizeof(float) + 1;
    size_t lane_structs =
        pass->count * pass->lanes * sizeof *pass->lane_scratch / sizeof(float) + 1;
    size_t held = (pass->lanes - 1) * pass->row_floats;
    size_t bytes =
        arena_floats_bytes(structs) + arena_floats_bytes(lane_structs) + arena_floats_bytes(held);
    for (size_t i = 0; i < pass->count; i++)
        if (pass->compositions[i])
            bytes += attributes_scratch_bytes(model, pass->compositions[i]->pool) +
                     pass->lanes * attributes_lane_bytes(model, pass->compositions[i]->pool);
    enum status status = image_pass_reserve(arena, bytes, why);
    if (status)
        return status;
    pass->scratch = (void *)arena_floats(arena, structs);
    pass->lane_scratch = (void *)arena_floats(arena, lane_structs);
    pass->held = arena_floats(arena, held);
    for (size_t i = 0; i < pass->count; i++) {
        if (!pass->compositions[i])
            continue;
        const struct engine_pool *pool = pass->compositions[i]->pool;
        attributes_scratch_take(&pass->scratch[i], model, pool, arena);
        for (size_t lane = 0; lane < pass->lanes; lane++)
            attributes_lane_take(&pass->lane_scratch[i * pass->lanes + lane], model, pool, arena);
    }
    return STATUS_OK;
}

/* ---- The pass ---- */

enum status engine_embed_images(struct engine_session *session, const float *pixels, size_t count,
                                float *out_features, struct fail *why)
{
    return engine_compose_images(session, pixels, count, NULL, out_features, why);
}

enum status engine_compose_images(struct engine_session *session, const float *pixels, size_t count,
                                  struct engine_composition *const *compositions,
                                  float *out_features, struct fail *why)
{
    const struct engine *engine = session->engine;
    struct image_pass pass = {.session = session, .count = count, .compositions = compositions};
    session->retrieve_us = 0;
    if (count > session->max_images)
        return status_fail(why, STATUS_LIMIT, "%zu images in a call, the session takes %zu", count,
                           session->max_images);
    if (!count)
        return STATUS_OK;
    bool looks = image_pass_find_last(&pass);
    enum status status = looks ? image_pass_take_scratch(&pass, why) : STATUS_OK;
    if (status)
        return status;
    const struct vision_watcher watcher = {
        .look = image_pass_look, .context = &pass, .last = pass.last};
    vision_forward(&engine->vision, engine->model, pixels, count, looks ? &watcher : NULL,
                   &session->arena, out_features);
    status = engine_state_check_features(engine, out_features, count, "picture", NULL, why);
    if (!status && looks)
        image_pass_choose(&pass);
    return status;
}
