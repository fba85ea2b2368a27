/*
 * The engine as a command uses it: one open model, one session, and the threads that the user
 * allowed. Main thread only.
 */
#ifndef API_CLI_WORKBENCH_H
#define API_CLI_WORKBENCH_H

#include <stddef.h>

#include "api/cli/arguments.h"
#include "engine/base/status.h"
#include "engine/engine.h"

struct workbench {
    struct engine *engine;
    struct engine_session *session;
    size_t max_images; /* of one call to the session */
    size_t threads;
    struct engine_image_options image_options;
};

/* Opens arguments->model_dir with a session for up to max_images pictures a call. */
enum status workbench_open(struct workbench *bench, const struct arguments *arguments,
                           size_t max_images, struct fail *why);
void workbench_close(struct workbench *bench);

#endif
