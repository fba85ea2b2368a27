/*
 * PUT and DELETE /v1/pools/{name}, POST .../load and .../rollback: done on a worker. Options in the
 * query: "default" (true or false), of a rollback "version". Loop thread.
 */
#ifndef API_REST_POOL_JOB_H
#define API_REST_POOL_JOB_H

struct request;
struct service;

void pool_job_handle_put(struct request *request, struct service *service);
void pool_job_handle_load(struct request *request, struct service *service);
void pool_job_handle_roll_back(struct request *request, struct service *service);
void pool_job_handle_delete(struct request *request, struct service *service);

#endif
