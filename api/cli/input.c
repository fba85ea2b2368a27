#include "api/cli/input.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum { INPUT_STEP_BYTES = 65536 };

bool input_is_standard(const char *path)
{
    return strcmp(path, "-") == 0;
}

const char *input_name(const char *path)
{
    return input_is_standard(path) ? "standard input" : path;
}

static enum status input_read_stream(struct buf *out, FILE *file, struct fail *why)
{
    char step[INPUT_STEP_BYTES];
    size_t got;
    while ((got = fread(step, 1, sizeof step, file)) > 0) {
        enum status status = buf_append(out, step, got, why);
        if (status)
            return status;
    }
    if (ferror(file))
        return status_fail(why, STATUS_IO, "%s", strerror(errno));
    return buf_append(out, "", 0, why);
}

enum status input_read(struct buf *out, const char *path, struct fail *why)
{
    const bool standard = input_is_standard(path);
    FILE *file = standard ? stdin : fopen(path, "rbe");
    if (!file)
        return status_fail(why, errno == ENOENT ? STATUS_NOT_FOUND : STATUS_IO, "%s: %s", path,
                           strerror(errno));
    enum status status = input_read_stream(out, file, why);
    if (!standard)
        fclose(file);
    return status ? status_context(why, status, "%s", input_name(path)) : STATUS_OK;
}
