/* What a server says about a refusal, in application/problem+json. Any thread. */
#ifndef API_CLI_PROBLEM_H
#define API_CLI_PROBLEM_H

#include <stddef.h>

struct response;

/* "503: the server is shutting down", or "503" if the body says nothing more. Cut to capacity. */
void problem_describe(const struct response *response, char *out, size_t capacity);

#endif
