/* Steps of training on the small models of tests/golden/prompted. */
#include "tests/unit/prompted.h"

#include "engine/pool.h"
#include "engine/train/learner.h"

enum { BATCH = 4 };

static const struct prompted_case case_full = {"even", "layers"};
static const struct prompted_case case_part = {"deep_text", "middle"};
static const uint32_t batch_labels[BATCH] = {1, 3, 1, 0};

struct lesson {
    struct prompted prompted;
    struct view_maker *maker;
    float *views;
    const float *batch[BATCH];
};

static struct pool_file pool_file_of(const struct prompted_case *of)
{
    struct fail why;
    struct pool_file file;
    char path[256];
    snprintf(path, sizeof path, PROMPTED "%s/%s.pool.safetensors", of->model, of->variant);
    unit_assert_ok(pool_file_load(path, &file, &why), why);
    return file;
}

static void lesson_open(struct lesson *lesson, const struct prompted_case *of)
{
    struct fail why;
    prompted_open(&lesson->prompted, of, 1, 0);
    prompted_look(&lesson->prompted, lesson->prompted.pictures);
    const struct pool_file *file = &lesson->prompted.pool->file;
    const struct view_setting setting = {file->clusters, file->cluster_space, file->query_space};
    unit_assert_ok(
        view_maker_create(lesson->prompted.session, &setting, BATCH, &lesson->maker, &why), why);
    size_t floats = view_floats(view_maker_shape(lesson->maker));
    lesson->views = calloc(BATCH * floats, sizeof *lesson->views);
    unit_assert_ok(
        view_maker_look(lesson->maker, lesson->prompted.pixels, BATCH, lesson->views, &why), why);
    for (size_t i = 0; i < BATCH; i++)
        lesson->batch[i] = lesson->views + i * floats;
}

static void lesson_close(struct lesson *lesson)
{
    free(lesson->views);
    view_maker_destroy(lesson->maker);
    prompted_close(&lesson->prompted);
}

static struct learner *learner_of(const struct lesson *lesson, struct pool_file file,
                                  const struct learner_options *options)
{
    struct fail why;
    struct learner *learner;
    unit_assert_ok(learner_create(lesson->prompted.session, &file, lesson->prompted.labels, options,
                                  &learner, &why),
                   why);
    return learner;
}

static struct learner_options options_of(const struct lesson *lesson)
{
    return (struct learner_options){
        .losses = {.weights = {1, 0.1, 0.1, 2, 0.5, 0.1},
                   .logit_scale = (double)lesson->prompted.logit_scale / 4},
        .momentum = 0.9,
        .max_pictures = BATCH};
}

static struct learner_report step(struct learner *learner, const struct lesson *lesson, double rate)
{
    struct learner_report report;
    learner_step(learner, lesson->batch, batch_labels, BATCH, rate, NULL, &report);
    return report;
}

static size_t value_count(const struct pool_file *file)
{
    return file->groups * file->prompts * file->tokens * file->width;
}

/* ---- Views ---- */

static void check_views(const struct prompted_case *of)
{
    struct lesson lesson;
    lesson_open(&lesson, of);
    const struct view_shape *shape = view_maker_shape(lesson.maker);
    size_t joint = lesson.prompted.joint;
    for (size_t i = 0; i < BATCH; i++) {
        double sum = 0;
        for (size_t k = 0; k < joint; k++)
            unit_assert_near(view_image(lesson.batch[i])[k],
                             lesson.prompted.features[i * joint + k], 2e-6);
        for (size_t cluster = 0; cluster < shape->clusters; cluster++) {
            const float *fine = view_fine(shape, lesson.batch[i]) + cluster * joint;
            double squares = 0;
            for (size_t k = 0; k < joint; k++)
                squares += (double)fine[k] * (double)fine[k];
            unit_assert_near(squares, 1, 1e-5);
            sum += (double)view_shares(shape, lesson.batch[i])[cluster];
        }
        unit_assert_near(sum, 1, 1e-6);
    }
    lesson_close(&lesson);
}

static void test_views(void **state)
{
    (void)state;
    check_views(&case_full);
    check_views(&(struct prompted_case){"deep_text", "raw_queries"});
}

/* ---- Gradients ---- */

/* What a step without momentum takes off, for one unit of rate, is the gradient. Losses in single
 * precision allow coarse differences only; each link of the chain has a finer test of its own. */
