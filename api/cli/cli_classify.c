#include <jansson.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/cli/arguments.h"
#include "api/cli/cli.h"
#include "api/cli/document.h"
#include "api/cli/input.h"
#include "api/cli/picture_feed.h"
#include "api/cli/printable.h"
#include "api/cli/table.h"
#include "api/cli/terminal.h"
#include "api/cli/workbench.h"
#include "engine/base/mem.h"

enum {
    CLASSIFY_LABELS = ARGUMENTS_OWN,
    CLASSIFY_LABELS_FILE,
    CLASSIFY_SENTENCE,
    CLASSIFY_TOP_K,
    CLASSIFY_DEFAULT_TOP_K = 5
};

static const struct option classify_options[] = {
    {"activation", required_argument, NULL, ARGUMENTS_ACTIVATION},
    {"help", no_argument, NULL, ARGUMENTS_HELP},
    {"json", no_argument, NULL, ARGUMENTS_JSON},
    {"labels", required_argument, NULL, CLASSIFY_LABELS},
    {"labels-file", required_argument, NULL, CLASSIFY_LABELS_FILE},
    {"model", required_argument, NULL, ARGUMENTS_MODEL},
    {"sentence", required_argument, NULL, CLASSIFY_SENTENCE},
    {"threads", required_argument, NULL, ARGUMENTS_THREADS},
    {"top-k", required_argument, NULL, CLASSIFY_TOP_K},
    {0},
};

static const char classify_help[] =
    "Usage: attriprompt classify [OPTION]... IMAGE...\n"
    "\n"
    "Tells which of a list of labels fits each picture best. An IMAGE is a JPEG or PNG file of at\n"
    "most %d MiB, or - for standard input.\n"
    "\n"
    "  --labels A,B,C      the labels, between commas\n"
    "  --labels-file FILE  the labels, one a line, FILE being - for standard input; blank lines\n"
    "                      and lines that begin with # are passed over. At most %d labels and\n"
    "                      %d MiB.\n"
    "                      Without either: labels.txt in the model folder.\n"
    "  --sentence TEXT     how a label is put to the model, {} standing for the label; may be\n"
    "                      repeated, the sentences are averaged. Default: \"%s\"\n"
    "  --top-k N           how many labels to show for each picture (default %d)\n"
    "  --model DIR         model folder (default: ATTRIPROMPT_MODEL in the environment, else the\n"
    "                      model that ships with the program)\n"
    "  --activation NAME   quick_gelu or gelu, for a model folder that does not say\n"
    "  --threads N         threads to compute with (default: one for each core)\n"
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
};

struct classify_run {
    const struct classify_request *request;
    struct workbench bench;
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
    if (!status)
        status = engine_labels_compile(run->bench.session, list.names, list.count,
                                       request->sentences.items, request->sentences.count,
                                       &run->labels, why);
    engine_label_list_finish(&list);
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

static enum status classify_write_json(struct classify_run *run, const char *path,
                                       const struct fail *picture_why, struct fail *why)
{
    if (run->shown > 1)
        putchar(',');
    json_t *result =
        picture_why
            ? json_pack("{s:o, s:o}", "image", document_text(path), "error",
                        document_text(picture_why->message))
            : json_pack("{s:o, s:o, s:o, s:o}", "image", document_text(path), "logits",
                        document_floats(run->scores + run->count, run->count), "probabilities",
                        document_floats(run->scores + 2 * run->count, run->count), "predictions",
                        classify_predictions(run));
    return document_write(result, why);
}

static enum status classify_write_table(struct classify_run *run, const char *path,
                                        struct fail *why)
{
    struct buf *text = &run->text;
    enum status status = buf_append_text(text, run->shown > 1 ? "\n" : "", why);
    if (!status)
        status = printable_append(text, path, SIZE_MAX, why);
    if (!status)
        status = buf_append_text(text, "\n", why);
    for (size_t i = 0; i < run->top_k && !status; i++) {
        const struct engine_prediction *best = &run->predictions[i];
        status = table_append_row(&run->table, text, engine_labels_name(run->labels, best->label),
                                  (double)best->probability, why);
    }
    return status ? status : terminal_write(text, why);
}

static enum status classify_visit(void *context, const char *path, const float *feature,
                                  const struct fail *picture_why, struct fail *why)
{
    struct classify_run *run = context;
    const bool json = run->request->arguments.json;
    run->shown += feature || json;
    if (!feature) {
        run->failed++;
        terminal_complain(run->request->arguments.command, "%s", picture_why->message);
        return json ? classify_write_json(run, path, picture_why, why) : STATUS_OK;
    }
    size_t written;
    engine_cosines(run->bench.engine, run->labels, feature, run->scores);
    engine_probabilities(run->bench.engine, run->scores, run->count, run->scores + run->count,
                         run->scores + 2 * run->count);
    engine_top(run->bench.engine, run->scores, run->count, run->top_k, run->predictions, &written);
    return json ? classify_write_json(run, path, NULL, why) : classify_write_table(run, path, why);
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
    const struct picture_feed_visitor visitor = {classify_visit, run};
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

static enum status classify_prepare(struct classify_run *run, struct fail *why)
{
    const struct classify_request *request = run->request;
    enum status status = workbench_open(&run->bench, &request->arguments,
                                        picture_feed_batch(request->image_count), why);
    if (!status)
        status = classify_compile(run, why);
    if (status)
        return status;
    run->count = engine_labels_count(run->labels);
    run->top_k = request->top_k < run->count ? request->top_k : run->count;
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
    if (picture_feed_standard_inputs(request->images, request->image_count) +
            (request->labels_file && input_is_standard(request->labels_file)) >
        1)
        return classify_wrong(request, "standard input, -, can be read only once");
    return CLI_OK;
}

/* Returns ARGUMENTS_END, or why there is nothing to run. */
static int classify_read(struct classify_request *request)
{
    int key;
    while ((key = arguments_next(&request->arguments)) >= ARGUMENTS_OWN) {
        if (key == CLASSIFY_LABELS)
            request->labels = optarg;
        else if (key == CLASSIFY_LABELS_FILE)
            request->labels_file = optarg;
        else if (key == CLASSIFY_SENTENCE)
            arguments_list_add(&request->sentences, optarg);
        else if (!arguments_number(&request->arguments, "top-k", optarg, 1, ENGINE_MAX_LIST_LABELS,
                                   &request->top_k))
            return ARGUMENTS_WRONG;
    }
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
