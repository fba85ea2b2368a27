#include "api/cli/load_report.h"

#include <jansson.h>

#include "api/cli/document.h"
#include "api/cli/printable.h"
#include "api/cli/table.h"

enum { LOAD_REPORT_FIXED_COLUMNS = 2 + 8, LOAD_REPORT_CELL_COLUMNS = 12, LOAD_REPORT_MAX_BAR = 40 };

static const char *const load_report_failures[LOAD_CONNECTION_OUTCOMES] = {
    [LOAD_CONNECTION_UNOPENED] = "connect",    [LOAD_CONNECTION_RESET] = "reset",
    [LOAD_CONNECTION_CUT] = "closed",          [LOAD_CONNECTION_TIMED_OUT] = "timeout",
    [LOAD_CONNECTION_MALFORMED] = "malformed",
};

static const struct load_report_row {
    const char *title, *key;
    double share; /* below 0: the mean */
} load_report_rows[] = {
    {"mean", "mean", -1}, {"p50", "p50", 0.5},       {"p90", "p90", 0.9},
    {"p99", "p99", 0.99}, {"p99.9", "p99_9", 0.999}, {"max", "max", 1},
};

static const char load_report_open_note[] =
    "\n"
    "  From when a request was due; \"from send\": from when it was sent.\n\n";

static const char load_report_closed_note[] =
    "\n"
    "  From when a request was sent. A connection that waits sends nothing meanwhile; what that\n"
    "  hides, --rate shows.\n\n";

enum { LOAD_REPORT_ROWS = sizeof load_report_rows / sizeof load_report_rows[0] };

static double load_report_ms(const struct latency_histogram *histogram,
                             const struct load_report_row *row)
{
    double us = row->share < 0 ? latency_histogram_mean_us(histogram)
                               : (double)latency_histogram_quantile_us(histogram, row->share);
    return us / 1e3;
}

static double load_report_rate(const struct load_result *result, uint64_t count)
{
    double seconds = load_result_seconds(result);
    return seconds > 0 ? (double)count / seconds : 0;
}

/* Of a core, in percent. */
static double load_report_cpu(const struct load_result *result)
{
    double seconds = load_result_seconds(result);
    return seconds > 0 ? 100 * result->cpu_s / seconds : 0;
}

/* ---- The table ---- */

static enum status load_report_append_head(const struct load_report *report, struct buf *out,
                                           struct fail *why)
{
    const struct load_run_options *options = report->options;
    enum status status = printable_append(out, report->url, SIZE_MAX, why);
    if (!status && options->per_second > 0)
        status =
            buf_printf(out, why, "\nopen loop, %g requests a second due, at most %zu at a time",
                       options->per_second, options->connections);
    else if (!status)
        status = buf_printf(out, why, "\nclosed loop, %zu connections", options->connections);
    if (!status)
        status = buf_printf(out, why, "; %.2f s measured", load_result_seconds(report->result));
    if (!status && options->warmup_us)
        status = buf_printf(out, why, " after %.0f s of warm-up", (double)options->warmup_us / 1e6);
    return status ? status : buf_append_text(out, "\n\n", why);
}

static enum status load_report_append_rates(const struct load_report *report, struct buf *out,
                                            struct fail *why)
{
    const struct load_result *result = report->result;
    const double mb = 1e-6;
    enum status status = buf_printf(out, why, "  requests  %10.1f /s\n",
                                    load_report_rate(result, result->rate_answered));
    if (!status && result->rate_answered != result->rate_accepted)
        status = buf_printf(out, why, "  accepted  %10.1f /s  (status below 400)\n",
                            load_report_rate(result, result->rate_accepted));
    if (!status && report->options->plan->pictures)
        status = buf_printf(
            out, why, "  pictures  %10.1f /s\n",
            load_report_rate(result, result->rate_accepted * report->options->plan->pictures));
    if (status)
        return status;
    return buf_printf(out, why, "  sent      %10.3f MB/s\n  received  %10.3f MB/s\n\n",
                      load_report_rate(result, result->sent_bytes) * mb,
                      load_report_rate(result, result->received_bytes) * mb);
}

struct load_report_column {
    const char *title;
    const struct latency_histogram *histogram;
};

enum { LOAD_REPORT_MAX_COLUMNS = 4 };

/* Those that tell something that the others do not. */
static size_t load_report_columns(const struct load_report *report, struct load_report_column *out)
{
    const struct load_result *result = report->result;
    size_t count = 0;
    out[count++] = (struct load_report_column){"accepted", &result->accepted_from_due};
    if (report->options->per_second > 0)
        out[count++] = (struct load_report_column){"from send", &result->accepted_from_sending};
    if (result->refused_from_sending.count)
        out[count++] = (struct load_report_column){"refused", &result->refused_from_sending};
    if (result->all_from_due.count != result->accepted)
        out[count++] = (struct load_report_column){"all", &result->all_from_due};
    return count;
}

