/*
 * How a data set is found on disk: see dataset.h. The dataset is empty before; after a failure it
 * holds what was read so far, for dataset_close.
 */
#ifndef ENGINE_TRAIN_DATASET_READER_H
#define ENGINE_TRAIN_DATASET_READER_H

#include "engine/train/dataset.h"

enum status dataset_reader_folder(struct dataset *dataset, const char *path, struct fail *why);

enum status dataset_reader_json(struct dataset *dataset, const char *path, const char *pictures,
                                struct fail *why);

#endif
