/*
 * Scratch memory of one session: one block, sized at start, handed out from the front and taken
 * back all at once. No call allocates after arena_init, so a worker in its steady state never does.
 * One thread at a time.
 */
#ifndef ENGINE_BASE_ARENA_H
#define ENGINE_BASE_ARENA_H

#include <stddef.h>

#include "engine/base/status.h"

struct arena {
    unsigned char *base;
    size_t capacity_bytes;
    size_t used_bytes;
};

enum status arena_init(struct arena *arena, size_t capacity_bytes, struct fail *why);
void arena_finish(struct arena *arena);

/* count floats aligned to 64 bytes, not zeroed; NULL when the arena is exhausted, which is a
 * mistake in the size given to arena_init. */
float *arena_floats(struct arena *arena, size_t count);

/* The bytes that arena_floats(count) takes, alignment included: sum these for arena_init. */
size_t arena_floats_bytes(size_t count);

/* How many floats hold count things of size bytes. */
size_t arena_floats_for(size_t count, size_t size);

/* Take back everything handed out since arena->used_bytes had this value. */
void arena_rewind(struct arena *arena, size_t used_bytes);

#endif
