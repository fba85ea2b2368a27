/* Pools and models: which fit, what is told of them, and what is computed once, against the
 * definition in double precision from the numbers in the files. */
#include "tests/unit/pool_parts.h"

#include "engine/engine_state.h"
#include "engine/pool.h"

enum { MOST_WIDTH = 64 };

static char folder[] = "/tmp/test_pool.XXXXXX";
static char file_path[64]; /* in it */

static int make_folder(void **state)
{
    (void)state;
    snprintf(file_path, sizeof file_path, "%s/birds.v2.safetensors",
             mkdtemp(folder) ? folder : "none");
    return 0;
}

static int remove_folder(void **state)
{
    (void)state;
    unlink(file_path);
    return rmdir(folder);
}

static struct engine *open_model(const char *model)
{
    struct fail why;
    struct engine *engine;
    const struct engine_options options = {.composition_cache_bytes = 0};
    char path[128];
    snprintf(path, sizeof path, PROMPTED "%s", model);
    unit_assert_ok(engine_open(path, &options, &engine, &why), why);
    return engine;
}

static enum status load(struct engine *engine, const struct pool_parts *parts, bool any_fingerprint,
                        struct engine_pool **out, struct fail *why)
{
    const struct engine_pool_options options = {.any_fingerprint = any_fingerprint};
    pool_parts_write(parts, file_path);
    return engine_pool_load(engine, file_path, &options, out, why);
}

static struct engine_pool *expect_pool(struct engine *engine, const struct pool_parts *parts)
{
    struct fail why;
    struct engine_pool *pool;
    unit_assert_ok(load(engine, parts, false, &pool, &why), why);
    return pool;
}

static void expect_refused(struct engine *engine, const struct pool_parts *parts, const char *part)
{
    struct fail why = {0};
    struct engine_pool *pool = NULL;
    unit_assert_fails(load(engine, parts, false, &pool, &why), STATUS_INVALID, why, part);
    assert_non_null(strstr(why.message, file_path));
    assert_null(pool);
    assert_int_equal(load(engine, parts, false, &pool, NULL), STATUS_INVALID);
}

/* ---- Pools of the model ---- */

static const struct own {
    const char *model, *variant, *cluster_space;
    size_t clusters, per_cluster, tokens, groups, prompts, depth, pos0;
} owns[] = {
    {"deep_vision", "plain", "raw", 4, 1, 1, 1, 16, 2, 1},
    {"deep_vision", "layers", "ln", 4, 2, 3, 2, 20, 2, 0},
    {"deep_vision", "first", "joint", 1, 2, 3, 1, 8, 1, 1},
    {"deep_vision", "singletons", "raw", 16, 1, 1, 2, 24, 2, 0},
    {"deep_vision", "pooled", "raw", 4, 2, 1, 1, 24, 1, 1},
    {"deep_text", "plain", "raw", 4, 1, 1, 3, 12, 3, 1},
    {"deep_text", "middle", "joint", 4, 2, 3, 1, 20, 2, 1},
    {"deep_text", "singletons", "ln", 9, 2, 1, 1, 24, 3, 0},
    {"deep_text", "raw_queries", "raw", 4, 1, 1, 3, 16, 2, 0},
    {"deep_text", "all", "raw", 4, 2, 3, 3, 8, 3, 1},
    {"even", "plain", "joint", 4, 1, 3, 1, 16, 3, 1},
    {"even", "bare", "ln", 1, 1, 3, 3, 8, 1, 0},
    {"even", "layers", "raw", 4, 2, 1, 3, 24, 3, 1},
    {"even", "singletons", "ln", 16, 1, 3, 1, 24, 2, 1},
    {"even", "no_mean", "joint", 4, 1, 1, 1, 16, 3, 1},
};

