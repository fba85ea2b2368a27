/* POST /v1/classify: pictures and labels in, scores out. */
#ifndef API_REST_CLASSIFY_JOB_H
#define API_REST_CLASSIFY_JOB_H

struct request;
struct service;

void classify_job_handle(struct request *request, struct service *service);

#endif
