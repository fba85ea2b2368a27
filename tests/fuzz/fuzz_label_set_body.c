/* The bodies of /v1/label-sets/{name}. The first byte chooses which: P of a PUT, C of a PATCH. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "api/rest/label_set_request.h"
#include "engine/base/utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What is let in must hold what those who compile it rely on. */
static void fuzz_require(int holds)
{
    if (!holds)
        abort();
}

static void fuzz_look_at_texts(const struct text_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        size_t length = strlen(list->texts[i]);
        fuzz_require(length && utf8_is_valid(list->texts[i], length));
    }
}

static void fuzz_look(const struct label_set_request *request, bool is_patch,
                      const struct label_set_limits *limits)
{
    size_t labels = request->names.count + request->aliases.count;
    size_t sentences = request->sentences.count ? request->sentences.count : 1;
    fuzz_look_at_texts(&request->names);
    fuzz_look_at_texts(&request->aliases);
    fuzz_look_at_texts(&request->removed);
    fuzz_look_at_texts(&request->sentences);
    for (size_t i = 0; i < request->aliases.count; i++)
        fuzz_require(request->alias_of[i] < request->names.count);
    for (size_t i = 0; i < request->names.count; i++)
        for (size_t k = 0; k < i; k++)
            fuzz_require(strcmp(request->names.texts[k], request->names.texts[i]) != 0);
    fuzz_require(labels <= limits->max_labels && labels * sentences <= limits->max_texts);
    fuzz_require(request->removed.count <= limits->max_labels);
    fuzz_require(request->timeout_ms <= limits->max_timeout_ms);
    fuzz_require(strlen(request->pool) <= LABEL_SET_REQUEST_MAX_POOL_NAME);
    if (is_patch)
        fuzz_require(labels || request->removed.count || request->make_default);
    else
        fuzz_require(request->names.count && !request->removed.count);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct label_set_limits limits = {
        .max_labels = 100, .max_texts = 200, .max_timeout_ms = 1000};
    struct label_set_request request;
    struct fail why;
    if (!size || (*data != 'P' && *data != 'C'))
        return 0;
    bool is_patch = *data == 'C';
    if (!label_set_request_read(&request, is_patch, (const char *)data + 1, size - 1, &limits,
                                &why))
        fuzz_look(&request, is_patch, &limits);
    label_set_request_finish(&request);
    return 0;
}
