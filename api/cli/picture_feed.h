/*
 * Picture files through the engine, in the order given and a batch at a time, so that memory stays
 * bounded however many there are: the files of a batch are read and decoded side by side, then
 * embedded together.
 */
#ifndef API_CLI_PICTURE_FEED_H
#define API_CLI_PICTURE_FEED_H

#include <stddef.h>

#include "api/cli/workbench.h"
#include "engine/base/status.h"

enum { PICTURE_FEED_BATCH = 16, PICTURE_FEED_MAX_FILE_BYTES = 64 << 20 };

struct picture_feed_picture {
    const char *path;
    const float *feature;                         /* [joint_width], unit; NULL if there is none */
    const struct engine_composition *composition; /* NULL without a pool */
    const struct fail *why;                       /* why there is no feature */
};

/* Called for each picture in turn, on the thread of picture_feed_run. A failure returned ends the
 * run. */
struct picture_feed_visitor {
    enum status (*visit)(void *context, const struct picture_feed_picture *picture,
                         struct fail *why);
    void *context;
    struct engine_pool *pool; /* NULL: no compositions */
};

/* The batch, and so the session, that so many pictures need: at least 1. */
size_t picture_feed_batch(size_t count);

/* How often "-", which can be read only once, is among them. */
size_t picture_feed_standard_inputs(const char *const *paths, size_t count);

/* A picture that cannot be read is told to the visitor and is no failure of the run. */
enum status picture_feed_run(const struct workbench *bench, const char *const *paths, size_t count,
                             const struct picture_feed_visitor *visitor, struct fail *why);

#endif
