#include <jansson.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "api/cli/arguments.h"
#include "api/cli/cli.h"
#include "api/cli/document.h"
#include "api/cli/picture_feed.h"
#include "api/cli/printable.h"
#include "api/cli/terminal.h"
#include "api/cli/workbench.h"
#include "engine/base/mem.h"

enum { EMBED_TEXT = ARGUMENTS_OWN, EMBED_IMAGE, EMBED_VALUES_SHOWN = 4 };

static const struct option embed_options[] = {
    {"activation", required_argument, NULL, ARGUMENTS_ACTIVATION},
    {"help", no_argument, NULL, ARGUMENTS_HELP},
    {"image", required_argument, NULL, EMBED_IMAGE},
    {"jpeg-decoding", required_argument, NULL, ARGUMENTS_JPEG_DECODING},
    {"json", no_argument, NULL, ARGUMENTS_JSON},
    {"model", required_argument, NULL, ARGUMENTS_MODEL},
    {"text", required_argument, NULL, EMBED_TEXT},
    {"threads", required_argument, NULL, ARGUMENTS_THREADS},
    {0},
};

static const char embed_help[] =
    "Usage: attriprompt embed [OPTION]...\n"
    "\n"
    "Prints the unit vectors of texts and pictures in the space that they share: the dot product\n"
    "of two is their cosine similarity.\n"
    "\n"
    "  --text TEXT         a text; may be repeated\n"
    "  --image FILE        a JPEG, PNG or WebP file of at most %d MiB, or - for standard input;\n"
    "                      may be repeated\n"
    "  --model DIR         model folder (default: ATTRIPROMPT_MODEL in the environment, else the\n"
    "                      model that ships with the program)\n"
    "  --activation NAME   quick_gelu or gelu, for a model folder that does not say\n"
    "  --threads N         threads to compute with (default: one for each core)\n"
    "  --jpeg-decoding NAME\n"
    "                      exact, the default, or scaled: large JPEGs are decoded smaller, which\n"
    "                      is faster, and nearly the same\n"
    "  --json              print one JSON document with whole vectors, texts and pictures each in\n"
    "                      the order given; null stands for a picture that cannot be read\n"
    "  --help              print this\n"
    "\n"
    "Exit status: 0 if all were embedded, 1 if something failed, 2 for wrong usage.\n"
    "\n"
    "Examples:\n"
    "  attriprompt embed --text 'a photo of a cat.' --image cat.jpg\n"
    "  attriprompt embed --json --image a.png --image b.png > vectors.json\n";

struct embed_request {
    struct arguments arguments;
    struct arguments_list texts, images;
};

struct embed_run {
    const struct embed_request *request;
    struct workbench bench;
    size_t joint_width;
    struct buf text;
    size_t shown, failed; /* pictures */
};

static enum status embed_write_row(struct embed_run *run, const char *kind, const char *name,
                                   const float *vector, struct fail *why)
{
    double squares = 0;
    for (size_t i = 0; i < run->joint_width; i++)
        squares += (double)vector[i] * (double)vector[i];
    struct buf *text = &run->text;
    enum status status = buf_printf(text, why, "%-5s  norm %.6f ", kind, sqrt(squares));
    for (size_t i = 0; i < EMBED_VALUES_SHOWN && i < run->joint_width && !status; i++)
        status = buf_printf(text, why, " %9.6f", (double)vector[i]);
    if (!status)
        status =
            buf_append_text(text, run->joint_width > EMBED_VALUES_SHOWN ? " ...  " : "  ", why);
    if (!status)
        status = printable_append(text, name, SIZE_MAX, why);
    if (!status)
        status = buf_append_text(text, "\n", why);
    return status ? status : terminal_write(text, why);
}

static enum status embed_visit(void *context, const struct picture_feed_picture *picture,
                               struct fail *why)
{
    struct embed_run *run = context;
    const float *feature = picture->feature;
    if (!feature) {
        run->failed++;
        terminal_complain(run->request->arguments.command, "%s", picture->why->message);
    }
    if (!run->request->arguments.json)
        return feature ? embed_write_row(run, "image", picture->path, feature, why) : STATUS_OK;
    if (run->shown++)
        putchar(',');
    return document_write(feature ? document_floats(feature, run->joint_width) : json_null(), why);
}

