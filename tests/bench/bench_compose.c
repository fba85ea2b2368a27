/*
 * What prompts cost: prompted classification against the image pass, with the composition new and
 * with it known, and the text side against the 77-token path. See README.md.
 *
 *     build/release/bench/bench_compose MODEL POOL LABELS_FILE THREADS [ROUNDS]
 *
 * Pictures are pixels.f32 of the model folder, or noise without it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/buf.h"
#include "engine/base/mem.h"
#include "engine/compose_plain.h"
#include "engine/engine.h"
#include "engine/engine_state.h"
#include "engine/vision.h"
#include "tests/bench/stopwatch.h"

enum {
    MOST_ROUNDS = 101,
    MOST_PIXEL_BYTES = 1 << 28,
    CACHE_BYTES = 1 << 30,
    PLAIN_TEXTS = 13 /* 1,001 tokens a pass, as many as the trie path takes at most */
};

struct bench {
    struct engine *engine;
    struct engine_session *session;
    struct engine_pool *pool;
    struct engine_label_list list;
    struct engine_composition *composition;
    struct buf pixels;
    size_t pictures, rounds;
    float *feature;
    float *cosines; /* [labels of the list] */
};

static void fail_with(const struct fail *why)
{
    fprintf(stderr, "bench_compose: %s\n", why->message);
    exit(1);
}

static int compare_doubles(const void *a, const void *b)
{
    double left = *(const double *)a, right = *(const double *)b;
    return (left > right) - (left < right);
}

static double median(const double *values, size_t count)
{
    double sorted[MOST_ROUNDS];
    memcpy(sorted, values, count * sizeof *sorted);
    qsort(sorted, count, sizeof *sorted, compare_doubles);
    return sorted[count / 2];
}

/* ---- Setting up ---- */

static void read_pixels(struct bench *bench, const char *folder)
{
    size_t edge = engine_info(bench->engine)->image_size;
    size_t bytes = 3 * edge * edge * sizeof(float);
    char path[4096];
    snprintf(path, sizeof path, "%s/pixels.f32", folder);
    buf_init(&bench->pixels, MOST_PIXEL_BYTES);
    if (buf_read_file(&bench->pixels, path, NULL) || bench->pixels.size < bytes) {
        unsigned state = 1;
        bench->pixels.size = 0;
        for (size_t i = 0; i < bytes / sizeof(float); i++) {
            state = state * 1664525u + 1013904223u;
            float value = (float)(state >> 8) / 4194304.0f - 2.0f;
            buf_append(&bench->pixels, &value, sizeof value, NULL);
        }
    }
    bench->pictures = bench->pixels.size / bytes;
}

static void set_up(struct bench *bench, char **argv)
{
    struct fail why;
    struct buf file;
    const struct engine_options options = {.helpers = strtoul(argv[4], NULL, 10) - 1,
                                           .composition_cache_bytes = CACHE_BYTES};
    const struct engine_pool_options pool_options = {.any_fingerprint = true};
    buf_init(&file, ENGINE_MAX_LIST_BYTES);
    if (engine_open(argv[1], &options, &bench->engine, &why) ||
        engine_session_create(bench->engine, 8, &bench->session, &why) ||
        engine_pool_load(bench->engine, argv[2], &pool_options, &bench->pool, &why) ||
        engine_composition_create(bench->pool, &bench->composition, &why) ||
        buf_read_file(&file, argv[3], &why) ||
        engine_label_list_parse(file.data, file.size, &bench->list, &why))
        fail_with(&why);
    buf_finish(&file);
    read_pixels(bench, argv[1]);
    bench->feature = mem_zeroed(8 * engine_info(bench->engine)->joint_width, sizeof(float));
    bench->cosines = mem_zeroed(bench->list.count, sizeof(float));
    if (!bench->feature || !bench->cosines)
        exit(1);
}

static struct engine_labels *compile(struct bench *bench, size_t count)
{
    struct fail why;
    struct engine_labels *labels;
    if (engine_labels_compile(bench->session, bench->list.names, count,
                              &engine_pool_info(bench->pool)->sentence, 1, &labels, &why) ||
        engine_labels_check_pool(labels, bench->pool, &why))
        fail_with(&why);
    return labels;
}

/* ---- What is timed ---- */

static const float *picture(const struct bench *bench, size_t round)
{
    size_t edge = engine_info(bench->engine)->image_size;
    return (const float *)bench->pixels.data + round % bench->pictures * 3 * edge * edge;
}

