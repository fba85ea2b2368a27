#include "api/cli/picture_feed.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "api/cli/input.h"
#include "api/cli/terminal.h"
#include "engine/base/buf.h"
#include "engine/base/mem.h"

struct picture_feed_slot {
    const char *path;
    bool decoded;
    struct fail why;
};

/* One batch. While it is decoded, `next` hands the slots to the threads. */
struct picture_feed {
    const struct workbench *bench;
    size_t pixels_each;
    size_t joint_width;
    float *pixels;                                               /* [batch, pixels_each] */
    float *features;                                             /* [batch, joint_width] */
    struct engine_composition *compositions[PICTURE_FEED_BATCH]; /* of the rows of features */
    struct picture_feed_slot slots[PICTURE_FEED_BATCH];
    size_t count;
    atomic_size_t next;
};

size_t picture_feed_batch(size_t count)
{
    return count < 1 ? 1 : count < PICTURE_FEED_BATCH ? count : PICTURE_FEED_BATCH;
}

size_t picture_feed_standard_inputs(const char *const *paths, size_t count)
{
    size_t found = 0;
    for (size_t i = 0; i < count; i++)
        found += input_is_standard(paths[i]);
    return found;
}

static enum status picture_feed_decode(const struct picture_feed *feed, const char *path,
                                       struct buf *file, float *out_pixels, struct fail *why)
{
    file->size = 0;
    enum status status = input_read(file, path, why);
    if (status)
        return status;
    status = engine_decode(feed->bench->engine, (const uint8_t *)file->data, file->size,
                           &feed->bench->image_options, out_pixels, NULL, why);
    return status ? status_context(why, status, "%s", input_name(path)) : STATUS_OK;
}

static void *picture_feed_decode_slots(void *argument)
{
    struct picture_feed *feed = argument;
    struct buf file;
    buf_init(&file, PICTURE_FEED_MAX_FILE_BYTES);
    size_t i;
    while ((i = atomic_fetch_add(&feed->next, 1)) < feed->count) {
        struct picture_feed_slot *slot = &feed->slots[i];
        slot->decoded = !picture_feed_decode(feed, slot->path, &file,
                                             feed->pixels + i * feed->pixels_each, &slot->why);
    }
    buf_finish(&file);
    return NULL;
}

/* Threads that cannot be had leave their share to the others. */
static void picture_feed_decode_batch(struct picture_feed *feed)
{
    pthread_t threads[PICTURE_FEED_BATCH];
    size_t started = 0;
    size_t wanted = feed->bench->threads < feed->count ? feed->bench->threads : feed->count;
    atomic_store(&feed->next, 0);
    while (started + 1 < wanted &&
           !pthread_create(&threads[started], NULL, picture_feed_decode_slots, feed))
        started++;
    picture_feed_decode_slots(feed);
    while (started)
        pthread_join(threads[--started], NULL);
}

static enum status picture_feed_embed(struct picture_feed *feed, struct fail *why)
{
    size_t decoded = 0;
    for (size_t i = 0; i < feed->count; i++) {
        if (!feed->slots[i].decoded)
            continue;
        if (decoded != i)
            memcpy(feed->pixels + decoded * feed->pixels_each, feed->pixels + i * feed->pixels_each,
                   feed->pixels_each * sizeof(float));
        decoded++;
    }
    return engine_compose_images(feed->bench->session, feed->pixels, decoded, feed->compositions,
                                 feed->features, why);
}

static enum status picture_feed_visit(const struct picture_feed *feed,
                                      const struct picture_feed_visitor *visitor, struct fail *why)
{
    enum status status = STATUS_OK;
    for (size_t i = 0, row = 0; i < feed->count && !status; i++) {
        const struct picture_feed_slot *slot = &feed->slots[i];
        struct picture_feed_picture picture = {.path = slot->path, .why = &slot->why};
        if (slot->decoded) {
            picture.feature = feed->features + row * feed->joint_width;
            picture.composition = feed->compositions[row++];
        }
        status = visitor->visit(visitor->context, &picture, why);
    }
    return status;
}

static enum status picture_feed_batches(struct picture_feed *feed, const char *const *paths,
                                        size_t count, const struct picture_feed_visitor *visitor,
                                        struct fail *why)
{
    enum status status = STATUS_OK;
    for (size_t done = 0; done < count && !status; done += feed->count) {
        terminal_progress(done, count);
        feed->count = picture_feed_batch(count - done);
        if (feed->count > feed->bench->max_images)
            feed->count = feed->bench->max_images;
        for (size_t i = 0; i < feed->count; i++)
            feed->slots[i] = (struct picture_feed_slot){.path = paths[done + i]};
        picture_feed_decode_batch(feed);
        status = picture_feed_embed(feed, why);
        if (!status)
            status = picture_feed_visit(feed, visitor, why);
    }
    terminal_progress(count, count);
    return status;
}

enum status picture_feed_run(const struct workbench *bench, const char *const *paths, size_t count,
                             const struct picture_feed_visitor *visitor, struct fail *why)
{
    const struct engine_info *info = engine_info(bench->engine);
    struct picture_feed feed = {.bench = bench,
                                .pixels_each = 3 * info->image_size * info->image_size,
                                .joint_width = info->joint_width};
    feed.pixels = mem_aligned(bench->max_images * feed.pixels_each, sizeof *feed.pixels);
    feed.features = mem_aligned(bench->max_images * feed.joint_width, sizeof *feed.features);
    enum status status =
        feed.pixels && feed.features
            ? STATUS_OK
            : status_fail(why, STATUS_NO_MEMORY, "no memory for %zu pictures", bench->max_images);
    for (size_t i = 0; i < bench->max_images && visitor->pool && !status; i++)
        status = engine_composition_create(visitor->pool, &feed.compositions[i], why);
    if (!status)
        status = picture_feed_batches(&feed, paths, count, visitor, why);
    for (size_t i = 0; i < PICTURE_FEED_BATCH; i++)
        engine_composition_destroy(feed.compositions[i]);
    free(feed.features);
    free(feed.pixels);
    return status;
}
