/* Pool files opened without a model, and the figures of their keys. */
#include "tests/unit/pool_parts.h"

static char folder[] = "/tmp/test_pool_figures.XXXXXX";
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

static struct engine_pool_file *expect_open(const char *path)
{
    struct fail why;
    struct engine_pool_file *file;
    unit_assert_ok(engine_pool_file_open(path, &file, &why), why);
    return file;
}

static struct engine_pool_file *open_parts(const struct pool_parts *parts)
{
    pool_parts_write(parts, file_path);
    return expect_open(file_path);
}

/* ---- Opening ---- */

static void expect_closed(const char *path, enum status status, const char *part)
{
    struct fail why = {0};
    struct engine_pool_file *file = NULL;
    unit_assert_fails(engine_pool_file_open(path, &file, &why), status, why, path);
    if (!strstr(why.message, part))
        fail_msg("\"%s\" does not say \"%s\"", why.message, part);
    assert_null(file);
    assert_int_equal(engine_pool_file_open(path, &file, NULL), status);
}

static void test_what_cannot_be_opened(void **state)
{
    (void)state;
    static const char text[] = "birds and cats, a line that is no pool\n";
    struct pool_parts parts;
    unlink(file_path);
    expect_closed(file_path, STATUS_NOT_FOUND, "No such file");
    expect_closed(folder, STATUS_IO, "not a regular file");
    pool_parts_write_bytes(file_path, text, sizeof text - 1);
    expect_closed(file_path, STATUS_LIMIT, "not a safetensors file?");
    pool_parts_write_bytes(file_path, text, 5);
    expect_closed(file_path, STATUS_FORMAT, "5 bytes are too short");
    pool_parts_write_bytes(file_path, "", 0);
    expect_closed(file_path, STATUS_FORMAT, "0 bytes are too short");
    expect_closed(PROMPTED "even/model.safetensors", STATUS_INVALID, "metadata \"format\"");
    pool_parts_open(&parts, "even", "layers");
    pool_parts_set(&parts, "format", "attriprompt.pool/2");
    pool_parts_write(&parts, file_path);
    expect_closed(file_path, STATUS_UNSUPPORTED, "metadata \"format\"");
    pool_parts_set(&parts, "format", POOL_FILE_FORMAT);
    pool_parts_set(&parts, "pos0", "2");
    pool_parts_write(&parts, file_path);
    expect_closed(file_path, STATUS_INVALID, "metadata \"pos0\"");
    pool_parts_close(&parts);
    engine_pool_file_close(NULL);
}

static void test_info(void **state)
{
    (void)state;
    struct pool_parts parts;
    struct engine_pool_file *file = expect_open(PROMPTED "deep_text/raw_queries.pool.safetensors");
    const struct engine_pool_info *info = engine_pool_file_info(file);
    assert_string_equal(info->name, "raw_queries");
    assert_string_equal(info->query_space, "raw");
    assert_int_equal(info->groups, 3);
    assert_int_equal(info->prompts, 16);
    assert_int_equal(info->query_width, 24);
    assert_int_equal(info->metadata_count, 11);
    assert_true(info->logit_scale == 0);
    engine_pool_file_close(file);
    pool_parts_open(&parts, "deep_vision", "pooled");
    pool_parts_set(&parts, "name", NULL);
    file = open_parts(&parts);
    assert_string_equal(engine_pool_file_info(file)->name, "birds.v2");
    assert_true(engine_pool_file_info(file)->logit_scale == (float)exp(3.25));
    engine_pool_file_close(file);
    pool_parts_close(&parts);
}

/* ---- Figures ---- */

/* Unit vectors first, then their products. */
static double unit_cosine(const float *a, const float *b, size_t width)
{
    double lengths[2] = {0, 0}, cosine = 0;
    for (size_t d = 0; d < width; d++) {
        lengths[0] = hypot(lengths[0], (double)a[d]);
        lengths[1] = hypot(lengths[1], (double)b[d]);
    }
    for (size_t d = 0; d < width; d++)
        cosine += (double)a[d] / lengths[0] * ((double)b[d] / lengths[1]);
    return cosine;
}

static void check_figures(const struct engine_pool_file *opened, const struct pool_file *file,
                          size_t group)
{
    struct engine_pool_key_figures figures;
    size_t width = file->query_width;
    const float *keys = file->keys + group * file->prompts * width;
    double least = INFINITY, greatest = -INFINITY, sum = 0, shortest = INFINITY, longest = 0;
    for (size_t a = 0; a < file->prompts; a++) {
        double length = 0;
        for (size_t d = 0; d < width; d++)
            length = hypot(length, (double)keys[a * width + d]);
        shortest = fmin(shortest, length);
        longest = fmax(longest, length);
        for (size_t b = 0; b < file->prompts; b++)
            if (a != b) {
                double cosine = unit_cosine(keys + a * width, keys + b * width, width);
                least = fmin(least, cosine);
                greatest = fmax(greatest, cosine);
                sum += cosine;
            }
    }
    engine_pool_key_figures(opened, group, &figures);
    unit_assert_near(figures.least, least, 1e-12);
    unit_assert_near(figures.greatest, greatest, 1e-12);
    unit_assert_near(figures.mean, sum / (double)(file->prompts * (file->prompts - 1)), 1e-12);
    unit_assert_near(figures.shortest_key / shortest, 1, 1e-12);
    unit_assert_near(figures.longest_key / longest, 1, 1e-12);
    assert_true(figures.nearest[0] < figures.nearest[1] && figures.nearest[1] < file->prompts);
    unit_assert_near(
        unit_cosine(keys + figures.nearest[0] * width, keys + figures.nearest[1] * width, width),
        greatest, 1e-12);
}

