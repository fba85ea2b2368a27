#include <jansson.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/cli/arguments.h"
#include "api/cli/cli.h"
#include "api/cli/cluster_map.h"
#include "api/cli/document.h"
#include "api/cli/input.h"
#include "api/cli/picture_feed.h"
#include "api/cli/printable.h"
#include "api/cli/table.h"
#include "api/cli/terminal.h"
#include "api/cli/workbench.h"
#include "api/explanation.h"
#include "engine/base/mem.h"

enum {
    CLASSIFY_LABELS = ARGUMENTS_OWN,
    CLASSIFY_LABELS_FILE,
    CLASSIFY_SENTENCE,
    CLASSIFY_TOP_K,
    CLASSIFY_POOL,
    CLASSIFY_ANY_FINGERPRINT,
    CLASSIFY_EXPLAIN,
    CLASSIFY_SHORTLIST,
    CLASSIFY_DEFAULT_TOP_K = 5
};

static const struct option classify_options[] = {
    {"activation", required_argument, NULL, ARGUMENTS_ACTIVATION},
    {"any-fingerprint", no_argument, NULL, CLASSIFY_ANY_FINGERPRINT},
    {"explain", no_argument, NULL, CLASSIFY_EXPLAIN},
    {"help", no_argument, NULL, ARGUMENTS_HELP},
    {"jpeg-decoding", required_argument, NULL, ARGUMENTS_JPEG_DECODING},
    {"json", no_argument, NULL, ARGUMENTS_JSON},
    {"labels", required_argument, NULL, CLASSIFY_LABELS},
    {"labels-file", required_argument, NULL, CLASSIFY_LABELS_FILE},
    {"model", required_argument, NULL, ARGUMENTS_MODEL},
    {"pool", required_argument, NULL, CLASSIFY_POOL},
    {"sentence", required_argument, NULL, CLASSIFY_SENTENCE},
    {"shortlist", required_argument, NULL, CLASSIFY_SHORTLIST},
    {"threads", required_argument, NULL, ARGUMENTS_THREADS},
    {"top-k", required_argument, NULL, CLASSIFY_TOP_K},
    {0},
};

static const char classify_help[] =
    "Usage: attriprompt classify [OPTION]... IMAGE...\n"
    "\n"
    "Tells which of a list of labels fits each picture best. An IMAGE is a JPEG, PNG or WebP file\n"
    "of at most %d MiB, or - for standard input.\n"
    "\n"
    "  --labels A,B,C      the labels, between commas\n"
    "  --labels-file FILE  the labels, one a line, FILE being - for standard input; blank lines\n"
    "                      and lines that begin with # are passed over. At most %d labels and\n"
    "                      %d MiB.\n"
    "                      Without either: labels.txt in the model folder.\n"
    "  --sentence TEXT     how a label is put to the model, {} standing for the label; may be\n"
    "                      repeated, the sentences are averaged. Default: the pool's, without one\n"
    "                      \"%s\"\n"
    "  --top-k N           how many labels to show for each picture (default %d)\n"
    "  --pool FILE         prompt pool: what each picture shows chooses the prompts for its "
    "labels\n"
    "  --explain           with a pool: which prompts, chosen by which parts of the picture\n"
    "  --shortlist N       with a pool: only the N labels that fit best without it get prompts, "
    "the\n"
    "                      others are left out. Faster, and not exact; 0, the default: all labels\n"
    "  --any-fingerprint   also a pool that was trained with other weights\n"
    "  --model DIR         model folder (default: ATTRIPROMPT_MODEL in the environment, else the\n"
    "                      model that ships with the program)\n"
    "  --activation NAME   quick_gelu or gelu, for a model folder that does not say\n"
    "  --threads N         threads to compute with (default: one for each core)\n"
    "  --jpeg-decoding NAME\n"
    "                      exact, the default, or scaled: large JPEGs are decoded smaller, which\n"
    "                      is faster, and nearly the same\n"
    "  --json              print one JSON document\n"
    "  --help              print this\n"
    "\n"
    "Exit status: 0 if every picture was classified, 1 if something failed, 2 for wrong usage.\n"
    "\n"
    "Examples:\n"
    "  attriprompt classify --labels cat,dog,pizza photo.jpg\n"
    "  attriprompt classify --labels-file animals.txt --sentence 'a blurry photo of a {}.'"
    " *.jpg\n"
    "  curl -s https://example.org/a.png | attriprompt classify --labels cat,dog --json -\n";

