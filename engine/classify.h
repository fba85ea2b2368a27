/*
 * From features to an answer: cosines, logits = logit_scale * cosine, softmax, the best of them.
 * engine_top and engine_probabilities of engine.h are here too. Pure functions; any thread.
 */
#ifndef ENGINE_CLASSIFY_H
#define ENGINE_CLASSIFY_H

#include <stddef.h>

#include "engine/engine.h"
#include "engine/kernels.h"

/* features [count, width] and image [width], unit -> out_cosines [count]. */
void classify_cosines(const struct kernels *kernels, const float *features, size_t count,
                      size_t width, const float *image, float *out_cosines);

#endif