static double time_image(struct bench *bench, size_t round)
{
    struct fail why;
    double start = stopwatch_seconds();
    if (engine_embed_images(bench->session, picture(bench, round), 1, bench->feature, &why))
        fail_with(&why);
    return 1e3 * (stopwatch_seconds() - start);
}

static void look_away(void *context, size_t block, const float *x)
{
    (void)context;
    (void)block;
    (void)x;
}

/* Every row of every block, as public implementations compute them. */
static double time_whole_image(struct bench *bench, size_t round)
{
    const struct engine *engine = bench->engine;
    const struct vision_watcher watcher = {.look = look_away,
                                           .last = engine->model->geometry.vision.blocks};
    double start = stopwatch_seconds();
    vision_forward(&engine->vision, engine->model, picture(bench, round), 1, &watcher,
                   &bench->session->arena, bench->feature);
    return 1e3 * (stopwatch_seconds() - start);
}

static double time_compose_images(struct bench *bench, size_t round)
{
    struct fail why;
    double start = stopwatch_seconds();
    if (engine_compose_images(bench->session, picture(bench, round), 1, &bench->composition,
                              bench->feature, &why))
        fail_with(&why);
    return 1e3 * (stopwatch_seconds() - start);
}

static double time_score(struct bench *bench, const struct engine_labels *labels)
{
    struct fail why;
    const struct engine_composition *composition = bench->composition;
    const struct engine_scoring scoring = {.labels = labels,
                                           .count = 1,
                                           .image_features = bench->feature,
                                           .compositions = &composition};
    double start = stopwatch_seconds();
    if (engine_score(bench->session, &scoring, bench->cosines, &why))
        fail_with(&why);
    return 1e3 * (stopwatch_seconds() - start);
}

/* ---- Passes ---- */

enum { IMAGE, WHOLE, COLD, KNOWN, TEXT, KINDS };

static void report_pass(const char *what, const double *runs, size_t rounds, const double *base,
                        const double *whole)
{
    double ratios[MOST_ROUNDS], whole_ratios[MOST_ROUNDS];
    for (size_t i = 0; i < rounds; i++) {
        ratios[i] = runs[i] / base[i];
        whole_ratios[i] = runs[i] / whole[i];
    }
    printf("  %-34s %8.2f ms   %5.3f x image pass   %5.3f x whole image pass\n", what,
           median(runs, rounds), median(ratios, rounds), median(whole_ratios, rounds));
}

static double time_known(struct bench *bench, const struct engine_labels *labels, size_t round)
{
    double taken = time_compose_images(bench, round);
    return taken + time_score(bench, labels);
}

/* The kinds that leave the text tower alone take turns in who comes first, after a pass that nobody
 * times: what is in the caches is the same for all. known: labels whose features are remembered for
 * every picture. */
static void bench_round(struct bench *bench, size_t count, const struct engine_labels *known,
                        size_t round, double runs[KINDS][MOST_ROUNDS])
{
    time_image(bench, round);
    for (size_t turn = 0; turn < 3; turn++)
        switch ((round + turn) % 3) {
        case 0:
            runs[IMAGE][round] = time_image(bench, round);
            break;
        case 1:
            runs[WHOLE][round] = time_whole_image(bench, round);
            break;
        default:
            runs[KNOWN][round] = time_known(bench, known, round);
            break;
        }
    struct engine_labels *fresh = compile(bench, count); /* which no memo knows */
    time_image(bench, round);
    runs[COLD][round] = time_compose_images(bench, round);
    runs[TEXT][round] = time_score(bench, fresh);
    runs[COLD][round] += runs[TEXT][round];
    engine_labels_release(fresh);
    printf(
        "    run %2zu: image %.2f, whole image %.2f, new composition %.2f, known %.2f, text %.2f, "
        "choosing %.2f ms\n",
        round + 1, runs[IMAGE][round], runs[WHOLE][round], runs[COLD][round], runs[KNOWN][round],
        runs[TEXT][round], (double)engine_session_retrieve_us(bench->session) / 1e3);
}

