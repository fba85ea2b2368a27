/* Pictures against labels: engine_cosines and engine_score of engine.h. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/mem.h"
#include "engine/composition.h"
#include "engine/engine.h"
#include "engine/engine_state.h"
#include "engine/labels.h"
#include "engine/pool.h"

enum { SCORING_LABELS_A_STEP = 64 };

enum status engine_labels_check_pool(const struct engine_labels *labels,
                                     const struct engine_pool *pool, struct fail *why)
{
    return labels_check_room(labels, pool->file.depth ? pool->slots : 0, pool->context, why);
}

/* The cosines of a chunk's labels, by their features, with a picture to where the set has the
 * labels. */
static void scoring_scatter(const struct engine *engine, const struct label_part *part,
                            const float *features, const float *image_features, float *out_cosines)
{
    size_t joint = engine->model->geometry.joint_width;
    float cosines[SCORING_LABELS_A_STEP];
    for (size_t done = 0; done < part->chunk->count; done += SCORING_LABELS_A_STEP) {
        size_t left = part->chunk->count - done;
        size_t count = left < SCORING_LABELS_A_STEP ? left : SCORING_LABELS_A_STEP;
        engine->text.kernels->dot_rows(image_features, features + done * joint, joint, count, joint,
                                       cosines);
        for (size_t i = 0; i < count; i++)
            if (part->members[done + i] != LABELS_NOBODY)
                out_cosines[part->members[done + i]] = cosines[i];
    }
}

void engine_cosines(const struct engine *engine, const struct engine_labels *labels,
                    const float *image_features, float *out_cosines)
{
    for (size_t i = 0; i < labels->part_count; i++)
        scoring_scatter(engine, &labels->parts[i], labels->parts[i].chunk->features, image_features,
                        out_cosines);
}

/* The pictures of one composition, which is that of picture `first`. */
struct scoring_group {
    struct engine_session *session;
    const struct engine_scoring *scoring;
    size_t first;
    float *out_cosines;
};

static bool scoring_is_in_group(const struct scoring_group *group, size_t picture)
{
    const struct engine_composition *const *compositions = group->scoring->compositions;
    return picture == group->first ||
           (compositions[picture] &&
            composition_equals(compositions[picture], compositions[group->first]));
}

static void scoring_score_part(const struct scoring_group *group, const struct label_part *part,
                               const float *features)
{
    const struct engine_scoring *scoring = group->scoring;
    const struct engine *engine = group->session->engine;
    size_t joint = engine->model->geometry.joint_width;
    for (size_t picture = group->first; picture < scoring->count; picture++)
        if (scoring_is_in_group(group, picture))
            scoring_scatter(engine, part, features, scoring->image_features + picture * joint,
                            group->out_cosines + picture * scoring->labels->count);
}

/* From the memo of features, or computed and kept there. */
static enum status scoring_compose_part(const struct scoring_group *group,
                                        const struct label_part *part, struct fail *why)
{
    struct engine_session *session = group->session;
    struct engine *engine = session->engine;
    const struct engine_composition *composition = group->scoring->compositions[group->first];
    const struct memo_key key = {.subject = part->chunk->id,
                                 .pool = composition->pool->id,
                                 .prompts = composition->prompts,
                                 .count = composition->layers * composition->chosen};
    struct memo_entry *known = memo_find(engine->feature_memo, &key);
    if (known) {
        scoring_score_part(group, part, memo_floats(known));
        memo_release(engine->feature_memo, known);
        return STATUS_OK;
    }
    size_t used = session->arena.used_bytes;
    size_t floats = part->chunk->count * engine->model->geometry.joint_width;
    float *features = arena_floats(&session->arena, floats);
    enum status status = engine_state_encode_chunk(session, part->chunk, composition->pool,
                                                   composition->prompts, true, features, why);
    if (!status) {
        memo_keep(engine->feature_memo, &key, features, floats);
        scoring_score_part(group, part, features);
    }
    arena_rewind(&session->arena, used);
    return status;
}

static bool scoring_is_done(const struct engine_composition *const *compositions, size_t picture)
{
    for (size_t i = 0; i < picture; i++)
        if (compositions[i] && composition_equals(compositions[i], compositions[picture]))
            return true;
    return false;
}

/* ---- Shortlists ---- */

/* The tokens on the way to a node, start of text first, to ids; returns how many. */
static size_t scoring_write_path(const struct trie *trie, size_t node, int32_t start, int32_t *ids)
{
    size_t count = trie->depths[node] + 2;
    ids[0] = start;
    for (uint32_t at = (uint32_t)node, i = (uint32_t)count; at != TRIE_ROOT; at = trie->parents[at])
        ids[--i] = trie->tokens[at];
    return count;
}

/* The trie of some labels of a set in one sentence, from the tries of its chunks. */
static enum status scoring_make_trie(const struct engine_session *session,
                                     const struct engine_labels *labels,
                                     const struct engine_prediction *best, size_t count,
                                     size_t sentence, struct trie **out, struct fail *why)
{
    const struct engine *engine = session->engine;
    int32_t *ids = mem_zeroed(count, engine->model->geometry.context * sizeof *ids);
    size_t *starts = mem_zeroed(count + 1, sizeof *starts);
    enum status status =
        ids && starts ? STATUS_OK
                      : status_fail(why, STATUS_NO_MEMORY, "no memory for %zu labels", count);
    for (size_t i = 0; i < count && !status; i++) {
        struct labels_place place = labels->places[best[i].label];
        const struct trie *trie = labels->parts[place.part].chunk->tries[sentence];
        size_t leaf = trie->nodes - trie->leaves + trie->leaf_of_text[place.slot];
        starts[i + 1] =
            starts[i] + scoring_write_path(trie, leaf, tokenizer_start_of_text(engine->tokenizer),
                                           ids + starts[i]);
    }
    if (!status)
        status = trie_create(ids, starts, count, out, why);
    free(ids);
    free(starts);
    return status;
}

