/*
 * Text features under a composition as public implementations compute them: every text padded to
 * the model's whole context, prompt rows replaced before each prompted block, a causal mask, every
 * row of every block. The oracle of compose.h, for tests and benchmarks.
 */
#ifndef ENGINE_COMPOSE_PLAIN_H
#define ENGINE_COMPOSE_PLAIN_H

#include <stddef.h>
#include <stdint.h>

#include "engine/base/arena.h"
#include "engine/block.h"
#include "engine/clip_model.h"
#include "engine/pool.h"

/* Bytes of arena for passes of at most texts texts. */
size_t compose_plain_scratch_bytes(const struct clip_model *model, size_t texts);

/* ids: all texts one after the other, text i from starts[i] to starts[i + 1] - 1, start and end of
 * text included, no longer than the context less the pool's slots. pool may be NULL. prompts
 * [depth, chosen]. texts_a_pass: as in compose_plain_scratch_bytes. out_features [texts, joint],
 * unit. */
void compose_plain_features(const struct block_setting *setting, const struct clip_model *model,
                            const struct engine_pool *pool, const uint16_t *prompts,
                            const int32_t *ids, const size_t *starts, size_t texts,
                            size_t texts_a_pass, struct arena *arena, float *out_features);

#endif
