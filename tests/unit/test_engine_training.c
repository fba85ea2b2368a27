/* Whole trainings, of the samples of the shipped model. */
#include "tests/unit/unit.h"

#include <sys/stat.h>
#include <unistd.h>

#include "engine/engine_training.h"
#include "engine/safetensors.h"
#include "engine/safetensors_write.h"

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
    size_t told, broken;
    bool stop, stop_in_epoch, reading; /* reading: pictures, not steps */
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
    school->reading = !strcmp(what, "pictures");
    school->told++;
}

static void on_broken(void *context, const char *path, const struct fail *why)
{
    assert_non_null(strstr(why->message, path));
    ((struct school *)context)->broken++;
}

static bool on_stop(void *context)
{
    const struct school *school = context;
    return school->stop || (school->stop_in_epoch && !school->reading);
}

static enum status try_training(struct school *school,
                                const struct engine_training_options *options,
                                struct engine_training **out, struct fail *why)
{
    const struct engine_training_watcher watcher = {
        .context = school, .progress = on_progress, .broken = on_broken, .stop = on_stop};
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
    options.least_area = (double)NAN;
    refused(&school, &options, STATUS_INVALID, "the least area of a view must be from 0.001 to 1");
    options = options_of(&school);
    options.rate = -1;
    refused(&school, &options, STATUS_INVALID, "rate must be from 0 to 1e+06, not -1");
    options = options_of(&school);
    options.weights[ENGINE_TRAINING_FINE] = (double)INFINITY;
    refused(&school, &options, STATUS_INVALID, "the weight of fine must be");
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

/* All that the default is not. */
static struct engine_training_options others(const struct school *school)
{
    static const char *const sentences[] = {"a drawing of a {}.", "{}"};
    struct engine_training_options options = options_of(school);
    options.half = ENGINE_TRAINING_NOVEL;
    options.shots = 1;
    options.views = 0;
    options.plain_sentences = sentences;
    options.plain_sentence_count = 2;
    options.self_by_cosine = options.keys_by_lot = options.prompts_by_lot = true;
    options.centred = options.pos0 = false;
    options.tokens = 2;
    options.cluster_space = "joint";
    options.query_space = "raw";
    options.retrieval = "topk_pooled";
    options.weights[ENGINE_TRAINING_TEXT_TO_IMAGE] = 0.5;
    return options;
}

static void test_other_options(void **state)
{
    (void)state;
    struct school school;
    school_open(&school);
    struct engine_training_options options = others(&school);
    struct engine_training *training = training_of(&school, &options);
    assert_int_equal(engine_training_classes(training), 2);
    assert_int_equal(engine_training_pictures(training), 2);
    struct engine_training_report report = run(training, 2);
    assert_true(report.rate == engine_training_rate(&options, 2));
    assert_int_equal(report.pictures, 2);
    double sum = 0;
    for (size_t term = 0; term < ENGINE_TRAINING_TERMS; term++) {
        assert_true(report.terms[term] > 0);
        sum += options.weights[term] * report.terms[term];
    }
    unit_assert_near(report.loss, sum, 1e-9);
    save(training, "others.safetensors");
    engine_training_destroy(training);

    double by_cosine = report.terms[ENGINE_TRAINING_SELF];
    options.plain_sentence_count = 0; /* other features to hold on to */
    training = training_of(&school, &options);
    assert_true(run(training, 2).terms[ENGINE_TRAINING_SELF] != by_cosine);
    engine_training_destroy(training);
    school_close(&school);
}

/* Chosen by lot, prompts are used evenly, whatever the depth. */
static void test_usage(void **state)
{
    (void)state;
    struct school school;
    school_open(&school);
    struct engine_training_options options = options_of(&school);
    options.random_choice = options.groups_by_block = true;
    options.prompts = 4;
    options.depth = 3;
    struct engine_training *training = training_of(&school, &options);
    struct engine_training_report report = run(training, 1);
    assert_true(report.usage_entropy > 0.85 && report.usage_entropy <= 1);
    assert_true(report.compositions >= 3);
    engine_training_destroy(training);
    school_close(&school);
}

static void test_broken_picture_and_stop(void **state)
{
    (void)state;
    struct school school;
    struct fail why;
    struct engine_training_report report;
    school_open(&school);
    struct engine_training_options options = options_of(&school);
    char path[256];
    snprintf(path, sizeof path, "%s/fruit/2.png", school.data);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fclose(file);
    struct engine_training *training = training_of(&school, &options);
    assert_int_equal(engine_training_broken(training), 1);
    assert_int_equal(school.broken, 1);
    assert_int_equal(engine_training_pictures(training), 4);
    school.stop_in_epoch = true;
    unit_assert_fails(engine_training_epoch(training, &report, &why), STATUS_CANCELLED, why,
                      "stopped in epoch 1");
    engine_training_destroy(training);
    options.strict = true;
    training = NULL;
    unit_assert_fails(try_training(&school, &options, &training, &why), STATUS_FORMAT, why,
                      "2.png");
    assert_null(training);
    unlink(path);
    school_close(&school);
}

enum { CHECKPOINT_TENSORS = 3, CHECKPOINT_TEXTS = 4 };

/* The checkpoint again, with another text under a key, or (text NULL) without a tensor. */
static void spoil_checkpoint(const char *name, const char *text)
{
    static const char *const tensors[CHECKPOINT_TENSORS] = {"keys", "moving", "values"};
    static const char *const keys[CHECKPOINT_TEXTS] = {"epochs", "format", "identity", "rng"};
    struct fail why;
    struct safetensors *from;
    struct safetensors_output outputs[CHECKPOINT_TENSORS];
    struct safetensors_text texts[CHECKPOINT_TEXTS];
    float *values[CHECKPOINT_TENSORS];
    size_t count = 0;
    unit_assert_ok(safetensors_open(in_scratch("checkpoint"), &from, &why), why);
    for (size_t i = 0; i < CHECKPOINT_TENSORS; i++) {
        const struct safetensors_tensor *tensor = safetensors_find(from, tensors[i]);
        values[i] = calloc(tensor->count, sizeof(float));
        unit_assert_ok(safetensors_to_f32(tensor, values[i], &why), why);
        if (!text && !strcmp(tensors[i], name))
            continue;
        outputs[count] = (struct safetensors_output){
            .name = tensors[i], .rank = tensor->rank, .values = values[i]};
        memcpy(outputs[count++].shape, tensor->shape, sizeof tensor->shape);
    }
    for (size_t i = 0; i < CHECKPOINT_TEXTS; i++)
        texts[i] = (struct safetensors_text){
            keys[i], text && !strcmp(keys[i], name) ? text : safetensors_metadata(from, keys[i])};
    unit_assert_ok(
        safetensors_write(in_scratch("spoilt"), outputs, count, texts, CHECKPOINT_TEXTS, &why),
        why);
    safetensors_close(from);
    for (size_t i = 0; i < CHECKPOINT_TENSORS; i++)
        free(values[i]);
}

static void test_spoilt_checkpoints(void **state)
{
    (void)state;
    static const struct {
        const char *name, *text, *part;
        enum status status;
    } spoilt[] = {
        {"keys", NULL, "tensor \"keys\" is missing", STATUS_FORMAT},
        {"moving", NULL, "tensor \"moving\" is missing", STATUS_FORMAT},
        {"values", NULL, "tensor \"values\" is missing", STATUS_FORMAT},
        {"rng", "abc", "\"rng\" is not 5000 digits", STATUS_FORMAT},
        {"epochs", "99", "\"epochs\" is \"99\"", STATUS_FORMAT},
        {"epochs", "1x", "\"epochs\" is \"1x\"", STATUS_FORMAT},
        {"format", "attriprompt.pool/1", "not a checkpoint", STATUS_FORMAT},
        {"identity", "", "other options", STATUS_INVALID},
    };
    struct school school;
    struct fail why;
    school_open(&school);
    struct engine_training_options options = options_of(&school);
    struct engine_training *training = training_of(&school, &options);
    run(training, 1);
    unit_assert_ok(engine_training_save_checkpoint(training, in_scratch("checkpoint"), &why), why);
    for (size_t i = 0; i < UNIT_COUNT(spoilt); i++) {
        spoil_checkpoint(spoilt[i].name, spoilt[i].text);
        unit_assert_fails(engine_training_load_checkpoint(training, in_scratch("spoilt"), &why),
                          spoilt[i].status, why, spoilt[i].part);
    }
    spoil_checkpoint("", NULL); /* written again as it was */
    unit_assert_ok(engine_training_load_checkpoint(training, in_scratch("spoilt"), &why), why);
    engine_training_destroy(training);
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
    char was[256], is[256];
    snprintf(was, sizeof was, "%s/fruit/1.png", school.data);
    snprintf(is, sizeof is, "%s/fruit/3.png", school.data);
    assert_int_equal(rename(was, is), 0);
    training = training_of(&school, &options);
    unit_assert_fails(engine_training_load_checkpoint(training, in_scratch("checkpoint"), &why),
                      STATUS_INVALID, why, "other options or pictures");
    engine_training_destroy(training);
    assert_int_equal(rename(is, was), 0);
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
        cmocka_unit_test(test_learns),
        cmocka_unit_test(test_goes_on_from_checkpoints),
        cmocka_unit_test(test_refused_options),
        cmocka_unit_test(test_other_options),
        cmocka_unit_test(test_usage),
        cmocka_unit_test(test_broken_picture_and_stop),
        cmocka_unit_test(test_spoilt_checkpoints),
        cmocka_unit_test(test_refused_checkpoints),
        cmocka_unit_test(test_rates),
    };
    return cmocka_run_group_tests_name("engine_training", tests, make_data, remove_data);
}
