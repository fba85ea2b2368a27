/* Whole trainings, of the samples of the shipped model. */
#include "tests/unit/unit.h"

#include <sys/stat.h>
#include <unistd.h>

#include "engine/engine_training.h"

#define MODEL   "engine/models/emoji-clip"
#define SAMPLES MODEL "/samples/"

static char scratch[64];

/* A folder a class, with one picture each. */
static int make_data(void **state)
{
    static const char *const files[][2] = {{"fruit", "apple.png"},
                                           {"vehicle", "car.png"},
                                           {"mammal", "dog.png"},
                                           {"music", "guitar.png"}};
    (void)state;
    strcpy(scratch, "/tmp/test_training.XXXXXX");
    char *here = realpath(SAMPLES, NULL);
    if (!here || !mkdtemp(scratch))
        return -1;
    for (size_t i = 0; i < UNIT_COUNT(files); i++) {
        char folder[256], from[512], to[512];
        snprintf(folder, sizeof folder, "%s/data/%s", scratch, files[i][0]);
        snprintf(to, sizeof to, "%s/data", scratch);
        mkdir(to, 0700);
        mkdir(folder, 0700);
        snprintf(from, sizeof from, "%s/%s", here, files[i][1]);
        snprintf(to, sizeof to, "%s/1.png", folder);
        if (symlink(from, to))
            return -1;
    }
    free(here);
    return 0;
}

static int remove_data(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -r %s", scratch);
    return system(command);
}

static const char *in_scratch(const char *name)
{
    static char path[4][128];
    static size_t next;
    char *out = path[next++ % 4];
    snprintf(out, sizeof path[0], "%s/%s", scratch, name);
    return out;
}

struct school {
    struct engine *engine;
    struct engine_session *session;
    char data[128];
    size_t told;
    bool stop;
};

static void school_open(struct school *school)
{
    struct fail why;
    const struct engine_options options = {.helpers = 1};
    *school = (struct school){.told = 0};
    snprintf(school->data, sizeof school->data, "%s", in_scratch("data"));
    unit_assert_ok(engine_open(MODEL, &options, &school->engine, &why), why);
    unit_assert_ok(engine_session_create(school->engine, 8, &school->session, &why), why);
}

static void school_close(struct school *school)
{
    engine_session_destroy(school->session);
    engine_close(school->engine);
}

static struct engine_training_options options_of(const struct school *school)
{
    struct engine_training_options options = engine_training_default_options;
    options.data = school->data;
    options.images = engine_image_default_options;
    options.views = 2;
    options.prompts = 8;
    options.clusters = 2;
    options.epochs = 6;
    options.batch = 2;
    options.seed = 3;
    return options;
}

static void on_progress(void *context, const char *what, size_t done, size_t count)
{
    struct school *school = context;
    assert_true(done <= count && (!strcmp(what, "pictures") || !strcmp(what, "steps")));
    school->told++;
}

static bool on_stop(void *context)
{
    return ((struct school *)context)->stop;
}

static enum status try_training(struct school *school,
                                const struct engine_training_options *options,
                                struct engine_training **out, struct fail *why)
{
    const struct engine_training_watcher watcher = {
        .context = school, .progress = on_progress, .stop = on_stop};
    return engine_training_create(school->session, options, &watcher, out, why);
}

static struct engine_training *training_of(struct school *school,
                                           const struct engine_training_options *options)
{
    struct fail why;
    struct engine_training *training;
    unit_assert_ok(try_training(school, options, &training, &why), why);
    return training;
}

static struct engine_training_report run(struct engine_training *training, size_t epochs)
{
    struct fail why;
    struct engine_training_report report = {.epoch = 0};
    for (size_t i = 0; i < epochs; i++)
        unit_assert_ok(engine_training_epoch(training, &report, &why), why);
    return report;
}

static void save(const struct engine_training *training, const char *name)
{
    struct fail why;
    const struct engine_pool_metadata metadata[] = {{"name", "taught"}, {"training", "{}"}};
    unit_assert_ok(engine_training_save(training, in_scratch(name), metadata, 2, &why), why);
}

static void assert_same_files(const char *a, const char *b)
{
    char command[512];
    snprintf(command, sizeof command, "cmp %s %s", in_scratch(a), in_scratch(b));
    assert_int_equal(system(command), 0);
}

static void test_learns(void **state)
{
    (void)state;
    struct school school;
    struct fail why;
    school_open(&school);
    struct engine_training_options options = options_of(&school);
    options.prompts_by_lot = true;
    options.deviation = 0.02;
    options.rate = 0.02;
    options.epochs = 40;
    options.batch = 4;
    options.weights[ENGINE_TRAINING_SELF] = 0;
    struct engine_training *training = training_of(&school, &options);
    assert_int_equal(engine_training_classes(training), 4);
    assert_int_equal(engine_training_pictures(training), 4);
    assert_int_equal(engine_training_broken(training), 0);
    struct engine_training_report first = run(training, 1), last = run(training, 39);
    print_message("loss from %.3f to %.3f\n", first.loss, last.loss);
    assert_int_equal(last.epoch, 40);
    assert_int_equal(engine_training_epochs_done(training), 40);
    assert_true(last.accuracy == 1 && last.loss < first.loss);
    assert_true(last.usage_entropy > 0.3 && last.usage_entropy <= 1);
    assert_true(last.compositions >= 1 && last.compositions <= 4);
    assert_int_equal(school.told, 1 + 40); /* pictures, and a step each */
    save(training, "learnt.safetensors");
    struct engine_pool *pool;
    const struct engine_pool_options strict = {.any_fingerprint = false};
    unit_assert_ok(
        engine_pool_load(school.engine, in_scratch("learnt.safetensors"), &strict, &pool, &why),
        why);
    assert_string_equal(engine_pool_info(pool)->name, "taught");
    assert_string_equal(engine_pool_info(pool)->sentence, "a photo of a {}.");
    engine_pool_release(pool);
    engine_training_destroy(training);
    school_close(&school);
}

