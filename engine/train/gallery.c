#include "engine/train/gallery.h"

#include <stdlib.h>
#include <string.h>

#include "engine/base/buf.h"
#include "engine/base/mem.h"
#include "engine/engine_state.h"
#include "engine/image.h"
#include "engine/train/augment.h"

enum { GALLERY_PICTURES_AT_A_TIME = 16 };

struct gallery_slot {
    const struct dataset_item *item;
    struct image image;
    enum status status;
    struct fail why;
};

/* Some pictures of the list, on their way. */
struct gallery_work {
    struct engine_session *session;
    struct view_maker *maker;
    const struct gallery_options *options;
    const struct gallery_watcher *watcher;
    struct image_options images;
    struct gallery *gallery;
    size_t count; /* slots in use */
    struct gallery_slot slots[GALLERY_PICTURES_AT_A_TIME];
    struct augment_crop *crops;              /* [GALLERY_PICTURES_AT_A_TIME, views] */
    size_t good[GALLERY_PICTURES_AT_A_TIME]; /* slots that could be read */
    size_t first_row;                        /* of their views: the first that is looked at */
    float *pixels;                           /* [views at a time, 3, size, size] */
    size_t pixels_each;
    enum status *statuses; /* [views at a time] */
    struct fail *reasons;
};

/* ---- Reading ---- */

static void gallery_read_chunk(void *argument, size_t index)
{
    struct gallery_work *work = argument;
    struct gallery_slot *slot = &work->slots[index];
    struct buf file;
    buf_init(&file, work->images.max_bytes);
    slot->status = buf_read_file(&file, slot->item->path, &slot->why);
    if (!slot->status) {
        slot->status = image_decode((const uint8_t *)file.data, file.size, &work->images,
                                    &slot->image, &slot->why);
        if (slot->status)
            status_context(&slot->why, slot->status, "%s", slot->item->path);
    }
    buf_finish(&file);
}

static enum status gallery_report_broken(const struct gallery_work *work, struct fail *why)
{
    for (size_t i = 0; i < work->count; i++) {
        const struct gallery_slot *slot = &work->slots[i];
        if (!slot->status)
            continue;
        if (slot->status == STATUS_NO_MEMORY || work->options->strict)
            return status_fail(why, slot->status, "%s", slot->why.message);
        if (work->watcher->broken)
            work->watcher->broken(work->watcher->context, slot->item->path, &slot->why);
        work->gallery->broken++;
    }
    return STATUS_OK;
}

/* ---- Looking ---- */

static void gallery_prepare_chunk(void *argument, size_t index)
{
    const struct gallery_work *work = argument;
    const struct preprocess *preprocess = &work->session->engine->preprocess;
    size_t row = work->first_row + index, views = work->gallery->views;
    size_t slot = work->good[row / views];
    const struct image *image = &work->slots[slot].image;
    float *pixels = work->pixels + index * work->pixels_each;
    work->statuses[index] =
        work->options->views
            ? augment_apply(preprocess, image, &work->crops[slot * views + row % views], pixels,
                            &work->reasons[index])
            : preprocess_apply(preprocess, image, pixels, &work->reasons[index]);
}

/* Rows first_row.. of those of the good slots, which come behind what the gallery has. */
static enum status gallery_look_at(struct gallery_work *work, size_t count, struct fail *why)
{
    const struct gallery *gallery = work->gallery;
    size_t row = gallery->pictures * gallery->views + work->first_row;
    parallel_for(work->session->engine->team, count, gallery_prepare_chunk, work);
    for (size_t i = 0; i < count; i++)
        if (work->statuses[i])
            return status_fail(
                why, work->statuses[i], "%s: %s",
                work->slots[work->good[(work->first_row + i) / gallery->views]].item->path,
                work->reasons[i].message);
    return view_maker_look(work->maker, work->pixels, count,
                           gallery->rows + row * view_floats(&gallery->shape), why);
}

static enum status gallery_look(struct gallery_work *work, struct fail *why)
{
    struct gallery *gallery = work->gallery;
    size_t good = 0, most = view_maker_most(work->maker);
    for (size_t i = 0; i < work->count; i++)
        if (!work->slots[i].status)
            work->good[good++] = i;
    for (work->first_row = 0; work->first_row < good * gallery->views;) {
        size_t left = good * gallery->views - work->first_row, count = left < most ? left : most;
        enum status status = gallery_look_at(work, count, why);
        if (status)
            return status;
        work->first_row += count;
    }
    for (size_t i = 0; i < good; i++) {
        const struct dataset_item *item = work->slots[work->good[i]].item;
        gallery->labels[gallery->pictures] = item->label;
        gallery->paths[gallery->pictures++] = item->path;
    }
    return STATUS_OK;
}

