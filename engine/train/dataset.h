/*
 * Pictures with their classes, in the splits train, val and test: which files there are, not what
 * is in them.
 *
 * From a folder with a folder for each class, in it or in its train, val and test; a folder without
 * these is all of train and all of test. Or from a split_zhou_*.json file of the CoOp protocol:
 * {"train": [[path, label, class name], ...], "val": ..., "test": ...}. Underscores in names of
 * classes become spaces. Labels number the classes from 0, in the order of their names' bytes
 * (folders) or as the file says.
 */
#ifndef ENGINE_TRAIN_DATASET_H
#define ENGINE_TRAIN_DATASET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/rng.h"
#include "engine/base/status.h"

enum { DATASET_MAX_CLASSES = 20000, DATASET_MAX_ITEMS = 4000000, DATASET_MAX_PATH = 4095 };

enum dataset_split { DATASET_TRAIN, DATASET_VAL, DATASET_TEST, DATASET_SPLITS };

extern const char *const dataset_split_names[DATASET_SPLITS];

struct dataset_item {
    const char *path; /* the dataset's */
    uint32_t label;
};

struct dataset_list {
    struct dataset_item *items;
    size_t count, capacity;
};

struct dataset {
    char **classes; /* [class_count] */
    size_t class_count;
    struct dataset_list lists[DATASET_SPLITS];
    char **paths; /* [path_count], what items point to */
    size_t path_count, path_capacity;
};

/* pictures: the folder that paths of a JSON file start from; NULL: that of the file. Failures name
 * the file, and in a JSON file the split and the entry. */
enum status dataset_open(const char *path, const char *pictures, struct dataset **out,
                         struct fail *why);
void dataset_close(struct dataset *dataset); /* NULL is allowed */

/* For those that read one: a picture more. */
enum status dataset_add_item(struct dataset *dataset, enum dataset_split split, const char *path,
                             uint32_t label, struct fail *why);

/* Keeps `shots` pictures of each class in train, and up to 4 in val, drawn like CoOp draws them:
 * random.sample of each class, classes in the order in which they first appear; a class with no
 * more than that keeps all. Before dataset_take_half, as there. */
enum status dataset_take_shots(struct dataset *dataset, size_t shots, struct rng *rng,
                               struct fail *why);

/* Keeps the first half of the classes (of an odd number, the larger half) or the others, numbered
 * from 0 again. STATUS_INVALID if there are fewer than 2. */
enum status dataset_take_half(struct dataset *dataset, bool first, struct fail *why);

#endif
