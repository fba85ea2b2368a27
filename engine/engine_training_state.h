/*
 * What is behind struct engine_training, for the files that implement it.
 */
#ifndef ENGINE_ENGINE_TRAINING_STATE_H
#define ENGINE_ENGINE_TRAINING_STATE_H

#include "engine/engine_state.h"
#include "engine/engine_training.h"
#include "engine/train/dataset.h"
#include "engine/train/gallery.h"
#include "engine/train/learner.h"
#include "engine/train/start.h"

struct engine_training {
    struct engine_session *session;
    struct engine_training_options options; /* its texts are the caller's */
    struct engine_training_watcher watching;
    struct gallery_watcher watcher; /* passes on to that */
    struct start_setting start;
    struct rng rng;
    struct dataset *dataset;
    struct gallery *gallery;
    struct engine_labels *labels, *plain_labels; /* plain_labels: NULL, or of the plain sentences */
    struct learner *learner;
    size_t epochs_done;

    uint32_t *order; /* [pictures] */
    const float **batch_views;
    uint32_t *batch_labels;
    uint64_t *usage; /* [groups, prompts], of the epoch */
    size_t usage_count;
    uint64_t *compositions; /* [pictures]: a hash of each, of the epoch */
};

#endif
