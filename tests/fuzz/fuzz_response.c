/* An HTTP answer as a client reads it, in steps that the first byte chooses (0: all at once), and
 * whatever follows it as the next one. Each step is a copy of just its size. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "api/cli/response.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { FUZZ_KEEP = 64 };

static enum status fuzz_feed(struct response *response, const uint8_t *data, size_t size,
                             size_t *out_used)
{
    char *copy = malloc(size);
    if (!copy)
        abort();
    memcpy(copy, data, size);
    enum status status = response_feed(response, copy, size, out_used, NULL);
    free(copy);
    return status;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct response response;
    if (!size)
        return 0;
    size_t step = *data ? *data : size;
    response_init(&response, FUZZ_KEEP);
    response_start(&response);
    for (size_t at = 1, used; at < size; at += used) {
        if (response_is_complete(&response))
            response_start(&response);
        if (fuzz_feed(&response, data + at, size - at < step ? size - at : step, &used))
            break;
        if (response.body.size > FUZZ_KEEP || (!used && !response_is_complete(&response)))
            abort();
    }
    response_end(&response, NULL);
    response_finish(&response);
    return 0;
}
