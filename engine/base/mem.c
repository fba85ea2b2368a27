#include "engine/base/mem.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* Large blocks lie in huge pages where the kernel has some: a product reads a weight with a stride
 * of a row, often a page or more, and then misses fewer address look-ups. */
enum { MEM_ALIGNMENT = 64, MEM_HUGE_PAGE = 2 << 20, MEM_LARGE = 4 << 20 };

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
    if (!mem_multiply(count, size, &bytes))
        return NULL;
    size_t alignment = bytes < MEM_LARGE ? MEM_ALIGNMENT : MEM_HUGE_PAGE;
    if (!mem_add(bytes, alignment, &padded))
        return NULL;
    void *block = aligned_alloc(alignment, padded / alignment * alignment);
    if (block && alignment == MEM_HUGE_PAGE)
        madvise(block, bytes, MADV_HUGEPAGE); /* a wish: nothing is lost if it is not granted */
    return block;
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
