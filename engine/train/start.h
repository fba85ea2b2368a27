/*
 * The pool that training starts from: prompts by lot or like start of text, and keys and the centre
 * of the queries by what the training pictures look like. Data-driven keys and the centring are a
 * reconstruction: unit features of CLIP's tokens share one direction, and without either all
 * pictures would choose the same prompts.
 */
#ifndef ENGINE_TRAIN_START_H
#define ENGINE_TRAIN_START_H

#include <stdbool.h>
#include <stddef.h>

#include "engine/base/rng.h"
#include "engine/compose.h"
#include "engine/pool_file.h"
#include "engine/train/gallery.h"

struct start_setting {
    size_t groups;  /* 1: all text blocks share their prompts; else the text blocks */
    size_t prompts; /* in a group */
    size_t tokens;  /* of a prompt */
    size_t clusters, per_cluster;
    size_t depth;
    bool pos0;
    enum pool_cluster_space cluster_space;
    enum pool_query_space query_space;
    enum pool_retrieval retrieval;
    const char *sentence;
    /* Prompts are normally distributed: around 0, or around the row of start of text before their
     * block (of a group that all blocks share: the mean of those of the prompted ones). Most of
     * attention goes to start of text anyway, so prompts like it change the text features least. */
    bool prompts_by_lot;
    double deviation; /* around start of text: relative to the deviation within its row */
    bool centred;     /* query_mean is the mean of the training queries; else 0 */
    bool keys_by_lot; /* unit vectors of any direction; else centres of the training queries */
};

/* gallery: views of the training pictures, made with the setting's clusters and spaces. The file's
 * metadata is what a pool file must have, with the model's fingerprint. STATUS_INVALID,
 * STATUS_NO_MEMORY. */
enum status start_pool(const struct compose *compose, const struct start_setting *setting,
                       const struct gallery *gallery, struct rng *rng, struct pool_file *out,
                       struct fail *why);

#endif
