/* GET of label sets. Loop thread. */
#ifndef API_REST_LABEL_SET_RESOURCE_H
#define API_REST_LABEL_SET_RESOURCE_H

struct request;
struct service;

void label_set_resource_handle_list(struct request *request, struct service *service);
void label_set_resource_handle_get(struct request *request, struct service *service);

#endif
