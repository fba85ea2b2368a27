/*
 * Method and path -> handler. A new resource is a new row.
 */
#ifndef SERVER_ROUTER_H
#define SERVER_ROUTER_H

#include <stdbool.h>
#include <stddef.h>

struct request;
struct service;

struct router_route {
    const char *method; /* a route for GET answers HEAD too */
    /* Decoded, without the query. A segment "{name}" takes any one segment that is not empty; at
     * most one in a path. */
    const char *path;
    /* Called on the loop thread when the request has arrived in full: calls one of request_reply_*
     * or request_submit, exactly once. */
    void (*handle)(struct request *request, struct service *service);
    bool while_draining; /* answered even while the server shuts down */
    /* Refused while the queue of pictures is full, before anything is kept of the body. */
    bool for_pictures;
    bool spooled; /* the body is a file, larger than others may be: request_take_upload */
};

struct router {
    const struct router_route *routes;
    size_t count;
};

enum router_match { ROUTER_FOUND, ROUTER_NO_PATH, ROUTER_NO_METHOD };

/* out_allow [capacity] gets the methods of the path for ROUTER_NO_METHOD: "GET, HEAD". */
enum router_match router_find(const struct router *router, const char *method, const char *path,
                              const struct router_route **out_route, char *out_allow,
                              size_t capacity);

/* What the route's "{name}" stands for in a path that it matches: a part of path, *out_length long;
 * of length 0 if the route has none. */
const char *router_parameter(const struct router_route *route, const char *path,
                             size_t *out_length);

#endif
