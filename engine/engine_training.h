/*
 * Training prompt pools: the second door of the engine, beside engine.h.
 *
 * A training reads its pictures once, as views (train/view.h); from then on it has epochs, each of
 * which takes one step for every batch. All chance comes from one generator (engine/base/rng.h)
 * with the seed of the options, in this order: few shots, crops of the pictures, keys, prompts, and
 * then for each epoch the order of the pictures and, if prompts are chosen by lot, the lots. A
 * training that goes on from a checkpoint comes to the same bytes as one that was never stopped.
 *
 * One thread at a time, that of the session.
 */
#ifndef ENGINE_ENGINE_TRAINING_H
#define ENGINE_ENGINE_TRAINING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/engine.h"

enum engine_training_half { ENGINE_TRAINING_ALL, ENGINE_TRAINING_BASE, ENGINE_TRAINING_NOVEL };

enum engine_training_term {
    ENGINE_TRAINING_GLOBAL,
    ENGINE_TRAINING_FINE,
    ENGINE_TRAINING_TEXT_TO_IMAGE,
    ENGINE_TRAINING_SELF,
    ENGINE_TRAINING_KEY_MATCHING,
    ENGINE_TRAINING_KEY_DIVERSITY,
    ENGINE_TRAINING_TERMS
};

extern const char *const engine_training_term_names[ENGINE_TRAINING_TERMS];

struct engine_training_options {
    const char *data;     /* see train/dataset.h */
    const char *pictures; /* NULL: where the data is */
    enum engine_training_half half;
    size_t shots;      /* pictures of each class; 0: all */
    size_t views;      /* random views of each picture, taken in turn; 0: none but that of a test */
    double least_area; /* of the picture that a random view shows, 0 to 1 */
    bool strict;       /* a picture that cannot be read is a failure */
    size_t max_view_bytes;
    struct engine_image_options images; /* JPEGs are decoded exactly, whatever it says */

    size_t prompts, tokens, clusters, per_cluster;
    size_t depth;         /* 0: all text blocks */
    bool groups_by_block; /* each text block has prompts of its own */
    bool pos0;
    const char *cluster_space, *query_space, *retrieval; /* as in a pool file */
    const char *sentence;
    bool centred, keys_by_lot, random_choice;
    /* How prompts start: as start of text looks to their block, which changes text features least,
     * or as numbers by lot; and the normal deviation, of the rows' own in the first case. */
    bool prompts_by_lot;
    double deviation;

    double weights[ENGINE_TRAINING_TERMS];
    bool self_by_cosine;
    /* What the prompted features are held to; 0: those of the sentence itself. */
    const char *const *plain_sentences;
    size_t plain_sentence_count;

    size_t epochs, batch;
    double rate, first_rate; /* first_rate: of the first epoch */
    double momentum, values_decay, keys_decay;
    uint64_t seed;
};

/* What prompts are usually trained with; data and images are missing. */
extern const struct engine_training_options engine_training_default_options;

struct engine_training_watcher {
    void *context; /* of the functions, which may all be NULL */
    /* "pictures" (while they are read) or "steps" (of an epoch). */
    void (*progress)(void *context, const char *what, size_t done, size_t count);
    void (*broken)(void *context, const char *path, const struct fail *why);
    bool (*stop)(void *context); /* true: STATUS_CANCELLED */
};

struct engine_training_report { /* means over the pictures of an epoch */
    size_t epoch;               /* from 1 */
    double rate;
    double loss;
    double terms[ENGINE_TRAINING_TERMS]; /* not weighted */
    double accuracy;                     /* of the views, before each step; 0 to 1 */
    /* How evenly the prompts were chosen: the entropy of their shares over that of equal shares, 0
     * to 1; and how many different compositions the pictures had. */
    double usage_entropy;
    size_t compositions;
    size_t pictures; /* of the epoch: those that did not fill a batch are left out */
};

struct engine_training;

/* Reads the pictures and starts a pool. Failures as those of the parts; STATUS_INVALID names the
 * option that is wrong. The session must outlive the training. */
enum status engine_training_create(struct engine_session *session,
                                   const struct engine_training_options *options,
                                   const struct engine_training_watcher *watcher,
                                   struct engine_training **out, struct fail *why);
void engine_training_destroy(struct engine_training *training); /* NULL is allowed */

size_t engine_training_classes(const struct engine_training *training);
size_t engine_training_pictures(const struct engine_training *training);
size_t engine_training_broken(const struct engine_training *training);
size_t engine_training_epochs_done(const struct engine_training *training);

/* One more epoch. After STATUS_CANCELLED the training is in the middle of it: destroy it, or load
 * the last checkpoint. */
enum status engine_training_epoch(struct engine_training *training,
                                  struct engine_training_report *out, struct fail *why);

/* Writes the pool as it is now, as pool_file_save does; metadata [count]: what it gets beside what
 * a pool must have, such as "name" and "training". */
enum status engine_training_save(const struct engine_training *training, const char *path,
                                 const struct engine_pool_metadata *metadata, size_t count,
                                 struct fail *why);

/* Writes all that the epochs to come depend on, in the same way. */
enum status engine_training_save_checkpoint(const struct engine_training *training,
                                            const char *path, struct fail *why);

/* Puts a training that was just created where the one was that wrote the checkpoint. STATUS_INVALID
 * if that one had other options or pictures, STATUS_FORMAT if the file is no checkpoint. */
enum status engine_training_load_checkpoint(struct engine_training *training, const char *path,
                                            struct fail *why);

/* The rate of an epoch, from 1: first_rate, then rate / 2 (1 + cos(pi (epoch - 2) / epochs)). */
double engine_training_rate(const struct engine_training_options *options, size_t epoch);

#endif