static void check_whole_chain(const struct prompted_case *of)
{
    struct lesson lesson;
    uint32_t seed = 17;
    lesson_open(&lesson, of);
    struct learner_options options = options_of(&lesson);
    options.momentum = 0;
    struct pool_file before = pool_file_of(of);
    struct learner *learner = learner_of(&lesson, pool_file_of(of), &options);
    step(learner, &lesson, 1);
    float *gradient = calloc(value_count(&before), sizeof *gradient), largest = 0;
    for (size_t i = 0; i < value_count(&before); i++) {
        gradient[i] = before.values[i] - learner_file(learner)->values[i];
        largest = fmaxf(largest, fabsf(gradient[i]));
    }
    learner_destroy(learner);
    double worst = 0;
    for (size_t done = 0; done < 12;) {
        size_t at = unit_random(&seed) % value_count(&before);
        if (fabsf(gradient[at]) < largest / 10)
            continue;
        double losses[2];
        for (int side = 0; side < 2; side++) {
            struct pool_file file = pool_file_of(of);
            file.values[at] += side ? 0.01f : -0.01f;
            learner = learner_of(&lesson, file, &options);
            losses[side] = step(learner, &lesson, 0).loss;
            learner_destroy(learner);
        }
        worst = unit_worse(worst, fabs((losses[1] - losses[0]) / 0.02 - (double)gradient[at]));
        done++;
    }
    print_message("%s %s: largest gradient %.2e, worst error %.1e\n", of->model, of->variant,
                  (double)largest, worst);
    assert_true(worst <= 0.01 * (double)largest);
    free(gradient);
    pool_file_finish(&before);
    lesson_close(&lesson);
}

static void test_gradient_of_the_whole_chain(void **state)
{
    (void)state;
    check_whole_chain(&case_full);
    check_whole_chain(&case_part);
}

/* Only what was chosen moves, and keys only where a loss of theirs has a weight. */
static void test_what_stays(void **state)
{
    (void)state;
    struct lesson lesson;
    lesson_open(&lesson, &case_full);
    struct learner_options options = options_of(&lesson);
    options.losses.weights[ENGINE_TRAINING_KEY_MATCHING] =
        options.losses.weights[ENGINE_TRAINING_KEY_DIVERSITY] = 0;
    struct pool_file before = pool_file_of(&case_full);
    struct learner *learner = learner_of(&lesson, pool_file_of(&case_full), &options);
    const struct pool_file *after = learner_file(learner);
    for (int i = 0; i < 3; i++)
        step(learner, &lesson, 0.1);
    assert_memory_equal(before.keys, after->keys,
                        before.groups * before.prompts * before.query_width * sizeof(float));
    size_t moved = 0, floats = before.tokens * before.width;
    for (size_t prompt = 0; prompt < before.groups * before.prompts; prompt++) {
        size_t group = prompt / before.prompts;
        bool chosen = false;
        for (size_t i = 0; i < BATCH; i++) {
            const struct engine_composition *composition = lesson.prompted.compositions[i];
            for (size_t at = group * composition->chosen; at < (group + 1) * composition->chosen;
                 at++)
                chosen |= composition->prompts[at] == prompt % before.prompts;
        }
        bool same = !memcmp(before.values + prompt * floats, after->values + prompt * floats,
                            floats * sizeof(float));
        assert_true(same == !chosen);
        moved += !same;
    }
    assert_true(moved > 0 && moved < before.groups * before.prompts);
    learner_destroy(learner);
    pool_file_finish(&before);
    lesson_close(&lesson);
}

/* ---- Learning ---- */

static void test_learns_four_pictures_by_heart(void **state)
{
    (void)state;
    struct lesson lesson;
    lesson_open(&lesson, &case_full);
    struct learner_options options = options_of(&lesson);
    options.losses.weights[ENGINE_TRAINING_SELF] = 0;
    struct learner *learner = learner_of(&lesson, pool_file_of(&case_full), &options);
    struct learner_report first = step(learner, &lesson, 0.05), last = first;
    for (int i = 0; i < 150; i++)
        last = step(learner, &lesson, 0.05);
    print_message("loss from %.3f to %.3f\n", first.terms[ENGINE_TRAINING_GLOBAL],
                  last.terms[ENGINE_TRAINING_GLOBAL]);
    assert_int_equal(last.right, BATCH);
    assert_true(last.terms[ENGINE_TRAINING_GLOBAL] < first.terms[ENGINE_TRAINING_GLOBAL] / 4);
    learner_destroy(learner);
    lesson_close(&lesson);
}

