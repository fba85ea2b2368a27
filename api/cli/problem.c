#include "api/cli/problem.h"

#include <jansson.h>
#include <stdio.h>

#include "api/cli/response.h"

void problem_describe(const struct response *response, char *out, size_t capacity)
{
    const struct buf *body = &response->body;
    json_t *problem = json_loadb(body->data ? body->data : "", body->size, 0, NULL);
    const char *detail = json_string_value(json_object_get(problem, "detail"));
    snprintf(out, capacity, "%d%s%s", response->status, detail ? ": " : "", detail ? detail : "");
    json_decref(problem);
}
