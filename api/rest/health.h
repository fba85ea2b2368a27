/* What operators and their machines ask: GET /livez, /readyz, /version, /metrics. None of it waits
 * for a worker. */
#ifndef API_REST_HEALTH_H
#define API_REST_HEALTH_H

struct request;
struct service;

/* 200 as long as the loop turns; 503 once a worker has hung for too long. */
void health_handle_live(struct request *request, struct service *service);
/* 200 while new work is taken; 503 while shutting down, and before the other says so. */
void health_handle_ready(struct request *request, struct service *service);
void health_handle_version(struct request *request, struct service *service);
void health_handle_metrics(struct request *request, struct service *service);

#endif
