#include "engine/engine.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/mem.h"
#include "engine/classify.h"
#include "engine/clip_model.h"
#include "engine/cores.h"
#include "engine/image.h"
#include "engine/label_list.h"
#include "engine/labels.h"
#include "engine/parallel.h"
#include "engine/preprocess.h"
#include "engine/text.h"
#include "engine/tokenizer.h"
#include "engine/vision.h"

/* Tokens of one pass of the text tower: enough to keep the products efficient, few enough to stay
 * near the caches. */
enum { ENGINE_TEXT_ROWS = 1024 };

const struct engine_image_limits engine_image_default_limits = {.max_pixels = 50 * 1000 * 1000,
                                                                .max_jpeg_scans = 100};

struct engine {
    struct clip_model *model;
    struct tokenizer *tokenizer;
    struct preprocess preprocess;
    struct parallel_team *team;
    struct block_setting vision, text;
    struct engine_info info;
    char *folder;
    char name[256];
    char backend[128];
};

struct engine_session {
    struct engine *engine;
    bool (*stop)(void *); /* NULL: nothing ends a call early */
    void *stop_argument;
    size_t max_images;
    struct arena arena;
    size_t max_text_rows;
    int32_t *ids;   /* [max_text_rows] */
    size_t *starts; /* [max_text_rows + 1] */
};

/* ---- Model ---- */

static struct engine_tower engine_describe_tower(const struct clip_model_tower *tower)
{
    return (struct engine_tower){.width = tower->width,
                                 .heads = tower->heads,
                                 .blocks = tower->blocks,
                                 .mlp_width = tower->mlp_width};
}

static struct engine_preprocessing
engine_describe_preprocessing(const struct preprocess *preprocess)
{
    struct engine_preprocessing described = {.shortest_edge = preprocess->shortest_edge,
                                             .crop_size = preprocess->crop_size};
    memcpy(described.mean, preprocess->mean, sizeof described.mean);
    memcpy(described.deviation, preprocess->deviation, sizeof described.deviation);
    return described;
}

static void engine_describe(struct engine *engine, const char *model_dir)
{
    const struct clip_model_geometry *geometry = &engine->model->geometry;
    size_t length = strlen(model_dir);
    while (length > 1 && model_dir[length - 1] == '/')
        length--;
    size_t start = length;
    while (start > 0 && model_dir[start - 1] != '/')
        start--;
    snprintf(engine->name, sizeof engine->name, "%.*s", (int)(length - start), model_dir + start);
    char library[64];
    snprintf(engine->backend, sizeof engine->backend, "%s, %s kernels",
             gemm_backend(library, sizeof library), engine->vision.kernels->name);
    engine->info = (struct engine_info){
        .name = engine->name,
        .layout = clip_model_layout_name(geometry->layout),
        .activation = clip_model_activation_name(geometry->activation),
        .backend = engine->backend,
        .image_size = geometry->image_size,
        .patch_size = geometry->patch_size,
        .patches = geometry->patches,
        .joint_width = geometry->joint_width,
        .context = geometry->context,
        .vocabulary = geometry->vocabulary,
        .parameters = engine->model->parameters,
        .vision = engine_describe_tower(&geometry->vision),
        .text = engine_describe_tower(&geometry->text),
        .preprocessing = engine_describe_preprocessing(&engine->preprocess),
        .logit_scale = geometry->logit_scale,
    };
}

static enum status engine_choose_activation(const char *name, int *out, struct fail *why)
{
    *out = -1;
    if (!name)
        return STATUS_OK;
    for (int i = CLIP_MODEL_QUICK_GELU; i <= CLIP_MODEL_GELU; i++)
        if (strcmp(name, clip_model_activation_name((enum clip_model_activation)i)) == 0)
            *out = i;
    if (*out < 0)
        return status_fail(why, STATUS_INVALID, "activation \"%s\" is neither quick_gelu nor gelu",
                           name);
    return STATUS_OK;
}

static enum status engine_load(struct engine *engine, const char *model_dir,
                               const struct engine_options *options, struct fail *why)
{
    struct clip_model_options model_options;
    enum status status =
        engine_choose_activation(options->activation, &model_options.activation, why);
    if (!status)
        status = clip_model_load(model_dir, &model_options, &engine->model, why);
    if (!status)
        status = tokenizer_load(model_dir, &engine->tokenizer, why);
    if (!status && tokenizer_vocabulary(engine->tokenizer) > engine->model->geometry.vocabulary)
        status = status_fail(why, STATUS_INVALID,
                             "%s: the tokenizer has ids up to %zu but the model embeds %zu tokens",
                             model_dir, tokenizer_vocabulary(engine->tokenizer) - 1,
                             engine->model->geometry.vocabulary);
    if (!status)
        status = preprocess_load(model_dir, (uint32_t)engine->model->geometry.image_size,
                                 &engine->preprocess, why);
    if (!status)
        status = parallel_create(options->helpers, &engine->team, why);
    return status;
}

