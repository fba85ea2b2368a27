/* The JSON body of POST /v1/classify; see classify_request.h, whose failures these are. */
#ifndef API_REST_CLASSIFY_JSON_H
#define API_REST_CLASSIFY_JSON_H

#include <stddef.h>

#include "api/rest/classify_request.h"

enum status classify_json_read(struct classify_request *request, const char *body, size_t size,
                               struct fail *why);

#endif
