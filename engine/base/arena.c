#include "engine/base/arena.h"

#include <stdlib.h>

#include "engine/base/mem.h"

#if defined(__SANITIZE_ADDRESS__)
#define ARENA_WATCHED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ARENA_WATCHED 1
#endif
#endif

/* AddressSanitizer sees an arena as one valid block. It is told which floats are handed out, with a
 * gap after each array that belongs to nobody. */
#ifdef ARENA_WATCHED
#include <sanitizer/asan_interface.h>
enum { ARENA_GAP = 64 };
#else
#define ASAN_POISON_MEMORY_REGION(address, bytes)   ((void)(address), (void)(bytes))
#define ASAN_UNPOISON_MEMORY_REGION(address, bytes) ((void)(address), (void)(bytes))
enum { ARENA_GAP = 0 };
#endif

enum { ARENA_ALIGNMENT = 64 };

enum status arena_init(struct arena *arena, size_t capacity_bytes, struct fail *why)
{
    unsigned char *base = mem_aligned(capacity_bytes, 1);
    if (!base)
        return status_fail(why, STATUS_NO_MEMORY, "no memory for %zu bytes of scratch",
                           capacity_bytes);
    *arena = (struct arena){.base = base, .capacity_bytes = capacity_bytes};
    ASAN_POISON_MEMORY_REGION(base, capacity_bytes);
    return STATUS_OK;
}

void arena_finish(struct arena *arena)
{
    if (!arena)
        return;
    ASAN_UNPOISON_MEMORY_REGION(arena->base, arena->capacity_bytes);
    free(arena->base);
    *arena = (struct arena){0};
}

size_t arena_floats_bytes(size_t count)
{
    size_t bytes, padded;
    if (!mem_multiply(count, sizeof(float), &bytes) ||
        !mem_add(bytes, ARENA_ALIGNMENT - 1 + ARENA_GAP, &padded))
        return (size_t)-1 / 64; /* so large that no arena can hold it, small enough to add */
    return padded / ARENA_ALIGNMENT * ARENA_ALIGNMENT;
}

float *arena_floats(struct arena *arena, size_t count)
{
    size_t bytes = arena_floats_bytes(count);
    if (bytes > arena->capacity_bytes - arena->used_bytes)
        return NULL;
    float *floats = (float *)(arena->base + arena->used_bytes);
    arena->used_bytes += bytes;
    ASAN_UNPOISON_MEMORY_REGION(floats, count * sizeof(float));
    return floats;
}

size_t arena_floats_for(size_t count, size_t size)
{
    return (count * size + sizeof(float) - 1) / sizeof(float);
}

void arena_rewind(struct arena *arena, size_t used_bytes)
{
    arena->used_bytes = used_bytes;
    ASAN_POISON_MEMORY_REGION(arena->base + used_bytes, arena->capacity_bytes - used_bytes);
}
