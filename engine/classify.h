/*
 * From features to an answer: cosines, logits = logit_scale * cosine, softmax, the best of them.
 * Pure functions; any thread.
 */
#ifndef ENGINE_CLASSIFY_H
#define ENGINE_CLASSIFY_H

#include <stddef.h>

#include "engine/engine.h"
#include "engine/kernels.h"

/* features [count, width] and image [width], unit -> out_cosines [count]. */
void classify_cosines(const struct kernels *kernels, const float *features, size_t count,
                      size_t width, const float *image, float *out_cosines);

/* As engine_probabilities and engine_top, with the scale as an argument. */
void classify_probabilities(float logit_scale, const float *cosines, size_t count,
                            float *out_logits, float *out_probabilities);
void classify_top(float logit_scale, const float *cosines, size_t count, size_t top_k,
                  struct engine_prediction *out_predictions, size_t *out_count);

#endif
