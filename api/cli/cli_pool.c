#include <jansson.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "api/cli/arguments.h"
#include "api/cli/cli.h"
#include "api/cli/document.h"
#include "api/cli/printable.h"
#include "api/cli/terminal.h"
#include "api/cli/workbench.h"

enum { POOL_MODEL = ARGUMENTS_OWN };

static const struct option pool_options[] = {
    {"help", no_argument, NULL, ARGUMENTS_HELP},
    {"json", no_argument, NULL, ARGUMENTS_JSON},
    {"model", required_argument, NULL, POOL_MODEL},
    {0},
};

static const char pool_help[] =
    "Usage: attriprompt pool inspect [OPTION]... FILE\n"
    "\n"
    "Checks a prompt pool and tells what it holds: its sizes, its settings, its metadata, and how\n"
    "alike its keys are. FILE is a safetensors file.\n"
    "\n"
    "  --model DIR         also tells whether the pool fits this model\n"
    "  --json              print one JSON document\n"
    "  --help              print this\n"
    "\n"
    "Exit status: 0 if the pool is valid and fits the model that was given, 1 if not, 2 for wrong\n"
    "usage.\n"
    "\n"
    "Examples:\n"
    "  attriprompt pool inspect groups.safetensors\n"
    "  attriprompt pool inspect --model ~/models/clip-vit-base-patch16 --json groups.safetensors\n";

struct pool_report {
    const char *path;
    struct engine_pool_file *file;
    const struct engine_pool_info *info;
    const char *model; /* NULL: none was asked about */
    enum status fits;
    struct fail why_not;
};

/* ---- JSON ---- */

static json_t *pool_keys_json(const struct pool_report *report)
{
    json_t *groups = json_array();
    for (size_t group = 0; group < report->info->groups; group++) {
        struct engine_pool_key_figures figures;
        engine_pool_key_figures(report->file, group, &figures);
        json_array_append_new(groups,
                              json_pack("{s:{s:f, s:f, s:f}, s:[I, I], s:[f, f]}", "cosine",
                                        "least", figures.least, "mean", figures.mean, "greatest",
                                        figures.greatest, "nearest", (json_int_t)figures.nearest[0],
                                        (json_int_t)figures.nearest[1], "lengths",
                                        figures.shortest_key, figures.longest_key));
    }
    return groups;
}

static json_t *pool_metadata_json(const struct engine_pool_info *info)
{
    json_t *object = json_object();
    for (size_t i = 0; i < info->metadata_count; i++)
        json_object_set_new(object, info->metadata[i].key, document_text(info->metadata[i].value));
    return object;
}

static json_t *pool_fit_json(const struct pool_report *report)
{
    if (!report->model)
        return json_null();
    return json_pack("{s:o, s:b, s:o}", "folder", document_text(report->model), "fits",
                     report->fits == STATUS_OK, "why",
                     report->fits ? document_text(report->why_not.message) : json_null());
}

static enum status pool_write_json(const struct pool_report *report, struct fail *why)
{
    const struct engine_pool_info *info = report->info;
    json_t *document = json_pack(
        "{s:o, s:o, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:b, s:o, s:s, s:s, s:s, s:o, "
        "s:o, s:o, s:o}",
        "file", document_text(report->path), "name", document_text(info->name), "groups",
        (json_int_t)info->groups, "prompts", (json_int_t)info->prompts, "tokens",
        (json_int_t)info->tokens, "text_width", (json_int_t)info->text_width, "text_blocks",
        (json_int_t)info->text_blocks, "query_width", (json_int_t)info->query_width, "clusters",
        (json_int_t)info->clusters, "per_cluster", (json_int_t)info->per_cluster, "depth",
        (json_int_t)info->depth, "pos0", info->pos0, "sentence", document_text(info->sentence),
        "cluster_space", info->cluster_space, "query_space", info->query_space, "retrieval",
        info->retrieval, "logit_scale",
        info->logit_scale > 0 ? json_real((double)info->logit_scale) : json_null(), "keys",
        pool_keys_json(report), "metadata", pool_metadata_json(info), "model",
        pool_fit_json(report));
    enum status status = document_write(document, why);
    putchar('\n');
    return status;
}

/* ---- Text ---- */

static enum status pool_print_text(const char *name, const char *value, struct fail *why)
{
    struct buf text;
    buf_init(&text, SIZE_MAX);
    enum status status = printable_append(&text, name, 24, why);
    size_t columns = status ? 0 : printable_columns(text.data ? text.data : "");
    if (!status)
        status = buf_printf(&text, why, "%*s  ", columns < 17 ? (int)(17 - columns) : 0, "");
    if (!status)
        status = printable_append(&text, value, SIZE_MAX, why);
    if (!status)
        status = buf_append_text(&text, "\n", why);
    if (!status)
        status = terminal_write(&text, why);
    buf_finish(&text);
    return status;
}

