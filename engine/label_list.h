/*
 * The labels that a model folder brings. Any thread. The functions behind engine_label_list_* of
 * engine.h are here too.
 */
#ifndef ENGINE_LABEL_LIST_H
#define ENGINE_LABEL_LIST_H

#include "engine/base/status.h"

struct engine_label_list;

/* labels.txt of the folder, as engine_label_list_parse reads it; failures name the file.
 * STATUS_NOT_FOUND if there is none, STATUS_IO if it is not a regular file. */
enum status label_list_load(const char *folder, struct engine_label_list *out, struct fail *why);

#endif
