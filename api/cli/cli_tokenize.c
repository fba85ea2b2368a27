#include <errno.h>
#include <jansson.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/cli/arguments.h"
#include "api/cli/cli.h"
#include "api/cli/document.h"
#include "api/cli/terminal.h"
#include "api/cli/workbench.h"
#include "engine/base/buf.h"
#include "engine/base/mem.h"

enum { TOKENIZE_MAX_LINE_BYTES = 1 << 20 };

static const struct option tokenize_options[] = {
    {"help", no_argument, NULL, ARGUMENTS_HELP},
    {"json", no_argument, NULL, ARGUMENTS_JSON},
    {"model", required_argument, NULL, ARGUMENTS_MODEL},
    {0},
};

static const char tokenize_help[] =
    "Usage: attriprompt tokenize [OPTION]... TEXT...\n"
    "\n"
    "Prints the token ids of each text, start and end of text included. A TEXT of - stands for "
    "the\n"
    "lines of standard input, each a text of at most %d MiB. A text that the model's context "
    "cannot\n"
    "hold is cut, and a note says so.\n"
    "\n"
    "  --model DIR         model folder (default: ATTRIPROMPT_MODEL in the environment, else the\n"
    "                      model that ships with the program)\n"
    "  --json              print one JSON document; without it, a line of ids for each text\n"
    "  --help              print this\n"
    "\n"
    "A text that is not UTF-8 fails alone: null, or an empty line, stands in its place.\n"
    "Exit status: 0 if every text was read, 1 if something failed, 2 for wrong usage.\n"
    "\n"
    "Examples:\n"
    "  attriprompt tokenize 'a photo of a cat.'\n"
    "  attriprompt tokenize --json - < captions.txt\n";

struct tokenize_run {
    const struct arguments *arguments;
    struct workbench bench;
    size_t context;
    int32_t *ids; /* [context] */
    size_t texts, cut, first_cut, failed;
};

static json_t *tokenize_array(const int32_t *ids, size_t count)
{
    json_t *array = json_array();
    for (size_t i = 0; i < count; i++)
        json_array_append_new(array, json_integer(ids[i]));
    return array;
}

static enum status tokenize_write(const struct tokenize_run *run, const int32_t *ids, size_t count,
                                  struct fail *why)
{
    if (run->arguments->json) {
        if (run->texts > 1)
            putchar(',');
        return document_write(ids ? tokenize_array(ids, count) : json_null(), why);
    }
    for (size_t i = 0; i < count; i++)
        printf(i ? " %d" : "%d", (int)ids[i]);
    putchar('\n');
    return STATUS_OK;
}

static enum status tokenize_text(struct tokenize_run *run, const char *text, size_t length,
                                 struct fail *why)
{
    struct fail text_why;
    size_t count = 0;
    bool cut = false;
    run->texts++;
    enum status failed =
        strlen(text) != length
            ? status_fail(&text_why, STATUS_FORMAT, "a NUL byte at byte %zu", strlen(text))
            : engine_tokenize(run->bench.engine, text, run->ids, &count, &cut, &text_why);
    if (failed) {
        run->failed++;
        terminal_complain(run->arguments->command, "text %zu: %s", run->texts, text_why.message);
        return tokenize_write(run, NULL, 0, why);
    }
    if (cut && !run->cut++)
        run->first_cut = run->texts;
    return tokenize_write(run, run->ids, count, why);
}

/* Reads up to a newline, which it drops, or the end; *out_more tells whether there was a line. */
static enum status tokenize_read_line(struct buf *line, bool *out_more, struct fail *why)
{
    enum status status = STATUS_OK;
    int c = getchar_unlocked();
    *out_more = c != EOF;
    line->size = 0;
    for (; c != EOF && c != '\n' && !status; c = getchar_unlocked()) {
        const char byte = (char)c;
        status = buf_append(line, &byte, 1, why);
    }
    if (!status && ferror(stdin))
        return status_fail(why, STATUS_IO, "standard input: %s", strerror(errno));
    if (!status && line->size && line->data[line->size - 1] == '\r')
        line->size--;
    return status ? status : buf_append(line, "", 0, why);
}

static enum status tokenize_lines(struct tokenize_run *run, struct fail *why)
{
    struct buf line;
    buf_init(&line, TOKENIZE_MAX_LINE_BYTES);
    enum status status;
    bool more;
    do {
        status = tokenize_read_line(&line, &more, why);
        if (status)
            status = status_context(why, status, "text %zu", run->texts + 1);
        else if (more)
            status = tokenize_text(run, line.data, line.size, why);
    } while (!status && more);
    buf_finish(&line);
    return status;
}

static enum status tokenize_texts(struct tokenize_run *run, struct fail *why)
{
    size_t count;
    const char *const *texts = arguments_rest(run->arguments, &count);
    enum status status = STATUS_OK;
    fputs(run->arguments->json ? "{\"ids\":[" : "", stdout);
    for (size_t i = 0; i < count && !status; i++)
        status = strcmp(texts[i], "-") == 0 ? tokenize_lines(run, why)
                                            : tokenize_text(run, texts[i], strlen(texts[i]), why);
    fputs(run->arguments->json ? "]}\n" : "", stdout);
    return status;
}

static enum status tokenize_open_and_write(struct tokenize_run *run, struct fail *why)
{
    enum status status = workbench_open(&run->bench, run->arguments, 1, why);
    if (status)
        return status;
    run->context = engine_info(run->bench.engine)->context;
    run->ids = mem_zeroed(run->context, sizeof *run->ids);
    return run->ids ? tokenize_texts(run, why)
                    : status_fail(why, STATUS_NO_MEMORY, "no memory for %zu ids", run->context);
}

static enum cli_exit tokenize_run_arguments(const struct arguments *arguments)
{
    struct fail why;
    struct terminal terminal;
    struct tokenize_run run = {.arguments = arguments};
    terminal_probe(&terminal);
    enum status status = tokenize_open_and_write(&run, &why);
    free(run.ids);
    workbench_close(&run.bench);
    if (run.cut == 1)
        terminal_complain(arguments->command, "text %zu was cut to %zu ids, the model's context",
                          run.first_cut, run.context);
    else if (run.cut)
        terminal_complain(arguments->command,
                          "%zu of %zu texts, text %zu the first, were cut to %zu ids, the model's "
                          "context",
                          run.cut, run.texts, run.first_cut, run.context);
    enum cli_exit code = terminal_end(arguments->command, status, &why);
    return run.failed ? CLI_FAILED : code;
}

int cli_tokenize(int argc, char **argv)
{
    struct arguments arguments;
    arguments_init(&arguments, "tokenize", argc, argv, tokenize_options);
    int key = arguments_next(&arguments);
    if (key == ARGUMENTS_WRONG)
        return CLI_USAGE;
    if (key == ARGUMENTS_HELP) {
        printf(tokenize_help, TOKENIZE_MAX_LINE_BYTES >> 20);
        return terminal_end(arguments.command, STATUS_OK, NULL);
    }
    size_t texts;
    arguments_rest(&arguments, &texts);
    if (texts)
        return tokenize_run_arguments(&arguments);
    terminal_complain(arguments.command, "no TEXT given (see --help)");
    return CLI_USAGE;
}
