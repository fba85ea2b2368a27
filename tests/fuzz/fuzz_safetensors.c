/* Any bytes as a safetensors file: parse, then look at every tensor and widen what can be. */
#include <stdint.h>
#include <stdlib.h>

#include "engine/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void touch(const struct safetensors *file, const struct safetensors_tensor *tensor)
{
    char shape[64];
    unsigned char sum = 0;
    for (size_t i = 0; i < tensor->bytes; i++)
        sum ^= tensor->data[i];
    volatile unsigned char seen = sum;
    (void)seen;
    safetensors_shape_text(tensor, shape, sizeof shape);
    if (safetensors_find(file, tensor->name) != tensor)
        abort();
    struct fail why;
    float *values = malloc(tensor->count * sizeof *values + 1);
    safetensors_to_f32(tensor, values, &why);
    free(values);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fail why;
    struct safetensors *file;
    if (safetensors_parse(data, size, &file, &why))
        return 0;
    for (size_t i = 0; i < safetensors_count(file); i++)
        touch(file, safetensors_at(file, i));
    safetensors_metadata(file, "format");
    safetensors_close(file);
    return 0;
}
