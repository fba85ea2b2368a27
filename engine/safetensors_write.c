#include "engine/safetensors_write.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/buf.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "tensor data is written as it lies");

enum { SAFETENSORS_WRITE_ALIGNMENT = 8 };

static size_t safetensors_write_bytes(const struct safetensors_output *tensor)
{
    size_t bytes = sizeof(float);
    for (uint32_t i = 0; i < tensor->rank; i++)
        bytes *= tensor->shape[i];
    return bytes;
}

static json_t *safetensors_write_entry(const struct safetensors_output *tensor, size_t begin)
{
    json_t *shape = json_array();
    for (uint32_t i = 0; i < tensor->rank; i++)
        json_array_append_new(shape, json_integer((json_int_t)tensor->shape[i]));
    return json_pack("{s:s, s:o, s:[I, I]}", "dtype", "F32", "shape", shape, "data_offsets",
                     (json_int_t)begin, (json_int_t)(begin + safetensors_write_bytes(tensor)));
}

/* The JSON; free(). NULL if there is no memory or a text is
 * not UTF-8. */
static char *safetensors_write_header(const struct safetensors_output *tensors, size_t count,
                                      const struct safetensors_text *metadata,
                                      size_t metadata_count)
{
    json_t *texts = json_object(), *header = json_pack("{s:o}", "__metadata__", texts);
    int failed = !header;
    for (size_t i = 0; i < metadata_count; i++)
        failed |= json_object_set_new(texts, metadata[i].key, json_string(metadata[i].value));
    size_t begin = 0;
    for (size_t i = 0; i < count; i++) {
        failed |= json_object_set_new(header, tensors[i].name,
                                      safetensors_write_entry(&tensors[i], begin));
        begin += safetensors_write_bytes(&tensors[i]);
    }
    char *text = failed ? NULL : json_dumps(header, JSON_COMPACT | JSON_SORT_KEYS);
    json_decref(header);
    return text;
}

static enum status safetensors_write_all(int file, const void *bytes, size_t size, struct fail *why)
{
    for (const char *at = bytes; size;) {
        ssize_t written = write(file, at, size);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return status_fail(why, STATUS_IO, "%s", strerror(errno));
        at += written;
        size -= (size_t)written;
    }
    return STATUS_OK;
}

static enum status safetensors_write_content(int file, const char *header,
                                             const struct safetensors_output *tensors, size_t count,
                                             struct fail *why)
{
    static const char padding[SAFETENSORS_WRITE_ALIGNMENT] = "        ";
    size_t length = strlen(header);
    uint64_t padded = (length + sizeof padding - 1) / sizeof padding * sizeof padding;
    enum status status = safetensors_write_all(file, &padded, sizeof padded, why);
    if (!status)
        status = safetensors_write_all(file, header, length, why);
    if (!status)
        status = safetensors_write_all(file, padding, padded - length, why);
    for (size_t i = 0; i < count && !status; i++)
        status = safetensors_write_all(file, tensors[i].values,
                                       safetensors_write_bytes(&tensors[i]), why);
    if (!status && fsync(file))
        status = status_fail(why, STATUS_IO, "%s", strerror(errno));
    return status;
}

/* So that the new name lasts too. Some file systems cannot, and then there is nothing to do. */
static void safetensors_write_sync_folder(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *folder = slash ? strndup(path, (size_t)(slash - path + 1)) : strdup(".");
    int descriptor = folder ? open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (descriptor >= 0) {
        fsync(descriptor);
        close(descriptor);
    }
    free(folder);
}

static enum status safetensors_write_replace(const char *path, char *temporary, const char *header,
                                             const struct safetensors_output *tensors, size_t count,
                                             struct fail *why)
{
    int file = mkstemp(temporary);
    if (file < 0)
        return status_fail(why, STATUS_IO, "%s", strerror(errno));
    enum status status = safetensors_write_content(file, header, tensors, count, why);
    if (!status && fchmod(file, 0644))
        status = status_fail(why, STATUS_IO, "%s", strerror(errno));
    if (close(file) && !status)
        status = status_fail(why, STATUS_IO, "%s", strerror(errno));
    if (!status && rename(temporary, path))
        status = status_fail(why, STATUS_IO, "%s", strerror(errno));
    if (status)
        unlink(temporary);
    else
        safetensors_write_sync_folder(path);
    return status;
}

enum status safetensors_write(const char *path, const struct safetensors_output *tensors,
                              size_t count, const struct safetensors_text *metadata,
                              size_t metadata_count, struct fail *why)
{
    struct buf temporary;
    buf_init(&temporary, SIZE_MAX);
    char *header = safetensors_write_header(tensors, count, metadata, metadata_count);
    enum status status =
        header ? buf_printf(&temporary, why, "%s.XXXXXX", path)
               : status_fail(why, STATUS_INVALID, "no memory, or metadata that is not UTF-8");
    if (!status)
        status = safetensors_write_replace(path, temporary.data, header, tensors, count, why);
    free(header);
    buf_finish(&temporary);
    return status ? status_context(why, status, "%s", path) : STATUS_OK;
}
