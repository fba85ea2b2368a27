#include "api/cli/load_result.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "api/cli/problem.h"

static bool load_result_counts(const struct load_result *result, uint64_t due_us)
{
    return due_us >= result->start_us;
}

static bool load_result_measures(const struct load_result *result, uint64_t now_us)
{
    return now_us >= result->start_us && now_us < result->end_us;
}

void load_result_add_answer(struct load_result *result, const struct load_connection *connection,
                            uint64_t now_us)
{
    const struct response *response = &connection->response;
    bool accepted = response->status < 400;
    uint64_t from_due_us = now_us - connection->due_us;
    if (load_result_measures(result, now_us)) {
        result->rate_answered++;
        result->rate_accepted += accepted;
    }
    if (!load_result_counts(result, connection->due_us))
        return;
    if (!accepted && !*result->first_problem)
        problem_describe(response, result->first_problem, sizeof result->first_problem);
    result->answered++;
    result->statuses[response->status]++;
    latency_histogram_add(&result->all_from_due, from_due_us, 1);
    if (accepted) {
        result->accepted++;
        latency_histogram_add(&result->accepted_from_due, from_due_us, 1);
        latency_histogram_add(&result->accepted_from_sending, now_us - connection->begun_us, 1);
        load_result_add_timing(result, response->server_timing);
    } else {
        result->retry_after += response->status == 429 && response->has_retry_after;
        latency_histogram_add(&result->refused_from_sending, now_us - connection->begun_us, 1);
    }
}

void load_result_add_failure(struct load_result *result, const struct load_connection *connection,
                             enum load_connection_outcome failure, bool in_request, uint64_t now_us)
{
    if (!load_result_counts(result, in_request ? connection->due_us : now_us))
        return;
    result->failures[failure]++;
    if (in_request)
        latency_histogram_add(&result->all_from_due, now_us - connection->due_us, 1);
}

/* ---- Server-Timing: queue;dur=0.08, decode;dur=1.36;desc="x" ---- */

static struct load_result_stage *load_result_stage_of(struct load_result *result, const char *name,
                                                      size_t length)
{
    for (size_t i = 0; i < result->stage_count; i++)
        if (strlen(result->stages[i].name) == length &&
            memcmp(result->stages[i].name, name, length) == 0)
            return &result->stages[i];
    if (result->stage_count == LOAD_RESULT_MAX_STAGES || length > LOAD_RESULT_MAX_STAGE_NAME)
        return NULL;
    struct load_result_stage *stage = &result->stages[result->stage_count++];
    memcpy(stage->name, name, length);
    return stage;
}

/* What follows ";dur=" in an entry, or NULL. */
static const char *load_result_duration(const char *entry, size_t length)
{
    const char *end = entry + length, *at = entry;
    while ((at = memchr(at, ';', (size_t)(end - at)))) {
        at += 1 + strspn(at + 1, " \t");
        if (at + 4 < end && strncmp(at, "dur=", 4) == 0)
            return at + 4;
        if (at >= end)
            break;
    }
    return NULL;
}

static void load_result_add_stage(struct load_result *result, const char *entry, size_t length)
{
    size_t name = strcspn(entry, "; \t,");
    const char *value = load_result_duration(entry, length);
    if (!name || name >= length || !value)
        return;
    char *end;
    double ms = strtod(value, &end);
    if (end == value || !(ms >= 0 && ms < 1e12))
        return;
    struct load_result_stage *stage = load_result_stage_of(result, entry, name);
    if (stage) {
        stage->count++;
        stage->sum_ms += ms;
    }
}

void load_result_add_timing(struct load_result *result, const char *header)
{
    while (*header) {
        header += strspn(header, " \t,");
        size_t length = strcspn(header, ",");
        load_result_add_stage(result, header, length);
        header += length;
    }
}

/* ---- In all ---- */

double load_result_seconds(const struct load_result *result)
{
    return result->end_us > result->start_us ? (double)(result->end_us - result->start_us) / 1e6
                                             : 0;
}

uint64_t load_result_failure_count(const struct load_result *result)
{
    uint64_t count = 0;
    for (size_t i = LOAD_CONNECTION_UNOPENED; i < LOAD_CONNECTION_OUTCOMES; i++)
        count += result->failures[i];
    return count;
}