static void check_info(const struct engine_pool *pool, const struct engine_info *model,
                       const struct own *own)
{
    const struct engine_pool_info *info = engine_pool_info(pool);
    bool raw_queries = !strcmp(own->variant, "raw_queries");
    bool pooled = !strcmp(own->variant, "pooled");
    assert_string_equal(info->name, own->variant);
    assert_non_null(strstr(info->sentence, "{}"));
    assert_int_equal(info->groups, own->groups);
    assert_int_equal(info->prompts, own->prompts);
    assert_int_equal(info->tokens, own->tokens);
    assert_int_equal(info->text_width, model->text.width);
    assert_int_equal(info->text_blocks, model->text.blocks);
    assert_int_equal(info->query_width, raw_queries ? model->vision.width : model->joint_width);
    assert_int_equal(info->clusters, own->clusters);
    assert_int_equal(info->per_cluster, own->per_cluster);
    assert_int_equal(info->depth, own->depth);
    assert_int_equal(info->pos0, own->pos0);
    assert_string_equal(info->cluster_space, own->cluster_space);
    assert_string_equal(info->query_space, raw_queries ? "raw" : "joint");
    assert_string_equal(info->retrieval, pooled ? "topk_pooled" : "distinct");
    assert_true(info->logit_scale == (pooled ? (float)exp(3.25) : model->logit_scale));
    for (size_t i = 0; i < info->metadata_count; i++)
        if (!strcmp(info->metadata[i].key, "model_fingerprint"))
            assert_string_equal(info->metadata[i].value, model->fingerprint);
    assert_int_equal(pool->chosen, own->clusters * own->per_cluster);
    assert_int_equal(pool->slots, pool->chosen * own->tokens);
    assert_int_equal(pool->patches, model->patches);
    assert_int_equal(pool->context, model->context);
    assert_int_equal(!pool->keys_values, own->depth < 2);
}

static void test_own_pools(void **state)
{
    (void)state;
    struct engine *engine = NULL;
    uint64_t last_id = 0;
    for (size_t i = 0; i < UNIT_COUNT(owns); i++) {
        if (!i || strcmp(owns[i].model, owns[i - 1].model) != 0) {
            engine_close(engine);
            engine = open_model(owns[i].model);
            last_id = 0;
        }
        struct engine_pool *pool = prompted_pool(engine, owns[i].model, owns[i].variant);
        check_info(pool, engine_info(engine), &owns[i]);
        assert_true(pool->id > last_id);
        last_id = pool->id;
        engine_pool_release(pool);
    }
    engine_close(engine);
}

static void test_name_and_scale(void **state)
{
    (void)state;
    struct pool_parts parts;
    struct engine *engine = open_model("deep_vision");
    pool_parts_open(&parts, "deep_vision", "plain");
    pool_parts_set(&parts, "name", NULL);
    pool_parts_set(&parts, "logit_scale", "-0.5");
    struct engine_pool *pool = expect_pool(engine, &parts);
    assert_string_equal(engine_pool_info(pool)->name, "birds.v2");
    assert_true(engine_pool_info(pool)->logit_scale == (float)exp(-0.5));
    engine_pool_release(pool);
    pool_parts_set(&parts, "name", "birds of one coast");
    pool_parts_set(&parts, "logit_scale", NULL);
    pool = expect_pool(engine, &parts);
    assert_string_equal(engine_pool_info(pool)->name, "birds of one coast");
    assert_true(engine_pool_info(pool)->logit_scale == engine_info(engine)->logit_scale);
    engine_pool_release(pool);
    pool_parts_close(&parts);
    engine_close(engine);
}

static void test_references(void **state)
{
    (void)state;
    struct engine *engine = open_model("even");
    struct engine_pool *pool = prompted_pool(engine, "even", "plain");
    assert_int_equal(atomic_load(&pool->references), 1);
    assert_ptr_equal(engine_pool_acquire(pool), pool);
    assert_int_equal(atomic_load(&pool->references), 2);
    engine_pool_release(pool);
    assert_int_equal(atomic_load(&pool->references), 1);
    engine_pool_release(pool);
    engine_pool_release(NULL);
    engine_close(engine);
}

/* ---- Pools of other models ---- */

static void refuse_foreign(struct engine *engine, const struct pool_parts *parts)
{
    const struct engine_tower *text = &engine_info(engine)->text;
    bool wide = parts->values.shape[3] != text->width;
    char message[128];
    snprintf(message, sizeof message, "%s is %zu, but the model's %s is %zu",
             wide ? "the last dimension of pool.values" : "the first dimension of query_mean",
             wide ? parts->values.shape[3] : parts->mean.shape[0],
             wide ? "width of the text tower" : "number of text blocks",
             wide ? text->width : text->blocks);
    expect_refused(engine, parts, message);
}

/* Also if any fingerprint will do. */
static void test_foreign_pools(void **state)
{
    (void)state;
    static const char *const models[] = {"deep_vision", "deep_text", "even"};
    for (size_t i = 0; i < UNIT_COUNT(models); i++) {
        struct engine *engine = open_model(models[i]);
        for (size_t j = 0; j < UNIT_COUNT(owns); j++) {
            struct pool_parts parts;
            struct engine_pool *pool = NULL;
            struct fail why;
            if (!strcmp(owns[j].model, models[i]))
                continue;
            pool_parts_open(&parts, owns[j].model, owns[j].variant);
            refuse_foreign(engine, &parts);
            assert_int_equal(load(engine, &parts, true, &pool, &why), STATUS_INVALID);
            assert_null(pool);
            pool_parts_close(&parts);
        }
        engine_close(engine);
    }
}

