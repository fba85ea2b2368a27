/*
 * Checked sizes and the program's allocations. Every size that comes from a file or a client goes
 * through here, so that a product never wraps around. All functions may be called by any thread.
 */
#ifndef ENGINE_BASE_MEM_H
#define ENGINE_BASE_MEM_H

#include <stdbool.h>
#include <stddef.h>

/* *out = a * b, or a + b; false (and *out untouched) if that does not fit a size_t. */
bool mem_multiply(size_t a, size_t b, size_t *out);
bool mem_add(size_t a, size_t b, size_t *out);

/* Zeroed memory for count elements of size bytes; NULL if that overflows or there is none. A count
 * of zero gives a valid pointer. Release with free(). */
void *mem_zeroed(size_t count, size_t size);

/* The same, aligned to 64 bytes (a cache line, an AVX-512 register) at least, not zeroed; large
 * blocks in huge pages if there are any. free(). */
void *mem_aligned(size_t count, size_t size);

/* Resizes an array; NULL (and the old array intact) on overflow or lack of memory. */
void *mem_resize(void *array, size_t count, size_t size);

/* A copy of length bytes, with a terminating NUL added. free(). */
char *mem_copy_text(const char *text, size_t length);

#endif
