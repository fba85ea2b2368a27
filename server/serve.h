/* The command `attriprompt serve`: everything from its options to the end of the process. */
#ifndef SERVER_SERVE_H
#define SERVER_SERVE_H

#include "server/router.h"
#include "server/service.h"

/* What the server does not know by itself. */
struct serve_api {
    const struct router *router;
    service_restore_entry *restore_label_set;
    void (*end_at_once)(void); /* called on a second signal; does not return */
};

/* argv[0] is the command's name. Returns the exit status. */
int serve_main(int argc, char **argv, const struct serve_api *api);

#endif