static void test_query_width(void **state)
{
    (void)state;
    struct pool_parts parts;
    struct engine *engine = open_model("even");
    pool_parts_open(&parts, "even", "no_mean");
    pool_parts_set(&parts, "query_space", "raw");
    expect_refused(engine, &parts,
                   "the last dimension of pool.keys is 28, but the model's width of the vision "
                   "tower is 32");
    POOL_PARTS_RESHAPE(&parts.keys, 1, 16, 32);
    POOL_PARTS_RESHAPE(&parts.mean, 3, 32);
    engine_pool_release(expect_pool(engine, &parts));
    pool_parts_set(&parts, "query_space", "joint");
    expect_refused(engine, &parts,
                   "the last dimension of pool.keys is 32, but the model's joint width is 28");
    pool_parts_close(&parts);
    engine_close(engine);
}

static void test_clusters_and_patches(void **state)
{
    (void)state;
    struct pool_parts parts;
    struct engine *engine = open_model("even");
    pool_parts_open(&parts, "even", "layers");
    pool_parts_set(&parts, "per_cluster", "1");
    pool_parts_set(&parts, "clusters", "17");
    expect_refused(engine, &parts,
                   "metadata \"clusters\" is 17, but the model cuts pictures into 16 patches");
    pool_parts_set(&parts, "clusters", "16");
    engine_pool_release(expect_pool(engine, &parts));
    pool_parts_close(&parts);
    engine_close(engine);
}

/* A text needs three tokens at least, of 77. */
static void test_room_in_the_context(void **state)
{
    (void)state;
    static const struct {
        const char *clusters, *per_cluster;
        size_t tokens;
        const char *message; /* NULL: it fits */
    } cases[] = {
        {"2", "1", 37, NULL},
        {"1", "1", 74, NULL},
        {"1", "1", 75, "clusters times per_cluster times tokens is 75, which leaves no room"},
        {"3", "1", 25,
         "tokens is 75, which leaves no room for a text in the model's context of 77"},
        {"1", "2", 38, "tokens is 76, which leaves no room"},
    };
    struct pool_parts parts;
    struct engine *engine = open_model("deep_vision");
    pool_parts_open(&parts, "deep_vision", "first");
    for (size_t i = 0; i < UNIT_COUNT(cases); i++) {
        POOL_PARTS_RESHAPE(&parts.values, 1, 8, cases[i].tokens, 24);
        pool_parts_set(&parts, "clusters", cases[i].clusters);
        pool_parts_set(&parts, "per_cluster", cases[i].per_cluster);
        if (cases[i].message)
            expect_refused(engine, &parts, cases[i].message);
        else
            engine_pool_release(expect_pool(engine, &parts));
    }
    pool_parts_close(&parts);
    engine_close(engine);
}

/* Refused before anything is read, so without so many numbers. */
static void test_table_that_is_too_large(void **state)
{
    (void)state;
    struct pool_parts parts;
    struct fail why;
    struct engine_pool *pool = NULL;
    struct engine *engine = open_model("even");
    pool_parts_open(&parts, "even", "bare");
    struct pool_file file = pool_parts_good(&parts);
    file.prompts = POOL_FILE_MAX_PROMPTS;
    file.tokens = 29;
    file.depth = 3;
    unit_assert_fails(pool_create(&engine->text, engine->model, &file, "x", true, 1, &pool, &why),
                      STATUS_LIMIT, why, "65535 prompts of 29 tokens in 3 blocks take more than");
    assert_int_equal(file.prompts, 0);
    file = pool_parts_good(&parts);
    file.prompts = 2000000;
    unit_assert_fails(pool_create(&engine->text, engine->model, &file, "x", true, 1, &pool, &why),
                      STATUS_LIMIT, why, "the keys of 3 groups of 2000000 prompts, of width 28");
    file = pool_parts_good(&parts);
    file.prompts = 70000;
    file.clusters = 16;
    unit_assert_fails(pool_create(&engine->text, engine->model, &file, "x", true, 1, &pool, &why),
                      STATUS_LIMIT, why, "\"clusters\" times the 70000 prompts");
    assert_null(pool);
    pool_parts_close(&parts);
    engine_close(engine);
}

