/* The pool that training starts from. */
#include "tests/unit/prompted.h"

#include <unistd.h>

#include "engine/engine_state.h"
#include "engine/pool.h"
#include "engine/train/start.h"

enum { VIEWS = 40, CLUSTERS = 2, PROMPTS = 6, MOST_WIDTH = 128 };

/* A model, and views made up of queries around some directions. */
struct start {
    struct engine *engine;
    struct gallery gallery;
    float *directions; /* [PROMPTS, width], unit */
};

static const struct start_setting usual = {
    .groups = 1,
    .prompts = PROMPTS,
    .tokens = 2,
    .clusters = CLUSTERS,
    .per_cluster = 1,
    .pos0 = true,
    .sentence = "a photo of a {}.",
    .prompts_by_lot = true,
    .deviation = 0.02,
    .centred = true,
};

static void make_unit(float *values, size_t width)
{
    kernels_make_unit(&kernels_plain, values, width);
}

static void start_open(struct start *start)
{
    struct fail why;
    struct rng rng;
    const struct engine_options options = {.helpers = 0};
    unit_assert_ok(engine_open(PROMPTED "even", &options, &start->engine, &why), why);
    const struct clip_model_geometry *geometry = &start->engine->model->geometry;
    struct gallery *gallery = &start->gallery;
    *gallery = (struct gallery){.shape = {.joint = geometry->joint_width,
                                          .blocks = geometry->text.blocks,
                                          .clusters = CLUSTERS,
                                          .query_width = geometry->joint_width},
                                .pictures = VIEWS / 2,
                                .views = 2};
    size_t width = gallery->shape.query_width, floats = view_floats(&gallery->shape);
    gallery->rows = calloc(VIEWS * floats, sizeof(float));
    start->directions = calloc(PROMPTS * width, sizeof(float));
    rng_init(&rng, 3);
    for (size_t i = 0; i < PROMPTS * width; i++)
        start->directions[i] = (float)rng_normal(&rng);
    for (size_t i = 0; i < PROMPTS; i++)
        make_unit(start->directions + i * width, width);
    for (size_t row = 0; row < VIEWS * gallery->shape.blocks * CLUSTERS; row++) {
        size_t view = row / (gallery->shape.blocks * CLUSTERS);
        float *query = gallery->rows + view * floats + gallery->shape.joint +
                       row % (gallery->shape.blocks * CLUSTERS) * width;
        for (size_t i = 0; i < width; i++) /* of any length */
            query[i] = (float)(row % 5 + 1) * (start->directions[row % PROMPTS * width + i] +
                                               0.02f * (float)rng_normal(&rng));
    }
}

static void start_close(struct start *start)
{
    free(start->gallery.rows);
    free(start->directions);
    engine_close(start->engine);
}

static struct pool_file start_file(const struct start *start, const struct start_setting *changed,
                                   uint64_t seed)
{
    struct fail why;
    struct rng rng;
    struct pool_file file;
    struct start_setting setting = *changed;
    if (!setting.depth)
        setting.depth = start->gallery.shape.blocks;
    rng_init(&rng, seed);
    unit_assert_ok(
        start_pool(&start->engine->compose, &setting, &start->gallery, &rng, &file, &why), why);
    return file;
}

static void test_prompts_are_normal(void **state)
{
    (void)state;
    struct start start;
    start_open(&start);
    struct pool_file file = start_file(&start, &usual, 1);
    size_t count = file.prompts * file.tokens * file.width;
    double sum = 0, squares = 0;
    for (size_t i = 0; i < count; i++) {
        sum += (double)file.values[i];
        squares += (double)file.values[i] * (double)file.values[i];
    }
    unit_assert_near(sum / (double)count, 0, 0.002);
    unit_assert_near(sqrt(squares / (double)count), 0.02, 0.002);
    pool_file_finish(&file);
    start_close(&start);
}

/* Around the row of start of text before their block, without the position that is added. */
static void test_prompts_like_start_of_text(void **state)
{
    (void)state;
    struct start start;
    start_open(&start);
    const struct compose *compose = &start.engine->compose;
    struct start_setting setting = usual;
    setting.prompts_by_lot = false;
    setting.deviation = 0.1;
    setting.groups = start.gallery.shape.blocks;
    struct pool_file file = start_file(&start, &setting, 1);
    size_t width = file.width, each = file.prompts * file.tokens;
    for (size_t group = 0; group < file.groups; group++) {
        double off = 0, within = 0, mean = 0;
        float centre[MOST_WIDTH];
        for (size_t i = 0; i < width; i++) {
            centre[i] = compose->start_rows[group * width + i] -
                        (group ? 0 : compose->model->text_positions[width + i]);
            mean += (double)centre[i] / (double)width;
        }
        for (size_t i = 0; i < width; i++)
            within += ((double)centre[i] - mean) * ((double)centre[i] - mean) / (double)width;
        for (size_t i = 0; i < each * width; i++) {
            double away = (double)file.values[group * each * width + i] - (double)centre[i % width];
            off += away * away / (double)(each * width);
        }
        unit_assert_near(sqrt(off / within), 0.1, 0.02);
    }
    pool_file_finish(&file);
    setting.groups = 1; /* the mean of all blocks' rows */
    setting.deviation = 0;
    file = start_file(&start, &setting, 1);
    for (size_t i = 0; i < width; i++) {
        double sum = 0;
        for (size_t block = 0; block < file.blocks; block++)
            sum += (double)compose->start_rows[block * width + i];
        unit_assert_near(file.values[i], sum / (double)file.blocks, 1e-6);
    }
    pool_file_finish(&file);
    start_close(&start);
}