static void engine_set_towers(struct engine *engine)
{
    const struct clip_model_geometry *geometry = &engine->model->geometry;
    struct block_setting common = {.team = engine->team,
                                   .ways = cores_available(),
                                   .kernels = kernels_best(),
                                   .activation = geometry->activation,
                                   .epsilon = geometry->layer_norm_epsilon};
    engine->vision = engine->text = common;
    engine->vision.tower = &geometry->vision;
    engine->text.tower = &geometry->text;
    engine->text.causal = true;
}

enum status engine_open(const char *model_dir, const struct engine_options *options,
                        struct engine **out, struct fail *why)
{
    struct engine *engine = mem_zeroed(1, sizeof *engine);
    if (!engine)
        return status_fail(why, STATUS_NO_MEMORY, "no memory for an engine");
    gemm_start();
    engine->folder = mem_copy_text(model_dir, strlen(model_dir));
    enum status status = engine->folder
                             ? engine_load(engine, model_dir, options, why)
                             : status_fail(why, STATUS_NO_MEMORY, "no memory for an engine");
    if (status) {
        engine_close(engine);
        return status;
    }
    engine_set_towers(engine);
    engine_describe(engine, model_dir);
    *out = engine;
    return STATUS_OK;
}

void engine_close(struct engine *engine)
{
    if (!engine)
        return;
    parallel_destroy(engine->team);
    tokenizer_destroy(engine->tokenizer);
    clip_model_destroy(engine->model);
    free(engine->folder);
    free(engine);
}

const struct engine_info *engine_info(const struct engine *engine)
{
    return &engine->info;
}

void engine_team_serve(struct engine *engine, bool (*done)(void *), void *argument)
{
    parallel_serve(engine->team, done, argument);
}

void engine_team_notify(struct engine *engine)
{
    parallel_notify(engine->team);
}

size_t engine_cores(void)
{
    size_t cores = cores_available();
    return cores < ENGINE_MAX_THREADS ? cores : ENGINE_MAX_THREADS;
}

/* ---- Sessions ---- */

enum status engine_session_create(struct engine *engine, size_t max_images,
                                  struct engine_session **out, struct fail *why)
{
    struct engine_session *session = mem_zeroed(1, sizeof *session);
    if (!session)
        return status_fail(why, STATUS_NO_MEMORY, "no memory for a session");
    size_t context = engine->model->geometry.context;
    session->engine = engine;
    session->max_images = max_images;
    session->max_text_rows = context > ENGINE_TEXT_ROWS ? context : ENGINE_TEXT_ROWS;
    size_t vision = vision_scratch_bytes(engine->model, max_images);
    size_t text = text_scratch_bytes(engine->model, session->max_text_rows, session->max_text_rows);
    session->ids = mem_zeroed(session->max_text_rows, sizeof *session->ids);
    session->starts = mem_zeroed(session->max_text_rows + 1, sizeof *session->starts);
    enum status status = arena_init(&session->arena, vision > text ? vision : text, why);
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
    free(session->ids);
    free(session->starts);
    free(session);
}

void engine_session_set_stop(struct engine_session *session, bool (*stop)(void *), void *argument)
{
    session->stop = stop;
    session->stop_argument = argument;
}

/* Finite weights can still overflow on their way through a tower. */
static enum status engine_check_features(const struct engine_session *session,
                                         const float *features, size_t count, const char *what,
                                         struct fail *why)
{
    const struct engine *engine = session->engine;
    size_t joint = engine->model->geometry.joint_width;
    for (size_t i = 0; i < count; i++) {
        const float *feature = features + i * joint;
        float squared = engine->vision.kernels->dot(feature, feature, joint);
        if (!(fabsf(squared - 1) < 1e-3f))
            return status_fail(why, STATUS_INVALID,
                               "the model's numbers overflow or vanish on %s %zu", what, i + 1);
    }
    return STATUS_OK;
}

/* ---- Pictures ---- */

