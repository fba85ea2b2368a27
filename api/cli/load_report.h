/* What a load came to, to be read by people and by programs. Any thread. */
#ifndef API_CLI_LOAD_REPORT_H
#define API_CLI_LOAD_REPORT_H

#include "api/cli/load_result.h"
#include "api/cli/load_run.h"
#include "api/cli/terminal.h"
#include "engine/base/buf.h"
#include "engine/base/status.h"

struct json_t;

struct load_report {
    const char *url;
    const struct load_run_options *options;
    const struct load_result *result;
};

/* The table; with bars if somebody looks on. */
enum status load_report_append(const struct load_report *report, const struct terminal *terminal,
                               struct buf *out, struct fail *why);

/* A new value; NULL if there is no memory. */
struct json_t *load_report_document(const struct load_report *report);

#endif
