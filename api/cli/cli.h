/*
 * The commands of the command line. Each takes the arguments that follow the program's name, with
 * argv[0] the command's own name, and returns the exit status: 0 done, 1 failed, 2 wrong usage, 128
 * and its number after a signal. Results go to standard output, messages to standard error. Called
 * from main's thread, once.
 */
#ifndef API_CLI_CLI_H
#define API_CLI_CLI_H

enum cli_exit { CLI_OK, CLI_FAILED, CLI_USAGE };

int cli_classify(int argc, char **argv);
int cli_embed(int argc, char **argv);
int cli_tokenize(int argc, char **argv);
int cli_model(int argc, char **argv);
int cli_pool(int argc, char **argv);
int cli_health(int argc, char **argv);
int cli_bench(int argc, char **argv);

#endif