enum status engine_decode(const struct engine *engine, const uint8_t *bytes, size_t size,
                          const struct engine_image_limits *limits, float *out_pixels,
                          struct engine_image_info *out_info, struct fail *why)
{
    struct image image;
    struct image_limits image_limits = {.max_pixels = limits->max_pixels,
                                        .max_jpeg_scans = limits->max_jpeg_scans};
    enum status status = image_decode(bytes, size, &image_limits, &image, why);
    if (status)
        return status;
    status = preprocess_apply(&engine->preprocess, &image, out_pixels, why);
    if (!status && out_info)
        *out_info = (struct engine_image_info){.format = image_format_name(image.format),
                                               .width = image.width,
                                               .height = image.height};
    image_finish(&image);
    return status;
}

enum status engine_embed_images(struct engine_session *session, const float *pixels, size_t count,
                                float *out_features, struct fail *why)
{
    if (count > session->max_images)
        return status_fail(why, STATUS_LIMIT, "%zu images in a call, the session takes %zu", count,
                           session->max_images);
    if (!count)
        return STATUS_OK;
    vision_forward(&session->engine->vision, session->engine->model, pixels, count, &session->arena,
                   out_features, NULL);
    return engine_check_features(session, out_features, count, "picture", why);
}

/* ---- Texts ---- */

enum status engine_tokenize(const struct engine *engine, const char *text, int32_t *out_ids,
                            size_t *out_count, bool *out_cut, struct fail *why)
{
    return tokenizer_encode(engine->tokenizer, text, strlen(text), engine->model->geometry.context,
                            out_ids, out_count, out_cut, why);
}

/* Tokenises texts from the first on until the next would not fit; at least one always fits. */
static enum status engine_fill_pass(struct engine_session *session, const char *const *texts,
                                    size_t count, size_t *out_taken, struct fail *why)
{
    size_t context = session->engine->model->geometry.context, rows = 0, taken = 0;
    session->starts[0] = 0;
    while (taken < count && rows + context <= session->max_text_rows) {
        size_t tokens;
        bool cut;
        enum status status =
            engine_tokenize(session->engine, texts[taken], session->ids + rows, &tokens, &cut, why);
        if (status)
            return status_context(why, status, "text \"%.80s\"", texts[taken]);
        if (cut)
            return status_fail(why, STATUS_LIMIT,
                               "text \"%.80s\" has more tokens than the model's context of %zu",
                               texts[taken], context);
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
        if (session->stop && session->stop(session->stop_argument))
            return status_fail(why, STATUS_CANCELLED, "cancelled");
        enum status status = engine_fill_pass(session, texts + done, count - done, &taken, why);
        if (status)
            return status;
        struct block_sequences sequences = {.count = taken, .starts = session->starts};
        text_forward(&engine->text, engine->model, session->ids, &sequences, &session->arena,
                     out_features + done * joint);
        status = engine_check_features(session, out_features + done * joint, taken, "text", why);
        if (status)
            return status;
        done += taken;
    }
    return STATUS_OK;
}

/* ---- Labels and classification ---- */

static enum status engine_embed_label_texts(void *session, const char *const *texts, size_t count,
                                            float *out_features, struct fail *why)
{
    return engine_embed_texts(session, texts, count, out_features, why);
}

enum status engine_default_labels(const struct engine *engine, struct engine_label_list *out,
                                  struct fail *why)
{
    return label_list_load(engine->folder, out, why);
}

enum status engine_labels_compile(struct engine_session *session, const char *const *names,
                                  size_t count, const char *const *sentences, size_t sentence_count,
                                  struct engine_labels **out, struct fail *why)
{
    return labels_compile(names, count, sentences, sentence_count,
                          session->engine->model->geometry.joint_width, engine_embed_label_texts,
                          session, out, why);
}

void engine_cosines(const struct engine *engine, const struct engine_labels *labels,
                    const float *image_features, float *out_cosines)
{
    classify_cosines(engine->vision.kernels, engine_labels_features(labels),
                     engine_labels_count(labels), engine->model->geometry.joint_width,
                     image_features, out_cosines);
}

void engine_top(const struct engine *engine, const float *cosines, size_t count, size_t top_k,
                struct engine_prediction *out_predictions, size_t *out_count)
{
    classify_top(engine->info.logit_scale, cosines, count, top_k, out_predictions, out_count);
}

void engine_probabilities(const struct engine *engine, const float *cosines, size_t count,
                          float *out_logits, float *out_probabilities)
{
    classify_probabilities(engine->info.logit_scale, cosines, count, out_logits, out_probabilities);
}
