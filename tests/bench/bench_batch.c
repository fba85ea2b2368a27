/*
 * What the workers of a server do, without a server: decode one picture again and again, pass the
 * batches through the model, compare with labels. Driven over standard input; see README.md.
 *
 *     build/release/bench/bench_batch MODEL_FOLDER PICTURE LABELS_FILE THREADS BATCH
 *
 * "run SECONDS" answers with pictures a second, and milliseconds of processor time a picture.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/buf.h"
#include "engine/base/mem.h"
#include "engine/engine.h"
#include "tests/bench/stopwatch.h"

enum { MAX_PICTURE_BYTES = 1 << 26, TOP = 5 };

struct bench {
    struct engine *engine;
    struct engine_labels *labels;
    struct buf picture;
    size_t batch, threads;
    double end_s;
};

struct bench_worker {
    const struct bench *bench;
    pthread_t thread;
    struct engine_session *session;
    float *pixels, *features, *cosines;
    size_t pictures;
    double seconds;
    struct fail why;
};

static enum status bench_compile(struct bench *bench, const char *labels_file, struct fail *why)
{
    struct buf file;
    struct engine_label_list list;
    struct engine_session *session = NULL;
    buf_init(&file, ENGINE_MAX_LIST_BYTES);
    enum status status = buf_read_file(&file, labels_file, why);
    if (!status)
        status = engine_label_list_parse(file.data, file.size, &list, why);
    buf_finish(&file);
    if (status)
        return status;
    status = engine_session_create(bench->engine, 1, &session, why);
    if (!status)
        status = engine_labels_compile(session, list.names, list.count, &engine_default_sentence, 1,
                                       &bench->labels, why);
    engine_session_destroy(session);
    engine_label_list_finish(&list);
    return status;
}

static enum status bench_open(struct bench *bench, char **argv, struct fail *why)
{
    const struct engine_options options = {.helpers = 0};
    bench->threads = strtoul(argv[4], NULL, 10);
    bench->batch = strtoul(argv[5], NULL, 10);
    if (!bench->threads || bench->threads > ENGINE_MAX_THREADS || !bench->batch)
        return status_fail(why, STATUS_INVALID, "1 to %d threads, and a batch of 1 or more",
                           ENGINE_MAX_THREADS);
    buf_init(&bench->picture, MAX_PICTURE_BYTES);
    enum status status = engine_open(argv[1], &options, &bench->engine, why);
    if (!status)
        status = buf_read_file(&bench->picture, argv[2], why);
    return status ? status : bench_compile(bench, argv[3], why);
}

static enum status bench_worker_init(struct bench_worker *worker, const struct bench *bench,
                                     struct fail *why)
{
    const struct engine_info *info = engine_info(bench->engine);
    size_t floats = 3 * info->image_size * info->image_size;
    worker->bench = bench;
    worker->pixels = mem_aligned(bench->batch, floats * sizeof(float));
    worker->features = mem_aligned(bench->batch, info->joint_width * sizeof(float));
    worker->cosines = mem_zeroed(engine_labels_count(bench->labels), sizeof(float));
    if (!worker->pixels || !worker->features || !worker->cosines)
        return status_fail(why, STATUS_NO_MEMORY, "no memory for a batch");
    return engine_session_create(bench->engine, bench->batch, &worker->session, why);
}

static enum status bench_pass(struct bench_worker *worker, struct fail *why)
{
    const struct bench *bench = worker->bench;
    const struct engine_info *info = engine_info(bench->engine);
    size_t floats = 3 * info->image_size * info->image_size;
    for (size_t i = 0; i < bench->batch; i++) {
        enum status status =
            engine_decode(bench->engine, (const uint8_t *)bench->picture.data, bench->picture.size,
                          &engine_image_default_options, worker->pixels + i * floats, NULL, why);
        if (status)
            return status;
    }
    enum status status =
        engine_embed_images(worker->session, worker->pixels, bench->batch, worker->features, why);
    for (size_t i = 0; i < bench->batch && !status; i++) {
        struct engine_prediction best[TOP];
        size_t count = engine_labels_count(bench->labels), found;
        engine_cosines(bench->engine, bench->labels, worker->features + i * info->joint_width,
                       worker->cosines);
        engine_top(info->logit_scale, worker->cosines, count, count < TOP ? count : TOP, best,
                   &found);
    }
    return status;
}

static void *bench_work(void *argument)
{
    struct bench_worker *worker = argument;
    double start_s = stopwatch_seconds(), now_s = start_s;
    worker->pictures = 0;
    while (now_s < worker->bench->end_s && !bench_pass(worker, &worker->why)) {
        worker->pictures += worker->bench->batch;
        now_s = stopwatch_seconds();
    }
    worker->seconds = now_s - start_s;
    return NULL;
}

static double bench_cpu_seconds(void)
{
    struct timespec used;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    return (double)used.tv_sec + 1e-9 * (double)used.tv_nsec;
}

static enum status bench_run(struct bench *bench, struct bench_worker *workers, double seconds,
                             struct fail *why)
{
    double rate = 0, pictures = 0, cpu_s = bench_cpu_seconds();
    if (!(seconds > 0 && seconds < 1e6))
        return status_fail(why, STATUS_INVALID, "run takes a number of seconds");
    bench->end_s = stopwatch_seconds() + seconds;
    for (size_t i = 0; i < bench->threads; i++) {
        workers[i].why = (struct fail){.code = STATUS_OK};
        if (pthread_create(&workers[i].thread, NULL, bench_work, &workers[i])) {
            fprintf(stderr, "bench_batch: cannot start a thread\n");
            exit(1);
        }
    }
    for (size_t i = 0; i < bench->threads; i++) {
        pthread_join(workers[i].thread, NULL);
        rate += (double)workers[i].pictures / workers[i].seconds;
        pictures += (double)workers[i].pictures;
    }
    for (size_t i = 0; i < bench->threads; i++)
        if (workers[i].why.code) {
            *why = workers[i].why;
            return why->code;
        }
    printf("%.3f %.4f\n", rate, 1e3 * (bench_cpu_seconds() - cpu_s) / pictures);
    return STATUS_OK;
}

static void bench_close(struct bench *bench, struct bench_worker *workers)
{
    for (size_t i = 0; workers && i < bench->threads; i++) {
        engine_session_destroy(workers[i].session);
        free(workers[i].pixels);
        free(workers[i].features);
        free(workers[i].cosines);
    }
    free(workers);
    engine_labels_release(bench->labels);
    engine_close(bench->engine);
    buf_finish(&bench->picture);
}

int main(int argc, char **argv)
{
    struct fail why;
    struct bench bench = {0};
    struct bench_worker *workers = NULL;
    char line[64];
    if (argc != 6) {
        fprintf(stderr, "usage: bench_batch MODEL_FOLDER PICTURE LABELS_FILE THREADS BATCH\n");
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    enum status status = bench_open(&bench, argv, &why);
    if (!status && !(workers = mem_zeroed(bench.threads, sizeof *workers)))
        status = status_fail(&why, STATUS_NO_MEMORY, "no memory for the workers");
    for (size_t i = 0; !status && i < bench.threads; i++)
        status = bench_worker_init(&workers[i], &bench, &why);
    if (!status)
        printf("ready %s\n", engine_info(bench.engine)->backend);
    while (!status && fgets(line, sizeof line, stdin)) {
        if (strncmp(line, "run ", 4) != 0)
            status = status_fail(&why, STATUS_INVALID, "unknown command \"%s\"", line);
        else
            status = bench_run(&bench, workers, strtod(line + 4, NULL), &why);
    }
    if (status)
        fprintf(stderr, "bench_batch: %s\n", why.message);
    bench_close(&bench, workers);
    return status ? 1 : 0;
}
