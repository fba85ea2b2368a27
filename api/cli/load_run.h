/*
 * Puts load on a server, on one thread with epoll.
 *
 * Without a rate, every connection sends its next request as soon as it has its answer (a closed
 * loop): times are those of the server, and a server that stalls is asked less meanwhile. With a
 * rate, requests are due on a schedule whatever the server does (an open loop); one that has to
 * wait for a free connection is late, and its time counts from when it was due, so that a stall
 * counts for everyone whom it would have kept waiting. Main thread only, one at a time.
 */
#ifndef API_CLI_LOAD_RUN_H
#define API_CLI_LOAD_RUN_H

#include <stddef.h>
#include <stdint.h>

#include "api/cli/address.h"
#include "api/cli/load_plan.h"
#include "api/cli/load_result.h"
#include "engine/base/status.h"

struct load_run_options {
    const struct address *address;
    const struct load_plan *plan;
    size_t connections;
    double per_second; /* 0: no rate */
    uint64_t requests; /* how many to measure; 0: as many as there are in duration_us */
    uint64_t duration_us, warmup_us;
    uint64_t timeout_us; /* to open a connection; from the begin of a request to its answer */

    /* Called a few times a second. */
    void (*progress)(void *context, const struct load_result *result, uint64_t now_us);
    void *context;
};

/* SIGINT or SIGTERM ends it early; a second one then does what it always does. Once sending has
 * ended, requests that have begun are waited for. *out is filled whatever this comes to. */
enum status load_run_execute(const struct load_run_options *options, struct load_result *out,
                             struct fail *why);

#endif
