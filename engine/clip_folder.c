#include "engine/clip_folder.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static bool clip_folder_has(const char *model_dir, const char *name, char *out_path)
{
    struct stat about;
    int length = snprintf(out_path, CLIP_FOLDER_PATH_SIZE, "%s/%s", model_dir, name);
    return length > 0 && length < CLIP_FOLDER_PATH_SIZE && !stat(out_path, &about);
}

static enum status clip_folder_fail(const char *model_dir, struct fail *why)
{
    static const char *const pickles[] = {"pytorch_model.bin", "open_clip_pytorch_model.bin"};
    char path[CLIP_FOLDER_PATH_SIZE];
    if (clip_folder_has(model_dir, "model.safetensors.index.json", path))
        return status_fail(why, STATUS_UNSUPPORTED,
                           "%s: the model is split into several files "
                           "(model.safetensors.index.json), which is not supported; save it as one "
                           "model.safetensors, with transformers: "
                           "model.save_pretrained(folder, max_shard_size=\"100GB\")",
                           model_dir);
    for (size_t i = 0; i < sizeof pickles / sizeof *pickles; i++)
        if (clip_folder_has(model_dir, pickles[i], path))
            return status_fail(why, STATUS_UNSUPPORTED,
                               "%s: has only %s, a Python pickle, which is not supported; save the "
                               "model as model.safetensors, with transformers: "
                               "model.save_pretrained(folder)",
                               model_dir, pickles[i]);
    return status_fail(why, STATUS_NOT_FOUND,
                       "%s: has none of model.safetensors, open_clip_model.safetensors, "
                       "open_clip_pytorch_model.safetensors",
                       model_dir);
}

enum status clip_folder_find(const char *model_dir, struct clip_folder *out, struct fail *why)
{
    static const struct {
        const char *weights, *config, *other_config; /* NULL: the row is not for such a folder */
    } rows[] = {
        /* timm's repositories hold its vision tower alone as model.safetensors beside this pair. */
        {"open_clip_model.safetensors", "open_clip_config.json", NULL},
        {"model.safetensors", "config.json", "open_clip_config.json"},
        {"open_clip_model.safetensors", "open_clip_config.json", "config.json"},
        {"open_clip_pytorch_model.safetensors", "open_clip_config.json", "config.json"},
    };
    struct stat about;
    if (stat(model_dir, &about))
        return status_fail(why, errno == ENOENT ? STATUS_NOT_FOUND : STATUS_IO,
                           "model folder %s: %s", model_dir, strerror(errno));
    if (!S_ISDIR(about.st_mode))
        return status_fail(why, STATUS_INVALID, "model folder %s: not a folder", model_dir);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct clip_folder folder;
        if (!clip_folder_has(model_dir, rows[i].weights, folder.weights))
            continue;
        if (!clip_folder_has(model_dir, rows[i].config, folder.config)) {
            if (!rows[i].other_config)
                continue;
            clip_folder_has(model_dir, rows[i].other_config, folder.config);
        }
        *out = folder;
        return STATUS_OK;
    }
    return clip_folder_fail(model_dir, why);
}