/* A chunk of these labels that lasts for one picture. */
static enum status scoring_make_chunk(const struct engine_session *session,
                                      const struct engine_labels *labels,
                                      const struct engine_prediction *best, size_t count,
                                      struct label_chunk *out, struct fail *why)
{
    *out = (struct label_chunk){.count = count, .sentences = labels->sentence_count};
    out->tries = mem_zeroed(out->sentences, sizeof *out->tries);
    enum status status =
        out->tries ? STATUS_OK : status_fail(why, STATUS_NO_MEMORY, "no memory for a shortlist");
    for (size_t i = 0; i < out->sentences && !status; i++)
        status = scoring_make_trie(session, labels, best, count, i, &out->tries[i], why);
    return status;
}

static void scoring_finish_chunk(struct label_chunk *chunk)
{
    for (size_t i = 0; chunk->tries && i < chunk->sentences; i++)
        trie_destroy(chunk->tries[i]);
    free(chunk->tries);
}

/* Prompted cosines of the labels in best [count], which one pass takes, over the plain ones. */
static enum status scoring_rescore(struct engine_session *session,
                                   const struct engine_scoring *scoring, size_t picture,
                                   const struct engine_prediction *best, size_t count,
                                   float *out_cosines, struct fail *why)
{
    const struct engine *engine = session->engine;
    const struct engine_composition *composition = scoring->compositions[picture];
    size_t joint = engine->model->geometry.joint_width, used = session->arena.used_bytes;
    const float *image = scoring->image_features + picture * joint;
    struct label_chunk chunk;
    enum status status = scoring_make_chunk(session, scoring->labels, best, count, &chunk, why);
    float *features = arena_floats(&session->arena, count * joint);
    if (!status)
        status = engine_state_encode_chunk(session, &chunk, composition->pool, composition->prompts,
                                           false, features, why);
    for (size_t i = 0; i < count && !status; i++)
        out_cosines[best[i].label] = engine->text.kernels->dot(features + i * joint, image, joint);
    scoring_finish_chunk(&chunk);
    arena_rewind(&session->arena, used);
    return status;
}

/* So many labels fit one pass, whatever they share. */
static size_t scoring_labels_a_pass(const struct engine_session *session,
                                    const struct engine_labels *labels)
{
    size_t longest = 1;
    for (size_t i = 0; i < labels->part_count; i++)
        if (labels->parts[i].chunk->longest > longest)
            longest = labels->parts[i].chunk->longest;
    return session->max_text_rows / longest;
}

static enum status scoring_score_shortlist(struct engine_session *session,
                                           const struct engine_scoring *scoring, size_t picture,
                                           float *out_cosines, struct fail *why)
{
    const struct engine_labels *labels = scoring->labels;
    size_t joint = session->engine->model->geometry.joint_width, count;
    size_t step = scoring_labels_a_pass(session, labels);
    struct engine_prediction *best = mem_zeroed(scoring->shortlist, sizeof *best);
    if (!best)
        return status_fail(why, STATUS_NO_MEMORY, "no memory for a shortlist of %zu labels",
                           scoring->shortlist);
    engine_cosines(session->engine, labels, scoring->image_features + picture * joint, out_cosines);
    engine_top(1, out_cosines, labels->count, scoring->shortlist, best, &count);
    for (size_t i = 0; i < labels->count; i++)
        out_cosines[i] = -INFINITY;
    enum status status = STATUS_OK;
    for (size_t done = 0; done < count && !status; done += step)
        status = scoring_rescore(session, scoring, picture, best + done,
                                 count - done < step ? count - done : step, out_cosines, why);
    free(best);
    return status;
}

/* ---- All ---- */

enum status engine_score(struct engine_session *session, const struct engine_scoring *scoring,
                         float *out_cosines, struct fail *why)
{
    const struct engine_labels *labels = scoring->labels;
    size_t joint = session->engine->model->geometry.joint_width;
    bool shortlist = scoring->shortlist && scoring->shortlist < labels->count;
    enum status status = STATUS_OK;
    for (size_t picture = 0; picture < scoring->count && !status; picture++) {
        float *cosines = out_cosines + picture * labels->count;
        bool composed = scoring->compositions && scoring->compositions[picture];
        if (composed && shortlist) {
            status = scoring_score_shortlist(session, scoring, picture, cosines, why);
        } else if (!composed || !scoring->compositions[picture]->layers) {
            engine_cosines(session->engine, labels, scoring->image_features + picture * joint,
                           cosines);
        } else if (!scoring_is_done(scoring->compositions, picture)) {
            const struct scoring_group group = {session, scoring, picture, out_cosines};
            for (size_t i = 0; i < labels->part_count && !status; i++)
                status = scoring_compose_part(&group, &labels->parts[i], why);
        }
    }
    return status;
}
