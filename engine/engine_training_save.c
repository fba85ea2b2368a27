/* What a training writes: engine_training_save and its kind of engine_training.h. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/buf.h"
#include "engine/base/mem.h"
#include "engine/engine_training.h"
#include "engine/engine_training_state.h"
#include "engine/safetensors.h"
#include "engine/safetensors_write.h"

#define ENGINE_TRAINING_CHECKPOINT "attriprompt.checkpoint/1"

enum { ENGINE_TRAINING_MAX_TEXT = 1 << 20, ENGINE_TRAINING_HEX_DIGITS = 8 };

/* ---- Pools ---- */

enum status engine_training_save(const struct engine_training *training, const char *path,
                                 const struct engine_pool_metadata *metadata, size_t count,
                                 struct fail *why)
{
    struct pool_file file = *learner_file(training->learner); /* whose arrays are borrowed */
    file.metadata = NULL;
    file.metadata_count = 0;
    enum status status = pool_file_set_fields(&file, training->start.sentence,
                                              training->session->engine->model->fingerprint, why);
    for (size_t i = 0; i < count && !status; i++)
        status = pool_file_set_metadata(&file, metadata[i].key, metadata[i].value, why);
    if (!status)
        status = pool_file_save(&file, path, why);
    file.values = file.keys = file.query_mean = NULL;
    pool_file_finish(&file);
    return status;
}

/* ---- Checkpoints ---- */

static void engine_training_put_text(struct buf *out, const char *text)
{
    buf_printf(out, NULL, " %zu:%s", strlen(text), text);
}

static uint64_t engine_training_hash_bytes(uint64_t hash, const void *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++)
        hash = (hash ^ ((const unsigned char *)bytes)[i]) * 0x100000001b3u;
    return hash;
}

/* FNV-1a of the classes, and of the pictures by label and name: the folder and the file, so that
 * data may move between two runs. */
static uint64_t engine_training_hash_data(const struct engine_training *training)
{
    const struct gallery *gallery = training->gallery;
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t i = 0; i < training->dataset->class_count; i++) {
        const char *name = training->dataset->classes[i];
        hash = engine_training_hash_bytes(hash, name, strlen(name) + 1);
    }
    for (size_t i = 0; i < gallery->pictures; i++) {
        const char *name = gallery->paths[i] + strlen(gallery->paths[i]);
        for (int slashes = 0; name > gallery->paths[i] && slashes < 2; name--)
            slashes += name[-1] == '/';
        hash = engine_training_hash_bytes(hash, name, strlen(name) + 1);
        hash = engine_training_hash_bytes(hash, &gallery->labels[i], sizeof gallery->labels[i]);
    }
    return hash;
}

/* All that decides about the numbers: a checkpoint of anything else does not go on from here. */
static enum status engine_training_identity(const struct engine_training *training, struct buf *out,
                                            struct fail *why)
{
    const struct engine_training_options *options = &training->options;
    const struct start_setting *start = &training->start;
    buf_init(out, ENGINE_TRAINING_MAX_TEXT);
    buf_printf(out, NULL, "seed %" PRIu64 " views %zu pool %zu %zu %zu %zu %zu %zu %d %d %d %d",
               options->seed, options->views, start->groups, start->prompts, start->tokens,
               start->clusters, start->per_cluster, start->depth, start->pos0,
               (int)start->cluster_space, (int)start->query_space, (int)start->retrieval);
    buf_printf(out, NULL, " %d %a %d %d %d %d %a %a %a %a %a %a", options->prompts_by_lot,
               options->least_area, options->centred, options->keys_by_lot, options->random_choice,
               options->self_by_cosine, options->deviation, options->rate, options->first_rate,
               options->momentum, options->values_decay, options->keys_decay);
    buf_printf(out, NULL, " epochs %zu batch %zu weights", options->epochs, options->batch);
    for (size_t i = 0; i < ENGINE_TRAINING_TERMS; i++)
        buf_printf(out, NULL, " %a", options->weights[i]);
    engine_training_put_text(out, training->session->engine->model->fingerprint);
    engine_training_put_text(out, start->sentence);
    for (size_t i = 0; i < options->plain_sentence_count; i++)
        engine_training_put_text(out, options->plain_sentences[i]);
    return buf_printf(out, why, " data %016" PRIx64, engine_training_hash_data(training));
}

static enum status engine_training_write_rng(const struct rng *rng, struct buf *out,
                                             struct fail *why)
{
    enum status status = STATUS_OK;
    buf_init(out, ENGINE_TRAINING_MAX_TEXT);
    for (size_t i = 0; i < RNG_WORDS && !status; i++)
        status = buf_printf(out, why, "%08" PRIx32, rng->words[i]);
    return status ? status : buf_printf(out, why, "%08" PRIx32, rng->next);
}

static enum status engine_training_write_checkpoint(const struct engine_training *training,
                                                    const char *identity, const char *rng,
                                                    const char *path, struct fail *why)
{
    const struct pool_file *file = learner_file(training->learner);
    size_t floats = learner_state_floats(training->learner);
    float *moving = mem_zeroed(floats, sizeof *moving);
    char epochs[24];
    if (!moving)
        return status_fail(why, STATUS_NO_MEMORY, "no memory for a checkpoint");
    learner_save_state(training->learner, moving);
    snprintf(epochs, sizeof epochs, "%zu", training->epochs_done);
    const struct safetensors_output tensors[] = {
        {"keys", 3, {file->groups, file->prompts, file->query_width}, file->keys},
        {"moving", 1, {floats}, moving},
        {"values", 4, {file->groups, file->prompts, file->tokens, file->width}, file->values},
    };
    const struct safetensors_text texts[] = {{"epochs", epochs},
                                             {"format", ENGINE_TRAINING_CHECKPOINT},
                                             {"identity", identity},
                                             {"rng", rng}};
    enum status status = safetensors_write(path, tensors, sizeof tensors / sizeof *tensors, texts,
                                           sizeof texts / sizeof *texts, why);
    free(moving);
    return status;
}

