/* POST /v1/classify: pictures and labels in, scores out. */
#ifndef API_REST_CLASSIFY_H
#define API_REST_CLASSIFY_H

struct request;
struct service;

void classify_handle(struct request *request, struct service *service);

#endif
