/* PUT, PATCH and DELETE /v1/label-sets/{name}: labels are compiled on a worker, then the name
 * stands for the new version. Loop thread. */
#ifndef API_REST_LABEL_SET_JOB_H
#define API_REST_LABEL_SET_JOB_H

struct request;
struct service;

void label_set_job_handle_put(struct request *request, struct service *service);
void label_set_job_handle_patch(struct request *request, struct service *service);
void label_set_job_handle_delete(struct request *request, struct service *service);

#endif
