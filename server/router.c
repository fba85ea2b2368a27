#include "server/router.h"

#include <stdio.h>
#include <string.h>

static bool router_takes(const struct router_route *route, const char *method)
{
    return !strcmp(route->method, method) ||
           (!strcmp(method, "HEAD") && !strcmp(route->method, "GET"));
}

/* Whether the path fits the pattern; *out_parameter and *out_length: what stands for its "{name}".
 */
static bool router_fits(const char *pattern, const char *path, const char **out_parameter,
                        size_t *out_length)
{
    *out_parameter = path;
    *out_length = 0;
    size_t before = strcspn(pattern, "{");
    if (!pattern[before])
        return !strcmp(pattern, path);
    if (strncmp(pattern, path, before) != 0)
        return false;
    *out_parameter = path + before;
    *out_length = strcspn(*out_parameter, "/");
    return *out_length && !strcmp(strchr(pattern, '}') + 1, *out_parameter + *out_length);
}

const char *router_parameter(const struct router_route *route, const char *path, size_t *out_length)
{
    const char *parameter;
    if (!router_fits(route->path, path, &parameter, out_length))
        *out_length = 0;
    return parameter;
}

enum router_match router_find(const struct router *router, const char *method, const char *path,
                              const struct router_route **out_route, char *out_allow,
                              size_t capacity)
{
    size_t used = 0;
    for (size_t i = 0; i < router->count; i++) {
        const struct router_route *route = &router->routes[i];
        const char *parameter;
        size_t parameter_length;
        if (!router_fits(route->path, path, &parameter, &parameter_length))
            continue;
        if (router_takes(route, method)) {
            *out_route = route;
            return ROUTER_FOUND;
        }
        int length = snprintf(out_allow + used, capacity - used, "%s%s%s", used ? ", " : "",
                              route->method, !strcmp(route->method, "GET") ? ", HEAD" : "");
        if (length > 0 && (size_t)length < capacity - used)
            used += (size_t)length;
    }
    return used ? ROUTER_NO_METHOD : ROUTER_NO_PATH;
}
