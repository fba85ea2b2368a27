/*
 * What a shortlist costs and saves: how often the best label differs from the exact answer's, and
 * the time of the text side against it, compositions being new.
 *
 *     build/release/bench/bench_shortlist MODEL POOL LABELS_FILE THREADS PICTURE...
 */
#include <stdio.h>
#include <stdlib.h>

#include "engine/base/buf.h"
#include "engine/base/mem.h"
#include "engine/engine.h"
#include "tests/bench/stopwatch.h"

enum { MOST_FILE_BYTES = 64 << 20 };

struct bench {
    struct engine *engine;
    struct engine_session *session;
    struct engine_pool *pool;
    struct engine_labels *labels;
    struct engine_composition *composition;
    size_t count; /* of labels */
    float *pixels, *feature, *exact, *some;
};

static void fail_with(const struct fail *why)
{
    fprintf(stderr, "bench_shortlist: %s\n", why->message);
    exit(1);
}

static void set_up(struct bench *bench, char **argv)
{
    struct fail why;
    struct buf file;
    struct engine_label_list list;
    const struct engine_options options = {.helpers = strtoul(argv[4], NULL, 10) - 1};
    const struct engine_pool_options pool_options = {.any_fingerprint = true};
    buf_init(&file, ENGINE_MAX_LIST_BYTES);
    if (engine_open(argv[1], &options, &bench->engine, &why) ||
        engine_session_create(bench->engine, 1, &bench->session, &why) ||
        engine_pool_load(bench->engine, argv[2], &pool_options, &bench->pool, &why) ||
        engine_composition_create(bench->pool, &bench->composition, &why) ||
        buf_read_file(&file, argv[3], &why) ||
        engine_label_list_parse(file.data, file.size, &list, &why) ||
        engine_labels_compile(bench->session, list.names, list.count,
                              &engine_pool_info(bench->pool)->sentence, 1, &bench->labels, &why) ||
        engine_labels_check_pool(bench->labels, bench->pool, &why))
        fail_with(&why);
    engine_label_list_finish(&list);
    buf_finish(&file);
    const struct engine_info *info = engine_info(bench->engine);
    bench->count = engine_labels_count(bench->labels);
    bench->pixels = mem_zeroed(3 * info->image_size * info->image_size, sizeof(float));
    bench->feature = mem_zeroed(info->joint_width, sizeof(float));
    bench->exact = mem_zeroed(bench->count, sizeof(float));
    bench->some = mem_zeroed(bench->count, sizeof(float));
    if (!bench->pixels || !bench->feature || !bench->exact || !bench->some)
        exit(1);
}

static void look(struct bench *bench, const char *path)
{
    struct fail why;
    struct buf file;
    buf_init(&file, MOST_FILE_BYTES);
    if (buf_read_file(&file, path, &why) ||
        engine_decode(bench->engine, (const uint8_t *)file.data, file.size,
                      &engine_image_default_options, bench->pixels, NULL, &why) ||
        engine_compose_images(bench->session, bench->pixels, 1, &bench->composition, bench->feature,
                              &why))
        fail_with(&why);
    buf_finish(&file);
}

static size_t best_of(const float *cosines, size_t count)
{
    size_t best = 0;
    for (size_t i = 1; i < count; i++)
        best = cosines[i] > cosines[best] ? i : best;
    return best;
}

/* Seconds. */
static double score(struct bench *bench, size_t shortlist, float *out)
{
    struct fail why;
    const struct engine_composition *composition = bench->composition;
    const struct engine_scoring scoring = {.labels = bench->labels,
                                           .count = 1,
                                           .image_features = bench->feature,
                                           .compositions = &composition,
                                           .shortlist = shortlist};
    double start = stopwatch_seconds();
    if (engine_score(bench->session, &scoring, out, &why))
        fail_with(&why);
    return stopwatch_seconds() - start;
}

int main(int argc, char **argv)
{
    static const size_t lengths[] = {1, 2, 5, 10, 20, 50};
    enum { LENGTHS = sizeof lengths / sizeof *lengths };
    struct bench bench = {0};
    size_t wrong[LENGTHS] = {0}, pictures = (size_t)(argc - 5);
    double seconds[LENGTHS] = {0}, exact_seconds = 0;
    if (argc < 6 || strtoul(argv[4], NULL, 10) == 0) {
        fprintf(stderr, "usage: bench_shortlist MODEL POOL LABELS_FILE THREADS PICTURE...\n");
        return 2;
    }
    set_up(&bench, argv);
    for (size_t i = 0; i < pictures; i++) {
        look(&bench, argv[5 + i]);
        exact_seconds += score(&bench, 0, bench.exact);
        for (size_t k = 0; k < LENGTHS; k++) {
            seconds[k] += score(&bench, lengths[k], bench.some);
            wrong[k] += best_of(bench.some, bench.count) != best_of(bench.exact, bench.count);
        }
    }
    printf("%s, %zu labels, %zu pictures, exact %.2f ms a picture\n",
           engine_info(bench.engine)->backend, bench.count, pictures,
           1e3 * exact_seconds / (double)pictures);
    for (size_t k = 0; k < LENGTHS && lengths[k] < bench.count; k++)
        printf(
            "shortlist of %2zu: best label differs for %zu of %zu pictures (%.1f %%), %.3f of the "
            "exact time\n",
            lengths[k], wrong[k], pictures, 100 * (double)wrong[k] / (double)pictures,
            seconds[k] / exact_seconds);
    free(bench.pixels);
    free(bench.feature);
    free(bench.exact);
    free(bench.some);
    engine_composition_destroy(bench.composition);
    engine_labels_release(bench.labels);
    engine_pool_release(bench.pool);
    engine_session_destroy(bench.session);
    engine_close(bench.engine);
    return 0;
}
