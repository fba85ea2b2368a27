#include "engine/engine_training.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/mem.h"
#include "engine/engine_training_state.h"

const char *const engine_training_term_names[ENGINE_TRAINING_TERMS] = {
    "global", "fine", "text_to_image", "self", "key_matching", "key_diversity"};

const struct engine_training_options engine_training_default_options = {
    .shots = 16,
    .views = 8,
    .least_area = 0.08,
    .max_view_bytes = (size_t)2 << 30,
    .prompts = 32,
    .tokens = 1,
    .clusters = 4,
    .per_cluster = 1,
    .pos0 = true,
    .cluster_space = "raw",
    .query_space = "joint",
    .retrieval = "distinct",
    .sentence = "a photo of a {}.",
    .centred = true,
    .deviation = 0.1,
    .weights = {1, 0.1, 0, 25, 0.5, 0.1},
    .epochs = 20,
    .batch = 4,
    .rate = 0.0025,
    .first_rate = 1e-5,
    .momentum = 0.9,
    .values_decay = 5e-4,
    .seed = 1,
};

/* ---- Who watches ---- */

static void engine_training_on_pictures(void *context, size_t done, size_t count)
{
    const struct engine_training_watcher *watching = &((struct engine_training *)context)->watching;
    if (watching->progress)
        watching->progress(watching->context, "pictures", done, count);
}

static void engine_training_on_broken(void *context, const char *path, const struct fail *why)
{
    const struct engine_training_watcher *watching = &((struct engine_training *)context)->watching;
    if (watching->broken)
        watching->broken(watching->context, path, why);
}

static bool engine_training_on_stop(void *context)
{
    const struct engine_training_watcher *watching = &((struct engine_training *)context)->watching;
    return watching->stop && watching->stop(watching->context);
}

/* ---- Options ---- */

static enum status engine_training_find(const char *what, const char *name,
                                        const char *const *names, unsigned *out, struct fail *why)
{
    for (unsigned i = 0; names[i]; i++)
        if (!strcmp(names[i], name)) {
            *out = i;
            return STATUS_OK;
        }
    return status_fail(why, STATUS_INVALID, "%s: \"%.40s\" is not known", what, name);
}

static enum status engine_training_check_count(const char *what, size_t value, size_t most,
                                               struct fail *why)
{
    if (value >= 1 && value <= most)
        return STATUS_OK;
    return status_fail(why, STATUS_INVALID, "%s must be from 1 to %zu, not %zu", what, most, value);
}

static enum status engine_training_check_numbers(const struct engine_training_options *options,
                                                 struct fail *why)
{
    const struct {
        const char *what;
        double value, least, most;
    } numbers[] = {
        {"the least area of a view", options->least_area, 1e-3, 1},
        {"deviation", options->deviation, 0, 1e3},
        {"rate", options->rate, 0, 1e6},
        {"rate of the first epoch", options->first_rate, 0, 1e6},
        {"momentum", options->momentum, 0, 1},
        {"decay of prompts", options->values_decay, 0, 1e3},
        {"decay of keys", options->keys_decay, 0, 1e3},
    };
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (!(numbers[i].value >= numbers[i].least && numbers[i].value <= numbers[i].most))
            return status_fail(why, STATUS_INVALID, "%s must be from %g to %g, not %g",
                               numbers[i].what, numbers[i].least, numbers[i].most,
                               numbers[i].value);
    for (size_t term = 0; term < ENGINE_TRAINING_TERMS; term++)
        if (!(options->weights[term] >= 0 && options->weights[term] <= 1e6))
            return status_fail(why, STATUS_INVALID,
                               "the weight of %s must be from 0 to 1e6, not %g",
                               engine_training_term_names[term], options->weights[term]);
    return STATUS_OK;
}

