/*
 * One step of training a prompt pool: the prompts that the pictures of a batch choose, the text
 * features under them, the losses, and back to the values of those prompts and to the keys; then
 * stochastic gradient descent with momentum. All of CLIP stays as it is.
 *
 * Keys have gradients from their own losses alone (losses.h): the choice of prompts has none. One
 * thread at a time, which shares heavy steps with idle ones; the same bits for any number of
 * threads, given the engine's number of cores.
 */
#ifndef ENGINE_TRAIN_LEARNER_H
#define ENGINE_TRAIN_LEARNER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/rng.h"
#include "engine/engine.h"
#include "engine/pool_file.h"
#include "engine/train/losses.h"
#include "engine/train/view.h"

struct learner_options {
    struct losses_setting losses;
    double momentum;
    double values_decay, keys_decay; /* of weights, added to the gradient */
    size_t max_pictures;             /* of a batch */
    bool random_choice;              /* prompts by lot instead of by key, to compare with */
    /* What prompted features are held to: the same classes; NULL: the labels themselves. */
    const struct engine_labels *plain_labels;
};

struct learner_report {
    double terms[ENGINE_TRAINING_TERMS]; /* of this step, not weighted */
    double loss;                         /* their weighted sum */
    size_t right;                        /* pictures whose own class was the best */
};

struct learner;

/* Takes the content of *file over, also on failure: the pool to start from, whose settings say how
 * prompts are chosen. labels: the classes, in one sentence. The session must outlive the learner.
 * STATUS_INVALID names what does not fit; STATUS_LIMIT a label that is too long. */
enum status learner_create(struct engine_session *session, struct pool_file *file,
                           struct engine_labels *labels, const struct learner_options *options,
                           struct learner **out, struct fail *why);
void learner_destroy(struct learner *learner); /* NULL is allowed */

/* views [count], made with the pool's settings; labels [count] below the number of classes. rng: of
 * random_choice, else NULL. */
void learner_step(struct learner *learner, const float *const *views, const uint32_t *labels,
                  size_t count, double rate, struct rng *rng, struct learner_report *out);

/* The pool as it is now; owned by the learner. */
const struct pool_file *learner_file(const struct learner *learner);

/* What the pictures of the last step chose: [pictures of the step, depth, clusters * per_cluster].
 */
const uint16_t *learner_choices(const struct learner *learner);

/* Values and keys that an earlier learner of the same settings had. */
void learner_load_pool(struct learner *learner, const float *values, const float *keys);

/* What a later step depends on besides the pool: [learner_state_floats], to be kept and put back.
 */
size_t learner_state_floats(const struct learner *learner);
void learner_save_state(const struct learner *learner, float *out);
void learner_load_state(struct learner *learner, const float *state);

#endif
