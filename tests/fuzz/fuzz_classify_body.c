/* The bodies of POST /v1/classify. The first byte chooses which: J a JSON document, F a form with
 * the boundary "x", Q a query of name=value pairs on lines, C a Content-Type and, after a line
 * break, a form. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "api/rest/classify_request.h"
#include "engine/base/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fuzz_query(struct classify_request *request, char *text)
{
    char *rest = NULL;
    for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        char *equals = strchr(line, '=');
        if (equals)
            *equals = '\0';
        const char *value = equals ? equals + 1 : "";
        classify_request_set(request, line, value, strlen(value), NULL);
    }
}

static volatile uint8_t fuzz_sink;

/* Every picture must lie in memory that can be read. */
static void fuzz_touch(const struct classify_request *request)
{
    for (size_t i = 0; i < request->image_count; i++)
        for (size_t j = 0; j < request->images[i].size; j++)
            fuzz_sink = request->images[i].bytes[j];
}

static void fuzz_read(struct classify_request *request, enum classify_body kind, const char *type,
                      const uint8_t *data, size_t size)
{
    struct fail why;
    if (!classify_request_read(request, kind, type, (const char *)data, size, &why))
        fuzz_touch(request);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct classify_limits limits = {
        .max_images = 8, .max_labels = 100, .max_label_texts = 200, .max_timeout_ms = 1000};
    struct classify_request request;
    if (!size)
        return 0;
    classify_request_init(&request, &limits);
    uint8_t choice = *data++;
    size--;
    char *text = mem_copy_text((const char *)data, size);
    const uint8_t *line_end = memchr(data, '\n', size);
    if (choice == 'J') {
        fuzz_read(&request, CLASSIFY_BODY_JSON, "application/json", data, size);
    } else if (choice == 'F') {
        fuzz_read(&request, CLASSIFY_BODY_FORM, "multipart/form-data; boundary=x", data, size);
    } else if (choice == 'Q') {
        fuzz_query(&request, text);
    } else if (choice == 'C' && line_end) {
        text[line_end - data] = '\0';
        fuzz_read(&request, CLASSIFY_BODY_FORM, text, line_end + 1,
                  size - (size_t)(line_end + 1 - data));
    }
    free(text);
    classify_request_finish(&request);
    return 0;
}