static enum status engine_training_check_options(const struct engine_training *training,
                                                 struct fail *why)
{
    const struct engine_training_options *options = &training->options;
    const struct clip_model_geometry *geometry = &training->session->engine->model->geometry;
    const struct {
        const char *what;
        size_t value, most;
    } counts[] = {
        {"prompts", options->prompts, POOL_FILE_MAX_PROMPTS},
        {"tokens of a prompt", options->tokens, geometry->context},
        {"clusters", options->clusters, geometry->patches},
        {"prompts per cluster", options->per_cluster, POOL_FILE_MAX_PROMPTS},
        {"depth", training->start.depth, geometry->text.blocks},
        {"epochs", options->epochs, 100000},
        {"pictures in a batch", options->batch, 4096},
    };
    enum status status = STATUS_OK;
    for (size_t i = 0; i < sizeof counts / sizeof *counts && !status; i++)
        status = engine_training_check_count(counts[i].what, counts[i].value, counts[i].most, why);
    if (!status)
        status = engine_training_check_numbers(options, why);
    if (!status && options->clusters * options->per_cluster > options->prompts)
        status = status_fail(why, STATUS_INVALID,
                             "%zu clusters of %zu prompts each choose more than there are: %zu",
                             options->clusters, options->per_cluster, options->prompts);
    return status;
}

static enum status engine_training_read_options(struct engine_training *training, struct fail *why)
{
    const struct engine_training_options *options = &training->options;
    size_t blocks = training->session->engine->model->geometry.text.blocks;
    unsigned cluster_space = 0, query_space = 0, retrieval = 0;
    enum status status = engine_training_find("space of clusters", options->cluster_space,
                                              pool_file_cluster_spaces, &cluster_space, why);
    if (!status)
        status = engine_training_find("space of queries", options->query_space,
                                      pool_file_query_spaces, &query_space, why);
    if (!status)
        status = engine_training_find("retrieval", options->retrieval, pool_file_retrievals,
                                      &retrieval, why);
    training->start = (struct start_setting){
        .groups = options->groups_by_block ? blocks : 1,
        .prompts = options->prompts,
        .tokens = options->tokens,
        .clusters = options->clusters,
        .per_cluster = options->per_cluster,
        .depth = options->depth ? options->depth : blocks,
        .pos0 = options->pos0,
        .cluster_space = (enum pool_cluster_space)cluster_space,
        .query_space = (enum pool_query_space)query_space,
        .retrieval = (enum pool_retrieval)retrieval,
        .sentence = options->sentence,
        .prompts_by_lot = options->prompts_by_lot,
        .deviation = options->deviation,
        .centred = options->centred,
        .keys_by_lot = options->keys_by_lot,
    };
    return status ? status : engine_training_check_options(training, why);
}

/* ---- Pictures, classes, the pool ---- */

static enum status engine_training_read_data(struct engine_training *training, struct fail *why)
{
    const struct engine_training_options *options = &training->options;
    enum status status = dataset_open(options->data, options->pictures, &training->dataset, why);
    if (!status && options->shots)
        status = dataset_take_shots(training->dataset, options->shots, &training->rng, why);
    if (!status && options->half != ENGINE_TRAINING_ALL)
        status = dataset_take_half(training->dataset, options->half == ENGINE_TRAINING_BASE, why);
    if (!status && !training->dataset->lists[DATASET_TRAIN].count)
        status = status_fail(why, STATUS_INVALID, "%s: no pictures to train on", options->data);
    return status;
}

static enum status engine_training_look(struct engine_training *training, struct fail *why)
{
    const struct engine_training_options *options = &training->options;
    const struct view_setting setting = {.clusters = options->clusters,
                                         .cluster_space = training->start.cluster_space,
                                         .query_space = training->start.query_space};
    const struct gallery_options views = {.views = options->views,
                                          .least_area = options->least_area,
                                          .strict = options->strict,
                                          .max_bytes = options->max_view_bytes,
                                          .images = options->images};
    struct view_maker *maker = NULL;
    enum status status =
        view_maker_create(training->session, &setting, training->session->max_images, &maker, why);
    if (!status)
        status =
            gallery_create(training->session, maker, &training->dataset->lists[DATASET_TRAIN],
                           &views, &training->watcher, &training->rng, &training->gallery, why);
    view_maker_destroy(maker);
    return status;
}

static enum status engine_training_compile(struct engine_training *training, struct fail *why)
{
    const struct engine_training_options *options = &training->options;
    const char *const *names = (const char *const *)training->dataset->classes;
    size_t count = training->dataset->class_count;
    enum status status = engine_labels_compile(training->session, names, count, &options->sentence,
                                               1, &training->labels, why);
    if (!status && options->plain_sentence_count)
        status = engine_labels_compile(training->session, names, count, options->plain_sentences,
                                       options->plain_sentence_count, &training->plain_labels, why);
    return status;
}

