/* The views of a list of pictures: the samples of the shipped model. */
#include "tests/unit/unit.h"

#include <unistd.h>

#include "engine/base/buf.h"
#include "engine/train/gallery.h"

#define MODEL   "engine/models/emoji-clip"
#define SAMPLES MODEL "/samples/"

enum { CLUSTERS = 3, MOST = 5 };

static const char *const files[] = {"banana.jpg", "bicycle.jpg", "cat.jpg", "apple.png", "dog.png"};

struct studio {
    struct engine *engine;
    struct engine_session *session;
    struct view_maker *maker;
    struct dataset dataset;
    char broken[64];
    size_t told, progressed;
};

static void studio_open(struct studio *studio, size_t most)
{
    struct fail why;
    const struct engine_options options = {.helpers = 1};
    const struct view_setting setting = {.clusters = CLUSTERS};
    *studio = (struct studio){.told = 0};
    unit_assert_ok(engine_open(MODEL, &options, &studio->engine, &why), why);
    unit_assert_ok(engine_session_create(studio->engine, most, &studio->session, &why), why);
    unit_assert_ok(view_maker_create(studio->session, &setting, most, &studio->maker, &why), why);
    for (size_t i = 0; i < UNIT_COUNT(files); i++) {
        char path[256];
        snprintf(path, sizeof path, SAMPLES "%s", files[i]);
        unit_assert_ok(
            dataset_add_item(&studio->dataset, DATASET_TRAIN, path, (uint32_t)i * 10, &why), why);
    }
}

static void studio_close(struct studio *studio)
{
    for (size_t i = 0; i < studio->dataset.path_count; i++)
        free(studio->dataset.paths[i]);
    free(studio->dataset.paths);
    free(studio->dataset.lists[DATASET_TRAIN].items);
    view_maker_destroy(studio->maker);
    engine_session_destroy(studio->session);
    engine_close(studio->engine);
}

static void on_broken(void *context, const char *path, const struct fail *why)
{
    struct studio *studio = context;
    assert_non_null(strstr(why->message, path));
    studio->told++;
}

static void on_progress(void *context, size_t done, size_t count)
{
    struct studio *studio = context;
    assert_true(done > studio->progressed && done <= count);
    studio->progressed = done;
}

static bool stop(void *context)
{
    (void)context;
    return true;
}

static struct gallery_options options_of(size_t views)
{
    return (struct gallery_options){.views = views,
                                    .least_area = 0.08,
                                    .max_bytes = 1 << 24,
                                    .images = engine_image_default_options};
}

static enum status try_gallery(struct studio *studio, const struct gallery_options *options,
                               uint64_t seed, struct gallery **out, struct fail *why)
{
    struct rng rng;
    const struct gallery_watcher watcher = {
        .context = studio, .progress = on_progress, .broken = on_broken};
    rng_init(&rng, seed);
    studio->progressed = 0;
    return gallery_create(studio->session, studio->maker, &studio->dataset.lists[DATASET_TRAIN],
                          options, &watcher, &rng, out, why);
}

static struct gallery *gallery_of(struct studio *studio, const struct gallery_options *options,
                                  uint64_t seed)
{
    struct fail why;
    struct gallery *gallery;
    unit_assert_ok(try_gallery(studio, options, seed, &gallery, &why), why);
    return gallery;
}

/* Without random views: what classification would see. */
static void test_views_of_a_test(void **state)
{
    (void)state;
    struct studio studio;
    struct fail why;
    studio_open(&studio, MOST);
    const struct gallery_options options = options_of(0);
    struct gallery *gallery = gallery_of(&studio, &options, 1);
    size_t edge = engine_info(studio.engine)->image_size;
    size_t joint = engine_info(studio.engine)->joint_width;
    float *pixels = calloc(3 * edge * edge, sizeof *pixels);
    float *feature = calloc(joint, sizeof *feature);
    assert_int_equal(gallery->pictures, UNIT_COUNT(files));
    assert_int_equal(studio.progressed, UNIT_COUNT(files));
    for (size_t i = 0; i < gallery->pictures; i++) {
        struct buf file;
        buf_init(&file, 1 << 20);
        unit_assert_ok(buf_read_file(&file, gallery->paths[i], &why), why);
        unit_assert_ok(engine_decode(studio.engine, (uint8_t *)file.data, file.size,
                                     &engine_image_default_options, pixels, NULL, &why),
                       why);
        unit_assert_ok(engine_embed_images(studio.session, pixels, 1, feature, &why), why);
        for (size_t k = 0; k < joint; k++)
            unit_assert_near(view_image(gallery_view(gallery, i, 0))[k], feature[k], 2e-6);
        assert_int_equal(gallery->labels[i], i * 10);
        buf_finish(&file);
    }
    free(pixels);
    free(feature);
    gallery_destroy(gallery);
    studio_close(&studio);
}

