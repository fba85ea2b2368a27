#include "api/cli/document.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "api/cli/printable.h"

enum { DOCUMENT_DIGITS = 9 };

struct json_t *document_text(const char *text)
{
    struct buf valid;
    buf_init(&valid, SIZE_MAX);
    json_t *value =
        printable_append_utf8(&valid, text, NULL) ? NULL : json_stringn(valid.data, valid.size);
    buf_finish(&valid);
    return value;
}

struct json_t *document_floats(const float *values, size_t count)
{
    json_t *array = json_array();
    for (size_t i = 0; i < count && array; i++) {
        json_t *value = isfinite(values[i]) ? json_real((double)values[i]) : json_null();
        if (json_array_append_new(array, value)) {
            json_decref(array);
            array = NULL;
        }
    }
    return array;
}

enum status document_write(struct json_t *value, struct fail *why)
{
    if (!value)
        return status_fail(why, STATUS_NO_MEMORY, "no memory for a JSON value");
    int failed = json_dumpf(value, stdout,
                            JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(DOCUMENT_DIGITS));
    json_decref(value);
    return failed ? status_fail(why, STATUS_IO, "standard output: %s", strerror(errno)) : STATUS_OK;
}
