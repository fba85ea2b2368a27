/* Pool files by themselves, for people who look into one: engine_pool_file_* and
 * engine_pool_key_figures of engine.h. */
#include <math.h>
#include <stdlib.h>

#include "engine/base/mem.h"
#include "engine/engine.h"
#include "engine/pool_file.h"

struct engine_pool_file {
    struct pool_file file;
    struct engine_pool_info info;
    char *name;
};

enum status engine_pool_file_open(const char *path, struct engine_pool_file **out, struct fail *why)
{
    struct engine_pool_file *opened = mem_zeroed(1, sizeof *opened);
    char *name = pool_file_name(path);
    enum status status = opened && name
                             ? pool_file_load(path, &opened->file, why)
                             : status_fail(why, STATUS_NO_MEMORY, "no memory for a pool");
    if (status) {
        free(opened);
        free(name);
        return status;
    }
    opened->name = name;
    pool_file_describe(&opened->file, &opened->info);
    if (!opened->info.name)
        opened->info.name = opened->name;
    *out = opened;
    return STATUS_OK;
}

void engine_pool_file_close(struct engine_pool_file *file)
{
    if (!file)
        return;
    pool_file_finish(&file->file);
    free(file->name);
    free(file);
}

const struct engine_pool_info *engine_pool_file_info(const struct engine_pool_file *file)
{
    return &file->info;
}

static double pool_figures_dot(const struct pool_file *file, size_t a, size_t b)
{
    double sum = 0;
    for (size_t i = 0; i < file->query_width; i++)
        sum += (double)file->keys[a * file->query_width + i] *
               (double)file->keys[b * file->query_width + i];
    return sum;
}

void engine_pool_key_figures(const struct engine_pool_file *opened, size_t group,
                             struct engine_pool_key_figures *out)
{
    const struct pool_file *file = &opened->file;
    size_t first = group * file->prompts, pairs = 0;
    size_t count =
        file->prompts < ENGINE_MAX_COMPARED_KEYS ? file->prompts : ENGINE_MAX_COMPARED_KEYS;
    struct engine_pool_key_figures figures = {
        .least = INFINITY, .greatest = -INFINITY, .shortest_key = INFINITY};
    double sum = 0, lengths[ENGINE_MAX_COMPARED_KEYS];
    for (size_t a = 0; a < count; a++) {
        lengths[a] = sqrt(pool_figures_dot(file, first + a, first + a));
        figures.shortest_key = fmin(figures.shortest_key, lengths[a]);
        figures.longest_key = fmax(figures.longest_key, lengths[a]);
        for (size_t b = 0; b < a; b++, pairs++) {
            double cosine =
                pool_figures_dot(file, first + a, first + b) / (lengths[a] * lengths[b]);
            sum += cosine;
            figures.least = fmin(figures.least, cosine);
            if (cosine > figures.greatest) {
                figures.greatest = cosine;
                figures.nearest[0] = b;
                figures.nearest[1] = a;
            }
        }
    }
    figures.mean = pairs ? sum / (double)pairs : 0;
    if (!pairs)
        figures.least = figures.greatest = 0;
    *out = figures;
}