static enum status load_report_append_latency(const struct load_report *report,
                                              const struct terminal *terminal, struct buf *out,
                                              struct fail *why)
{
    struct load_report_column columns[LOAD_REPORT_MAX_COLUMNS];
    const size_t count = load_report_columns(report, columns);
    const size_t taken = LOAD_REPORT_FIXED_COLUMNS + count * LOAD_REPORT_CELL_COLUMNS + 3;
    size_t bar = terminal->interactive && terminal->columns > taken ? terminal->columns - taken : 0;
    bar = bar < LOAD_REPORT_MAX_BAR ? bar : LOAD_REPORT_MAX_BAR;
    double most = (double)columns[0].histogram->max_us / 1e3;
    enum status status = buf_append_text(out, "  ms      ", why);
    for (size_t i = 0; i < count && !status; i++)
        status = buf_printf(out, why, "%*s", LOAD_REPORT_CELL_COLUMNS, columns[i].title);
    for (size_t i = 0; i < LOAD_REPORT_ROWS && !status; i++) {
        const struct load_report_row *row = &load_report_rows[i];
        status = buf_printf(out, why, "\n  %-8s", row->title);
        for (size_t j = 0; j < count && !status; j++)
            status = columns[j].histogram->count
                         ? buf_printf(out, why, "%*.3f", LOAD_REPORT_CELL_COLUMNS,
                                      load_report_ms(columns[j].histogram, row))
                         : buf_printf(out, why, "%*s", LOAD_REPORT_CELL_COLUMNS, "-");
        if (!status && bar && most > 0)
            status = buf_append_text(out, "  ", why);
        if (!status && bar && most > 0)
            status = table_append_bar(out, load_report_ms(columns[0].histogram, row) / most, bar,
                                      terminal->utf8, why);
    }
    return status ? status
                  : buf_append_text(out,
                                    report->options->per_second > 0 ? load_report_open_note
                                                                    : load_report_closed_note,
                                    why);
}

static enum status load_report_append_counts(const struct load_report *report, struct buf *out,
                                             struct fail *why)
{
    const struct load_result *result = report->result;
    enum status status = STATUS_OK;
    if (report->options->per_second > 0)
        status = buf_printf(out, why,
                            "  due         %10llu\n"
                            "  never sent  %10llu\n"
                            "  sent late   %10llu  (by more than %d ms: no connection free, or "
                            "this machine busy)\n",
                            (unsigned long long)result->due, (unsigned long long)result->never_sent,
                            (unsigned long long)result->late, LOAD_RESULT_LATE_US / 1000);
    if (!status)
        status = buf_printf(out, why, "  sent        %10llu\n", (unsigned long long)result->begun);
    for (int i = 0; i < LOAD_RESULT_STATUSES && !status; i++)
        if (result->statuses[i])
            status = buf_printf(out, why, "  status %d  %10llu\n", i,
                                (unsigned long long)result->statuses[i]);
    if (!status && result->retry_after)
        status = buf_printf(out, why, "  Retry-After %10llu  (of status 429)\n",
                            (unsigned long long)result->retry_after);
    for (int i = LOAD_CONNECTION_UNOPENED; i < LOAD_CONNECTION_OUTCOMES && !status; i++)
        if (result->failures[i])
            status = buf_printf(out, why, "  %-10s  %10llu  failed\n", load_report_failures[i],
                                (unsigned long long)result->failures[i]);
    if (!status && result->unfinished)
        status = buf_printf(out, why, "  unfinished  %10llu  when a signal came\n",
                            (unsigned long long)result->unfinished);
    if (!status && *result->first_problem) {
        status = buf_append_text(out, "\n  The first refusal: ", why);
        if (!status)
            status = printable_append(out, result->first_problem, SIZE_MAX, why);
        if (!status)
            status = buf_append_text(out, "\n", why);
    }
    return status;
}

static enum status load_report_append_stages(const struct load_report *report, struct buf *out,
                                             struct fail *why)
{
    const struct load_result *result = report->result;
    enum status status = STATUS_OK;
    if (result->stage_count)
        status = buf_append_text(out, "\n  The server's own times, means in ms:\n ", why);
    for (size_t i = 0; i < result->stage_count && !status; i++) {
        const struct load_result_stage *stage = &result->stages[i];
        status = buf_append_text(out, i ? ", " : " ", why);
        if (!status)
            status = printable_append(out, stage->name, SIZE_MAX, why);
        if (!status)
            status = buf_printf(out, why, " %.3f", stage->sum_ms / (double)stage->count);
    }
    if (status)
        return status;
    return buf_printf(out, why,
                      "%s\n  This program took %.0f %% of one core, and opened %llu connections.\n",
                      result->stage_count ? "\n" : "", load_report_cpu(result),
                      (unsigned long long)result->opened);
}

