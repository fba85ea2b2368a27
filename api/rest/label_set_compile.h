/*
 * From a request to a label set that is ready to be published, its document attached if there is a
 * store. On a worker: takes as long as the text tower takes for the new labels.
 */
#ifndef API_REST_LABEL_SET_COMPILE_H
#define API_REST_LABEL_SET_COMPILE_H

#include "api/rest/label_set_request.h"
#include "server/label_set.h"
#include "server/service.h"

/* From a PUT. with_pool: refuse a pool that is not there or does not fit. STATUS_INVALID,
 * STATUS_LIMIT, STATUS_FORMAT (the labels), STATUS_CANCELLED (the session was told to stop). */
enum status label_set_compile_new(const struct service *service, struct engine_session *session,
                                  const char *name, const struct label_set_request *request,
                                  bool with_pool, struct label_set **out, struct fail *why);

/* From a PATCH of current; sorts request->removed. STATUS_CANCELLED also for labels that would be
 * there twice. */
enum status label_set_compile_revised(const struct service *service, struct engine_session *session,
                                      const struct label_set *current,
                                      struct label_set_request *request, struct label_set **out,
                                      struct fail *why);

#endif