static void pool_print_keys(const struct pool_report *report)
{
    const struct engine_pool_info *info = report->info;
    for (size_t group = 0; group < info->groups && info->prompts > 1; group++) {
        struct engine_pool_key_figures figures;
        engine_pool_key_figures(report->file, group, &figures);
        if (info->groups > 1)
            printf("keys of group %-4zu", group);
        else
            printf("%-18s", "keys");
        printf(
            " cosines from %.3f to %.3f, mean %.3f; the nearest are %zu and %zu; lengths %.3g to "
            "%.3g\n",
            figures.least, figures.greatest, figures.mean, figures.nearest[0], figures.nearest[1],
            figures.shortest_key, figures.longest_key);
    }
}

static enum status pool_print_fit(const struct pool_report *report, struct fail *why)
{
    struct buf text;
    buf_init(&text, SIZE_MAX);
    enum status status = report->fits ? buf_printf(&text, why, "no: %s", report->why_not.message)
                                      : buf_append_text(&text, "yes", why);
    if (!status)
        status = pool_print_text("fits the model", text.data, why);
    buf_finish(&text);
    return status;
}

static enum status pool_write_text(const struct pool_report *report, struct fail *why)
{
    const struct engine_pool_info *info = report->info;
    enum status status = pool_print_text("file", report->path, why);
    if (!status)
        status = pool_print_text("name", info->name, why);
    if (status)
        return status;
    printf("prompts            %zu of %zu token%s, %s\n", info->prompts, info->tokens,
           info->tokens == 1 ? "" : "s",
           info->groups == 1 ? "shared by all text blocks" : "others for each text block");
    printf("text tower         %zu blocks, width %zu; prompts enter the first %zu\n",
           info->text_blocks, info->text_width, info->depth);
    printf("composition        %zu cluster%s of patches take%s %zu prompt%s each, in every block\n",
           info->clusters, info->clusters == 1 ? "" : "s", info->clusters == 1 ? "s" : "",
           info->per_cluster, info->per_cluster == 1 ? "" : "s");
    printf("retrieval          %s; clusters in %s space, queries in %s space of width %zu\n",
           info->retrieval, info->cluster_space, info->query_space, info->query_width);
    if (info->logit_scale > 0)
        printf("logit scale        %.4f\n", (double)info->logit_scale);
    pool_print_keys(report);
    puts("metadata");
    for (size_t i = 0; i < info->metadata_count && !status; i++) {
        fputs("  ", stdout);
        status = pool_print_text(info->metadata[i].key, info->metadata[i].value, why);
    }
    if (!status && report->model)
        status = pool_print_fit(report, why);
    return status;
}

/* ---- The command ---- */

static enum status pool_try_model(struct pool_report *report, const struct arguments *arguments,
                                  struct fail *why)
{
    const struct engine_pool_options options = {.any_fingerprint = false};
    struct workbench bench;
    struct engine_pool *pool = NULL;
    enum status status = workbench_open(&bench, arguments, 1, why);
    if (status)
        return status;
    report->model = arguments->model_dir;
    report->fits = engine_pool_load(bench.engine, report->path, &options, &pool, &report->why_not);
    engine_pool_release(pool);
    workbench_close(&bench);
    return STATUS_OK;
}

static enum cli_exit pool_inspect(const struct arguments *arguments, const char *path,
                                  bool with_model)
{
    struct fail why;
    struct terminal terminal;
    struct pool_report report = {.path = path};
    terminal_probe(&terminal);
    enum status status = engine_pool_file_open(path, &report.file, &why);
    if (!status) {
        report.info = engine_pool_file_info(report.file);
        if (with_model)
            status = pool_try_model(&report, arguments, &why);
        if (!status)
            status =
                arguments->json ? pool_write_json(&report, &why) : pool_write_text(&report, &why);
        engine_pool_file_close(report.file);
    }
    enum cli_exit code = terminal_end(arguments->command, status, &why);
    return report.fits ? CLI_FAILED : code;
}

int cli_pool(int argc, char **argv)
{
    struct arguments arguments;
    bool with_model = false;
    int key;
    arguments_init(&arguments, "pool", argc, argv, pool_options);
    while ((key = arguments_next(&arguments)) == POOL_MODEL) {
        arguments.model_dir = optarg;
        with_model = true;
    }
    if (key == ARGUMENTS_WRONG)
        return CLI_USAGE;
    if (key == ARGUMENTS_HELP) {
        fputs(pool_help, stdout);
        return terminal_end(arguments.command, STATUS_OK, NULL);
    }
    size_t count;
    const char *const *words = arguments_rest(&arguments, &count);
    if (count == 2 && strcmp(words[0], "inspect") == 0)
        return pool_inspect(&arguments, words[1], with_model);
    terminal_complain(arguments.command, "usage: attriprompt pool inspect FILE (see --help)");
    return CLI_USAGE;
}
