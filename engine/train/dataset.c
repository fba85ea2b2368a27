#include "engine/train/dataset.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "engine/base/mem.h"
#include "engine/train/dataset_reader.h"

const char *const dataset_split_names[DATASET_SPLITS] = {"train", "val", "test"};

/* ---- Putting one together ---- */

/* Room for one more in an array that doubles. */
static void *dataset_grow(void *array, size_t count, size_t *capacity, size_t size)
{
    if (count < *capacity)
        return array;
    size_t wanted = *capacity ? 2 * *capacity : 64;
    void *grown = mem_resize(array, wanted, size);
    if (grown)
        *capacity = wanted;
    return grown;
}

enum status dataset_add_item(struct dataset *dataset, enum dataset_split split, const char *path,
                             uint32_t label, struct fail *why)
{
    struct dataset_list *list = &dataset->lists[split];
    if (dataset->path_count >= DATASET_MAX_ITEMS)
        return status_fail(why, STATUS_LIMIT, "more than %d pictures", DATASET_MAX_ITEMS);
    char **paths =
        dataset_grow(dataset->paths, dataset->path_count, &dataset->path_capacity, sizeof *paths);
    if (paths)
        dataset->paths = paths;
    struct dataset_item *items =
        dataset_grow(list->items, list->count, &list->capacity, sizeof *items);
    if (items)
        list->items = items;
    char *copy = paths && items ? mem_copy_text(path, strlen(path)) : NULL;
    if (!copy)
        return status_fail(why, STATUS_NO_MEMORY, "no memory for %zu pictures",
                           dataset->path_count + 1);
    dataset->paths[dataset->path_count++] = copy;
    list->items[list->count++] = (struct dataset_item){copy, label};
    return STATUS_OK;
}

enum status dataset_open(const char *path, const char *pictures, struct dataset **out,
                         struct fail *why)
{
    struct stat about;
    if (stat(path, &about))
        return status_fail(why, STATUS_NOT_FOUND, "%s: no such file or folder", path);
    struct dataset *dataset = mem_zeroed(1, sizeof *dataset);
    if (!dataset)
        return status_fail(why, STATUS_NO_MEMORY, "no memory for a data set");
    enum status status = S_ISDIR(about.st_mode) ? dataset_reader_folder(dataset, path, why)
                                                : dataset_reader_json(dataset, path, pictures, why);
    if (!status && !dataset->path_count)
        status = status_fail(why, STATUS_INVALID, "%s: no pictures in it", path);
    if (status)
        dataset_close(dataset);
    else
        *out = dataset;
    return status;
}

void dataset_close(struct dataset *dataset)
{
    if (!dataset)
        return;
    for (size_t i = 0; i < dataset->class_count; i++)
        free(dataset->classes[i]);
    for (size_t i = 0; i < dataset->path_count; i++)
        free(dataset->paths[i]);
    for (int split = 0; split < DATASET_SPLITS; split++)
        free(dataset->lists[split].items);
    free(dataset->classes);
    free(dataset->paths);
    free(dataset);
}

/* ---- Few shots ---- */

struct dataset_draw {
    uint32_t *members; /* [items]: those of the class at hand */
    uint32_t *scratch, *drawn;
    struct dataset_item *kept; /* [items] */
    bool *seen;                /* [classes] */
};

static void dataset_draw_finish(struct dataset_draw *draw)
{
    free(draw->members);
    free(draw->scratch);
    free(draw->drawn);
    free(draw->kept);
    free(draw->seen);
}

static enum status dataset_draw_init(struct dataset_draw *draw, const struct dataset *dataset,
                                     const struct dataset_list *list, struct fail *why)
{
    *draw = (struct dataset_draw){
        .members = mem_zeroed(list->count, sizeof *draw->members),
        .scratch = mem_zeroed(list->count, sizeof *draw->scratch),
        .drawn = mem_zeroed(list->count, sizeof *draw->drawn),
        .kept = mem_zeroed(list->count, sizeof *draw->kept),
        .seen = mem_zeroed(dataset->class_count, sizeof *draw->seen),
    };
    if (draw->members && draw->scratch && draw->drawn && draw->kept && draw->seen)
        return STATUS_OK;
    dataset_draw_finish(draw);
    return status_fail(why, STATUS_NO_MEMORY, "no memory for drawing pictures");
}

/* The kept pictures of the class of item `first`, onto those kept before. */
static size_t dataset_draw_class(const struct dataset_draw *draw, const struct dataset_list *list,
                                 size_t first, size_t shots, struct rng *rng, size_t kept)
{
    uint32_t members = 0;
    for (size_t i = first; i < list->count; i++)
        if (list->items[i].label == list->items[first].label)
            draw->members[members++] = (uint32_t)i;
    if (members < shots) {
        for (uint32_t i = 0; i < members; i++)
            draw->kept[kept++] = list->items[draw->members[i]];
        return kept;
    }
    rng_sample(rng, members, (uint32_t)shots, draw->scratch, draw->drawn);
    for (size_t i = 0; i < shots; i++)
        draw->kept[kept++] = list->items[draw->members[draw->drawn[i]]];
    return kept;
}

static enum status dataset_take_shots_of(const struct dataset *dataset, struct dataset_list *list,
                                         size_t shots, struct rng *rng, struct fail *why)
{
    struct dataset_draw draw;
    size_t kept = 0;
    enum status status = dataset_draw_init(&draw, dataset, list, why);
    if (status)
        return status;
    for (size_t i = 0; i < list->count; i++) {
        if (draw.seen[list->items[i].label])
            continue;
        draw.seen[list->items[i].label] = true;
        kept = dataset_draw_class(&draw, list, i, shots, rng, kept);
    }
    for (size_t i = 0; i < kept; i++)
        list->items[i] = draw.kept[i];
    list->count = kept;
    dataset_draw_finish(&draw);
    return STATUS_OK;
}

enum status dataset_take_shots(struct dataset *dataset, size_t shots, struct rng *rng,
                               struct fail *why)
{
    enum status status =
        dataset_take_shots_of(dataset, &dataset->lists[DATASET_TRAIN], shots, rng, why);
    return status ? status
                  : dataset_take_shots_of(dataset, &dataset->lists[DATASET_VAL],
                                          shots < 4 ? shots : 4, rng, why);
}

/* ---- Halves ---- */

static void dataset_keep_labels(struct dataset_list *list, size_t first, size_t count)
{
    size_t kept = 0;
    for (size_t i = 0; i < list->count; i++) {
        struct dataset_item item = list->items[i];
        if (item.label < first || item.label >= first + count)
            continue;
        item.label -= (uint32_t)first;
        list->items[kept++] = item;
    }
    list->count = kept;
}

enum status dataset_take_half(struct dataset *dataset, bool first, struct fail *why)
{
    size_t base = (dataset->class_count + 1) / 2, from = first ? 0 : base;
    size_t count = first ? base : dataset->class_count - base;
    if (!count || dataset->class_count < 2)
        return status_fail(why, STATUS_INVALID, "%zu classes have no two halves",
                           dataset->class_count);
    for (int split = 0; split < DATASET_SPLITS; split++)
        dataset_keep_labels(&dataset->lists[split], from, count);
    for (size_t i = 0; i < dataset->class_count; i++)
        if (i < from || i >= from + count)
            free(dataset->classes[i]);
    memmove(dataset->classes, dataset->classes + from, count * sizeof *dataset->classes);
    dataset->class_count = count;
    return STATUS_OK;
}
