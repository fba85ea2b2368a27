/* The program: attriprompt COMMAND [ARGUMENT]... */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "api/cli/cli.h"
#include "api/rest/label_set_document.h"
#include "api/rest/routes.h"
#include "config/version.h"
#include "server/serve.h"

/* Nothing is waited for or put away: threads may be in the middle of anything. */
static void main_end_at_once(void)
{
    _exit(1);
}

static int main_serve(int argc, char **argv)
{
    static const struct serve_api api = {.router = &routes_all,
                                         .restore_label_set = label_set_document_restore,
                                         .end_at_once = main_end_at_once};
    return serve_main(argc, argv, &api);
}

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *help;
} main_commands[] = {
    {"serve", main_serve, "serve classification over HTTP"},
    {"classify", cli_classify, "classify pictures"},
    {"embed", cli_embed, "turn pictures and texts into feature vectors"},
    {"tokenize", cli_tokenize, "show the tokens of texts"},
    {"model", cli_model, "look into a model folder"},
    {"pool", cli_pool, "look into a prompt pool"},
    {"health", cli_health, "ask a running server whether it is ready"},
    {"bench", cli_bench, "put load on a running server and measure it"},
};

enum { MAIN_COMMAND_COUNT = sizeof main_commands / sizeof main_commands[0] };

static void main_print_help(FILE *stream)
{
    fprintf(stream, "usage: attriprompt COMMAND [ARGUMENT]...\n\n");
    for (size_t i = 0; i < MAIN_COMMAND_COUNT; i++)
        fprintf(stream, "  %-10s %s\n", main_commands[i].name, main_commands[i].help);
    fprintf(stream, "\n`attriprompt COMMAND --help` tells more; `attriprompt --version` the "
                    "version.\n");
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        main_print_help(stderr);
        return 2;
    }
    for (size_t i = 0; i < MAIN_COMMAND_COUNT; i++)
        if (!strcmp(argv[1], main_commands[i].name))
            return main_commands[i].run(argc - 1, argv + 1);
    if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h")) {
        main_print_help(stdout);
        return 0;
    }
    if (!strcmp(argv[1], "--version")) {
        printf("attriprompt " VERSION_TEXT "\n");
        return 0;
    }
    fprintf(stderr, "attriprompt: unknown command \"%s\"; `attriprompt --help` lists them\n",
            argv[1]);
    return 2;
}
