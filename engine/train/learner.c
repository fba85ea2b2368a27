#include "engine/train/learner.h"

#include <stdlib.h>
#include <string.h>

#include "engine/attributes.h"
#include "engine/base/mem.h"
#include "engine/compose_back.h"
#include "engine/engine_state.h"
#include "engine/labels.h"
#include "engine/pool.h"

struct learner_parameters {
    float *values; /* the pool's */
    float *gradient, *momentum;
    size_t count;
    double decay;
};

struct learner {
    struct engine_session *session;
    struct learner_options options;
    struct engine_pool *pool;
    struct engine_labels *labels;
    struct view_shape shape;
    struct arena arena, choosing; /* of the passes; of the choice of prompts */
    struct attributes_scratch attributes;
    struct engine_composition **compositions; /* [max_pictures] */
    struct compose_back *backs;               /* [parts of the labels] */
    struct learner_parameters prompts, keys;
    uint16_t *choices;            /* [max_pictures, depth, chosen] */
    double *queries;              /* [max_pictures, depth, clusters, query width] */
    struct losses_match *matches; /* [max_pictures, depth, chosen] */
    size_t match_count;
    float *plain_texts;            /* [classes, joint] */
    float *texts, *dtexts;         /* [max_pictures, classes, joint] */
    float *part_texts;             /* the same, in the order of the parts */
    float *images, *fine, *shares; /* of the batch, as losses.h wants them */
    double *logits, *keys_scratch;
    uint32_t *lots; /* [2, prompts]: for rng_sample */
};

/* ---- Making one ---- */

static struct losses_keys learner_keys(const struct learner *learner)
{
    const struct pool_file *file = &learner->pool->file;
    return (struct losses_keys){.groups = file->groups,
                                .prompts = file->prompts,
                                .width = file->query_width,
                                .keys = file->keys,
                                .matches = learner->matches,
                                .match_count = learner->match_count};
}

static enum status learner_allocate(struct learner *learner, struct fail *why)
{
    const struct pool_file *file = &learner->pool->file;
    const struct view_shape *shape = &learner->shape;
    size_t most = learner->options.max_pictures, classes = learner->labels->count;
    size_t choices = most * file->depth * learner->pool->chosen;
    size_t texts = most * classes * shape->joint;
    const struct losses_keys keys = learner_keys(learner);
    learner->choices = mem_zeroed(choices, sizeof *learner->choices);
    learner->matches = mem_zeroed(choices, sizeof *learner->matches);
    learner->queries = mem_zeroed(most * file->depth * file->clusters * file->query_width,
                                  sizeof *learner->queries);
    learner->plain_texts = mem_zeroed(classes * shape->joint, sizeof(float));
    learner->texts = mem_zeroed(texts, sizeof(float));
    learner->dtexts = mem_zeroed(texts, sizeof(float));
    learner->part_texts = mem_zeroed(texts, sizeof(float));
    learner->images = mem_zeroed(most * shape->joint, sizeof(float));
    learner->fine = mem_zeroed(most * shape->clusters * shape->joint, sizeof(float));
    learner->shares = mem_zeroed(most * shape->clusters, sizeof(float));
    learner->logits = mem_zeroed(classes > most ? classes : most, sizeof(double));
    learner->keys_scratch = mem_zeroed(losses_keys_doubles(&keys), sizeof(double));
    learner->lots = mem_zeroed(2 * file->prompts, sizeof *learner->lots);
    learner->prompts.gradient = mem_zeroed(learner->prompts.count, sizeof(float));
    learner->prompts.momentum = mem_zeroed(learner->prompts.count, sizeof(float));
    learner->keys.gradient = mem_zeroed(learner->keys.count, sizeof(float));
    learner->keys.momentum = mem_zeroed(learner->keys.count, sizeof(float));
    learner->compositions = mem_zeroed(most, sizeof(void *));
    learner->backs = mem_zeroed(learner->labels->part_count, sizeof *learner->backs);
    bool all = learner->choices && learner->matches && learner->queries && learner->plain_texts &&
               learner->texts && learner->dtexts && learner->part_texts && learner->images &&
               learner->fine && learner->shares && learner->logits && learner->keys_scratch &&
               learner->lots && learner->prompts.gradient && learner->prompts.momentum &&
               learner->keys.gradient && learner->keys.momentum && learner->compositions &&
               learner->backs;
    return all ? STATUS_OK
               : status_fail(why, STATUS_NO_MEMORY, "no memory for training with %zu classes",
                             classes);
}

