/*
 * What training makes small, for a batch of B pictures with the labels y among C classes, and its
 * gradients. v: the picture's unit feature, t: the unit text feature of a class under the picture's
 * composition, g: that of plain CLIP, e and w: the unit features of the clusters of the last vision
 * block and their shares of the patches, s: the logit scale.
 *
 *   global         mean of -log softmax_c(s v t_c)[y]
 *   fine           mean of the sum over clusters of w times -log softmax_c(s e t_c)[y]
 *   text_to_image  mean over pictures of the mean over b' of the same class of
 *                  -log softmax_b'(s t_y v_b')
 *   self           mean of |t - g|, or of 8 (1 - t g)
 *   key_matching   1 - mean of q u over the clusters' queries and the unit keys that they chose
 *   key_diversity  mean over groups and pairs of different keys of (u u')²
 *
 * That there are two contrastive streams and a self-regularisation is the paper's; their form is a
 * reconstruction (README). Queries and choices count as constants. Pure functions; any thread.
 */
#ifndef ENGINE_TRAIN_LOSSES_H
#define ENGINE_TRAIN_LOSSES_H

#include <stddef.h>
#include <stdint.h>

#include "engine/engine_training.h"

enum losses_self_form { LOSSES_L1, LOSSES_COSINE };

struct losses_setting {
    double
        weights[ENGINE_TRAINING_TERMS]; /* in their sum; 0: not computed, but for the global term */
    enum losses_self_form self_form;
    double logit_scale;
};

struct losses_batch {
    size_t pictures, classes, clusters, joint;
    const uint32_t *labels;      /* [pictures], below classes */
    const float *images;         /* v [pictures, joint] */
    const float *cluster_images; /* e [pictures, clusters, joint] */
    const float *cluster_shares; /* w [pictures, clusters] */
    const float *texts;          /* t [pictures, classes, joint] */
    const float *plain_texts;    /* g [classes, joint] */
};

/* Sets the four terms of features in terms [ENGINE_TRAINING_TERMS], dtexts [pictures, classes,
 * joint] to the gradient of their weighted sum, and how many pictures have their own class as the
 * best. logits [classes or pictures, whichever is more]: scratch. */
void losses_features(const struct losses_setting *setting, const struct losses_batch *batch,
                     double *logits, double *terms, float *dtexts, size_t *out_right);

/* A query [width] and the key that it chose. */
struct losses_match {
    const double *query;
    size_t key; /* of [groups * prompts] */
};

struct losses_keys {
    size_t groups, prompts, width;
    const float *keys; /* [groups, prompts, width] */
    const struct losses_match *matches;
    size_t match_count;
};

/* Doubles of scratch for losses_of_keys. */
size_t losses_keys_doubles(const struct losses_keys *keys);

/* Sets the two terms of keys in terms [ENGINE_TRAINING_TERMS], and dkeys [groups, prompts, width]
 * to the gradient of their weighted sum. */
void losses_of_keys(const struct losses_setting *setting, const struct losses_keys *keys,
                    double *scratch, double *terms, float *dkeys);

#endif
