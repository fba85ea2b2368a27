/* The command `attriprompt serve`: everything from its options to the end of the process. */
#ifndef SERVER_SERVE_H
#define SERVER_SERVE_H

#include "server/router.h"

/* argv[0] is the command's name. Returns the exit status. A second signal calls end_at_once, which
 * must not return. */
int serve_main(int argc, char **argv, const struct router *router, void (*end_at_once)(void));

#endif
