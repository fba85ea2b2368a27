/*
 * One grey picture through all that a classification passes: what is not finite shows here, and the
 * first request finds everything warm.
 */
#ifndef SERVER_SELF_TEST_H
#define SERVER_SELF_TEST_H

#include "engine/engine.h"

/* With the pool (NULL: plain CLIP) and labels that fit it; NULL: with one label in the pool's
 * sentence. */
enum status self_test_run(struct engine *engine, struct engine_session *session,
                          struct engine_pool *pool, const struct engine_labels *labels,
                          struct fail *why);

#endif
