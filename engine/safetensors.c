#include "engine/safetensors.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/mem.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "tensor data is read in place");

enum {
    SAFETENSORS_LENGTH_BYTES = 8,
    SAFETENSORS_MAX_NAME = 256, /* so that a name always fits a message */
    SAFETENSORS_BLOCK = 1024    /* elements widened between two looks at the maximum */
};

static const char safetensors_metadata_key[] = "__metadata__";

static const struct {
    const char *name;
    size_t bytes;
} safetensors_dtypes[] = {
    [SAFETENSORS_BOOL] = {"BOOL", 1}, [SAFETENSORS_U8] = {"U8", 1},
    [SAFETENSORS_I8] = {"I8", 1},     [SAFETENSORS_I16] = {"I16", 2},
    [SAFETENSORS_U16] = {"U16", 2},   [SAFETENSORS_F16] = {"F16", 2},
    [SAFETENSORS_BF16] = {"BF16", 2}, [SAFETENSORS_I32] = {"I32", 4},
    [SAFETENSORS_U32] = {"U32", 4},   [SAFETENSORS_F32] = {"F32", 4},
    [SAFETENSORS_F64] = {"F64", 8},   [SAFETENSORS_I64] = {"I64", 8},
    [SAFETENSORS_U64] = {"U64", 8},
};

struct safetensors {
    const unsigned char *bytes;
    size_t size;
    bool mapped;
    json_t *header; /* owns the names and the metadata */
    struct safetensors_tensor *tensors;
    size_t count;
};

static enum status safetensors_read_dtype(const char *name, const json_t *entry,
                                          enum safetensors_dtype *out, struct fail *why)
{
    const char *text = json_string_value(json_object_get(entry, "dtype"));
    if (!text)
        return status_fail(why, STATUS_FORMAT, "tensor %s: dtype is missing or not a text", name);
    for (size_t i = 0; i < sizeof safetensors_dtypes / sizeof *safetensors_dtypes; i++) {
        if (!strcmp(text, safetensors_dtypes[i].name)) {
            *out = (enum safetensors_dtype)i;
            return STATUS_OK;
        }
    }
    return status_fail(why, STATUS_UNSUPPORTED, "tensor %s: dtype %.32s is not supported", name,
                       text);
}

/* A whole number >= 0 that fits a size_t. */
static bool safetensors_read_size(const json_t *number, size_t *out)
{
    json_int_t value = json_is_integer(number) ? json_integer_value(number) : -1;
    if (value < 0)
        return false;
    *out = (size_t)value;
    return true;
}

static enum status safetensors_read_shape(const json_t *entry, struct safetensors_tensor *tensor,
                                          struct fail *why)
{
    const json_t *shape = json_object_get(entry, "shape");
    if (!json_is_array(shape))
        return status_fail(why, STATUS_FORMAT, "tensor %s: shape is missing or not a list",
                           tensor->name);
    if (json_array_size(shape) > SAFETENSORS_MAX_RANK)
        return status_fail(why, STATUS_LIMIT, "tensor %s: shape has %zu dimensions; at most %d",
                           tensor->name, json_array_size(shape), SAFETENSORS_MAX_RANK);
    tensor->rank = (uint32_t)json_array_size(shape);
    tensor->count = 1;
    for (uint32_t i = 0; i < tensor->rank; i++) {
        if (!safetensors_read_size(json_array_get(shape, i), &tensor->shape[i]))
            return status_fail(why, STATUS_FORMAT,
                               "tensor %s: dimension %u of its shape is not a whole number",
                               tensor->name, i);
        if (!mem_multiply(tensor->count, tensor->shape[i], &tensor->count))
            return status_fail(why, STATUS_FORMAT, "tensor %s: its shape overflows", tensor->name);
    }
    if (!mem_multiply(tensor->count, safetensors_dtypes[tensor->dtype].bytes, &tensor->bytes))
        return status_fail(why, STATUS_FORMAT, "tensor %s: its shape overflows", tensor->name);
    return STATUS_OK;
}

