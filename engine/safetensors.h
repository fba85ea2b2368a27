/*
 * Reads a safetensors file: u64 little-endian header length, a JSON object
 * {name: {dtype, shape, data_offsets}, "__metadata__": {text: text}}, then raw little-endian data.
 *
 * The file is mapped, never copied. Opening validates everything before any tensor can be reached:
 * header length and JSON, dtypes, shapes (no product overflows), offsets inside the file, the byte
 * count of every shape, no overlap, no gap, no duplicate name. Immutable once open, so any thread
 * may read it. A file truncated by another process while it is mapped is outside what we can
 * defend against: replace model files by rename.
 */
#ifndef ENGINE_SAFETENSORS_H
#define ENGINE_SAFETENSORS_H

#include <stddef.h>
#include <stdint.h>

#include "engine/base/status.h"

enum { SAFETENSORS_MAX_RANK = 8 };

/* Bytes of JSON, which take many times their size once parsed. A CLIP model has under 200 KB. */
enum { SAFETENSORS_MAX_HEADER = 8 << 20 };

enum safetensors_dtype {
    SAFETENSORS_BOOL,
    SAFETENSORS_U8,
    SAFETENSORS_I8,
    SAFETENSORS_I16,
    SAFETENSORS_U16,
    SAFETENSORS_F16,
    SAFETENSORS_BF16,
    SAFETENSORS_I32,
    SAFETENSORS_U32,
    SAFETENSORS_F32,
    SAFETENSORS_F64,
    SAFETENSORS_I64,
    SAFETENSORS_U64
};

struct safetensors_tensor {
    const char *name; /* owned by the file */
    enum safetensors_dtype dtype;
    uint32_t rank; /* 0 for a scalar */
    size_t shape[SAFETENSORS_MAX_RANK];
    size_t count;              /* elements: the product of the shape */
    const unsigned char *data; /* possibly unaligned; little-endian */
    size_t bytes;
};

struct safetensors;

/* The error names the file, and the tensor and field where there is one. */
enum status safetensors_open(const char *path, struct safetensors **out, struct fail *why);

/* The same over bytes in memory, which must outlive it. */
enum status safetensors_parse(const unsigned char *bytes, size_t size, struct safetensors **out,
                              struct fail *why);
void safetensors_close(struct safetensors *file);

size_t safetensors_count(const struct safetensors *file);
/* In order of name (strcmp). */
const struct safetensors_tensor *safetensors_at(const struct safetensors *file, size_t index);
/* NULL if there is none of that name. */
const struct safetensors_tensor *safetensors_find(const struct safetensors *file, const char *name);

/* The value of a __metadata__ key; NULL if there is none. */
const char *safetensors_metadata(const struct safetensors *file, const char *key);

/* Calls visit for every key, in the order of the file, until it fails. */
enum status safetensors_each_metadata(const struct safetensors *file,
                                      enum status (*visit)(void *context, const char *key,
                                                           const char *value, struct fail *why),
                                      void *context, struct fail *why);

const char *safetensors_dtype_name(enum safetensors_dtype dtype);

/* "[512, 768]" into out (cut if too small); returns out, for messages. */
char *safetensors_shape_text(const struct safetensors_tensor *tensor, char *out, size_t size);

/* Widens F32, F16 or BF16 to out[count] exactly. STATUS_UNSUPPORTED for another dtype and
 * STATUS_INVALID for a value that is not finite, both naming the tensor; out may then have been
 * written in part. */
enum status safetensors_to_f32(const struct safetensors_tensor *tensor, float *out,
                               struct fail *why);

#endif
