/*
 * Options of the commands: getopt_long with our messages, and the options that several commands
 * have in common. Main thread only.
 */
#ifndef API_CLI_ARGUMENTS_H
#define API_CLI_ARGUMENTS_H

#include <getopt.h>
#include <stdbool.h>
#include <stddef.h>

/* What arguments_next returns, and the `val` of the common options in a command's table. A
 * command's own options start at ARGUMENTS_OWN. */
enum arguments_key {
    ARGUMENTS_END = -1,
    ARGUMENTS_WRONG = 1, /* a message was printed */
    ARGUMENTS_HELP,
    ARGUMENTS_JSON,
    ARGUMENTS_MODEL,
    ARGUMENTS_ACTIVATION,
    ARGUMENTS_THREADS,
    ARGUMENTS_JPEG_DECODING,
    ARGUMENTS_OWN = 256 /* past every short option */
};

struct arguments {
    const char *command; /* as it stands in messages: "classify" */
    int argc;
    char **argv;
    const struct option *options;
    const char *model_dir;
    const char *activation; /* NULL: the model's own */
    size_t threads;         /* 0: one for each core */
    bool json;
    bool scaled_jpeg;
};

/* model_dir starts as ATTRIPROMPT_MODEL from the environment, else the model that ships with the
 * program. Everything passed in must outlive *arguments. */
void arguments_init(struct arguments *arguments, const char *command, int argc, char **argv,
                    const struct option *options);

/* The next option of the command's own, its value in optarg; ARGUMENTS_HELP, ARGUMENTS_WRONG or
 * ARGUMENTS_END. Common options are taken in on the way. After the end, arguments_rest. */
int arguments_next(struct arguments *arguments);

/* The arguments that are not options. */
const char *const *arguments_rest(const struct arguments *arguments, size_t *out_count);

/* A whole number in [least, most]; false, with a message that names the option, otherwise. */
bool arguments_number(const struct arguments *arguments, const char *option, const char *text,
                      size_t least, size_t most, size_t *out);

/* The values of an option that may be repeated. */
struct arguments_list {
    const char **items;
    size_t count;
};

/* Room for every argument there is; false, with a message, if there is no memory. */
bool arguments_list_init(struct arguments_list *list, const struct arguments *arguments);
void arguments_list_finish(struct arguments_list *list);
void arguments_list_add(struct arguments_list *list, const char *item);

#endif