static enum status safetensors_read_offsets(const json_t *entry, const unsigned char *data,
                                            size_t data_size, struct safetensors_tensor *tensor,
                                            struct fail *why)
{
    const json_t *offsets = json_object_get(entry, "data_offsets");
    size_t begin, end;
    if (json_array_size(offsets) != 2 ||
        !safetensors_read_size(json_array_get(offsets, 0), &begin) ||
        !safetensors_read_size(json_array_get(offsets, 1), &end))
        return status_fail(why, STATUS_FORMAT, "tensor %s: data_offsets is not two whole numbers",
                           tensor->name);
    if (begin > end || end > data_size)
        return status_fail(why, STATUS_FORMAT,
                           "tensor %s: data_offsets [%zu, %zu] do not lie in the %zu bytes of data",
                           tensor->name, begin, end, data_size);
    char shape[128];
    if (end - begin != tensor->bytes)
        return status_fail(why, STATUS_FORMAT,
                           "tensor %s: data_offsets span %zu bytes, %s of shape %s takes %zu",
                           tensor->name, end - begin, safetensors_dtype_name(tensor->dtype),
                           safetensors_shape_text(tensor, shape, sizeof shape), tensor->bytes);
    tensor->data = data + begin;
    return STATUS_OK;
}

/* Names end up in messages and logs. */
static enum status safetensors_check_name(const char *name, struct fail *why)
{
    if (strlen(name) > SAFETENSORS_MAX_NAME)
        return status_fail(why, STATUS_LIMIT,
                           "tensor %.40s...: its name is %zu bytes long; at most %d", name,
                           strlen(name), SAFETENSORS_MAX_NAME);
    for (const char *c = name; *c; c++)
        if ((unsigned char)*c < ' ' || *c == '\x7f')
            return status_fail(why, STATUS_FORMAT,
                               "a tensor's name holds the control character 0x%02x", *c);
    return STATUS_OK;
}

static enum status safetensors_read_tensor(const char *name, const json_t *entry,
                                           const unsigned char *data, size_t data_size,
                                           struct safetensors_tensor *out, struct fail *why)
{
    enum status status = safetensors_check_name(name, why);
    if (status)
        return status;
    if (!json_is_object(entry))
        return status_fail(why, STATUS_FORMAT, "tensor %s: its entry is not an object", name);
    *out = (struct safetensors_tensor){.name = name};
    status = safetensors_read_dtype(name, entry, &out->dtype, why);
    if (!status)
        status = safetensors_read_shape(entry, out, why);
    if (!status)
        status = safetensors_read_offsets(entry, data, data_size, out, why);
    return status;
}

static enum status safetensors_check_metadata(const json_t *metadata, struct fail *why)
{
    if (!json_is_object(metadata))
        return status_fail(why, STATUS_FORMAT, "%s is not an object", safetensors_metadata_key);
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)metadata, key, value)
    {
        if (!json_is_string(value))
            return status_fail(why, STATUS_FORMAT, "%s: the value of %.100s is not a text",
                               safetensors_metadata_key, key);
    }
    return STATUS_OK;
}

static int safetensors_compare_places(const void *a, const void *b)
{
    const struct safetensors_tensor *left = a, *right = b;
    if (left->data != right->data)
        return left->data < right->data ? -1 : 1;
    return left->bytes < right->bytes ? -1 : left->bytes > right->bytes;
}

static int safetensors_compare_names(const void *a, const void *b)
{
    return strcmp(((const struct safetensors_tensor *)a)->name,
                  ((const struct safetensors_tensor *)b)->name);
}

