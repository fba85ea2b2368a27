#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/mem.h"
#include "engine/engine.h"
#include "engine/engine_state.h"
#include "engine/labels.h"
#include "engine/text.h"
#include "engine/vision.h"

/* Tokens of one pass of the text tower: enough to keep the products efficient, few enough to stay
 * near the caches. */
enum { SESSION_TEXT_ROWS = 1024 };
/* ---- Sessions ---- */

/* Of a chunk of labels under any pool: its features, those of one sentence, and the pass. */
static size_t session_chunk_bytes(const struct clip_model *model, size_t max_text_rows)
{
    return 2 * arena_floats_bytes(max_text_rows * model->geometry.joint_width) +
           compose_scratch_bytes(model, max_text_rows, model->geometry.context);
}

static size_t session_scratch_bytes(const struct engine_session *session)
{
    const struct clip_model *model = session->engine->model;
    const size_t needs[] = {
        vision_scratch_bytes(model, session->max_images),
        text_scratch_bytes(model, session->max_text_rows, session->max_text_rows),
        session_chunk_bytes(model, session->max_text_rows),
    };
    size_t most = 0;
    for (size_t i = 0; i < sizeof needs / sizeof *needs; i++)
        most = needs[i] > most ? needs[i] : most;
    return most;
}

enum status engine_session_create(struct engine *engine, size_t max_images,
                                  struct engine_session **out, struct fail *why)
{
    struct engine_session *session = mem_zeroed(1, sizeof *session);
    if (!session)
        return status_fail(why, STATUS_NO_MEMORY, "no memory for a session");
    size_t context = engine->model->geometry.context;
    session->engine = engine;
    session->max_images = max_images;
    session->max_text_rows = context > SESSION_TEXT_ROWS ? context : SESSION_TEXT_ROWS;
    session->ids = mem_zeroed(session->max_text_rows, sizeof *session->ids);
    session->starts = mem_zeroed(session->max_text_rows + 1, sizeof *session->starts);
    enum status status = arena_init(&session->arena, session_scratch_bytes(session), why);
    if (!status && (!session->ids || !session->starts))
        status = status_fail(why, STATUS_NO_MEMORY, "no memory for a session");
    if (status) {
        engine_session_destroy(session);
        return status;
    }
    *out = session;
    return STATUS_OK;
}

void engine_session_destroy(struct engine_session *session)
{
    if (!session)
        return;
    arena_finish(&session->arena);
    arena_finish(&session->attributes);
    free(session->ids);
    free(session->starts);
    free(session);
}

void engine_session_set_stop(struct engine_session *session, bool (*stop)(void *), void *argument)
{
    session->stop = stop;
    session->stop_argument = argument;
}

uint64_t engine_session_retrieve_us(const struct engine_session *session)
{
    return session->retrieve_us;
}

enum status engine_state_check_stop(const struct engine_session *session, struct fail *why)
{
    if (session->stop && session->stop(session->stop_argument))
        return status_fail(why, STATUS_CANCELLED, "cancelled");
    return STATUS_OK;
}

enum status engine_state_check_features(const struct engine *engine, const float *features,
                                        size_t count, const char *what, char *const *names,
                                        struct fail *why)
{
    size_t joint = engine->model->geometry.joint_width;
    for (size_t i = 0; i < count; i++) {
        const float *feature = features + i * joint;
        float squared = engine->vision.kernels->dot(feature, feature, joint);
        if (fabsf(squared - 1) < 1e-3f)
            continue;
        if (names)
            return status_fail(why, STATUS_INVALID,
                               "the numbers overflow or vanish on %s \"%.80s\"", what, names[i]);
        return status_fail(why, STATUS_INVALID, "the model's numbers overflow or vanish on %s %zu",
                           what, i + 1);
    }
    return STATUS_OK;
}

/* ---- Texts ---- */

/* out_ids [context]. */
static enum status session_tokenize(void *context, const char *text, int32_t *out_ids,
                                    size_t *out_count, struct fail *why)
{
    const struct engine_session *session = context;
    bool cut;
    enum status status = engine_state_check_stop(session, why);
    if (status)
        return status;
    status = engine_tokenize(session->engine, text, out_ids, out_count, &cut, why);
    if (status)
        return status_context(why, status, "text \"%.80s\"", text);
    if (cut)
        return status_fail(why, STATUS_LIMIT,
                           "text \"%.80s\" has more tokens than the model's context of %zu", text,
                           session->engine->model->geometry.context);
    return STATUS_OK;
}

