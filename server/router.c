#include "server/router.h"

#include <stdio.h>
#include <string.h>

static bool router_takes(const struct router_route *route, const char *method)
{
    return !strcmp(route->method, method) ||
           (!strcmp(method, "HEAD") && !strcmp(route->method, "GET"));
}

enum router_match router_find(const struct router *router, const char *method, const char *path,
                              const struct router_route **out_route, char *out_allow,
                              size_t capacity)
{
    size_t used = 0;
    for (size_t i = 0; i < router->count; i++) {
        const struct router_route *route = &router->routes[i];
        if (strcmp(route->path, path) != 0)
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