/* Every byte of data belongs to exactly one tensor. */
static enum status safetensors_check_cover(struct safetensors *file, const unsigned char *data,
                                           size_t data_size, struct fail *why)
{
    qsort(file->tensors, file->count, sizeof *file->tensors, safetensors_compare_places);
    size_t covered = 0;
    for (size_t i = 0; i < file->count; i++) {
        const struct safetensors_tensor *tensor = &file->tensors[i];
        size_t begin = (size_t)(tensor->data - data);
        if (begin < covered)
            return status_fail(why, STATUS_FORMAT, "tensor %s: its data overlaps another tensor's",
                               tensor->name);
        if (begin > covered)
            return status_fail(why, STATUS_FORMAT,
                               "tensor %s: %zu bytes before its data belong to no tensor",
                               tensor->name, begin - covered);
        covered += tensor->bytes;
    }
    if (covered != data_size)
        return status_fail(why, STATUS_FORMAT, "the last %zu bytes belong to no tensor",
                           data_size - covered);
    return STATUS_OK;
}

static enum status safetensors_read_tensors(struct safetensors *file, const unsigned char *data,
                                            size_t data_size, struct fail *why)
{
    file->tensors = mem_zeroed(json_object_size(file->header), sizeof *file->tensors);
    if (!file->tensors)
        return status_fail(why, STATUS_NO_MEMORY, "no memory for the list of %zu tensors",
                           json_object_size(file->header));
    const char *name;
    json_t *entry;
    json_object_foreach(file->header, name, entry)
    {
        enum status status = strcmp(name, safetensors_metadata_key)
                                 ? safetensors_read_tensor(name, entry, data, data_size,
                                                           &file->tensors[file->count++], why)
                                 : safetensors_check_metadata(entry, why);
        if (status)
            return status;
    }
    enum status status = safetensors_check_cover(file, data, data_size, why);
    if (!status && file->count)
        qsort(file->tensors, file->count, sizeof *file->tensors, safetensors_compare_names);
    return status;
}

static enum status safetensors_read_header(struct safetensors *file, struct fail *why)
{
    uint64_t length;
    if (file->size < SAFETENSORS_LENGTH_BYTES)
        return status_fail(why, STATUS_FORMAT,
                           "%zu bytes are too short for a safetensors file, which starts with an "
                           "8-byte header length",
                           file->size);
    memcpy(&length, file->bytes, sizeof length);
    if (length > SAFETENSORS_MAX_HEADER)
        return status_fail(why, STATUS_LIMIT,
                           "header length %llu is over %d bytes; not a safetensors file?",
                           (unsigned long long)length, SAFETENSORS_MAX_HEADER);
    if (length > file->size - SAFETENSORS_LENGTH_BYTES)
        return status_fail(why, STATUS_FORMAT,
                           "header length %llu goes beyond the file, which has %zu bytes",
                           (unsigned long long)length, file->size);

    const unsigned char *text = file->bytes + SAFETENSORS_LENGTH_BYTES;
    json_error_t error;
    file->header = json_loadb((const char *)text, (size_t)length, JSON_REJECT_DUPLICATES, &error);
    if (!file->header)
        return status_fail(why, STATUS_FORMAT, "header is not valid JSON at byte %d: %s",
                           error.position, error.text);
    if (!json_is_object(file->header))
        return status_fail(why, STATUS_FORMAT, "header is JSON, but not an object");
    return safetensors_read_tensors(file, text + length,
                                    file->size - SAFETENSORS_LENGTH_BYTES - (size_t)length, why);
}

/* Takes over the mapping if there is one, even on failure. */
static enum status safetensors_create(const unsigned char *bytes, size_t size, bool mapped,
                                      struct safetensors **out, struct fail *why)
{
    struct safetensors *file = mem_zeroed(1, sizeof *file);
    if (!file) {
        if (mapped)
            munmap((void *)bytes, size);
        return status_fail(why, STATUS_NO_MEMORY, "no memory for a safetensors file");
    }
    *file = (struct safetensors){.bytes = bytes, .size = size, .mapped = mapped};
    enum status status = safetensors_read_header(file, why);
    if (status)
        safetensors_close(file);
    else
        *out = file;
    return status;
}