/* Tokenises texts from the first on until the next would not fit; at least one always fits. */
static enum status session_fill_pass(struct engine_session *session, const char *const *texts,
                                     size_t count, size_t *out_taken, struct fail *why)
{
    size_t context = session->engine->model->geometry.context, rows = 0, taken = 0;
    session->starts[0] = 0;
    while (taken < count && rows + context <= session->max_text_rows) {
        size_t tokens = 0;
        enum status status =
            session_tokenize(session, texts[taken], session->ids + rows, &tokens, why);
        if (status)
            return status;
        rows += tokens;
        session->starts[++taken] = rows;
    }
    *out_taken = taken;
    return STATUS_OK;
}

enum status engine_embed_texts(struct engine_session *session, const char *const *texts,
                               size_t count, float *out_features, struct fail *why)
{
    const struct engine *engine = session->engine;
    size_t joint = engine->model->geometry.joint_width;
    for (size_t done = 0; done < count;) {
        size_t taken = 0;
        enum status status = engine_state_check_stop(session, why);
        if (!status)
            status = session_fill_pass(session, texts + done, count - done, &taken, why);
        if (status)
            return status;
        struct block_sequences sequences = {.count = taken, .starts = session->starts};
        text_forward(&engine->text, engine->model, session->ids, &sequences, &session->arena,
                     out_features + done * joint);
        status = engine_state_check_features(engine, out_features + done * joint, taken, "text",
                                             NULL, why);
        if (status)
            return status;
        done += taken;
    }
    return STATUS_OK;
}

/* ---- Chunks of labels ---- */

/* The mean of unit features, made unit, as CLIP averages sentences. sums [count, joint]. */
static enum status session_average(struct engine_session *session, const struct label_chunk *chunk,
                                   const struct engine_pool *pool, const uint16_t *prompts,
                                   bool keep, float *sums, struct fail *why)
{
    const struct engine *engine = session->engine;
    size_t joint = engine->model->geometry.joint_width, used = session->arena.used_bytes;
    float *features = arena_floats(&session->arena, chunk->count * joint);
    enum status status = STATUS_OK;
    memset(sums, 0, chunk->count * joint * sizeof *sums);
    for (size_t i = 0; i < chunk->sentences && !status; i++) {
        const struct compose_text text = {chunk->tries[i], keep ? chunk->id : 0, (uint32_t)i};
        compose_features(&engine->compose, &text, pool, prompts, &session->arena, features);
        engine->text.kernels->accumulate(sums, features, chunk->count * joint);
        status = engine_state_check_stop(session, why);
    }
    for (size_t label = 0; label < chunk->count; label++)
        kernels_make_unit(engine->text.kernels, sums + label * joint, joint);
    arena_rewind(&session->arena, used);
    return status;
}

enum status engine_state_encode_chunk(struct engine_session *session,
                                      const struct label_chunk *chunk,
                                      const struct engine_pool *pool, const uint16_t *prompts,
                                      bool keep, float *out_features, struct fail *why)
{
    const struct engine *engine = session->engine;
    const struct compose_text text = {chunk->tries[0], keep ? chunk->id : 0, 0};
    enum status status = engine_state_check_stop(session, why);
    if (!status && chunk->sentences > 1)
        status = session_average(session, chunk, pool, prompts, keep, out_features, why);
    else if (!status)
        compose_features(&engine->compose, &text, pool, prompts, &session->arena, out_features);
    return status ? status
                  : engine_state_check_features(engine, out_features, chunk->count, "label",
                                                chunk->names, why);
}

static enum status session_encode(void *context, struct label_chunk *chunk, struct fail *why)
{
    return engine_state_encode_chunk(context, chunk, NULL, NULL, false, chunk->features, why);
}

static uint64_t session_new_id(void *context)
{
    const struct engine_session *session = context;
    return atomic_fetch_add(&session->engine->last_id, 1) + 1;
}

static struct label_maker session_label_maker(struct engine_session *session)
{
    const struct clip_model_geometry *geometry = &session->engine->model->geometry;
    return (struct label_maker){.context = session,
                                .joint_width = geometry->joint_width,
                                .max_tokens = geometry->context,
                                .max_nodes = session->max_text_rows,
                                .tokenize = session_tokenize,
                                .encode = session_encode,
                                .new_id = session_new_id};
}

enum status engine_labels_compile(struct engine_session *session, const char *const *names,
                                  size_t count, const char *const *sentences, size_t sentence_count,
                                  struct engine_labels **out, struct fail *why)
{
    const struct label_maker maker = session_label_maker(session);
    return labels_compile(&maker, names, count, sentences, sentence_count, out, why);
}

enum status engine_labels_revise(struct engine_session *session, const struct engine_labels *from,
                                 const bool *removed, const char *const *names, size_t count,
                                 struct engine_labels **out, struct fail *why)
{
    const struct label_maker maker = session_label_maker(session);
    return labels_revise(&maker, from, removed, names, count, out, why);
}