struct classify_request {
    struct arguments arguments;
    const char *labels;
    const char *labels_file;
    struct arguments_list sentences;
    const char *const *images;
    size_t image_count;
    size_t top_k;
    const char *pool; /* NULL: plain CLIP */
    size_t shortlist;
    bool explain, any_fingerprint;
};

struct classify_run {
    const struct classify_request *request;
    struct workbench bench;
    struct engine_pool *pool; /* NULL: plain CLIP */
    float logit_scale;
    struct engine_labels *labels;
    size_t count; /* of labels */
    size_t top_k; /* at most count */
    struct table table;
    struct buf text;
    float *scores;                         /* [3, count]: cosines, logits, probabilities */
    struct engine_prediction *predictions; /* [top_k] */
    size_t shown, failed;
};

/* ---- Labels ---- */

static enum status classify_load_labels(const char *path, struct engine_label_list *out,
                                        struct fail *why)
{
    struct buf file;
    buf_init(&file, ENGINE_MAX_LIST_BYTES);
    enum status status = input_read(&file, path, why);
    if (!status) {
        status = engine_label_list_parse(file.data, file.size, out, why);
        if (status)
            status_context(why, status, "%s", input_name(path));
    }
    buf_finish(&file);
    return status;
}

static enum status classify_default_labels(const struct classify_run *run,
                                           struct engine_label_list *out, struct fail *why)
{
    enum status status = engine_default_labels(run->bench.engine, out, why);
    if (status == STATUS_NOT_FOUND)
        return status_fail(why, status, "give --labels or --labels-file: %s has no labels.txt",
                           run->request->arguments.model_dir);
    return status;
}

static enum status classify_compile(struct classify_run *run, struct fail *why)
{
    const struct classify_request *request = run->request;
    struct engine_label_list list = {0};
    enum status status = request->labels ? engine_label_list_split(request->labels, &list, why)
                         : request->labels_file
                             ? classify_load_labels(request->labels_file, &list, why)
                             : classify_default_labels(run, &list, why);
    const char *const *sentences = request->sentences.items;
    size_t sentence_count = request->sentences.count;
    if (!sentence_count && run->pool) {
        sentences = &engine_pool_info(run->pool)->sentence;
        sentence_count = 1;
    }
    if (!status)
        status = engine_labels_compile(run->bench.session, list.names, list.count, sentences,
                                       sentence_count, &run->labels, why);
    engine_label_list_finish(&list);
    if (!status && run->pool)
        status = engine_labels_check_pool(run->labels, run->pool, why);
    return status;
}

/* ---- Results ---- */

static json_t *classify_predictions(const struct classify_run *run)
{
    json_t *array = json_array();
    for (size_t i = 0; i < run->top_k; i++) {
        const struct engine_prediction *best = &run->predictions[i];
        json_array_append_new(array,
                              json_pack("{s:o, s:f, s:f, s:f}", "label",
                                        document_text(engine_labels_name(run->labels, best->label)),
                                        "score", (double)best->probability, "logit",
                                        (double)best->logit, "cosine", (double)best->cosine));
    }
    return array;
}

/* What --json says of a picture under a pool. */
static enum status classify_add_composition(const struct classify_run *run,
                                            const struct engine_composition *composition,
                                            json_t *result, struct fail *why)
{
    int failed = json_object_set_new(result, "composition", explanation_prompts(composition)) |
                 json_object_set_new(result, "margin",
                                     explanation_margin(engine_composition_margin(composition)));
    if (run->request->explain)
        failed |= json_object_set_new(
            result, "explanation", explanation_json(composition, engine_info(run->bench.engine)));
    return failed ? status_fail(why, STATUS_NO_MEMORY, "no memory for a result") : STATUS_OK;
}

static enum status classify_write_json(struct classify_run *run,
                                       const struct picture_feed_picture *picture, struct fail *why)
{
    if (run->shown > 1)
        putchar(',');
    if (!picture->feature)
        return document_write(json_pack("{s:o, s:o}", "image", document_text(picture->path),
                                        "error", document_text(picture->why->message)),
                              why);
    json_t *result =
        json_pack("{s:o, s:o, s:o, s:o}", "image", document_text(picture->path), "logits",
                  document_floats(run->scores + run->count, run->count), "probabilities",
                  document_floats(run->scores + 2 * run->count, run->count), "predictions",
                  classify_predictions(run));
    enum status status = picture->composition
                             ? classify_add_composition(run, picture->composition, result, why)
                             : STATUS_OK;
    if (status) {
        json_decref(result);
        return status;
    }
    return document_write(result, why);
}