static double difference(const struct gallery *a, const struct gallery *b)
{
    size_t count = a->pictures * a->views * view_floats(&a->shape);
    double worst = 0;
    assert_int_equal(a->pictures, b->pictures);
    for (size_t i = 0; i < count; i++)
        worst = unit_worse(worst, fabs((double)a->rows[i] - (double)b->rows[i]));
    return worst;
}

/* The seed decides, not how many are looked at together (but for rounding). */
static void test_random_views(void **state)
{
    (void)state;
    struct studio studio, other;
    studio_open(&studio, MOST);
    studio_open(&other, 2);
    const struct gallery_options options = options_of(3);
    struct gallery *a = gallery_of(&studio, &options, 7), *b = gallery_of(&studio, &options, 7);
    struct gallery *c = gallery_of(&studio, &options, 8), *d = gallery_of(&other, &options, 7);
    assert_true(difference(a, b) <= 0);
    assert_true(difference(a, c) > 1e-2);
    double rounding = difference(a, d);
    print_message("in other company: %.1e\n", rounding);
    assert_true(rounding <= 2e-5);
    assert_memory_not_equal(gallery_view(a, 0, 0), gallery_view(a, 0, 1),
                            a->shape.joint * sizeof(float));
    gallery_destroy(a);
    gallery_destroy(b);
    gallery_destroy(c);
    gallery_destroy(d);
    studio_close(&studio);
    studio_close(&other);
}

static void test_broken_pictures(void **state)
{
    (void)state;
    struct studio studio;
    struct fail why;
    struct gallery *gallery;
    studio_open(&studio, MOST);
    struct dataset_item *items = studio.dataset.lists[DATASET_TRAIN].items;
    struct gallery_options options = options_of(2);
    items[1].path = SAMPLES "labels-30.txt";
    items[3].path = SAMPLES "nothing.png";
    gallery = gallery_of(&studio, &options, 1);
    assert_int_equal(gallery->pictures, 3);
    assert_int_equal(gallery->broken, 2);
    assert_int_equal(studio.told, 2);
    assert_int_equal(gallery->labels[1], 20);
    assert_int_equal(gallery->labels[2], 40);
    gallery_destroy(gallery);
    options.strict = true;
    gallery = NULL;
    unit_assert_fails(try_gallery(&studio, &options, 1, &gallery, &why), STATUS_UNSUPPORTED, why,
                      "labels-30.txt");
    options.strict = false;
    for (size_t i = 0; i < UNIT_COUNT(files); i++)
        items[i].path = SAMPLES "nothing.png";
    unit_assert_fails(try_gallery(&studio, &options, 1, &gallery, &why), STATUS_INVALID, why,
                      "none of 5 pictures");
    assert_null(gallery);
    studio_close(&studio);
}

static void test_limits_and_stop(void **state)
{
    (void)state;
    struct studio studio;
    struct fail why;
    struct gallery *gallery = NULL;
    studio_open(&studio, MOST);
    struct gallery_options options = options_of(2);
    options.max_bytes = 1000;
    unit_assert_fails(try_gallery(&studio, &options, 1, &gallery, &why), STATUS_LIMIT, why,
                      "more than 1000");
    const struct gallery_watcher watcher = {.stop = stop};
    options = options_of(0);
    unit_assert_fails(gallery_create(studio.session, studio.maker,
                                     &studio.dataset.lists[DATASET_TRAIN], &options, &watcher, NULL,
                                     &gallery, &why),
                      STATUS_CANCELLED, why, "cancelled");
    assert_null(gallery);
    gallery_destroy(NULL);
    studio_close(&studio);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_views_of_a_test),
        cmocka_unit_test(test_random_views),
        cmocka_unit_test(test_broken_pictures),
        cmocka_unit_test(test_limits_and_stop),
    };
    return cmocka_run_group_tests_name("gallery", tests, NULL, NULL);
}
