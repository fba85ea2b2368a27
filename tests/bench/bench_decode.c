/*
 * A JPEG to the input of the vision tower, exactly and scaled, against libjpeg-turbo alone decoding
 * the whole of it; see README.md. On one thread, in CPU time, which other programs change least.
 *
 *     build/release/bench/bench_decode EDGE ROUNDS JPEG...
 *
 * EDGE is the model's image size in pixels.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <jpeglib.h>

#include "engine/base/buf.h"
#include "engine/base/mem.h"
#include "engine/image.h"
#include "engine/preprocess.h"

enum { MAX_FILE_BYTES = 256 << 20, MAX_ROUNDS = 1000, WAYS = 3 };

static const char *const bench_names[WAYS] = {"libjpeg-turbo", "exact", "scaled"};

struct bench {
    struct preprocess preprocess;
    size_t rounds;
    struct buf file;
    uint8_t *rgb; /* of the whole picture */
    float *pixels;
    double seconds[WAYS][MAX_ROUNDS];
};

static double bench_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* Damage ends the program, as libjpeg has it; the engine has decoded the file before. */
static void bench_libjpeg(struct bench *bench)
{
    struct jpeg_decompress_struct codec;
    struct jpeg_error_mgr errors;
    codec.err = jpeg_std_error(&errors);
    jpeg_create_decompress(&codec);
    jpeg_mem_src(&codec, (const unsigned char *)bench->file.data, bench->file.size);
    jpeg_read_header(&codec, TRUE);
    codec.out_color_space = JCS_RGB;
    jpeg_start_decompress(&codec);
    while (codec.output_scanline < codec.output_height) {
        JSAMPROW row = bench->rgb + (size_t)codec.output_scanline * codec.output_width * 3;
        jpeg_read_scanlines(&codec, &row, 1);
    }
    jpeg_finish_decompress(&codec);
    jpeg_destroy_decompress(&codec);
}

static enum status bench_engine(struct bench *bench, uint32_t jpeg_edge, struct image *out,
                                struct fail *why)
{
    const struct image_options options = {.max_bytes = MAX_FILE_BYTES,
                                          .max_pixels = MAX_FILE_BYTES,
                                          .max_jpeg_scans = 100,
                                          .jpeg_edge = jpeg_edge};
    enum status status =
        image_decode((const uint8_t *)bench->file.data, bench->file.size, &options, out, why);
    if (!status)
        status = preprocess_apply(&bench->preprocess, out, bench->pixels, why);
    return status;
}

static enum status bench_way(struct bench *bench, size_t way, struct fail *why)
{
    struct image image = {0};
    if (way == 0) {
        bench_libjpeg(bench);
        return STATUS_OK;
    }
    uint32_t edge = way == 2 ? preprocess_enough(&bench->preprocess) : 0;
    enum status status = bench_engine(bench, edge, &image, why);
    image_finish(&image);
    return status;
}

static int bench_compare(const void *a, const void *b)
{
    double left = *(const double *)a, right = *(const double *)b;
    return (left > right) - (left < right);
}

static double bench_report(struct bench *bench, size_t way)
{
    double *seconds = bench->seconds[way];
    printf("  %-13s", bench_names[way]);
    for (size_t i = 0; i < bench->rounds; i++)
        printf(" %6.1f", 1e3 * seconds[i]);
    qsort(seconds, bench->rounds, sizeof *seconds, bench_compare);
    double median = seconds[bench->rounds / 2];
    printf("  median %.1f ms\n", 1e3 * median);
    return median;
}

/* The ways take turns. */
static enum status bench_measure(struct bench *bench, struct fail *why)
{
    enum status status = STATUS_OK;
    for (size_t i = 0; i < bench->rounds * WAYS && !status; i++) {
        double start = bench_now();
        status = bench_way(bench, i % WAYS, why);
        bench->seconds[i % WAYS][i / WAYS] = bench_now() - start;
    }
    return status;
}

static enum status bench_file(struct bench *bench, const char *path, struct fail *why)
{
    struct image whole = {0}, scaled = {0};
    bench->file.size = 0;
    enum status status = buf_read_file(&bench->file, path, why);
    if (!status)
        status = bench_engine(bench, 0, &whole, why);
    if (!status)
        status = bench_engine(bench, preprocess_enough(&bench->preprocess), &scaled, why);
    if (!status && whole.format != IMAGE_JPEG)
        status = status_fail(why, STATUS_UNSUPPORTED, "%s is no JPEG", path);
    if (!status) {
        printf("%s: %.1f MB, %u x %u pixels, scaled %u x %u; CPU ms\n", path,
               1e-6 * (double)bench->file.size, whole.width, whole.height, scaled.width,
               scaled.height);
        bench->rgb = whole.rgb;
        status = bench_measure(bench, why);
    }
    if (!status) {
        double full = bench_report(bench, 0), exact = bench_report(bench, 1);
        double fast = bench_report(bench, 2);
        printf("  ratio exact %.2f, scaled %.2f\n", exact / full, fast / full);
    }
    image_finish(&whole);
    image_finish(&scaled);
    return status;
}

int main(int argc, char **argv)
{
    static struct bench bench;
    struct fail why;
    enum status status = STATUS_OK;
    uint32_t edge = argc > 3 ? (uint32_t)strtoul(argv[1], NULL, 10) : 0;
    bench.rounds = argc > 3 ? strtoul(argv[2], NULL, 10) : 0;
    if (edge < 1 || edge > 4096 || bench.rounds < 1 || bench.rounds > MAX_ROUNDS) {
        fprintf(stderr, "usage: bench_decode EDGE ROUNDS JPEG...\n");
        return 2;
    }
    bench.preprocess =
        (struct preprocess){.shortest_edge = edge, .crop_size = edge, .deviation = {1, 1, 1}};
    bench.pixels = mem_aligned((size_t)edge * edge * 3, sizeof *bench.pixels);
    if (!bench.pixels)
        status = status_fail(&why, STATUS_NO_MEMORY, "no memory for %u x %u pixels", edge, edge);
    buf_init(&bench.file, MAX_FILE_BYTES);
    for (int i = 3; i < argc && !status; i++)
        status = bench_file(&bench, argv[i], &why);
    if (status)
        fprintf(stderr, "bench_decode: %s\n", why.message);
    buf_finish(&bench.file);
    free(bench.pixels);
    return status ? 1 : 0;
}