static enum status learner_take_scratch(struct learner *learner, struct fail *why)
{
    const struct clip_model *model = learner->session->engine->model;
    size_t bytes = 0;
    for (size_t i = 0; i < learner->labels->part_count; i++) {
        const struct trie *trie = learner->labels->parts[i].chunk->tries[0];
        bytes += compose_back_scratch_bytes(model, trie->nodes, trie->leaves, learner->pool->slots,
                                            learner->options.max_pictures);
    }
    enum status status = arena_init(&learner->arena, bytes, why);
    if (!status)
        status =
            arena_init(&learner->choosing, attributes_scratch_bytes(model, learner->pool), why);
    if (status)
        return status;
    attributes_scratch_take(&learner->attributes, model, learner->pool, &learner->choosing);
    for (size_t i = 0; i < learner->options.max_pictures && !status; i++)
        status = engine_composition_create(learner->pool, &learner->compositions[i], why);
    return status;
}

static enum status learner_fill(struct learner *learner, struct pool_file *file, struct fail *why)
{
    struct engine *engine = learner->session->engine;
    enum status status =
        pool_create_trainable(engine->model, file, "training", &learner->pool, why);
    if (status)
        return status;
    file = &learner->pool->file;
    if (!file->depth || engine_labels_sentence_count(learner->labels) != 1)
        return status_fail(why, STATUS_INVALID,
                           "training needs a depth of at least 1 and labels in one sentence");
    status = engine_labels_check_pool(learner->labels, learner->pool, why);
    if (status)
        return status;
    learner->shape = (struct view_shape){.joint = engine->model->geometry.joint_width,
                                         .blocks = file->blocks,
                                         .clusters = file->clusters,
                                         .query_width = file->query_width};
    learner->prompts = (struct learner_parameters){.values = file->values,
                                                   .count = file->groups * file->prompts *
                                                            file->tokens * file->width,
                                                   .decay = learner->options.values_decay};
    learner->keys =
        (struct learner_parameters){.values = file->keys,
                                    .count = file->groups * file->prompts * file->query_width,
                                    .decay = learner->options.keys_decay};
    status = learner_allocate(learner, why);
    if (!status)
        status = learner_take_scratch(learner, why);
    const struct engine_labels *plain =
        learner->options.plain_labels ? learner->options.plain_labels : learner->labels;
    for (size_t i = 0; i < learner->labels->count && !status; i++)
        memcpy(learner->plain_texts + i * learner->shape.joint, engine_labels_feature(plain, i),
               learner->shape.joint * sizeof(float));
    return status;
}

enum status learner_create(struct engine_session *session, struct pool_file *file,
                           struct engine_labels *labels, const struct learner_options *options,
                           struct learner **out, struct fail *why)
{
    struct learner *learner = mem_zeroed(1, sizeof *learner);
    if (!learner) {
        pool_file_finish(file);
        return status_fail(why, STATUS_NO_MEMORY, "no memory for training");
    }
    learner->session = session;
    learner->options = *options;
    learner->labels = engine_labels_acquire(labels);
    enum status status = learner_fill(learner, file, why);
    if (status)
        learner_destroy(learner);
    else
        *out = learner;
    return status;
}

void learner_destroy(struct learner *learner)
{
    if (!learner)
        return;
    for (size_t i = 0; learner->compositions && i < learner->options.max_pictures; i++)
        engine_composition_destroy(learner->compositions[i]);
    free(learner->compositions);
    engine_pool_release(learner->pool);
    engine_labels_release(learner->labels);
    arena_finish(&learner->arena);
    arena_finish(&learner->choosing);
    free(learner->backs);
    free(learner->prompts.gradient);
    free(learner->prompts.momentum);
    free(learner->keys.gradient);
    free(learner->keys.momentum);
    free(learner->choices);
    free(learner->queries);
    free(learner->matches);
    free(learner->plain_texts);
    free(learner->texts);
    free(learner->dtexts);
    free(learner->part_texts);
    free(learner->images);
    free(learner->fine);
    free(learner->shares);
    free(learner->logits);
    free(learner->keys_scratch);
    free(learner->lots);
    free(learner);
}

