/* labels.txt of a model folder: the labels of requests that bring none. One name a line; blank
 * lines are skipped. */
#ifndef SERVER_LABEL_FILE_H
#define SERVER_LABEL_FILE_H

#include "engine/engine.h"

/* *out becomes NULL if the folder has no such file. */
enum status label_file_compile(struct engine_session *session, const char *model_dir,
                               struct engine_labels **out, struct fail *why);

#endif
