/*
 * The views of all pictures of a list: what training and evaluation read instead of the pictures.
 * Files are read and decoded by idle threads, and looked at together; the same bits for any number
 * of threads, given the engine's number of cores.
 */
#ifndef ENGINE_TRAIN_GALLERY_H
#define ENGINE_TRAIN_GALLERY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/rng.h"
#include "engine/train/dataset.h"
#include "engine/train/view.h"

/* Who wants to know how it goes. On the thread of gallery_create. */
struct gallery_watcher {
    void *context; /* of the functions below, which may all be NULL */
    void (*progress)(void *context, size_t done, size_t count);
    void (*broken)(void *context, const char *path, const struct fail *why);
    bool (*stop)(void *context); /* true: STATUS_CANCELLED */
};

struct gallery_options {
    size_t views;      /* random ones of each picture; 0: one, as at a test */
    double least_area; /* of a random view, see augment.h */
    bool strict;       /* a picture that cannot be read is a failure; else it is left out */
    size_t max_bytes;  /* of all views in memory: STATUS_LIMIT */
    struct engine_image_options images; /* scaled_jpeg is passed over: a part may be looked at */
};

struct gallery {
    struct view_shape shape;
    size_t pictures, views; /* views of each picture, at least 1 */
    uint32_t *labels;       /* [pictures] */
    const char **paths;     /* [pictures], the dataset's */
    float *rows;            /* [pictures, views, view_floats] */
    size_t broken;          /* pictures that were left out */
};

/* maker: made for at least 1 picture at a time, of the session. rng: for random views, which are
 * drawn picture by picture; else NULL. STATUS_INVALID if no picture can be read. */
enum status gallery_create(struct engine_session *session, struct view_maker *maker,
                           const struct dataset_list *list, const struct gallery_options *options,
                           const struct gallery_watcher *watcher, struct rng *rng,
                           struct gallery **out, struct fail *why);
void gallery_destroy(struct gallery *gallery); /* NULL is allowed */

const float *gallery_view(const struct gallery *gallery, size_t picture, size_t view);

#endif