static enum status engine_training_start(struct engine_training *training, struct fail *why)
{
    const struct engine_training_options *options = &training->options;
    const struct clip_model *model = training->session->engine->model;
    struct learner_options learning = {
        .losses = {.self_form = options->self_by_cosine ? LOSSES_COSINE : LOSSES_L1,
                   .logit_scale = (double)model->geometry.logit_scale},
        .momentum = options->momentum,
        .values_decay = options->values_decay,
        .keys_decay = options->keys_decay,
        .max_pictures = options->batch,
        .random_choice = options->random_choice,
        .plain_labels = training->plain_labels,
    };
    struct pool_file file;
    memcpy(learning.losses.weights, options->weights, sizeof options->weights);
    enum status status = start_pool(&training->session->engine->compose, &training->start,
                                    training->gallery, &training->rng, &file, why);
    if (!status)
        status = learner_create(training->session, &file, training->labels, &learning,
                                &training->learner, why);
    return status;
}

static enum status engine_training_allocate(struct engine_training *training, struct fail *why)
{
    size_t pictures = training->gallery->pictures;
    size_t groups =
        training->start.groups > 1 ? training->start.depth : 1; /* that are chosen from */
    training->usage_count = groups * training->start.prompts;
    training->order = mem_zeroed(pictures, sizeof *training->order);
    training->usage = mem_zeroed(training->usage_count, sizeof *training->usage);
    training->compositions = mem_zeroed(pictures, sizeof *training->compositions);
    training->batch_views = mem_zeroed(training->options.batch, sizeof *training->batch_views);
    training->batch_labels = mem_zeroed(training->options.batch, sizeof *training->batch_labels);
    if (training->order && training->usage && training->compositions && training->batch_views &&
        training->batch_labels)
        return STATUS_OK;
    return status_fail(why, STATUS_NO_MEMORY, "no memory for training on %zu pictures", pictures);
}

enum status engine_training_create(struct engine_session *session,
                                   const struct engine_training_options *options,
                                   const struct engine_training_watcher *watcher,
                                   struct engine_training **out, struct fail *why)
{
    struct engine_training *training = mem_zeroed(1, sizeof *training);
    if (!training)
        return status_fail(why, STATUS_NO_MEMORY, "no memory for a training");
    training->session = session;
    training->options = *options;
    training->watching = *watcher;
    training->watcher = (struct gallery_watcher){.context = training,
                                                 .progress = engine_training_on_pictures,
                                                 .broken = engine_training_on_broken,
                                                 .stop = engine_training_on_stop};
    rng_init(&training->rng, options->seed);
    enum status status = engine_training_read_options(training, why);
    if (!status)
        status = engine_training_read_data(training, why);
    if (!status) /* before the pictures: what is wrong with it is told at once */
        status = engine_training_compile(training, why);
    if (!status)
        status = engine_training_look(training, why);
    if (!status)
        status = engine_training_start(training, why);
    if (!status)
        status = engine_training_allocate(training, why);
    if (status)
        engine_training_destroy(training);
    else
        *out = training;
    return status;
}

void engine_training_destroy(struct engine_training *training)
{
    if (!training)
        return;
    learner_destroy(training->learner);
    engine_labels_release(training->labels);
    engine_labels_release(training->plain_labels);
    gallery_destroy(training->gallery);
    dataset_close(training->dataset);
    free(training->order);
    free(training->batch_views);
    free(training->batch_labels);
    free(training->usage);
    free(training->compositions);
    free(training);
}

size_t engine_training_classes(const struct engine_training *training)
{
    return training->dataset->class_count;
}

size_t engine_training_pictures(const struct engine_training *training)
{
    return training->gallery->pictures;
}

size_t engine_training_broken(const struct engine_training *training)
{
    return training->gallery->broken;
}

size_t engine_training_epochs_done(const struct engine_training *training)
{
    return training->epochs_done;
}

/* ---- Epochs ---- */

double engine_training_rate(const struct engine_training_options *options, size_t epoch)
{
    double turn = 3.14159265358979323846 * ((double)epoch - 2) / (double)options->epochs;
    return epoch == 1 ? options->first_rate : options->rate / 2 * (1 + cos(turn));
}

