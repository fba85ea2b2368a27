/*
 * One image pass of the engine, driven over standard input; see README.md.
 *
 *     build/release/bench/bench_image MODEL_FOLDER THREADS
 *
 * Lines in: "run COUNT" passes the first COUNT pictures of pixels.f32 and answers with the
 * milliseconds it took; "save FILE" writes the features of the last run and answers "saved".
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/buf.h"
#include "engine/base/mem.h"
#include "engine/engine.h"
#include "tests/bench/stopwatch.h"

enum { MAX_PIXEL_BYTES = 1 << 28 };

struct bench {
    struct engine *engine;
    struct engine_session *session;
    struct buf pixels;
    size_t pictures; /* how many the pixels are */
    float *features; /* [pictures, joint_width] */
    size_t count;    /* rows of features from the last run */
};

static enum status bench_read_pixels(struct bench *bench, const char *folder, struct fail *why)
{
    char path[4096];
    size_t edge = engine_info(bench->engine)->image_size;
    size_t picture_bytes = 3 * edge * edge * sizeof(float);

    snprintf(path, sizeof path, "%s/pixels.f32", folder);
    enum status status = buf_read_file(&bench->pixels, path, why);
    if (status != STATUS_OK)
        return status;
    bench->pictures = bench->pixels.size / picture_bytes;
    if (bench->pictures == 0 || bench->pixels.size % picture_bytes != 0)
        return status_fail(why, STATUS_FORMAT, "%s: %zu bytes are no whole number of pictures",
                           path, bench->pixels.size);
    return STATUS_OK;
}

static enum status bench_open(struct bench *bench, const char *folder, size_t threads,
                              struct fail *why)
{
    struct engine_options options = {.helpers = threads - 1};
    enum status status = engine_open(folder, &options, &bench->engine, why);

    if (status == STATUS_OK)
        status = bench_read_pixels(bench, folder, why);
    if (status == STATUS_OK)
        status = engine_session_create(bench->engine, bench->pictures, &bench->session, why);
    if (status != STATUS_OK)
        return status;
    bench->features =
        mem_zeroed(bench->pictures * engine_info(bench->engine)->joint_width, sizeof(float));
    if (bench->features == NULL)
        return status_fail(why, STATUS_NO_MEMORY, "no memory for the features");
    return STATUS_OK;
}

static void bench_close(struct bench *bench)
{
    free(bench->features);
    engine_session_destroy(bench->session);
    engine_close(bench->engine);
    buf_finish(&bench->pixels);
}

static enum status bench_run(struct bench *bench, size_t count, struct fail *why)
{
    if (count == 0 || count > bench->pictures)
        return status_fail(why, STATUS_INVALID, "run takes 1 to %zu pictures", bench->pictures);

    double start = stopwatch_seconds();
    enum status status = engine_embed_images(bench->session, (const float *)bench->pixels.data,
                                             count, bench->features, why);
    if (status != STATUS_OK)
        return status;
    printf("%.3f\n", 1e3 * (stopwatch_seconds() - start));
    bench->count = count;
    return STATUS_OK;
}

static enum status bench_save(const struct bench *bench, const char *path, struct fail *why)
{
    size_t floats = bench->count * engine_info(bench->engine)->joint_width;
    FILE *file = fopen(path, "wb");
    size_t written = file != NULL ? fwrite(bench->features, sizeof(float), floats, file) : 0;

    if (file == NULL || fclose(file) != 0 || written != floats)
        return status_fail(why, STATUS_IO, "%s cannot be written", path);
    puts("saved");
    return STATUS_OK;
}

static enum status bench_obey(struct bench *bench, char *line, struct fail *why)
{
    line[strcspn(line, "\n")] = '\0';
    if (strncmp(line, "run ", 4) == 0)
        return bench_run(bench, strtoul(line + 4, NULL, 10), why);
    if (strncmp(line, "save ", 5) == 0)
        return bench_save(bench, line + 5, why);
    return status_fail(why, STATUS_INVALID, "unknown command \"%s\"", line);
}

int main(int argc, char **argv)
{
    struct fail why;
    struct bench bench = {0};
    char line[4200];
    size_t threads = argc == 3 ? strtoul(argv[2], NULL, 10) : 0;

    if (threads == 0) {
        fprintf(stderr, "usage: bench_image MODEL_FOLDER THREADS\n");
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    buf_init(&bench.pixels, MAX_PIXEL_BYTES);
    enum status status = bench_open(&bench, argv[1], threads, &why);
    if (status == STATUS_OK)
        printf("ready AttriPrompt engine, %s\n", engine_info(bench.engine)->backend);
    while (status == STATUS_OK && fgets(line, sizeof line, stdin) != NULL)
        status = bench_obey(&bench, line, &why);
    if (status != STATUS_OK)
        fprintf(stderr, "bench_image: %s\n", why.message);
    bench_close(&bench);
    return status == STATUS_OK ? 0 : 1;
}