const struct pool_file *learner_file(const struct learner *learner)
{
    return &learner->pool->file;
}

const uint16_t *learner_choices(const struct learner *learner)
{
    return learner->choices;
}

void learner_load_pool(struct learner *learner, const float *values, const float *keys)
{
    memcpy(learner->prompts.values, values, learner->prompts.count * sizeof *values);
    memcpy(learner->keys.values, keys, learner->keys.count * sizeof *keys);
    pool_refresh_keys(learner->pool);
}

/* ---- What the pictures choose ---- */

static int learner_compare_prompts(const void *a, const void *b)
{
    uint16_t left = *(const uint16_t *)a, right = *(const uint16_t *)b;
    return (left > right) - (left < right);
}

static void learner_draw_lots(struct learner *learner, size_t picture, struct rng *rng)
{
    const struct pool_file *file = &learner->pool->file;
    size_t chosen = learner->pool->chosen;
    uint32_t *drawn = learner->lots + file->prompts;
    for (size_t layer = 0; layer < file->depth; layer++) {
        uint16_t *out = learner->choices + (picture * file->depth + layer) * chosen;
        rng_sample(rng, (uint32_t)file->prompts, (uint32_t)chosen, learner->lots, drawn);
        for (size_t i = 0; i < chosen; i++)
            out[i] = (uint16_t)drawn[i];
        qsort(out, chosen, sizeof *out, learner_compare_prompts);
    }
}

/* Which query chose which key, in a layer of a picture. */
static void learner_note_matches(struct learner *learner, size_t picture, size_t layer)
{
    const struct pool_file *file = &learner->pool->file;
    const struct engine_composition *composition = learner->compositions[picture];
    size_t floats = file->clusters * file->query_width, chosen = learner->pool->chosen;
    double *queries = learner->queries + (picture * file->depth + layer) * floats;
    attributes_make_queries(learner->pool, layer, &learner->attributes);
    memcpy(queries, learner->attributes.queries, floats * sizeof *queries);
    for (size_t at = layer * chosen; at < (layer + 1) * chosen; at++)
        learner->matches[learner->match_count++] = (struct losses_match){
            .query = queries + composition->clusters[at] * file->query_width,
            .key = (file->groups > 1 ? layer * file->prompts : 0) + composition->prompts[at]};
}

static void learner_choose(struct learner *learner, size_t picture, const float *view)
{
    const struct pool_file *file = &learner->pool->file;
    struct engine_composition *composition = learner->compositions[picture];
    size_t choices = file->depth * learner->pool->chosen;
    memcpy(learner->attributes.embedded, view_means(&learner->shape, view),
           file->depth * file->clusters * file->query_width * sizeof(float));
    attributes_choose(&learner->attributes, composition);
    memcpy(learner->choices + picture * choices, composition->prompts,
           choices * sizeof *learner->choices);
    for (size_t layer = 0; layer < file->depth; layer++)
        learner_note_matches(learner, picture, layer);
}

/* ---- A step ---- */

static void learner_gather_views(struct learner *learner, const float *const *views, size_t count)
{
    const struct view_shape *shape = &learner->shape;
    size_t joint = shape->joint, fine = shape->clusters * joint;
    for (size_t i = 0; i < count; i++) {
        memcpy(learner->images + i * joint, view_image(views[i]), joint * sizeof(float));
        memcpy(learner->fine + i * fine, view_fine(shape, views[i]), fine * sizeof(float));
        memcpy(learner->shares + i * shape->clusters, view_shares(shape, views[i]),
               shape->clusters * sizeof(float));
    }
}

/* Between the order of a part, [pictures, slots, joint], and that of the classes. */
static void learner_reorder(const struct learner *learner, const struct label_part *part,
                            size_t pictures, float *classes, float *slots, bool to_slots)
{
    size_t joint = learner->shape.joint, count = part->chunk->count;
    for (size_t picture = 0; picture < pictures; picture++)
        for (size_t slot = 0; slot < count; slot++) {
            float *there = slots + (picture * count + slot) * joint;
            float *here =
                classes + (picture * learner->labels->count + part->members[slot]) * joint;
            memcpy(to_slots ? there : here, to_slots ? here : there, joint * sizeof(float));
        }
}