static enum status safetensors_map(int descriptor, const unsigned char **out_bytes,
                                   size_t *out_size, struct fail *why)
{
    struct stat about;
    if (fstat(descriptor, &about))
        return status_fail(why, STATUS_IO, "%s", strerror(errno));
    if (!S_ISREG(about.st_mode))
        return status_fail(why, STATUS_FORMAT, "not a regular file");
    if (about.st_size == 0)
        return status_fail(why, STATUS_FORMAT, "the file is empty");
    void *bytes = mmap(NULL, (size_t)about.st_size, PROT_READ, MAP_PRIVATE, descriptor, 0);
    if (bytes == MAP_FAILED)
        return status_fail(why, STATUS_IO, "cannot map %lld bytes: %s", (long long)about.st_size,
                           strerror(errno));
    posix_madvise(bytes, (size_t)about.st_size, POSIX_MADV_WILLNEED);
    *out_bytes = bytes;
    *out_size = (size_t)about.st_size;
    return STATUS_OK;
}

enum status safetensors_open(const char *path, struct safetensors **out, struct fail *why)
{
    /* O_NONBLOCK: opening a named pipe must not wait for a writer. */
    int descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (descriptor < 0)
        return status_fail(why, errno == ENOENT ? STATUS_NOT_FOUND : STATUS_IO, "%s: %s", path,
                           strerror(errno));
    const unsigned char *bytes = NULL;
    size_t size = 0;
    enum status status = safetensors_map(descriptor, &bytes, &size, why);
    close(descriptor);
    if (!status)
        status = safetensors_create(bytes, size, true, out, why);
    return status ? status_context(why, status, "%s", path) : STATUS_OK;
}

enum status safetensors_parse(const unsigned char *bytes, size_t size, struct safetensors **out,
                              struct fail *why)
{
    return safetensors_create(bytes, size, false, out, why);
}

void safetensors_close(struct safetensors *file)
{
    if (!file)
        return;
    if (file->mapped)
        munmap((void *)file->bytes, file->size);
    json_decref(file->header);
    free(file->tensors);
    free(file);
}

size_t safetensors_count(const struct safetensors *file)
{
    return file->count;
}

const struct safetensors_tensor *safetensors_at(const struct safetensors *file, size_t index)
{
    return &file->tensors[index];
}

const struct safetensors_tensor *safetensors_find(const struct safetensors *file, const char *name)
{
    struct safetensors_tensor key = {.name = name};
    return bsearch(&key, file->tensors, file->count, sizeof key, safetensors_compare_names);
}

const char *safetensors_metadata(const struct safetensors *file, const char *key)
{
    const json_t *metadata = json_object_get(file->header, safetensors_metadata_key);
    return json_string_value(json_object_get(metadata, key));
}

enum status safetensors_each_metadata(const struct safetensors *file,
                                      enum status (*visit)(void *context, const char *key,
                                                           const char *value, struct fail *why),
                                      void *context, struct fail *why)
{
    json_t *metadata = json_object_get(file->header, safetensors_metadata_key);
    enum status status = STATUS_OK;
    for (void *entry = json_object_iter(metadata); entry && !status;
         entry = json_object_iter_next(metadata, entry))
        status = visit(context, json_object_iter_key(entry),
                       json_string_value(json_object_iter_value(entry)), why);
    return status;
}

const char *safetensors_dtype_name(enum safetensors_dtype dtype)
{
    return safetensors_dtypes[dtype].name;
}

char *safetensors_shape_text(const struct safetensors_tensor *tensor, char *out, size_t size)
{
    size_t used = (size_t)snprintf(out, size, "[");
    for (uint32_t i = 0; i < tensor->rank && used < size; i++)
        used += (size_t)snprintf(out + used, size - used, i ? ", %zu" : "%zu", tensor->shape[i]);
    if (used < size)
        snprintf(out + used, size - used, "]");
    return out;
}

