/*
 * Writes a safetensors file of F32 tensors. The same input gives the same bytes.
 */
#ifndef ENGINE_SAFETENSORS_WRITE_H
#define ENGINE_SAFETENSORS_WRITE_H

#include <stddef.h>
#include <stdint.h>

#include "engine/base/status.h"
#include "engine/safetensors.h"

struct safetensors_output {
    const char *name;
    uint32_t rank;
    size_t shape[SAFETENSORS_MAX_RANK];
    const float *values;
};

struct safetensors_text {
    const char *key, *value; /* UTF-8 */
};

/* Under a temporary name beside the path, synced, then renamed: whoever opens the path sees the old
 * file or all of the new one, also after a loss of power. STATUS_IO names the path. Any thread. */
enum status safetensors_write(const char *path, const struct safetensors_output *tensors,
                              size_t count, const struct safetensors_text *metadata,
                              size_t metadata_count, struct fail *why);

#endif