static enum status embed_write_texts(struct embed_run *run, const float *vectors, struct fail *why)
{
    const struct arguments_list *texts = &run->request->texts;
    const bool json = run->request->arguments.json;
    enum status status = STATUS_OK;
    for (size_t i = 0; i < texts->count && !status; i++) {
        const float *vector = vectors + i * run->joint_width;
        if (json && i)
            putchar(',');
        status = json ? document_write(document_floats(vector, run->joint_width), why)
                      : embed_write_row(run, "text", texts->items[i], vector, why);
    }
    return status;
}

static enum status embed_write_images(struct embed_run *run, struct fail *why)
{
    const struct arguments_list *images = &run->request->images;
    const struct picture_feed_visitor visitor = {.visit = embed_visit, .context = run};
    return picture_feed_run(&run->bench, images->items, images->count, &visitor, why);
}

static enum status embed_write(struct embed_run *run, const float *text_vectors, struct fail *why)
{
    const bool json = run->request->arguments.json;
    fputs(json ? "{\"text\":[" : "", stdout);
    enum status status = embed_write_texts(run, text_vectors, why);
    fputs(json ? "],\"image\":[" : "", stdout);
    if (!status)
        status = embed_write_images(run, why);
    fputs(json ? "]}\n" : "", stdout);
    return status;
}

static enum status embed_compute(struct embed_run *run, struct fail *why)
{
    const struct embed_request *request = run->request;
    enum status status = workbench_open(&run->bench, &request->arguments,
                                        picture_feed_batch(request->images.count), why);
    if (status)
        return status;
    run->joint_width = engine_info(run->bench.engine)->joint_width;
    float *text_vectors = mem_zeroed(request->texts.count, run->joint_width * sizeof *text_vectors);
    if (!text_vectors)
        return status_fail(why, STATUS_NO_MEMORY, "no memory for %zu texts", request->texts.count);
    if (request->texts.count)
        status = engine_embed_texts(run->bench.session, request->texts.items, request->texts.count,
                                    text_vectors, why);
    if (!status)
        status = embed_write(run, text_vectors, why);
    free(text_vectors);
    return status;
}

static enum cli_exit embed_run_request(const struct embed_request *request)
{
    struct fail why;
    struct terminal terminal;
    struct embed_run run = {.request = request};
    terminal_probe(&terminal);
    buf_init(&run.text, SIZE_MAX);
    enum status status = embed_compute(&run, &why);
    buf_finish(&run.text);
    workbench_close(&run.bench);
    enum cli_exit code = terminal_end(request->arguments.command, status, &why);
    return run.failed ? CLI_FAILED : code;
}

static enum cli_exit embed_check(const struct embed_request *request)
{
    const char *command = request->arguments.command;
    size_t extra;
    const char *const *rest = arguments_rest(&request->arguments, &extra);
    if (extra)
        terminal_complain(command, "'%s' is neither --text nor --image (see --help)", rest[0]);
    else if (!request->texts.count && !request->images.count)
        terminal_complain(command, "no --text and no --image given (see --help)");
    else if (picture_feed_standard_inputs(request->images.items, request->images.count) > 1)
        terminal_complain(command, "standard input, -, can be read only once (see --help)");
    else
        return CLI_OK;
    return CLI_USAGE;
}

static enum cli_exit embed_show_help(void)
{
    printf(embed_help, PICTURE_FEED_MAX_FILE_BYTES >> 20);
    return terminal_end("embed", STATUS_OK, NULL);
}

static enum cli_exit embed_read(struct embed_request *request)
{
    int key;
    while ((key = arguments_next(&request->arguments)) >= ARGUMENTS_OWN)
        arguments_list_add(key == EMBED_TEXT ? &request->texts : &request->images, optarg);
    if (key == ARGUMENTS_HELP)
        return embed_show_help();
    if (key == ARGUMENTS_WRONG)
        return CLI_USAGE;
    enum cli_exit code = embed_check(request);
    return code ? code : embed_run_request(request);
}

int cli_embed(int argc, char **argv)
{
    struct embed_request request = {0};
    enum cli_exit code = CLI_FAILED;
    arguments_init(&request.arguments, "embed", argc, argv, embed_options);
    if (arguments_list_init(&request.texts, &request.arguments) &&
        arguments_list_init(&request.images, &request.arguments))
        code = embed_read(&request);
    arguments_list_finish(&request.texts);
    arguments_list_finish(&request.images);
    return code;
}