static void learner_forward(struct learner *learner, size_t count)
{
    arena_rewind(&learner->arena, 0);
    for (size_t i = 0; i < learner->labels->part_count; i++) {
        const struct label_part *part = &learner->labels->parts[i];
        compose_back_forward(&learner->backs[i], &learner->session->engine->compose,
                             part->chunk->tries[0], learner->pool, learner->choices, count,
                             &learner->arena, learner->part_texts);
        learner_reorder(learner, part, count, learner->texts, learner->part_texts, false);
    }
}

static void learner_backward(struct learner *learner, size_t count)
{
    memset(learner->prompts.gradient, 0, learner->prompts.count * sizeof(float));
    for (size_t i = 0; i < learner->labels->part_count; i++) {
        const struct label_part *part = &learner->labels->parts[i];
        learner_reorder(learner, part, count, learner->dtexts, learner->part_texts, true);
        compose_back_gradient(&learner->backs[i], learner->part_texts, learner->prompts.gradient);
    }
}

static void learner_descend(const struct learner_parameters *parameters, double momentum,
                            double rate)
{
    for (size_t i = 0; i < parameters->count; i++) {
        double value = (double)parameters->values[i];
        double slope = (double)parameters->gradient[i] + parameters->decay * value;
        double moved = momentum * (double)parameters->momentum[i] + slope;
        parameters->momentum[i] = (float)moved;
        parameters->values[i] = (float)(value - rate * moved);
    }
}

static void learner_measure(struct learner *learner, const uint32_t *labels, size_t count,
                            struct learner_report *out)
{
    const struct losses_setting *setting = &learner->options.losses;
    const struct losses_batch batch = {.pictures = count,
                                       .classes = learner->labels->count,
                                       .clusters = learner->shape.clusters,
                                       .joint = learner->shape.joint,
                                       .labels = labels,
                                       .images = learner->images,
                                       .cluster_images = learner->fine,
                                       .cluster_shares = learner->shares,
                                       .texts = learner->texts,
                                       .plain_texts = learner->plain_texts};
    const struct losses_keys keys = learner_keys(learner);
    losses_features(setting, &batch, learner->logits, out->terms, learner->dtexts, &out->right);
    losses_of_keys(setting, &keys, learner->keys_scratch, out->terms, learner->keys.gradient);
    out->loss = 0;
    for (size_t term = 0; term < ENGINE_TRAINING_TERMS; term++)
        out->loss += setting->weights[term] * out->terms[term];
}

void learner_step(struct learner *learner, const float *const *views, const uint32_t *labels,
                  size_t count, double rate, struct rng *rng, struct learner_report *out)
{
    learner->match_count = 0;
    for (size_t i = 0; i < count; i++)
        if (learner->options.random_choice)
            learner_draw_lots(learner, i, rng);
        else
            learner_choose(learner, i, views[i]);
    learner_gather_views(learner, views, count);
    learner_forward(learner, count);
    learner_measure(learner, labels, count, out);
    learner_backward(learner, count);
    learner_descend(&learner->prompts, learner->options.momentum, rate);
    learner_descend(&learner->keys, learner->options.momentum, rate);
    pool_refresh_keys(learner->pool);
}

/* ---- State ---- */

size_t learner_state_floats(const struct learner *learner)
{
    return learner->prompts.count + learner->keys.count;
}

void learner_save_state(const struct learner *learner, float *out)
{
    memcpy(out, learner->prompts.momentum, learner->prompts.count * sizeof(float));
    memcpy(out + learner->prompts.count, learner->keys.momentum,
           learner->keys.count * sizeof(float));
}

void learner_load_state(struct learner *learner, const float *state)
{
    memcpy(learner->prompts.momentum, state, learner->prompts.count * sizeof(float));
    memcpy(learner->keys.momentum, state + learner->prompts.count,
           learner->keys.count * sizeof(float));
}
