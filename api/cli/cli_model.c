#include <jansson.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "api/cli/arguments.h"
#include "api/cli/cli.h"
#include "api/cli/document.h"
#include "api/cli/printable.h"
#include "api/cli/terminal.h"
#include "api/cli/workbench.h"
#include "engine/base/buf.h"

static const struct option model_options[] = {
    {"help", no_argument, NULL, ARGUMENTS_HELP},
    {"json", no_argument, NULL, ARGUMENTS_JSON},
    {"model", required_argument, NULL, ARGUMENTS_MODEL},
    {0},
};

static const char model_help[] =
    "Usage: attriprompt model inspect [OPTION]...\n"
    "\n"
    "Opens a model folder, which checks all of it, and tells what it holds.\n"
    "\n"
    "  --model DIR         model folder (default: ATTRIPROMPT_MODEL in the environment, else the\n"
    "                      model that ships with the program)\n"
    "  --json              print one JSON document\n"
    "  --help              print this\n"
    "\n"
    "Exit status: 0 if the model can be used, 1 if not, 2 for wrong usage.\n"
    "\n"
    "Examples:\n"
    "  attriprompt model inspect\n"
    "  attriprompt model inspect --model ~/models/clip-vit-base-patch16 --json\n";

/* What a model folder may hold; nothing else in it is read. */
static const char *const model_file_names[] = {
    "config.json", "model.safetensors", "preprocessor_config.json", "tokenizer.json", "vocab.json",
    "merges.txt",  "labels.txt",
};

enum { MODEL_FILES = sizeof model_file_names / sizeof *model_file_names };

struct model_report {
    const char *folder;
    const struct engine_info *info;
    int64_t file_bytes[MODEL_FILES]; /* -1: no such file */
    bool has_labels;
    size_t labels;
};

/* ---- Looking ---- */

static enum status model_look_at_files(struct model_report *report, struct fail *why)
{
    struct buf path;
    enum status status = STATUS_OK;
    buf_init(&path, SIZE_MAX);
    for (size_t i = 0; i < MODEL_FILES && !status; i++) {
        struct stat file;
        path.size = 0;
        status = buf_printf(&path, why, "%s/%s", report->folder, model_file_names[i]);
        report->file_bytes[i] = !status && stat(path.data, &file) == 0 ? (int64_t)file.st_size : -1;
    }
    buf_finish(&path);
    return status;
}

static enum status model_look_at_labels(struct model_report *report, const struct engine *engine,
                                        struct fail *why)
{
    struct engine_label_list list = {0};
    enum status status = engine_default_labels(engine, &list, why);
    report->has_labels = !status;
    report->labels = list.count;
    engine_label_list_finish(&list);
    return status == STATUS_NOT_FOUND ? STATUS_OK : status;
}

/* ---- JSON ---- */

static json_t *model_tower_json(const struct engine_tower *tower)
{
    return json_pack("{s:I, s:I, s:I, s:I}", "width", (json_int_t)tower->width, "heads",
                     (json_int_t)tower->heads, "blocks", (json_int_t)tower->blocks, "mlp_width",
                     (json_int_t)tower->mlp_width);
}

static json_t *model_preprocessing_json(const struct engine_preprocessing *preprocessing)
{
    return json_pack("{s:I, s:I, s:o, s:o}", "shortest_edge",
                     (json_int_t)preprocessing->shortest_edge, "crop_size",
                     (json_int_t)preprocessing->crop_size, "mean",
                     document_floats(preprocessing->mean, 3), "deviation",
                     document_floats(preprocessing->deviation, 3));
}

static json_t *model_files_json(const struct model_report *report)
{
    json_t *array = json_array();
    for (size_t i = 0; i < MODEL_FILES; i++)
        if (report->file_bytes[i] >= 0)
            json_array_append_new(array, json_pack("{s:s, s:I}", "name", model_file_names[i],
                                                   "bytes", (json_int_t)report->file_bytes[i]));
    return array;
}