/* Directions that the queries gather around are found, each by one key. */
static void test_keys_are_centres_of_queries(void **state)
{
    (void)state;
    struct start start;
    start_open(&start);
    struct start_setting setting = usual;
    setting.centred = false;
    struct pool_file file = start_file(&start, &setting, 2);
    size_t width = file.query_width, found = 0;
    for (size_t i = 0; i < file.blocks * width; i++)
        assert_true(file.query_mean[i] == 0);
    for (size_t direction = 0; direction < PROMPTS; direction++)
        for (size_t key = 0; key < PROMPTS; key++)
            found += kernels_plain.dot(file.keys + key * width,
                                       start.directions + direction * width, width) > 0.98f;
    assert_int_equal(found, PROMPTS);
    pool_file_finish(&file);
    start_close(&start);
}

static void test_centre(void **state)
{
    (void)state;
    struct start start;
    start_open(&start);
    struct pool_file file = start_file(&start, &usual, 2);
    size_t width = file.query_width, floats = view_floats(&start.gallery.shape);
    for (size_t layer = 0; layer < file.blocks; layer++)
        for (size_t i = 0; i < width; i++) {
            double sum = 0;
            for (size_t row = 0; row < VIEWS * CLUSTERS; row++) {
                const float *query =
                    view_means(&start.gallery.shape, start.gallery.rows + row / CLUSTERS * floats) +
                    (layer * CLUSTERS + row % CLUSTERS) * width;
                sum += (double)query[i] / sqrt((double)kernels_plain.dot(query, query, width));
            }
            unit_assert_near(file.query_mean[layer * width + i], sum / (VIEWS * CLUSTERS), 1e-6);
        }
    pool_file_finish(&file);
    start_close(&start);
}

/* What is written can be read, and fits the model. */
static void check_file(const struct start *start, const struct start_setting *setting)
{
    struct fail why;
    struct engine_pool *pool;
    const struct engine_pool_options options = {.any_fingerprint = false};
    char path[] = "/tmp/test_start.XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    struct pool_file file = start_file(start, setting, 5);
    unit_assert_ok(pool_file_save(&file, path, &why), why);
    unit_assert_ok(engine_pool_load(start->engine, path, &options, &pool, &why), why);
    const struct engine_pool_info *info = engine_pool_info(pool);
    assert_int_equal(info->prompts, setting->prompts);
    assert_int_equal(info->groups, setting->groups);
    assert_int_equal(info->tokens, setting->tokens);
    assert_int_equal(info->clusters, setting->clusters);
    assert_int_equal(info->depth, file.depth);
    assert_int_equal(info->pos0, setting->pos0);
    assert_string_equal(info->sentence, setting->sentence);
    assert_memory_equal(pool->file.keys, file.keys,
                        file.groups * file.prompts * file.query_width * sizeof(float));
    engine_pool_release(pool);
    pool_file_finish(&file);
    unlink(path);
}

static void test_files(void **state)
{
    (void)state;
    struct start start;
    start_open(&start);
    check_file(&start, &usual);
    struct start_setting setting = usual;
    setting.groups = start.gallery.shape.blocks;
    setting.depth = 2;
    setting.pos0 = false;
    setting.keys_by_lot = true;
    setting.retrieval = POOL_RETRIEVAL_TOPK_POOLED;
    check_file(&start, &setting);
    start_close(&start);
}

static void test_seeds(void **state)
{
    (void)state;
    struct start start;
    start_open(&start);
    struct pool_file a = start_file(&start, &usual, 1), b = start_file(&start, &usual, 1);
    struct pool_file c = start_file(&start, &usual, 2);
    size_t values = a.prompts * a.tokens * a.width * sizeof(float);
    size_t keys = a.prompts * a.query_width * sizeof(float);
    assert_memory_equal(a.values, b.values, values);
    assert_memory_equal(a.keys, b.keys, keys);
    assert_memory_not_equal(a.values, c.values, values);
    pool_file_finish(&a);
    pool_file_finish(&b);
    pool_file_finish(&c);
    start_close(&start);
}

/* More keys than queries, and queries that are all the same: no key is zero or not a number. */
static void test_few_queries(void **state)
{
    (void)state;
    struct start start;
    start_open(&start);
    struct start_setting setting = usual;
    setting.prompts = VIEWS * CLUSTERS * 4;
    start.gallery.pictures = 1;
    start.gallery.views = 1;
    memset(start.gallery.rows, 0, view_floats(&start.gallery.shape) * sizeof(float));
    struct pool_file file = start_file(&start, &setting, 1);
    for (size_t i = 0; i < file.prompts; i++) {
        const float *key = file.keys + i * file.query_width;
        unit_assert_near(kernels_plain.dot(key, key, file.query_width), 1, 1e-5);
    }
    pool_file_finish(&file);
    start_close(&start);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_prompts_are_normal),
        cmocka_unit_test(test_prompts_like_start_of_text),
        cmocka_unit_test(test_keys_are_centres_of_queries),
        cmocka_unit_test(test_centre),
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_seeds),
        cmocka_unit_test(test_few_queries),
    };
    return cmocka_run_group_tests_name("start", tests, NULL, NULL);
}
