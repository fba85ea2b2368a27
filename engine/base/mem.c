#include "engine/base/mem.h"

#include <stdlib.h>
#include <string.h>

enum { MEM_ALIGNMENT = 64 };

bool mem_multiply(size_t a, size_t b, size_t *out)
{
    size_t product;
    if (__builtin_mul_overflow(a, b, &product))
        return false;
    *out = product;
    return true;
}

bool mem_add(size_t a, size_t b, size_t *out)
{
    size_t sum;
    if (__builtin_add_overflow(a, b, &sum))
        return false;
    *out = sum;
    return true;
}

void *mem_zeroed(size_t count, size_t size)
{
    return calloc(count ? count : 1, size);
}

void *mem_aligned(size_t count, size_t size)
{
    size_t bytes, padded;
    if (!mem_multiply(count, size, &bytes) || !mem_add(bytes, MEM_ALIGNMENT, &padded))
        return NULL;
    return aligned_alloc(MEM_ALIGNMENT, padded / MEM_ALIGNMENT * MEM_ALIGNMENT);
}

void *mem_resize(void *array, size_t count, size_t size)
{
    size_t bytes;
    if (!mem_multiply(count ? count : 1, size, &bytes))
        return NULL;
    return realloc(array, bytes);
}

char *mem_copy_text(const char *text, size_t length)
{
    size_t bytes;
    char *copy = mem_add(length, 1, &bytes) ? malloc(bytes) : NULL;
    if (!copy)
        return NULL;
    memcpy(copy, text, length);
    copy[length] = '\0';
    return copy;
}
