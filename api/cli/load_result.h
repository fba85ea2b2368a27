/*
 * What a load came to. A request counts if it was due in the measured time; a rate counts what
 * ended in it. One thread at a time.
 */
#ifndef API_CLI_LOAD_RESULT_H
#define API_CLI_LOAD_RESULT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "api/cli/latency_histogram.h"
#include "api/cli/load_connection.h"
#include "api/cli/response.h"

enum {
    LOAD_RESULT_STATUSES = 600,
    LOAD_RESULT_MAX_STAGES = 16,
    LOAD_RESULT_MAX_STAGE_NAME = 31,
    LOAD_RESULT_MAX_PROBLEM = 400,
    LOAD_RESULT_LATE_US = 1000
};

struct load_result_stage {
    char name[LOAD_RESULT_MAX_STAGE_NAME + 1];
    uint64_t count;
    double sum_ms;
};

struct load_result {
    uint64_t start_us, end_us; /* of the measured time, on the clock of requests */
    double cpu_s;              /* that this process used in it */
    bool given_up;             /* nothing could be reached any more */
    int signal_number;         /* that ended it before its time; 0: none */

    /* Requests that were due in the measured time. */
    uint64_t due;        /* with a rate: by the schedule; without one: as many as were begun */
    uint64_t begun;      /* of them */
    uint64_t never_sent; /* due, but no connection was free before the end */
    uint64_t unfinished; /* begun, and not waited for after a signal */
    uint64_t late;       /* begun more than LOAD_RESULT_LATE_US after they were due */
    uint64_t answered, accepted; /* with any status, with one below 400 */
    uint64_t statuses[LOAD_RESULT_STATUSES];
    uint64_t retry_after; /* answers 429 that said when to try again */
    uint64_t failures[LOAD_CONNECTION_OUTCOMES];
    char first_problem[LOAD_RESULT_MAX_PROBLEM]; /* the first refusal: "422: ...", or "" */
    struct latency_histogram accepted_from_due, accepted_from_sending, refused_from_sending;
    struct latency_histogram all_from_due; /* failures and what was never sent too, up to when
                                              that was known */
    struct load_result_stage stages[LOAD_RESULT_MAX_STAGES]; /* of accepted answers */
    size_t stage_count;

    /* What ended in the measured time, whenever it began. */
    uint64_t rate_answered, rate_accepted;
    uint64_t sent_bytes, received_bytes;
    uint64_t opened; /* connections, from the start on */
};

/* The answer of a connection that is ANSWERED. */
void load_result_add_answer(struct load_result *result, const struct load_connection *connection,
                            uint64_t now_us);

/* A failure; in_request says whether a request was lost with it. */
void load_result_add_failure(struct load_result *result, const struct load_connection *connection,
                             enum load_connection_outcome failure, bool in_request,
                             uint64_t now_us);

/* The times of a Server-Timing header. What is malformed is passed over. */
void load_result_add_timing(struct load_result *result, const char *header);

/* Seconds of the measured time. */
double load_result_seconds(const struct load_result *result);

/* Requests that ended without an answer, connections that could not be opened, and the like. */
uint64_t load_result_failure_count(const struct load_result *result);

#endif
