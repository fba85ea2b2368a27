/*
 * The prompts that one picture gets under one pool. The functions behind engine_composition_* of
 * engine.h are here too. Any thread.
 */
#ifndef ENGINE_COMPOSITION_H
#define ENGINE_COMPOSITION_H

#include <stdbool.h>

#include "engine/engine.h"

/* The same prompts of the same pool, whatever the clusters were. */
bool composition_equals(const struct engine_composition *a, const struct engine_composition *b);

#endif
