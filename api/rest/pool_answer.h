/* What is told of a pool. Any thread. */
#ifndef API_REST_POOL_ANSWER_H
#define API_REST_POOL_ANSWER_H

#include "server/served_pool.h"

struct json_t;

/* A new value; NULL if there is no memory. */
struct json_t *pool_answer_json(const struct service *service, const struct served_pool *pool);

#endif