static float safetensors_float_of_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static uint32_t safetensors_bits_of_float(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/* The widen functions take count <= SAFETENSORS_BLOCK elements and tell whether all are finite.
 * They have no branches, so that compilers vectorise them. */

static bool safetensors_widen_f16(const unsigned char *data, size_t count, float *out)
{
    uint16_t halves[SAFETENSORS_BLOCK], largest = 0;
    memcpy(halves, data, count * sizeof *halves);
    for (size_t i = 0; i < count; i++) {
        uint16_t magnitude = halves[i] & 0x7fff;
        largest = magnitude > largest ? magnitude : largest;
    }
    const uint32_t rebias = (uint32_t)(127 - 15) << 23, one = 1u << 23;
    for (size_t i = 0; i < count; i++) {
        uint32_t sign = (uint32_t)(halves[i] & 0x8000) << 16;
        uint32_t shifted = (uint32_t)(halves[i] & 0x7fff) << 13;
        /* A subnormal half is its mantissa in units of 2^-24: put it under an exponent of 2^-14
         * and take that power away again. */
        uint32_t subnormal = ((shifted >> 23) - 1) >> 31;
        float magnitude = safetensors_float_of_bits(shifted + rebias + subnormal * one) -
                          safetensors_float_of_bits((0 - subnormal) & (rebias + one));
        out[i] = safetensors_float_of_bits(safetensors_bits_of_float(magnitude) | sign);
    }
    return largest < 0x7c00;
}

static bool safetensors_widen_bf16(const unsigned char *data, size_t count, float *out)
{
    uint16_t halves[SAFETENSORS_BLOCK], largest = 0;
    memcpy(halves, data, count * sizeof *halves);
    for (size_t i = 0; i < count; i++) {
        uint16_t magnitude = halves[i] & 0x7fff;
        largest = magnitude > largest ? magnitude : largest;
    }
    for (size_t i = 0; i < count; i++)
        out[i] = safetensors_float_of_bits((uint32_t)halves[i] << 16);
    return largest < 0x7f80;
}

static bool safetensors_widen_f32(const unsigned char *data, size_t count, float *out)
{
    uint32_t words[SAFETENSORS_BLOCK], largest = 0;
    memcpy(words, data, count * sizeof *words);
    for (size_t i = 0; i < count; i++) {
        uint32_t magnitude = words[i] & 0x7fffffff;
        largest = magnitude > largest ? magnitude : largest;
    }
    memcpy(out, words, count * sizeof *words);
    return largest < 0x7f800000;
}

enum status safetensors_to_f32(const struct safetensors_tensor *tensor, float *out,
                               struct fail *why)
{
    bool (*widen)(const unsigned char *, size_t, float *) =
        tensor->dtype == SAFETENSORS_F16    ? safetensors_widen_f16
        : tensor->dtype == SAFETENSORS_BF16 ? safetensors_widen_bf16
        : tensor->dtype == SAFETENSORS_F32  ? safetensors_widen_f32
                                            : NULL;
    if (!widen)
        return status_fail(why, STATUS_UNSUPPORTED,
                           "tensor %s: dtype is %s; must be F32, F16 or BF16", tensor->name,
                           safetensors_dtype_name(tensor->dtype));
    size_t element_bytes = safetensors_dtypes[tensor->dtype].bytes;
    for (size_t done = 0; done < tensor->count; done += SAFETENSORS_BLOCK) {
        size_t left = tensor->count - done;
        if (!widen(tensor->data + done * element_bytes,
                   left < SAFETENSORS_BLOCK ? left : SAFETENSORS_BLOCK, out + done))
            return status_fail(why, STATUS_INVALID,
                               "tensor %s: holds a value that is not finite (NaN or infinity)",
                               tensor->name);
    }
    return STATUS_OK;
}