static void take_steps(struct learner *learner, const struct lesson *lesson, int count)
{
    for (int i = 0; i < count; i++)
        step(learner, lesson, 0.02);
}

/* Put down after some steps and taken up by another, it comes to the same bytes. */
static void test_goes_on_from_its_state(void **state)
{
    (void)state;
    struct lesson lesson;
    lesson_open(&lesson, &case_part);
    struct learner_options options = options_of(&lesson);
    options.values_decay = 5e-4;
    struct learner *whole = learner_of(&lesson, pool_file_of(&case_part), &options);
    struct learner *part = learner_of(&lesson, pool_file_of(&case_part), &options);
    size_t floats = learner_state_floats(part), values = value_count(learner_file(part));
    size_t keys =
        learner_file(part)->groups * learner_file(part)->prompts * learner_file(part)->query_width;
    float *moving = calloc(floats, sizeof *moving);
    take_steps(whole, &lesson, 6);
    take_steps(part, &lesson, 2);
    struct pool_file file = pool_file_of(&case_part);
    memcpy(file.values, learner_file(part)->values, values * sizeof(float));
    memcpy(file.keys, learner_file(part)->keys, keys * sizeof(float));
    learner_save_state(part, moving);
    learner_destroy(part);
    part = learner_of(&lesson, file, &options);
    learner_load_state(part, moving);
    take_steps(part, &lesson, 4);
    assert_memory_equal(learner_file(part)->values, learner_file(whole)->values,
                        values * sizeof(float));
    assert_memory_equal(learner_file(part)->keys, learner_file(whole)->keys, keys * sizeof(float));
    learner_destroy(part);
    learner_destroy(whole);
    free(moving);
    lesson_close(&lesson);
}

/* Prompts by lot: different ones in a layer, in order; the same for the same seed, and no other. */
static void test_random_choice(void **state)
{
    (void)state;
    struct lesson lesson;
    lesson_open(&lesson, &case_full);
    struct learner_options options = options_of(&lesson);
    options.random_choice = true;
    struct learner *learners[3];
    const struct engine_pool *pool = lesson.prompted.pool;
    size_t values = value_count(&pool->file), choices = BATCH * pool->file.depth * pool->chosen;
    for (uint64_t i = 0; i < 3; i++) {
        struct rng rng;
        struct learner_report report;
        rng_init(&rng, i < 2 ? 4 : 5);
        learners[i] = learner_of(&lesson, pool_file_of(&case_full), &options);
        learner_step(learners[i], lesson.batch, batch_labels, BATCH, 0.1, &rng, &report);
        assert_true(report.terms[ENGINE_TRAINING_KEY_MATCHING] == 0);
    }
    const uint16_t *first = learner_choices(learners[0]), *other = learner_choices(learners[2]);
    for (size_t i = 0; i < choices; i++) {
        assert_true(first[i] < pool->file.prompts);
        assert_true(i % pool->chosen == 0 || first[i] > first[i - 1]);
    }
    assert_memory_not_equal(first, other, choices * sizeof *first);
    assert_memory_equal(learner_file(learners[0])->values, learner_file(learners[1])->values,
                        values * sizeof(float));
    for (size_t i = 0; i < 3; i++)
        learner_destroy(learners[i]);
    lesson_close(&lesson);
}

static void test_refused(void **state)
{
    (void)state;
    struct fail why;
    struct lesson lesson;
    struct learner *learner = NULL;
    lesson_open(&lesson, &case_full);
    struct learner_options options = options_of(&lesson);
    struct pool_file file = pool_file_of(&case_full);
    file.depth = 0;
    unit_assert_fails(learner_create(lesson.prompted.session, &file, lesson.prompted.labels,
                                     &options, &learner, &why),
                      STATUS_INVALID, why, "depth");
    file = pool_file_of(&case_part); /* of another model */
    unit_assert_fails(learner_create(lesson.prompted.session, &file, lesson.prompted.labels,
                                     &options, &learner, &why),
                      STATUS_INVALID, why, "pool.");
    assert_null(learner);
    learner_destroy(NULL);
    view_maker_destroy(NULL);
    lesson_close(&lesson);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_views),
        cmocka_unit_test(test_gradient_of_the_whole_chain),
        cmocka_unit_test(test_what_stays),
        cmocka_unit_test(test_learns_four_pictures_by_heart),
        cmocka_unit_test(test_goes_on_from_its_state),
        cmocka_unit_test(test_random_choice),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests_name("learner", tests, NULL, NULL);
}
