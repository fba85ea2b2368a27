/*
 * What is behind the opaque structs of engine.h, for the files that implement it.
 */
#ifndef ENGINE_ENGINE_STATE_H
#define ENGINE_ENGINE_STATE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/arena.h"
#include "engine/block.h"
#include "engine/clip_model.h"
#include "engine/compose.h"
#include "engine/engine.h"
#include "engine/label_chunk.h"
#include "engine/memo.h"
#include "engine/parallel.h"
#include "engine/preprocess.h"
#include "engine/tokenizer.h"

struct engine {
    struct clip_model *model;
    struct tokenizer *tokenizer;
    struct preprocess preprocess;
    struct parallel_team *team;
    struct block_setting vision, text;
    struct compose compose;
    struct memo *row_memo;     /* rows between the blocks of the text tower */
    struct memo *feature_memo; /* text features of chunks of labels */
    atomic_uint_least64_t last_id;
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
    struct arena attributes; /* of compositions; grows with the pools that are met */
    size_t max_text_rows;    /* tokens of one pass of the text tower */
    int32_t *ids;            /* [max_text_rows] */
    size_t *starts;          /* [max_text_rows + 1] */
    uint64_t retrieve_us;
};

/* STATUS_CANCELLED if the session's stop says so. */
enum status engine_state_check_stop(const struct engine_session *session, struct fail *why);

/* STATUS_INVALID if one of features [count, joint] is not of unit length: finite weights can still
 * overflow on their way through a tower. The message names "what" by its name (names NULL: by its
 * number from 1 on). */
enum status engine_state_check_features(const struct engine *engine, const float *features,
                                        size_t count, const char *what, char *const *names,
                                        struct fail *why);

/* Plain (pool NULL) or prompted features of a chunk, [chunk->count, joint], unit, by the session's
 * scratch; nothing is looked up or kept but rows. keep false: not even these. */
enum status engine_state_encode_chunk(struct engine_session *session,
                                      const struct label_chunk *chunk,
                                      const struct engine_pool *pool, const uint16_t *prompts,
                                      bool keep, float *out_features, struct fail *why);

#endif