enum status engine_training_save_checkpoint(const struct engine_training *training,
                                            const char *path, struct fail *why)
{
    struct buf identity, rng;
    enum status status = engine_training_identity(training, &identity, why);
    buf_init(&rng, ENGINE_TRAINING_MAX_TEXT);
    if (!status)
        status = engine_training_write_rng(&training->rng, &rng, why);
    if (!status)
        status = engine_training_write_checkpoint(training, identity.data, rng.data, path, why);
    buf_finish(&identity);
    buf_finish(&rng);
    return status;
}

/* ---- Going on ---- */

static enum status engine_training_read_rng(const char *text, struct rng *out, struct fail *why)
{
    struct rng rng;
    size_t digits = ENGINE_TRAINING_HEX_DIGITS * (RNG_WORDS + 1);
    if (!text || strlen(text) != digits || strspn(text, "0123456789abcdef") != digits)
        return status_fail(why, STATUS_FORMAT, "metadata \"rng\" is not %zu digits", digits);
    for (size_t i = 0; i <= RNG_WORDS; i++) {
        char word[ENGINE_TRAINING_HEX_DIGITS + 1] = "";
        memcpy(word, text + i * ENGINE_TRAINING_HEX_DIGITS, ENGINE_TRAINING_HEX_DIGITS);
        uint32_t value = (uint32_t)strtoul(word, NULL, 16);
        if (i < RNG_WORDS)
            rng.words[i] = value;
        else
            rng.next = value;
    }
    if (rng.next > RNG_WORDS)
        return status_fail(why, STATUS_FORMAT, "metadata \"rng\" ends in a number over %d",
                           RNG_WORDS);
    *out = rng;
    return STATUS_OK;
}

/* free() */
static enum status engine_training_read_floats(const struct safetensors *from, const char *name,
                                               size_t count, float **out, struct fail *why)
{
    const struct safetensors_tensor *tensor = safetensors_find(from, name);
    *out = NULL;
    if (!tensor || tensor->count != count)
        return status_fail(why, STATUS_FORMAT, "tensor \"%s\" is missing or not of %zu numbers",
                           name, count);
    *out = mem_zeroed(count, sizeof **out);
    return *out ? safetensors_to_f32(tensor, *out, why)
                : status_fail(why, STATUS_NO_MEMORY, "no memory for a checkpoint");
}

static enum status engine_training_check_checkpoint(const struct engine_training *training,
                                                    const struct safetensors *from,
                                                    size_t *out_epochs, struct fail *why)
{
    const char *format = safetensors_metadata(from, "format");
    const char *identity = safetensors_metadata(from, "identity");
    const char *epochs = safetensors_metadata(from, "epochs");
    struct buf own;
    if (!format || strcmp(format, ENGINE_TRAINING_CHECKPOINT) != 0 || !identity || !epochs)
        return status_fail(why, STATUS_FORMAT, "not a checkpoint of a training");
    enum status status = engine_training_identity(training, &own, why);
    if (!status && strcmp(own.data, identity) != 0)
        status = status_fail(why, STATUS_INVALID,
                             "the checkpoint is of a training with other options or pictures");
    buf_finish(&own);
    char *end;
    *out_epochs = strtoul(epochs, &end, 10);
    if (!status && (end == epochs || *end || *out_epochs > training->options.epochs))
        status = status_fail(why, STATUS_FORMAT,
                             "metadata \"epochs\" is \"%.40s\"; must be a number up to %zu", epochs,
                             training->options.epochs);
    return status;
}

static enum status engine_training_take_checkpoint(struct engine_training *training,
                                                   const struct safetensors *from, struct fail *why)
{
    const struct pool_file *file = learner_file(training->learner);
    size_t keys = file->groups * file->prompts, epochs = 0;
    float *values = NULL, *key_values = NULL, *moving = NULL;
    struct rng rng;
    enum status status = engine_training_check_checkpoint(training, from, &epochs, why);
    if (!status)
        status = engine_training_read_rng(safetensors_metadata(from, "rng"), &rng, why);
    if (!status)
        status = engine_training_read_floats(from, "values", keys * file->tokens * file->width,
                                             &values, why);
    if (!status)
        status =
            engine_training_read_floats(from, "keys", keys * file->query_width, &key_values, why);
    if (!status)
        status = engine_training_read_floats(from, "moving",
                                             learner_state_floats(training->learner), &moving, why);
    if (!status) {
        learner_load_pool(training->learner, values, key_values);
        learner_load_state(training->learner, moving);
        training->rng = rng;
        training->epochs_done = epochs;
    }
    free(values);
    free(key_values);
    free(moving);
    return status;
}

enum status engine_training_load_checkpoint(struct engine_training *training, const char *path,
                                            struct fail *why)
{
    struct safetensors *from;
    enum status status = safetensors_open(path, &from, why);
    if (status)
        return status;
    status = engine_training_take_checkpoint(training, from, why);
    safetensors_close(from);
    return status ? status_context(why, status, "%s", path) : STATUS_OK;
}
