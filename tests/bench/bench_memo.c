/*
 * The composition cache under 10,000 random compositions: what it holds, against its limit, and
 * what the process holds more than before.
 *
 *     build/release/bench/bench_memo MODEL POOL LABELS_FILE CACHE_MIB
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "engine/base/buf.h"
#include "engine/base/mem.h"
#include "engine/engine.h"

enum { COMPOSITIONS = 10000, LABELS = 30, STEPS = 10 };

struct bench {
    struct engine *engine;
    struct engine_session *session;
    struct engine_pool *pool;
    struct engine_labels *labels;
    struct engine_composition *composition;
    float *feature, *cosines;
    unsigned seed;
};

static void set_up(struct bench *bench, char **argv)
{
    struct fail why;
    struct buf file;
    struct engine_label_list list;
    const struct engine_options options = {
        .helpers = 1, .composition_cache_bytes = strtoul(argv[4], NULL, 10) << 20};
    const struct engine_pool_options pool_options = {.any_fingerprint = true};
    buf_init(&file, ENGINE_MAX_LIST_BYTES);
    if (engine_open(argv[1], &options, &bench->engine, &why) ||
        engine_session_create(bench->engine, 1, &bench->session, &why) ||
        engine_pool_load(bench->engine, argv[2], &pool_options, &bench->pool, &why) ||
        engine_composition_create(bench->pool, &bench->composition, &why) ||
        buf_read_file(&file, argv[3], &why) ||
        engine_label_list_parse(file.data, file.size, &list, &why) ||
        engine_labels_compile(bench->session, list.names, list.count < LABELS ? list.count : LABELS,
                              &engine_pool_info(bench->pool)->sentence, 1, &bench->labels, &why)) {
        fprintf(stderr, "bench_memo: %s\n", why.message);
        exit(1);
    }
    engine_label_list_finish(&list);
    buf_finish(&file);
    bench->feature = mem_zeroed(engine_info(bench->engine)->joint_width, sizeof(float));
    bench->cosines = mem_zeroed(engine_labels_count(bench->labels), sizeof(float));
    if (!bench->feature || !bench->cosines)
        exit(1);
    bench->feature[0] = 1;
    bench->seed = 1;
}

static unsigned draw(struct bench *bench, unsigned below)
{
    bench->seed = bench->seed * 1664525u + 1013904223u;
    return (bench->seed >> 8) % below;
}

/* Few choices in the first layers, many in the last ones, so that beginnings come again. */
static void choose(struct bench *bench)
{
    struct engine_composition *composition = bench->composition;
    size_t prompts = engine_pool_info(bench->pool)->prompts;
    for (size_t layer = 0; layer < composition->layers; layer++) {
        size_t room = prompts - composition->chosen + 1,
               ways = (size_t)2 << (layer < 20 ? layer : 20);
        unsigned first = draw(bench, (unsigned)(ways < room ? ways : room));
        for (size_t i = 0; i < composition->chosen; i++)
            composition->prompts[layer * composition->chosen + i] = (uint16_t)(first + i);
    }
}

static size_t resident_bytes(void)
{
    unsigned long pages = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (file && fscanf(file, "%lu %lu", &pages, &resident) != 2)
        resident = 0;
    if (file)
        fclose(file);
    return (size_t)resident * (size_t)sysconf(_SC_PAGESIZE);
}

static void score(struct bench *bench)
{
    struct fail why;
    const struct engine_composition *composition = bench->composition;
    const struct engine_scoring scoring = {.labels = bench->labels,
                                           .count = 1,
                                           .image_features = bench->feature,
                                           .compositions = &composition};
    choose(bench);
    if (engine_score(bench->session, &scoring, bench->cosines, &why)) {
        fprintf(stderr, "bench_memo: %s\n", why.message);
        exit(1);
    }
}

int main(int argc, char **argv)
{
    struct bench bench = {0};
    struct engine_composition_cache_figures figures;
    if (argc != 5) {
        fprintf(stderr, "usage: bench_memo MODEL POOL LABELS_FILE CACHE_MIB\n");
        return 2;
    }
    set_up(&bench, argv);
    score(&bench); /* so that all scratch has been touched */
    size_t before = resident_bytes(), over = 0;
    for (size_t i = 0; i < COMPOSITIONS; i++) {
        score(&bench);
        engine_composition_cache_figures(bench.engine, &figures);
        over += figures.bytes > figures.max_bytes;
        if ((i + 1) % (COMPOSITIONS / STEPS) == 0)
            printf(
                "  %5zu: %6.1f MiB in %zu entries, process %6.1f MiB more than before, %llu hits, "
                "%llu misses, %llu of them resumed, %llu evictions\n",
                i + 1, (double)figures.bytes / 1048576, figures.entries,
                ((double)resident_bytes() - (double)before) / 1048576,
                (unsigned long long)figures.hits, (unsigned long long)figures.misses,
                (unsigned long long)figures.resumed, (unsigned long long)figures.evictions);
    }
    printf("limit %.1f MiB, over it after %zu of %d compositions\n",
           (double)figures.max_bytes / 1048576, over, COMPOSITIONS);
    free(bench.feature);
    free(bench.cosines);
    engine_labels_release(bench.labels);
    engine_composition_destroy(bench.composition);
    engine_pool_release(bench.pool);
    engine_session_destroy(bench.session);
    engine_close(bench.engine);
    return over ? 1 : 0;
}