static void test_fingerprint(void **state)
{
    (void)state;
    struct pool_parts parts;
    struct fail why;
    struct engine_pool *pool;
    char other[65] = {0}, message[160];
    struct engine *engine = open_model("even");
    pool_parts_open(&parts, "even", "plain");
    snprintf(other, sizeof other, "%s", engine_info(engine)->fingerprint);
    other[63] = other[63] == '0' ? '1' : '0';
    pool_parts_set(&parts, "model_fingerprint", other);
    snprintf(message, sizeof message,
             "metadata \"model_fingerprint\" is %.12s..., but the model's is %.12s...", other,
             other);
    expect_refused(engine, &parts, message);
    unit_assert_ok(load(engine, &parts, true, &pool, &why), why);
    engine_pool_release(pool);
    pool_parts_set(&parts, "model_fingerprint", NULL);
    engine_pool_release(expect_pool(engine, &parts));
    pool_parts_close(&parts);
    engine_close(engine);
}

/* ---- What is computed once ---- */

static float *model_tensor(const struct safetensors *model, size_t block, const char *name)
{
    char full[128];
    snprintf(full, sizeof full, "text_model.encoder.layers.%zu.%s", block, name);
    return prompted_tensor(model, full, NULL);
}

/* out [width] = weight norm(x) + bias of one projection. */
static void project(const float *weight, const float *bias, const double *normed, size_t width,
                    double *out)
{
    for (size_t i = 0; i < width; i++) {
        out[i] = (double)bias[i];
        for (size_t d = 0; d < width; d++)
            out[i] += (double)weight[i * width + d] * normed[d];
    }
}

static void norm(const float *x, const float *weight, const float *bias, size_t width, double *out)
{
    double mean = 0, variance = 0;
    for (size_t d = 0; d < width; d++)
        mean += (double)x[d] / (double)width;
    for (size_t d = 0; d < width; d++)
        variance += pow((double)x[d] - mean, 2) / (double)width;
    for (size_t d = 0; d < width; d++)
        out[d] =
            ((double)x[d] - mean) / sqrt(variance + 1e-5) * (double)weight[d] + (double)bias[d];
}

/* Of keys and values of one block; largest difference. */
static double check_block(const struct engine_pool *pool, const struct safetensors *model,
                          size_t block)
{
    static const char *const names[] = {"layer_norm1.weight",      "layer_norm1.bias",
                                        "self_attn.k_proj.weight", "self_attn.k_proj.bias",
                                        "self_attn.v_proj.weight", "self_attn.v_proj.bias"};
    const struct pool_file *file = &pool->file;
    size_t width = file->width, group = file->groups == 1 ? 0 : block;
    float *weights[UNIT_COUNT(names)];
    double normed[MOST_WIDTH], expected[2 * MOST_WIDTH], largest = 0;
    for (size_t i = 0; i < UNIT_COUNT(names); i++)
        weights[i] = model_tensor(model, block, names[i]);
    for (size_t row = 0; row < file->prompts * file->tokens; row++) {
        size_t prompt = row / file->tokens, token = row % file->tokens;
        const float *x = file->values + (group * file->prompts * file->tokens + row) * width;
        const float *found = pool_key_value(pool, block, prompt, token);
        assert_ptr_equal(pool_value(pool, block, prompt) + token * width, x);
        norm(x, weights[0], weights[1], width, normed);
        project(weights[2], weights[3], normed, width, expected);
        project(weights[4], weights[5], normed, width, expected + width);
        for (size_t i = 0; i < 2 * width; i++)
            largest = unit_worse(largest, fabs((double)found[i] - expected[i]));
    }
    for (size_t i = 0; i < UNIT_COUNT(names); i++)
        free(weights[i]);
    return largest;
}

static void check_unit_keys(const struct engine_pool *pool)
{
    const struct pool_file *file = &pool->file;
    for (size_t block = 0; block < file->blocks; block++)
        for (size_t prompt = 0; prompt < file->prompts; prompt++) {
            size_t at = (file->groups == 1 ? 0 : block) * file->prompts + prompt;
            const float *key = file->keys + at * file->query_width;
            const double *unit = pool_unit_key(pool, block, prompt);
            double squares = 0;
            for (size_t d = 0; d < file->query_width; d++)
                squares += (double)key[d] * (double)key[d];
            for (size_t d = 0; d < file->query_width; d++)
                unit_assert_near(unit[d], (double)key[d] / sqrt(squares), 1e-14);
        }
}

static double check_tables(const struct engine_pool *pool, const char *model)
{
    double largest = 0;
    struct safetensors *weights = prompted_file(model, "model");
    check_unit_keys(pool);
    for (size_t block = 1; block < pool->file.depth; block++)
        largest = unit_worse(largest, check_block(pool, weights, block));
    safetensors_close(weights);
    return largest;
}

