/* GET of pools. Loop thread. */
#ifndef API_REST_POOL_RESOURCE_H
#define API_REST_POOL_RESOURCE_H

struct request;
struct service;

void pool_resource_handle_list(struct request *request, struct service *service);
void pool_resource_handle_get(struct request *request, struct service *service);

#endif