static void test_figures(void **state)
{
    (void)state;
    for (size_t i = 0; i < UNIT_COUNT(prompted_cases); i++) {
        struct fail why;
        struct pool_file file;
        char path[128];
        snprintf(path, sizeof path, PROMPTED "%s/%s.pool.safetensors", prompted_cases[i].model,
                 prompted_cases[i].variant);
        unit_assert_ok(pool_file_load(path, &file, &why), why);
        struct engine_pool_file *opened = expect_open(path);
        for (size_t group = 0; group < file.groups; group++)
            check_figures(opened, &file, group);
        engine_pool_file_close(opened);
        pool_file_finish(&file);
    }
}

/* Keys along the axes of the last of two groups; width 20. */
static void test_known_figures(void **state)
{
    (void)state;
    struct pool_parts parts;
    struct engine_pool_key_figures figures;
    pool_parts_open(&parts, "deep_vision", "singletons");
    POOL_PARTS_RESHAPE(&parts.values, 2, 4, 1, 24);
    POOL_PARTS_RESHAPE(&parts.keys, 2, 4, 20);
    pool_parts_set(&parts, "clusters", "4");
    memset(parts.keys.data, 0, parts.keys.bytes);
    for (size_t i = 0; i < 4; i++)
        pool_parts_put(&parts.keys, i * 20, 1);
    pool_parts_put(&parts.keys, 4 * 20, 3);
    pool_parts_put(&parts.keys, 5 * 20 + 1, 0.5f);
    pool_parts_put(&parts.keys, 6 * 20, -2);
    pool_parts_put(&parts.keys, 7 * 20, 4);
    pool_parts_put(&parts.keys, 7 * 20 + 1, 3);
    struct engine_pool_file *file = open_parts(&parts);
    engine_pool_key_figures(file, 1, &figures);
    unit_assert_near(figures.least, -1, 1e-15);
    unit_assert_near(figures.greatest, 0.8, 1e-15);
    unit_assert_near(figures.mean, (0 - 1 + 0.8 + 0 + 0.6 - 0.8) / 6, 1e-15);
    assert_int_equal(figures.nearest[0], 0);
    assert_int_equal(figures.nearest[1], 3);
    assert_true(figures.shortest_key == 0.5 && figures.longest_key == 5);
    engine_pool_key_figures(file, 0, &figures);
    assert_true(figures.least == 1 && figures.mean == 1 && figures.greatest == 1);
    assert_int_equal(figures.nearest[0], 0);
    assert_int_equal(figures.nearest[1], 1);
    engine_pool_file_close(file);
    pool_parts_close(&parts);
}

/* No two keys: no cosines, but a length. Then two, opposite. */
static void test_group_of_one(void **state)
{
    (void)state;
    struct pool_parts parts;
    struct engine_pool_key_figures figures;
    pool_parts_open(&parts, "deep_vision", "plain");
    pool_parts_set(&parts, "clusters", "1");
    for (size_t prompts = 1; prompts <= 2; prompts++) {
        POOL_PARTS_RESHAPE(&parts.values, 1, prompts, 1, 24);
        POOL_PARTS_RESHAPE(&parts.keys, 1, prompts, 20);
        memset(parts.keys.data, 0, parts.keys.bytes);
        for (size_t i = 0; i < prompts; i++)
            pool_parts_put(&parts.keys, i * 20 + 7, i ? -8.0f : 2.0f);
        memset(&figures, 0x5a, sizeof figures);
        struct engine_pool_file *file = open_parts(&parts);
        engine_pool_key_figures(file, 0, &figures);
        double cosine = prompts == 2 ? -1 : 0;
        assert_true(figures.least == cosine && figures.mean == cosine &&
                    figures.greatest == cosine);
        assert_true(figures.shortest_key == 2 && figures.longest_key == (prompts == 2 ? 8 : 2));
        assert_int_equal(figures.nearest[0], 0);
        assert_int_equal(figures.nearest[1], prompts - 1);
        engine_pool_file_close(file);
    }
    pool_parts_close(&parts);
}

/* The two keys that are the same are too far behind to be compared. */
static void test_more_keys_than_are_compared(void **state)
{
    (void)state;
    enum { KEYS = ENGINE_MAX_COMPARED_KEYS + 2 };
    struct pool_parts parts;
    struct engine_pool_key_figures figures;
    pool_parts_open(&parts, "deep_vision", "plain");
    POOL_PARTS_RESHAPE(&parts.values, 1, KEYS, 1, 1);
    POOL_PARTS_RESHAPE(&parts.keys, 1, KEYS, 20);
    for (size_t d = 0; d < 20; d++) {
        pool_parts_put(&parts.keys, (KEYS - 2) * 20 + d, 1000);
        pool_parts_put(&parts.keys, (KEYS - 1) * 20 + d, 1000);
    }
    struct engine_pool_file *file = open_parts(&parts);
    engine_pool_key_figures(file, 0, &figures);
    assert_true(figures.greatest < 0.99 && figures.longest_key < 20);
    assert_true(figures.nearest[1] < ENGINE_MAX_COMPARED_KEYS);
    engine_pool_file_close(file);
    pool_parts_close(&parts);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_cannot_be_opened),
        cmocka_unit_test(test_info),
        cmocka_unit_test(test_figures),
        cmocka_unit_test(test_known_figures),
        cmocka_unit_test(test_group_of_one),
        cmocka_unit_test(test_more_keys_than_are_compared),
    };
    return cmocka_run_group_tests_name("pool figures", tests, make_folder, remove_folder);
}