static enum status classify_write_table(struct classify_run *run,
                                        const struct picture_feed_picture *picture,
                                        struct fail *why)
{
    struct buf *text = &run->text;
    const struct engine_info *info = engine_info(run->bench.engine);
    enum status status = buf_append_text(text, run->shown > 1 ? "\n" : "", why);
    if (!status)
        status = printable_append(text, picture->path, SIZE_MAX, why);
    if (!status)
        status = buf_append_text(text, "\n", why);
    for (size_t i = 0; i < run->top_k && !status; i++) {
        const struct engine_prediction *best = &run->predictions[i];
        status = table_append_row(&run->table, text, engine_labels_name(run->labels, best->label),
                                  (double)best->probability, why);
    }
    if (!status && run->request->explain)
        status = cluster_map_append(text, picture->composition, info->image_size / info->patch_size,
                                    why);
    return status ? status : terminal_write(text, why);
}

static enum status classify_score(struct classify_run *run,
                                  const struct picture_feed_picture *picture, struct fail *why)
{
    size_t written;
    const struct engine_scoring scoring = {.labels = run->labels,
                                           .count = 1,
                                           .image_features = picture->feature,
                                           .compositions = &picture->composition,
                                           .shortlist = run->request->shortlist};
    enum status status = engine_score(run->bench.session, &scoring, run->scores, why);
    if (status)
        return status;
    engine_probabilities(run->logit_scale, run->scores, run->count, run->scores + run->count,
                         run->scores + 2 * run->count);
    engine_top(run->logit_scale, run->scores, run->count, run->top_k, run->predictions, &written);
    return STATUS_OK;
}

static enum status classify_visit(void *context, const struct picture_feed_picture *picture,
                                  struct fail *why)
{
    struct classify_run *run = context;
    const bool json = run->request->arguments.json;
    run->shown += picture->feature || json;
    if (!picture->feature) {
        run->failed++;
        terminal_complain(run->request->arguments.command, "%s", picture->why->message);
        return json ? classify_write_json(run, picture, why) : STATUS_OK;
    }
    enum status status = classify_score(run, picture, why);
    if (status)
        return status;
    return json ? classify_write_json(run, picture, why) : classify_write_table(run, picture, why);
}

/* ---- The run ---- */

static enum status classify_write_labels(const struct classify_run *run, struct fail *why)
{
    json_t *array = json_array();
    for (size_t i = 0; i < run->count; i++)
        json_array_append_new(array, document_text(engine_labels_name(run->labels, i)));
    return document_write(array, why);
}

static enum status classify_write_results(struct classify_run *run, struct fail *why)
{
    const struct classify_request *request = run->request;
    const struct picture_feed_visitor visitor = {
        .visit = classify_visit, .context = run, .pool = run->pool};
    return picture_feed_run(&run->bench, request->images, request->image_count, &visitor, why);
}

static enum status classify_write_document(struct classify_run *run, struct fail *why)
{
    fputs("{\"labels\":", stdout);
    enum status status = classify_write_labels(run, why);
    fputs(",\"results\":[", stdout);
    if (!status)
        status = classify_write_results(run, why);
    puts("]}");
    return status;
}

static enum status classify_load_pool(struct classify_run *run, struct fail *why)
{
    const struct classify_request *request = run->request;
    const struct engine_pool_options options = {.any_fingerprint = request->any_fingerprint};
    run->logit_scale = engine_info(run->bench.engine)->logit_scale;
    if (!request->pool)
        return STATUS_OK;
    enum status status =
        engine_pool_load(run->bench.engine, request->pool, &options, &run->pool, why);
    if (!status)
        run->logit_scale = engine_pool_info(run->pool)->logit_scale;
    return status;
}

static enum status classify_prepare(struct classify_run *run, struct fail *why)
{
    const struct classify_request *request = run->request;
    enum status status = workbench_open(&run->bench, &request->arguments,
                                        picture_feed_batch(request->image_count), why);
    if (!status)
        status = classify_load_pool(run, why);
    if (!status)
        status = classify_compile(run, why);
    if (status)
        return status;
    run->count = engine_labels_count(run->labels);
    run->top_k = request->top_k < run->count ? request->top_k : run->count;
    if (request->shortlist && request->shortlist < run->top_k)
        run->top_k = request->shortlist;
    run->scores = mem_zeroed(3 * run->count, sizeof *run->scores);
    run->predictions = mem_zeroed(run->top_k, sizeof *run->predictions);
    if (!run->scores || !run->predictions)
        return status_fail(why, STATUS_NO_MEMORY, "no memory for %zu labels", run->count);

