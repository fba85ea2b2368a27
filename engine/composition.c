#include "engine/composition.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/mem.h"
#include "engine/engine.h"
#include "engine/pool.h"

enum status engine_composition_create(struct engine_pool *pool, struct engine_composition **out,
                                      struct fail *why)
{
    size_t layers = pool->file.depth, choices = layers * pool->chosen;
    struct engine_composition *composition = mem_zeroed(1, sizeof *composition);
    if (!composition)
        return status_fail(why, STATUS_NO_MEMORY, "no memory for a composition");
    composition->pool = engine_pool_acquire(pool);
    composition->layers = layers;
    composition->chosen = pool->chosen;
    composition->patches = pool->patches;
    composition->prompts = mem_zeroed(choices, sizeof *composition->prompts);
    composition->clusters = mem_zeroed(choices, sizeof *composition->clusters);
    composition->similarities = mem_zeroed(choices, sizeof *composition->similarities);
    composition->assignment = mem_zeroed(layers * pool->patches, sizeof *composition->assignment);
    composition->margins = mem_zeroed(layers, sizeof *composition->margins);
    if (!composition->prompts || !composition->clusters || !composition->similarities ||
        !composition->assignment || !composition->margins) {
        engine_composition_destroy(composition);
        return status_fail(why, STATUS_NO_MEMORY, "no memory for a composition");
    }
    *out = composition;
    return STATUS_OK;
}

enum status engine_composition_keep_means(struct engine_composition *composition, struct fail *why)
{
    const struct pool_file *file = &composition->pool->file;
    composition->means = mem_zeroed(composition->layers * file->clusters * file->query_width,
                                    sizeof *composition->means);
    return composition->means
               ? STATUS_OK
               : status_fail(why, STATUS_NO_MEMORY, "no memory for the means of a composition");
}

void engine_composition_destroy(struct engine_composition *composition)
{
    if (!composition)
        return;
    engine_pool_release(composition->pool);
    free(composition->prompts);
    free(composition->clusters);
    free(composition->similarities);
    free(composition->assignment);
    free(composition->margins);
    free(composition->means);
    free(composition);
}

float engine_composition_margin(const struct engine_composition *composition)
{
    float least = INFINITY;
    for (size_t layer = 0; layer < composition->layers; layer++)
        if (composition->margins[layer] < least)
            least = composition->margins[layer];
    return least;
}

bool composition_equals(const struct engine_composition *a, const struct engine_composition *b)
{
    return a->pool == b->pool &&
           !memcmp(a->prompts, b->prompts, a->layers * a->chosen * sizeof *a->prompts);
}