/* One after the other, whoever has read them. */
static void gallery_draw_crops(struct gallery_work *work, struct rng *rng)
{
    size_t views = work->gallery->views;
    for (size_t i = 0; i < work->count; i++)
        for (size_t view = 0; view < work->options->views && !work->slots[i].status; view++)
            work->crops[i * views + view] =
                augment_draw(rng, work->options->least_area, work->slots[i].image.width,
                             work->slots[i].image.height);
}

static enum status gallery_run(struct gallery_work *work, struct rng *rng, struct fail *why)
{
    parallel_for(work->session->engine->team, work->count, gallery_read_chunk, work);
    enum status status = gallery_report_broken(work, why);
    gallery_draw_crops(work, rng);
    if (!status)
        status = gallery_look(work, why);
    for (size_t i = 0; i < work->count; i++)
        image_finish(&work->slots[i].image);
    return status;
}

/* ---- All of them ---- */

static enum status gallery_allocate(struct gallery_work *work, size_t count, struct fail *why)
{
    struct gallery *gallery = work->gallery;
    size_t floats = view_floats(&gallery->shape), most = view_maker_most(work->maker), rows, bytes;
    if (!mem_multiply(count, gallery->views, &rows) ||
        !mem_multiply(rows, floats * sizeof(float), &bytes) || bytes > work->options->max_bytes)
        return status_fail(why, STATUS_LIMIT,
                           "%zu views of %zu pictures take %zu bytes each, more than %zu in all",
                           gallery->views, count, floats * sizeof(float), work->options->max_bytes);
    gallery->labels = mem_zeroed(count, sizeof *gallery->labels);
    gallery->paths = mem_zeroed(count, sizeof *gallery->paths);
    gallery->rows = mem_aligned(rows, floats * sizeof(float));
    work->crops = mem_zeroed(GALLERY_PICTURES_AT_A_TIME * gallery->views, sizeof *work->crops);
    work->statuses = mem_zeroed(most, sizeof *work->statuses);
    work->reasons = mem_zeroed(most, sizeof *work->reasons);
    work->pixels = mem_aligned(most * work->pixels_each, sizeof(float));
    if (gallery->labels && gallery->paths && gallery->rows && work->crops && work->statuses &&
        work->reasons && work->pixels)
        return STATUS_OK;
    return status_fail(why, STATUS_NO_MEMORY, "no memory for the views of %zu pictures", count);
}

static enum status gallery_fill(struct gallery_work *work, const struct dataset_list *list,
                                struct rng *rng, struct fail *why)
{
    const struct gallery_watcher *watcher = work->watcher;
    enum status status = gallery_allocate(work, list->count, why);
    for (size_t done = 0; done < list->count && !status; done += work->count) {
        size_t left = list->count - done;
        work->count = left < GALLERY_PICTURES_AT_A_TIME ? left : GALLERY_PICTURES_AT_A_TIME;
        for (size_t i = 0; i < work->count; i++)
            work->slots[i] = (struct gallery_slot){.item = &list->items[done + i]};
        status = gallery_run(work, rng, why);
        if (!status && watcher->progress)
            watcher->progress(watcher->context, done + work->count, list->count);
        if (!status && watcher->stop && watcher->stop(watcher->context))
            status = status_fail(why, STATUS_CANCELLED, "cancelled");
    }
    if (!status && !work->gallery->pictures)
        status = status_fail(why, STATUS_INVALID, "none of %zu pictures can be read", list->count);
    return status;
}

enum status gallery_create(struct engine_session *session, struct view_maker *maker,
                           const struct dataset_list *list, const struct gallery_options *options,
                           const struct gallery_watcher *watcher, struct rng *rng,
                           struct gallery **out, struct fail *why)
{
    size_t edge = session->engine->model->geometry.image_size;
    struct gallery *gallery = mem_zeroed(1, sizeof *gallery);
    if (!gallery)
        return status_fail(why, STATUS_NO_MEMORY, "no memory for views of pictures");
    gallery->shape = *view_maker_shape(maker);
    gallery->views = options->views ? options->views : 1;
    struct gallery_work work = {
        .session = session,
        .maker = maker,
        .options = options,
        .watcher = watcher,
        .images = {.max_bytes = options->images.max_bytes,
                   .max_pixels = options->images.max_pixels,
                   .max_jpeg_scans = options->images.max_jpeg_scans},
        .gallery = gallery,
        .pixels_each = 3 * edge * edge,
    };
    enum status status = gallery_fill(&work, list, rng, why);
    free(work.crops);
    free(work.pixels);
    free(work.statuses);
    free(work.reasons);
    if (status)
        gallery_destroy(gallery);
    else
        *out = gallery;
    return status;
}

void gallery_destroy(struct gallery *gallery)
{
    if (!gallery)
        return;
    free(gallery->labels);
    free(gallery->paths);
    free(gallery->rows);
    free(gallery);
}

const float *gallery_view(const struct gallery *gallery, size_t picture, size_t view)
{
    return gallery->rows + (picture * gallery->views + view) * view_floats(&gallery->shape);
}
