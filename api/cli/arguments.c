#include "api/cli/arguments.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "api/cli/terminal.h"
#include "config/shipped.h"
#include "engine/base/mem.h"
#include "engine/engine.h"

void arguments_init(struct arguments *arguments, const char *command, int argc, char **argv,
                    const struct option *options)
{
    const char *model_dir = getenv("ATTRIPROMPT_MODEL");
    *arguments = (struct arguments){
        .command = command,
        .argc = argc,
        .argv = argv,
        .options = options,
        .model_dir = model_dir && *model_dir ? model_dir : shipped_model,
    };
    optind = 0; /* glibc: forget any earlier scan */
    opterr = 0;
}

static const char *arguments_name_of(const struct arguments *arguments, int key)
{
    const struct option *option = arguments->options;
    while (option->name && option->val != key)
        option++;
    return option->name;
}

static int arguments_complain(const struct arguments *arguments, int found)
{
    const char *word = arguments->argv[optind - 1];
    const char *known = optopt ? arguments_name_of(arguments, optopt) : NULL;
    if (found == ':')
        terminal_complain(arguments->command, "option '--%s' needs a value", known);
    else if (known)
        terminal_complain(arguments->command, "option '--%s' takes no value", known);
    else if (optopt)
        terminal_complain(arguments->command, "unknown option '-%c' (see --help)", optopt);
    else
        terminal_complain(arguments->command, "unknown option '%s' (see --help)", word);
    return ARGUMENTS_WRONG;
}

static bool arguments_take_jpeg_decoding(struct arguments *arguments)
{
    arguments->scaled_jpeg = strcmp(optarg, "scaled") == 0;
    if (arguments->scaled_jpeg || strcmp(optarg, "exact") == 0)
        return true;
    terminal_complain(arguments->command, "option '--jpeg-decoding' is exact or scaled, not '%s'",
                      optarg);
    return false;
}

static bool arguments_take(struct arguments *arguments, int key)
{
    switch (key) {
    case ARGUMENTS_JSON:
        arguments->json = true;
        return true;
    case ARGUMENTS_MODEL:
        arguments->model_dir = optarg;
        return true;
    case ARGUMENTS_ACTIVATION:
        arguments->activation = optarg;
        if (strcmp(optarg, "quick_gelu") == 0 || strcmp(optarg, "gelu") == 0)
            return true;
        terminal_complain(arguments->command,
                          "option '--activation' is quick_gelu or gelu, not '%s'", optarg);
        return false;
    case ARGUMENTS_JPEG_DECODING:
        return arguments_take_jpeg_decoding(arguments);
    default:
        return arguments_number(arguments, "threads", optarg, 1, ENGINE_MAX_THREADS,
                                &arguments->threads);
    }
}

int arguments_next(struct arguments *arguments)
{
    for (;;) {
        int key = getopt_long(arguments->argc, arguments->argv, ":h", arguments->options, NULL);
        if (key == 'h' || key == ARGUMENTS_HELP)
            return ARGUMENTS_HELP;
        if (key == '?' || key == ':')
            return arguments_complain(arguments, key);
        if (key == ARGUMENTS_END || key >= ARGUMENTS_OWN)
            return key;
        if (!arguments_take(arguments, key))
            return ARGUMENTS_WRONG;
    }
}

const char *const *arguments_rest(const struct arguments *arguments, size_t *out_count)
{
    *out_count = (size_t)(arguments->argc - optind);
    return (const char *const *)arguments->argv + optind;
}

bool arguments_number(const struct arguments *arguments, const char *option, const char *text,
                      size_t least, size_t most, size_t *out)
{
    char *end;
    errno = 0;
    unsigned long long number = strtoull(text, &end, 10);
    bool digits = *text >= '0' && *text <= '9' && *end == '\0';
    if (digits && !errno && number >= least && number <= most) {
        *out = (size_t)number;
        return true;
    }
    terminal_complain(arguments->command, "option '--%s' is a number from %zu to %zu, not '%s'",
                      option, least, most, text);
    return false;
}

bool arguments_list_init(struct arguments_list *list, const struct arguments *arguments)
{
    list->count = 0;
    list->items = mem_zeroed((size_t)arguments->argc, sizeof *list->items);
    if (!list->items)
        terminal_complain(arguments->command, "no memory for %d arguments", arguments->argc);
    return list->items;
}

void arguments_list_finish(struct arguments_list *list)
{
    free(list->items);
    *list = (struct arguments_list){0};
}

void arguments_list_add(struct arguments_list *list, const char *item)
{
    list->items[list->count++] = item;
}