static enum status model_write_json(const struct model_report *report, struct fail *why)
{
    const struct engine_info *info = report->info;
    json_t *labels = report->has_labels ? json_integer((json_int_t)report->labels) : json_null();
    json_t *document = json_pack(
        "{s:o, s:o, s:s, s:s, s:s, s:s, s:I, s:f, s:I, s:I, s:I, s:I, s:I, s:I, s:o, s:o, s:o, "
        "s:o, "
        "s:o}",
        "name", document_text(info->name), "folder", document_text(report->folder), "layout",
        info->layout, "activation", info->activation, "backend", info->backend, "fingerprint",
        info->fingerprint, "parameters", (json_int_t)info->parameters, "logit_scale",
        (double)info->logit_scale, "image_size", (json_int_t)info->image_size, "patch_size",
        (json_int_t)info->patch_size, "patches", (json_int_t)info->patches, "joint_width",
        (json_int_t)info->joint_width, "context", (json_int_t)info->context, "vocabulary",
        (json_int_t)info->vocabulary, "vision", model_tower_json(&info->vision), "text",
        model_tower_json(&info->text), "preprocessing",
        model_preprocessing_json(&info->preprocessing), "files", model_files_json(report),
        "default_labels", labels);
    enum status status = document_write(document, why);
    putchar('\n');
    return status;
}

/* ---- Text ---- */

static void model_print_tower(const char *name, const struct engine_tower *tower)
{
    printf("%-14s  %zu blocks, width %zu, %zu heads, MLP width %zu\n", name, tower->blocks,
           tower->width, tower->heads, tower->mlp_width);
}

static enum status model_write_text(const struct model_report *report, struct fail *why)
{
    const struct engine_info *info = report->info;
    const struct engine_preprocessing *preprocessing = &info->preprocessing;
    const float *mean = preprocessing->mean, *deviation = preprocessing->deviation;
    struct buf folder;
    buf_init(&folder, SIZE_MAX);
    enum status status = printable_append(&folder, report->folder, SIZE_MAX, why);
    if (!status)
        printf("folder          %s\n", folder.data);
    buf_finish(&folder);
    if (status)
        return status;
    printf("layout          %s\n", info->layout);
    printf("activation      %s\n", info->activation);
    printf("parameters      %zu\n", info->parameters);
    printf("logit scale     %.4f\n", (double)info->logit_scale);
    printf("joint width     %zu\n", info->joint_width);
    printf("pictures        %zu x %zu pixels, %zu patches of %zu x %zu\n", info->image_size,
           info->image_size, info->patches, info->patch_size, info->patch_size);
    model_print_tower("vision tower", &info->vision);
    printf("texts           %zu ids, start and end included; vocabulary of %zu\n", info->context,
           info->vocabulary);
    model_print_tower("text tower", &info->text);
    printf("preprocessing   shorter edge to %zu, centre crop of %zu\n",
           preprocessing->shortest_edge, preprocessing->crop_size);
    printf("                mean %.7g %.7g %.7g, deviation %.7g %.7g %.7g\n", (double)mean[0],
           (double)mean[1], (double)mean[2], (double)deviation[0], (double)deviation[1],
           (double)deviation[2]);
    printf("fingerprint     %s\n", info->fingerprint);
    printf("computed by     %s\n", info->backend);
    if (report->has_labels)
        printf("default labels  %zu\n", report->labels);
    for (size_t i = 0; i < MODEL_FILES; i++)
        if (report->file_bytes[i] >= 0)
            printf("file            %-24s %12jd bytes\n", model_file_names[i],
                   (intmax_t)report->file_bytes[i]);
    return STATUS_OK;
}

/* ---- The command ---- */

static enum status model_write(const struct arguments *arguments, const struct workbench *bench,
                               struct fail *why)
{
    struct model_report report = {.folder = arguments->model_dir,
                                  .info = engine_info(bench->engine)};
    enum status status = model_look_at_files(&report, why);
    if (!status)
        status = model_look_at_labels(&report, bench->engine, why);
    if (status)
        return status;
    return arguments->json ? model_write_json(&report, why) : model_write_text(&report, why);
}

static enum cli_exit model_inspect(const struct arguments *arguments)
{
    struct fail why;
    struct terminal terminal;
    struct workbench bench;
    terminal_probe(&terminal);
    enum status status = workbench_open(&bench, arguments, 1, &why);
    if (!status) {
        status = model_write(arguments, &bench, &why);
        workbench_close(&bench);
    }
    return terminal_end(arguments->command, status, &why);
}

int cli_model(int argc, char **argv)
{
    struct arguments arguments;
    arguments_init(&arguments, "model", argc, argv, model_options);
    int key = arguments_next(&arguments);
    if (key == ARGUMENTS_WRONG)
        return CLI_USAGE;
    if (key == ARGUMENTS_HELP) {
        fputs(model_help, stdout);
        return terminal_end(arguments.command, STATUS_OK, NULL);
    }
    size_t count;
    const char *const *words = arguments_rest(&arguments, &count);
    if (count == 1 && strcmp(words[0], "inspect") == 0)
        return model_inspect(&arguments);
    terminal_complain(arguments.command, "usage: attriprompt model inspect (see --help)");
    return CLI_USAGE;
}
