/*
 * The text tower, the plain causal path: rows token_embedding + positions, blocks with a causal
 * mask, final norm of the end-of-text row, projection, made unit. Nothing after the end of text can
 * reach it, so sequences stop there and are never padded.
 */
#ifndef ENGINE_TEXT_H
#define ENGINE_TEXT_H

#include <stddef.h>
#include <stdint.h>

#include "engine/base/arena.h"
#include "engine/block.h"
#include "engine/clip_model.h"

/* Bytes of arena that a call with at most rows tokens in at most count texts needs. */
size_t text_scratch_bytes(const struct clip_model *model, size_t rows, size_t count);

/* ids: the tokens of all texts, start and end of text included, one text after the other; each id
 * below the model's vocabulary. sequences: where each begins, none longer than the context.
 * out_features [texts, joint_width], unit. setting is that of the text tower. The arena is left as
 * it was. */
void text_forward(const struct block_setting *setting, const struct clip_model *model,
                  const int32_t *ids, const struct block_sequences *sequences, struct arena *arena,
                  float *out_features);

#endif