/* Taken up after any epoch, a training comes to the same bytes as one that was never put down. */
static void check_resumed(struct school *school, const struct engine_training_options *options)
{
    struct fail why;
    struct engine_training *training = training_of(school, options);
    run(training, options->epochs);
    save(training, "whole.safetensors");
    engine_training_destroy(training);
    for (size_t epochs = 0; epochs < options->epochs; epochs += 2) {
        training = training_of(school, options);
        run(training, epochs);
        unit_assert_ok(engine_training_save_checkpoint(training, in_scratch("checkpoint"), &why),
                       why);
        engine_training_destroy(training);
        training = training_of(school, options);
        unit_assert_ok(engine_training_load_checkpoint(training, in_scratch("checkpoint"), &why),
                       why);
        assert_int_equal(engine_training_epochs_done(training), epochs);
        run(training, options->epochs - epochs);
        save(training, "resumed.safetensors");
        engine_training_destroy(training);
        assert_same_files("whole.safetensors", "resumed.safetensors");
    }
}

static void test_goes_on_from_checkpoints(void **state)
{
    (void)state;
    struct school school;
    school_open(&school);
    struct engine_training_options options = options_of(&school);
    check_resumed(&school, &options);
    options.random_choice = true;
    options.groups_by_block = true;
    options.depth = 3;
    options.shots = 0;
    check_resumed(&school, &options);
    school_close(&school);
}

static void refused(struct school *school, const struct engine_training_options *options,
                    enum status status, const char *part)
{
    struct fail why;
    struct engine_training *training = NULL;
    unit_assert_fails(try_training(school, options, &training, &why), status, why, part);
    assert_null(training);
}

static void test_refused_options(void **state)
{
    (void)state;
    struct school school;
    school_open(&school);
    struct engine_training_options options = options_of(&school);
    options.data = in_scratch("nowhere");
    refused(&school, &options, STATUS_NOT_FOUND, "nowhere");
    options = options_of(&school);
    options.clusters = 1000;
    refused(&school, &options, STATUS_INVALID, "clusters must be from 1 to 64, not 1000");
    options.clusters = 4;
    options.per_cluster = 3;
    refused(&school, &options, STATUS_INVALID, "choose more than there are: 8");
    options = options_of(&school);
    options.depth = 99;
    refused(&school, &options, STATUS_INVALID, "depth must be from 1 to 6");
    options = options_of(&school);
    options.query_space = "red";
    refused(&school, &options, STATUS_INVALID, "\"red\" is not known");
    options = options_of(&school);
    options.sentence = "a photo";
    refused(&school, &options, STATUS_INVALID, "{}");
    options = options_of(&school);
    options.tokens = 40;
    refused(&school, &options, STATUS_INVALID, "context");
    options = options_of(&school);
    school.stop = true;
    refused(&school, &options, STATUS_CANCELLED, "cancelled");
    school_close(&school);
}

static void test_refused_checkpoints(void **state)
{
    (void)state;
    struct school school;
    struct fail why;
    school_open(&school);
    struct engine_training_options options = options_of(&school);
    struct engine_training *training = training_of(&school, &options);
    run(training, 1);
    save(training, "pool.safetensors");
    unit_assert_ok(engine_training_save_checkpoint(training, in_scratch("checkpoint"), &why), why);
    unit_assert_fails(
        engine_training_load_checkpoint(training, in_scratch("pool.safetensors"), &why),
        STATUS_FORMAT, why, "not a checkpoint");
    engine_training_destroy(training);
    options.seed++;
    training = training_of(&school, &options);
    unit_assert_fails(engine_training_load_checkpoint(training, in_scratch("checkpoint"), &why),
                      STATUS_INVALID, why, "other options");
    unit_assert_fails(engine_training_load_checkpoint(training, in_scratch("none"), &why),
                      STATUS_NOT_FOUND, why, "none");
    assert_int_equal(engine_training_epochs_done(training), 0);
    engine_training_destroy(training);
    engine_training_destroy(NULL);
    school_close(&school);
}

/* Half a cosine, from the full rate in the second epoch on, after a small first one. */
static void test_rates(void **state)
{
    (void)state;
    static const double expected[] = {1e-5,       0.0025,     0.00248461,  0.00243882,
                                      0.00236376, 0.00226127, 0.002133883, 0.00198473,
                                      0.00181748, 0.00163627, 0.00144554,  0.00125};
    struct engine_training_options options = engine_training_default_options;
    for (size_t i = 0; i < UNIT_COUNT(expected); i++)
        unit_assert_near(engine_training_rate(&options, i + 1), expected[i], 1e-8);
    unit_assert_near(engine_training_rate(&options, 20), 6.1189e-05, 1e-8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_learns),          cmocka_unit_test(test_goes_on_from_checkpoints),
        cmocka_unit_test(test_refused_options), cmocka_unit_test(test_refused_checkpoints),
        cmocka_unit_test(test_rates),
    };
    return cmocka_run_group_tests_name("engine_training", tests, make_data, remove_data);
}