    struct terminal terminal;
    size_t widest = 0;
    terminal_probe(&terminal);
    for (size_t i = 0; i < run->count; i++) {
        size_t columns = printable_columns(engine_labels_name(run->labels, i));
        widest = columns > widest ? columns : widest;
    }
    table_init(&run->table, &terminal, widest);
    return STATUS_OK;
}

static void classify_finish(struct classify_run *run)
{
    buf_finish(&run->text);
    free(run->predictions);
    free(run->scores);
    engine_labels_release(run->labels);
    engine_pool_release(run->pool);
    workbench_close(&run->bench);
}

static enum cli_exit classify_pictures(const struct classify_request *request)
{
    struct fail why;
    struct classify_run run = {.request = request};
    buf_init(&run.text, SIZE_MAX);
    enum status status = classify_prepare(&run, &why);
    if (!status)
        status = request->arguments.json ? classify_write_document(&run, &why)
                                         : classify_write_results(&run, &why);
    classify_finish(&run);
    enum cli_exit code = terminal_end(request->arguments.command, status, &why);
    return run.failed ? CLI_FAILED : code;
}

/* ---- Arguments ---- */

static enum cli_exit classify_wrong(const struct classify_request *request, const char *message)
{
    terminal_complain(request->arguments.command, "%s (see --help)", message);
    return CLI_USAGE;
}

static enum cli_exit classify_check(struct classify_request *request)
{
    request->images = arguments_rest(&request->arguments, &request->image_count);
    if (!request->image_count)
        return classify_wrong(request, "no IMAGE given");
    if (request->labels && request->labels_file)
        return classify_wrong(request, "give --labels or --labels-file, not both");
    if (!request->pool && (request->explain || request->shortlist || request->any_fingerprint))
        return classify_wrong(
            request, "--explain, --shortlist and --any-fingerprint are for use with --pool");
    if (picture_feed_standard_inputs(request->images, request->image_count) +
            (request->labels_file && input_is_standard(request->labels_file)) >
        1)
        return classify_wrong(request, "standard input, -, can be read only once");
    return CLI_OK;
}

static bool classify_take(struct classify_request *request, int key)
{
    switch (key) {
    case CLASSIFY_LABELS:
        request->labels = optarg;
        return true;
    case CLASSIFY_LABELS_FILE:
        request->labels_file = optarg;
        return true;
    case CLASSIFY_SENTENCE:
        arguments_list_add(&request->sentences, optarg);
        return true;
    case CLASSIFY_POOL:
        request->pool = optarg;
        return true;
    case CLASSIFY_EXPLAIN:
        request->explain = true;
        return true;
    case CLASSIFY_ANY_FINGERPRINT:
        request->any_fingerprint = true;
        return true;
    case CLASSIFY_SHORTLIST:
        return arguments_number(&request->arguments, "shortlist", optarg, 0, ENGINE_MAX_LIST_LABELS,
                                &request->shortlist);
    default:
        return arguments_number(&request->arguments, "top-k", optarg, 1, ENGINE_MAX_LIST_LABELS,
                                &request->top_k);
    }
}

/* Returns ARGUMENTS_END, or why there is nothing to run. */
static int classify_read(struct classify_request *request)
{
    int key;
    while ((key = arguments_next(&request->arguments)) >= ARGUMENTS_OWN)
        if (!classify_take(request, key))
            return ARGUMENTS_WRONG;
    return key;
}

static enum cli_exit classify_show_help(void)
{
    printf(classify_help, PICTURE_FEED_MAX_FILE_BYTES >> 20, ENGINE_MAX_LIST_LABELS,
           ENGINE_MAX_LIST_BYTES >> 20, engine_default_sentence, CLASSIFY_DEFAULT_TOP_K);
    return terminal_end("classify", STATUS_OK, NULL);
}

int cli_classify(int argc, char **argv)
{
    struct classify_request request = {.top_k = CLASSIFY_DEFAULT_TOP_K};
    arguments_init(&request.arguments, "classify", argc, argv, classify_options);
    if (!arguments_list_init(&request.sentences, &request.arguments))
        return CLI_FAILED;
    int key = classify_read(&request);
    enum cli_exit code = key == ARGUMENTS_HELP    ? classify_show_help()
                         : key == ARGUMENTS_WRONG ? CLI_USAGE
                                                  : classify_check(&request);
    if (key == ARGUMENTS_END && code == CLI_OK)
        code = classify_pictures(&request);
    arguments_list_finish(&request.sentences);
    return code;
}