enum status load_report_append(const struct load_report *report, const struct terminal *terminal,
                               struct buf *out, struct fail *why)
{
    enum status status = load_report_append_head(report, out, why);
    if (!status)
        status = load_report_append_rates(report, out, why);
    if (!status)
        status = load_report_append_latency(report, terminal, out, why);
    if (!status)
        status = load_report_append_counts(report, out, why);
    return status ? status : load_report_append_stages(report, out, why);
}

/* ---- The document ---- */

static json_t *load_report_count(uint64_t count)
{
    return json_integer((json_int_t)count);
}

static json_t *load_report_latency(const struct latency_histogram *histogram)
{
    json_t *object = json_pack("{s:o}", "count", load_report_count(histogram->count));
    for (size_t i = 0; i < LOAD_REPORT_ROWS; i++)
        json_object_set_new(object, load_report_rows[i].key,
                            histogram->count
                                ? json_real(load_report_ms(histogram, &load_report_rows[i]))
                                : json_null());
    return object;
}

static json_t *load_report_latencies(const struct load_result *result)
{
    return json_pack("{s:o, s:o, s:o, s:o}", "accepted",
                     load_report_latency(&result->accepted_from_due), "accepted_from_sending",
                     load_report_latency(&result->accepted_from_sending), "refused_from_sending",
                     load_report_latency(&result->refused_from_sending), "all",
                     load_report_latency(&result->all_from_due));
}

static json_t *load_report_requests(const struct load_result *result)
{
    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "due", load_report_count(result->due),
                     "sent", load_report_count(result->begun), "never_sent",
                     load_report_count(result->never_sent), "late", load_report_count(result->late),
                     "answered", load_report_count(result->answered), "accepted",
                     load_report_count(result->accepted), "unfinished",
                     load_report_count(result->unfinished));
}

static json_t *load_report_rates(const struct load_report *report)
{
    const struct load_result *result = report->result;
    const size_t pictures = report->options->plan->pictures;
    return json_pack(
        "{s:f, s:f, s:o, s:f, s:f}", "answered", load_report_rate(result, result->rate_answered),
        "accepted", load_report_rate(result, result->rate_accepted), "pictures",
        pictures ? json_real(load_report_rate(result, result->rate_accepted * pictures))
                 : json_null(),
        "sent_mb", load_report_rate(result, result->sent_bytes) * 1e-6, "received_mb",
        load_report_rate(result, result->received_bytes) * 1e-6);
}

static json_t *load_report_statuses(const struct load_result *result)
{
    json_t *object = json_object();
    for (int i = 100; i < LOAD_RESULT_STATUSES; i++) {
        const char name[] = {(char)('0' + i / 100), (char)('0' + i / 10 % 10), (char)('0' + i % 10),
                             '\0'};
        if (result->statuses[i])
            json_object_set_new(object, name, load_report_count(result->statuses[i]));
    }
    return object;
}

static json_t *load_report_errors(const struct load_result *result)
{
    json_t *object = json_object();
    for (int i = LOAD_CONNECTION_UNOPENED; i < LOAD_CONNECTION_OUTCOMES; i++)
        json_object_set_new(object, load_report_failures[i],
                            load_report_count(result->failures[i]));
    return object;
}

static json_t *load_report_stages(const struct load_result *result)
{
    json_t *object = json_object();
    for (size_t i = 0; i < result->stage_count; i++) {
        const struct load_result_stage *stage = &result->stages[i];
        json_object_set_new(object, stage->name, json_real(stage->sum_ms / (double)stage->count));
    }
    return object;
}

struct json_t *load_report_document(const struct load_report *report)
{
    const struct load_run_options *options = report->options;
    const struct load_result *result = report->result;
    const char *first = result->first_problem;
    json_t *rate = options->per_second > 0 ? json_real(options->per_second) : json_null();
    return json_pack(
        "{s:o, s:s, s:i, s:o, s:f, s:f, s:b, s:b, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:f, "
        "s:o}",
        "url", document_text(report->url), "loop", options->per_second > 0 ? "open" : "closed",
        "connections", (int)options->connections, "rate", rate, "warmup_s",
        (double)options->warmup_us / 1e6, "measured_s", load_result_seconds(result), "interrupted",
        result->signal_number != 0, "given_up", result->given_up, "requests",
        load_report_requests(result), "per_second", load_report_rates(report), "latency_ms",
        load_report_latencies(result), "statuses", load_report_statuses(result), "retry_after",
        load_report_count(result->retry_after), "errors", load_report_errors(result),
        "first_problem", *first ? document_text(first) : json_null(), "server_timing_ms",
        load_report_stages(result), "generator_cpu_percent", load_report_cpu(result),
        "connections_opened", load_report_count(result->opened));
}
