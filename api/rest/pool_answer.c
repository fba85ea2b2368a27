#include "api/rest/pool_answer.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdlib.h>

static json_t *pool_answer_geometry(const struct engine_pool_info *info)
{
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:b, s:s, s:s, s:s}", "groups",
                     (json_int_t)info->groups, "prompts", (json_int_t)info->prompts, "tokens",
                     (json_int_t)info->tokens, "clusters", (json_int_t)info->clusters,
                     "per_cluster", (json_int_t)info->per_cluster, "depth", (json_int_t)info->depth,
                     "pos0", info->pos0, "cluster_space", info->cluster_space, "query_space",
                     info->query_space, "retrieval", info->retrieval);
}

/* The versions that are kept, oldest first. */
static json_t *pool_answer_versions(const struct service *service, const char *name)
{
    size_t count;
    struct snapshot **versions = registry_list_versions(service->pools, name, &count);
    json_t *array = versions ? json_array() : NULL;
    for (size_t i = 0; i < count; i++) {
        const struct served_pool *pool = (struct served_pool *)versions[i];
        json_array_append_new(array, json_pack("{s:I, s:s, s:s}", "version",
                                               (json_int_t)pool->snapshot.version, "sha256",
                                               pool->digest, "origin", pool->origin));
        snapshot_release(versions[i]);
    }
    free(versions);
    return array;
}

json_t *pool_answer_json(const struct service *service, const struct served_pool *pool)
{
    const struct engine_pool_info *info = engine_pool_info(pool->pool);
    const char *name = pool->snapshot.name;
    return json_pack("{s:s, s:I, s:b, s:s, s:s, s:f, s:o, s:I, s:f, s:s, s:o}", "name", name,
                     "version", (json_int_t)pool->snapshot.version, "default",
                     registry_is_default(service->pools, name), "origin", pool->origin, "sentence",
                     info->sentence, "logit_scale", (double)info->logit_scale, "geometry",
                     pool_answer_geometry(info), "bytes", (json_int_t)pool->snapshot.bytes,
                     "load_ms", (double)pool->load_us / 1e3, "sha256", pool->digest, "versions",
                     pool_answer_versions(service, name));
}
