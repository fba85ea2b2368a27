/*
 * Which files of a model folder to read. Knows the names that HuggingFace and open_clip give them,
 * and the ones that people have but that cannot be read, so that the error can say what to do.
 */
#ifndef ENGINE_CLIP_FOLDER_H
#define ENGINE_CLIP_FOLDER_H

#include "engine/base/status.h"

enum { CLIP_FOLDER_PATH_SIZE = 4096 };

struct clip_folder {
    char weights[CLIP_FOLDER_PATH_SIZE]; /* there when it was looked for */
    char config[CLIP_FOLDER_PATH_SIZE];  /* may not exist */
};

/* open_clip_model.safetensors where open_clip_config.json is there too, else model.safetensors,
 * else the other names of open_clip. */
enum status clip_folder_find(const char *model_dir, struct clip_folder *out, struct fail *why);

#endif