static void bench_pass(struct bench *bench, size_t count)
{
    double runs[KINDS][MOST_ROUNDS];
    struct engine_labels *known = compile(bench, count);
    for (size_t i = 0; i < bench->pictures; i++)
        time_known(bench, known, i);
    for (size_t round = 0; round < bench->rounds; round++)
        bench_round(bench, count, known, round, runs);
    engine_labels_release(known);
    printf("%zu labels, one picture\n", count);
    report_pass("image pass (class row at the end)", runs[IMAGE], bench->rounds, runs[IMAGE],
                runs[WHOLE]);
    report_pass("whole image pass", runs[WHOLE], bench->rounds, runs[IMAGE], runs[WHOLE]);
    report_pass("prompted, composition new", runs[COLD], bench->rounds, runs[IMAGE], runs[WHOLE]);
    report_pass("prompted, composition known", runs[KNOWN], bench->rounds, runs[IMAGE],
                runs[WHOLE]);
}

/* ---- The text side ---- */

static double time_plain(struct bench *bench, size_t count)
{
    struct fail why;
    struct arena arena;
    const struct engine *engine = bench->engine;
    size_t context = engine_info(engine)->context, *starts = mem_zeroed(count + 1, sizeof *starts);
    int32_t *ids = mem_zeroed(count * context, sizeof *ids);
    float *features = mem_zeroed(count * engine_info(engine)->joint_width, sizeof *features);
    const char *sentence = engine_pool_info(bench->pool)->sentence, *place = strstr(sentence, "{}");
    if (!starts || !ids || !features ||
        arena_init(&arena, compose_plain_scratch_bytes(engine->model, PLAIN_TEXTS), &why))
        exit(1);
    for (size_t i = 0; i < count; i++) {
        char text[1024];
        size_t tokens;
        snprintf(text, sizeof text, "%.*s%s%s", (int)(place - sentence), sentence,
                 bench->list.names[i], place + 2);
        if (engine_tokenize(engine, text, ids + starts[i], &tokens, NULL, &why))
            fail_with(&why);
        starts[i + 1] = starts[i] + tokens;
    }
    double start = stopwatch_seconds();
    compose_plain_features(&engine->text, engine->model, bench->pool, bench->composition->prompts,
                           ids, starts, count, PLAIN_TEXTS, &arena, features);
    double taken = 1e3 * (stopwatch_seconds() - start);
    arena_finish(&arena);
    free(starts);
    free(ids);
    free(features);
    return taken;
}

static void bench_text(struct bench *bench, size_t count)
{
    double trie[3], plain[3], ratios[3];
    size_t rounds = count > 200 ? 1 : 3;
    for (size_t i = 0; i < rounds; i++) {
        struct engine_labels *labels = compile(bench, count);
        trie[i] = time_score(bench, labels);
        plain[i] = time_plain(bench, count);
        ratios[i] = plain[i] / trie[i];
        printf("    run %zu: trie %.2f, 77 tokens %.2f ms\n", i + 1, trie[i], plain[i]);
        engine_labels_release(labels);
    }
    printf("%zu labels, text side: trie %.2f ms, padded to %zu tokens %.2f ms, ratio %.1f\n", count,
           median(trie, rounds), engine_info(bench->engine)->context, median(plain, rounds),
           median(ratios, rounds));
}

int main(int argc, char **argv)
{
    struct bench bench = {0};
    if (argc < 5 || argc > 6 || strtoul(argv[4], NULL, 10) == 0) {
        fprintf(stderr, "usage: bench_compose MODEL POOL LABELS_FILE THREADS [ROUNDS]\n");
        return 2;
    }
    bench.rounds = argc == 6 ? strtoul(argv[5], NULL, 10) : 7;
    bench.rounds = bench.rounds < 1 ? 1 : bench.rounds > MOST_ROUNDS ? MOST_ROUNDS : bench.rounds;
    set_up(&bench, argv);
    printf("%s, %s threads, %zu labels in the list\n", engine_info(bench.engine)->backend, argv[4],
           bench.list.count);
    time_image(&bench, 0);
    bench_pass(&bench, bench.list.count < 100 ? bench.list.count : 100);
    for (size_t count = 10; count <= 1000 && count <= bench.list.count; count *= 10)
        bench_text(&bench, count);
    free(bench.feature);
    free(bench.cosines);
    buf_finish(&bench.pixels);
    engine_label_list_finish(&bench.list);
    engine_composition_destroy(bench.composition);
    engine_pool_release(bench.pool);
    engine_session_destroy(bench.session);
    engine_close(bench.engine);
    return 0;
}
