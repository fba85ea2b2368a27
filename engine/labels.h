/*
 * A compiled label set: the names, the sentences they stand in, and one unit text feature a label.
 * Immutable and reference counted; any thread. The functions behind engine_labels_* of engine.h.
 */
#ifndef ENGINE_LABELS_H
#define ENGINE_LABELS_H

#include <stddef.h>

#include "engine/base/status.h"

struct engine_labels;

/* Computes out_features [count, joint_width], unit, of texts [count]. */
typedef enum status labels_embed(void *context, const char *const *texts, size_t count,
                                 float *out_features, struct fail *why);

enum status labels_compile(const char *const *names, size_t count, const char *const *sentences,
                           size_t sentence_count, size_t joint_width, labels_embed *embed,
                           void *context, struct engine_labels **out, struct fail *why);

#endif