static uint64_t engine_training_hash(const uint16_t *choices, size_t count)
{
    uint64_t hash = 0xcbf29ce484222325u; /* FNV-1a */
    for (size_t i = 0; i < count; i++)
        hash = (hash ^ choices[i]) * 0x100000001b3u;
    return hash;
}

/* What the pictures of a batch chose. */
static void engine_training_note_choices(struct engine_training *training, size_t first,
                                         size_t count)
{
    const struct start_setting *start = &training->start;
    const uint16_t *choices = learner_choices(training->learner);
    size_t chosen = start->clusters * start->per_cluster, each = start->depth * chosen;
    for (size_t i = 0; i < count * each; i++) {
        size_t group = start->groups > 1 ? i / chosen % start->depth : 0;
        training->usage[group * start->prompts + choices[i]]++;
    }
    for (size_t i = 0; i < count; i++)
        training->compositions[first + i] = engine_training_hash(choices + i * each, each);
}

static void engine_training_step(struct engine_training *training, size_t first, size_t count,
                                 double rate, struct engine_training_report *sum)
{
    struct learner_report step;
    struct rng *lots = training->options.random_choice ? &training->rng : NULL;
    size_t view = training->epochs_done % training->gallery->views;
    for (size_t i = 0; i < count; i++) {
        uint32_t picture = training->order[first + i];
        training->batch_views[i] = gallery_view(training->gallery, picture, view);
        training->batch_labels[i] = training->gallery->labels[picture];
    }
    learner_step(training->learner, training->batch_views, training->batch_labels, count, rate,
                 lots, &step);
    engine_training_note_choices(training, first, count);
    sum->loss += step.loss * (double)count;
    sum->accuracy += (double)step.right;
    for (size_t term = 0; term < ENGINE_TRAINING_TERMS; term++)
        sum->terms[term] += step.terms[term] * (double)count;
}

static int engine_training_compare_hashes(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
    return (left > right) - (left < right);
}

static void engine_training_sum_up(struct engine_training *training, size_t pictures,
                                   struct engine_training_report *report)
{
    double total = 0, entropy = 0;
    report->loss /= (double)pictures;
    report->accuracy /= (double)pictures;
    for (size_t term = 0; term < ENGINE_TRAINING_TERMS; term++)
        report->terms[term] /= (double)pictures;
    for (size_t i = 0; i < training->usage_count; i++)
        total += (double)training->usage[i];
    for (size_t i = 0; i < training->usage_count; i++) {
        double share = (double)training->usage[i] / total;
        entropy -= share > 0 ? share * log(share) : 0;
    }
    report->usage_entropy =
        training->usage_count > 1 ? entropy / log((double)training->usage_count) : 1;
    report->pictures = pictures;
    qsort(training->compositions, pictures, sizeof *training->compositions,
          engine_training_compare_hashes);
    report->compositions = 1;
    for (size_t i = 1; i < pictures; i++)
        report->compositions += training->compositions[i] != training->compositions[i - 1];
}

/* Pictures that do not fill a batch are left out of this epoch, unless there are no others. */
enum status engine_training_epoch(struct engine_training *training,
                                  struct engine_training_report *out, struct fail *why)
{
    const struct engine_training_watcher *watching = &training->watching;
    size_t pictures = training->gallery->pictures, batch = training->options.batch;
    size_t used = pictures > batch ? pictures / batch * batch : pictures;
    struct engine_training_report report = {.epoch = training->epochs_done + 1};
    report.rate = engine_training_rate(&training->options, report.epoch);
    memset(training->usage, 0, training->usage_count * sizeof *training->usage);
    for (size_t i = 0; i < pictures; i++)
        training->order[i] = (uint32_t)i;
    rng_shuffle(&training->rng, training->order, (uint32_t)pictures);
    for (size_t done = 0; done < used;) {
        size_t count = used - done < batch ? used - done : batch;
        engine_training_step(training, done, count, report.rate, &report);
        done += count;
        if (watching->progress)
            watching->progress(watching->context, "steps", done, used);
        if (engine_training_on_stop(training))
            return status_fail(why, STATUS_CANCELLED, "stopped in epoch %zu", report.epoch);
    }
    engine_training_sum_up(training, used, &report);
    training->epochs_done++;
    *out = report;
    return STATUS_OK;
}