/* In sizes that divide neither a step of rows nor a vector. Largest error seen: 1.9e-6. */
static void test_keys_and_values(void **state)
{
    (void)state;
    static const size_t prompts[] = {1, 5, 85, 86, 131, 257};
    double largest = 0;
    for (size_t i = 0; i < UNIT_COUNT(owns); i++) {
        struct engine *engine = open_model(owns[i].model);
        struct engine_pool *pool = prompted_pool(engine, owns[i].model, owns[i].variant);
        largest = unit_worse(largest, check_tables(pool, owns[i].model));
        engine_pool_release(pool);
        engine_close(engine);
    }
    struct pool_parts parts;
    struct engine *engine = open_model("deep_text");
    pool_parts_open(&parts, "deep_text", "all");
    pool_parts_set(&parts, "clusters", "1");
    pool_parts_set(&parts, "per_cluster", "1");
    for (size_t i = 0; i < UNIT_COUNT(prompts); i++) {
        POOL_PARTS_RESHAPE(&parts.values, 3, prompts[i], 3, 32);
        POOL_PARTS_RESHAPE(&parts.keys, 3, prompts[i], 28);
        struct engine_pool *pool = expect_pool(engine, &parts);
        largest = unit_worse(largest, check_tables(pool, "deep_text"));
        engine_pool_release(pool);
    }
    pool_parts_close(&parts);
    engine_close(engine);
    print_message("largest error of a key or value %.1e\n", largest);
    assert_true(largest <= 1e-5);
}

/* Keys so long or short that squares of floats would not do. */
static void test_keys_of_any_length(void **state)
{
    (void)state;
    static const float values[] = {1e-45f, 1e-38f, 1e-20f, 1, 1e20f, 3.4e38f};
    struct pool_parts parts;
    struct engine *engine = open_model("even");
    pool_parts_open(&parts, "even", "no_mean");
    for (size_t i = 0; i < UNIT_COUNT(values); i++)
        for (size_t d = 0; d < 28; d++)
            pool_parts_put(&parts.keys, i * 28 + d, d % 3 ? values[i] : -values[i]);
    struct engine_pool *pool = expect_pool(engine, &parts);
    check_unit_keys(pool);
    unit_assert_near(pool_unit_key(pool, 0, 0)[1], 1 / sqrt(28), 1e-14);
    engine_pool_release(pool);
    pool_parts_close(&parts);
    engine_close(engine);
}

static void test_depth(void **state)
{
    (void)state;
    struct pool_parts parts;
    struct engine *engine = open_model("even");
    pool_parts_open(&parts, "even", "plain");
    for (size_t i = 0; i <= 3; i++) {
        pool_parts_set(&parts, "depth", (const char[]){(char)('0' + i), 0});
        struct engine_pool *pool = expect_pool(engine, &parts);
        assert_int_equal(engine_pool_info(pool)->depth, i);
        assert_int_equal(!pool->keys_values, i < 2);
        assert_true(check_tables(pool, "even") <= 1e-5);
        engine_pool_release(pool);
    }
    pool_parts_close(&parts);
    engine_close(engine);
}

/* Finite in the file, but not on its way through a norm. */
static void test_prompts_that_overflow(void **state)
{
    (void)state;
    struct pool_parts parts;
    struct engine *engine = open_model("even");
    pool_parts_open(&parts, "even", "plain");
    for (size_t i = 0; i < engine_info(engine)->text.width; i++) /* whose sum is infinite */
        pool_parts_put(&parts.values, i, 3e38f);
    expect_refused(engine, &parts, "pool.values: prompt 0 overflows in text block 1");
    pool_parts_close(&parts);
    engine_close(engine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_own_pools),
        cmocka_unit_test(test_name_and_scale),
        cmocka_unit_test(test_references),
        cmocka_unit_test(test_foreign_pools),
        cmocka_unit_test(test_query_width),
        cmocka_unit_test(test_clusters_and_patches),
        cmocka_unit_test(test_room_in_the_context),
        cmocka_unit_test(test_table_that_is_too_large),
        cmocka_unit_test(test_fingerprint),
        cmocka_unit_test(test_keys_and_values),
        cmocka_unit_test(test_keys_of_any_length),
        cmocka_unit_test(test_depth),
        cmocka_unit_test(test_prompts_that_overflow),
    };
    return cmocka_run_group_tests_name("pool", tests, make_folder, remove_folder);
}
