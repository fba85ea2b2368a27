#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "api/cli/address.h"
#include "api/cli/arguments.h"
#include "api/cli/cli.h"
#include "api/cli/document.h"
#include "api/cli/load_plan.h"
#include "api/cli/load_report.h"
#include "api/cli/load_run.h"
#include "api/cli/picture_feed.h"
#include "api/cli/terminal.h"
#include "api/cli/url.h"
#include "engine/base/mem.h"
#include "server/clock.h"

enum {
    BENCH_URL = ARGUMENTS_OWN,
    BENCH_CONNECTIONS,
    BENCH_DURATION,
    BENCH_REQUESTS,
    BENCH_WARMUP,
    BENCH_RATE,
    BENCH_IMAGE,
    BENCH_IMAGES_PER_REQUEST,
    BENCH_BODY,
    BENCH_LABELS,
    BENCH_LABEL_SET,
    BENCH_POOL,
    BENCH_TOP_K,
    BENCH_HEADER,
    BENCH_TIMEOUT_MS
};

enum {
    BENCH_CLOSED_CONNECTIONS = 16,
    BENCH_OPEN_CONNECTIONS = 400, /* more than stand in a server's queue, fewer than it bears */
    BENCH_MAX_CONNECTIONS = 10000,
    BENCH_OTHER_FILES = 32,
    BENCH_DEFAULT_DURATION_S = 10,
    BENCH_MAX_DURATION_S = 86400,
    BENCH_MAX_REQUESTS = 1000000000,
    BENCH_MAX_RATE = 100000,
    BENCH_DEFAULT_TIMEOUT_MS = 30000,
    BENCH_MAX_TIMEOUT_MS = 600000,
    BENCH_MAX_LABELS = 2000,
    BENCH_LINE_US = 10000000, /* between lines of progress where there is no terminal */
    BENCH_SIGNAL_EXIT = 128
};

static const struct option bench_options[] = {
    {"body", required_argument, NULL, BENCH_BODY},
    {"connections", required_argument, NULL, BENCH_CONNECTIONS},
    {"duration", required_argument, NULL, BENCH_DURATION},
    {"header", required_argument, NULL, BENCH_HEADER},
    {"help", no_argument, NULL, ARGUMENTS_HELP},
    {"image", required_argument, NULL, BENCH_IMAGE},
    {"images-per-request", required_argument, NULL, BENCH_IMAGES_PER_REQUEST},
    {"json", no_argument, NULL, ARGUMENTS_JSON},
    {"label-set", required_argument, NULL, BENCH_LABEL_SET},
    {"labels", required_argument, NULL, BENCH_LABELS},
    {"pool", required_argument, NULL, BENCH_POOL},
    {"rate", required_argument, NULL, BENCH_RATE},
    {"requests", required_argument, NULL, BENCH_REQUESTS},
    {"timeout-ms", required_argument, NULL, BENCH_TIMEOUT_MS},
    {"top-k", required_argument, NULL, BENCH_TOP_K},
    {"url", required_argument, NULL, BENCH_URL},
    {"warmup", required_argument, NULL, BENCH_WARMUP},
    {0},
};

static const char bench_help[] =
    "Usage: attriprompt bench --url URL [OPTION]...\n"
    "\n"
    "Puts load on a running server and measures what it does. Gets URL, or, with pictures, posts\n"
    "them to it. http:// only.\n"
    "\n"
    "  --url URL           such as http://127.0.0.1:8080/v1/classify\n"
    "  --connections N     connections (default %d; with --rate, at most so many: %d)\n"
    "  --duration S        seconds to measure (default %d)\n"
    "  --requests N        measure so many requests instead\n"
    "  --warmup S          seconds of load before that, which do not count (default 0)\n"
    "  --rate R            requests a second, due at even times whatever the server does: an open\n"
    "                      loop. A request that has to wait for a connection is late, and its "
    "time\n"
    "                      counts from when it was due. Without --rate each connection sends its\n"
    "                      next request when it has its answer: a closed loop, whose times are\n"
    "                      those of the server alone. To learn how a server does under more load\n"
    "                      than it can bear, use --rate.\n"
    "  --image FILE        a picture to post, of at most %d MiB; may be repeated, they take turns\n"
    "  --images-per-request N  pictures in each request (default 1)\n"
    "  --body KIND         raw, multipart or json; may be repeated, they take turns (default raw,\n"
    "                      for several pictures multipart)\n"
    "  --labels A,B,C, --label-set NAME, --pool NAME, --top-k N\n"
    "                      options of the classification; they are added to the query of URL\n"
    "  --header TEXT       'Name: value', to be sent with each request; may be repeated\n"
    "  --timeout-ms N      the time for a connection, and for an answer from when its request was\n"
    "                      sent (default %d)\n"
    "  --json              print one JSON document instead of a table\n"
    "  --help              print this\n"
    "\n"
    "Ctrl-C ends it early and prints what there is.\n"
    "\n"
    "Exit status: 0 if requests were measured, whatever became of some; 1 if none was accepted or\n"
    "the server could not be reached; 2 for wrong usage; 130 after Ctrl-C, 143 after SIGTERM.\n"
    "\n"
    "Examples:\n"
    "  attriprompt bench --url http://127.0.0.1:8080/version\n"
    "  attriprompt bench --url http://127.0.0.1:8080/v1/classify --image dog.png --labels dog,cat\n"
    "  attriprompt bench --url http://127.0.0.1:8080/v1/classify --image a.jpg --image b.png \\\n"
    "      --body raw --body json --label-set pets --rate 50 --duration 60 --warmup 5\n";

struct bench_request {
    struct arguments arguments;
    struct url url;
    bool has_url;
    const char *labels, *label_set, *pool;
    size_t top_k;
    struct arguments_list images, headers;
    enum load_plan_body bodies[LOAD_PLAN_BODY_COUNT];
    size_t body_count, pictures;
    size_t connections, duration_s, requests, warmup_s, timeout_ms;
    double per_second;
};

/* ---- While it runs ---- */

struct bench_progress {
    const struct bench_request *request;
    uint64_t last_us, last_answered, last_line_us;
};

static void bench_show_progress(void *context, const struct load_result *result, uint64_t now_us)
{
    struct bench_progress *progress = context;
    const struct bench_request *request = progress->request;
    const bool watched = terminal_is_watched();
    if (!watched && now_us - progress->last_line_us < BENCH_LINE_US)
        return;
    double passed_s = (double)(now_us - progress->last_us) / 1e6;
    double rate = (double)(result->rate_answered - progress->last_answered) / passed_s;
    char left[64] = "warm-up", text[160];
    if (now_us >= result->end_us)
        snprintf(left, sizeof left, "waiting for the last answers");
    else if (now_us >= result->start_us && request->requests)
        snprintf(left, sizeof left, "%llu of %zu requests",
                 (unsigned long long)result->rate_answered, request->requests);
    else if (now_us >= result->start_us)
        snprintf(left, sizeof left, "%.0f s left", (double)(result->end_us - now_us) / 1e6);
    if (now_us < result->start_us || now_us >= result->end_us) /* nothing is counted */
        snprintf(text, sizeof text, "%s", left);
    else
        snprintf(text, sizeof text, "%s, %.0f answers a second, %llu refused, %llu failed", left,
                 rate, (unsigned long long)(result->answered - result->accepted),
                 (unsigned long long)load_result_failure_count(result));
    if (watched)
        terminal_show(text);
    else
        terminal_complain(request->arguments.command, "%s", text);
    progress->last_us = progress->last_line_us = now_us;
    progress->last_answered = result->rate_answered;
}

/* ---- The run ---- */

static enum status bench_allow_files(size_t connections, struct fail *why)
{
    struct rlimit limit;
    const rlim_t needed = connections + BENCH_OTHER_FILES;
    if (getrlimit(RLIMIT_NOFILE, &limit) || limit.rlim_cur >= needed)
        return STATUS_OK;
    limit.rlim_cur = needed < limit.rlim_max ? needed : limit.rlim_max;
    if (limit.rlim_cur < needed || setrlimit(RLIMIT_NOFILE, &limit))
        return status_fail(why, STATUS_LIMIT,
                           "%zu connections need %zu open files, and the limit is %zu (ulimit -n)",
                           connections, (size_t)needed, (size_t)limit.rlim_max);
    return STATUS_OK;
}

/* The address that answers first stands for all connections. */
static enum status bench_find_address(const struct bench_request *request, struct address *out,
                                      struct fail *why)
{
    struct address_list list;
    const uint64_t deadline_us = clock_now_us() + (uint64_t)request->timeout_ms * 1000;
    size_t index;
    int fd;
    enum status status = address_resolve(&request->url, deadline_us, &list, why);
    if (!status)
        status = address_connect(&list, deadline_us, &fd, &index, why);
    if (status)
        return status;
    close(fd);
    *out = list.items[index];
    return STATUS_OK;
}

static enum status bench_print(const struct bench_request *request,
                               const struct load_report *report, struct fail *why)
{
    struct terminal terminal;
    struct buf text;
    if (request->arguments.json) {
        enum status status = document_write(load_report_document(report), why);
        putchar('\n');
        return status;
    }
    buf_init(&text, SIZE_MAX);
    terminal_probe(&terminal);
    enum status status = load_report_append(report, &terminal, &text, why);
    if (!status)
        status = terminal_write(&text, why);
    buf_finish(&text);
    return status;
}

static enum status bench_measure(const struct bench_request *request, const struct load_plan *plan,
                                 struct load_result *result, struct fail *why)
{
    struct address address;
    struct bench_progress progress = {request, clock_now_us(), 0, clock_now_us()};
    const struct load_run_options options = {
        .address = &address,
        .plan = plan,
        .connections = request->connections,
        .per_second = request->per_second,
        .requests = request->requests,
        .duration_us = (uint64_t)request->duration_s * 1000000,
        .warmup_us = (uint64_t)request->warmup_s * 1000000,
        .timeout_us = (uint64_t)request->timeout_ms * 1000,
        .progress = bench_show_progress,
        .context = &progress,
    };
    enum status status = bench_allow_files(request->connections, why);
    if (!status)
        status = bench_find_address(request, &address, why);
    if (!status)
        status = load_run_execute(&options, result, why);
    if (terminal_is_watched())
        terminal_show("");
    if (status)
        return status;
    char url[URL_MAX_AUTHORITY + URL_MAX_TARGET + 8];
    snprintf(url, sizeof url, "http://%s%s", request->url.authority, request->url.target);
    const struct load_report report = {url, &options, result};
    status = bench_print(request, &report, why);
    if (!status && result->given_up)
        return status_fail(why, STATUS_IO, "the server could not be reached any more");
    if (!status && !result->accepted && !result->signal_number)
        return status_fail(why, STATUS_IO, "no request was accepted");
    return status;
}

static int bench_run(const struct bench_request *request)
{
    struct fail why;
    struct load_plan plan = {0};
    struct load_result *result = mem_zeroed(1, sizeof *result);
    const struct load_plan_input input = {
        .url = &request->url,
        .headers = request->headers.items,
        .header_count = request->headers.count,
        .images = request->images.items,
        .image_count = request->images.count,
        .bodies = request->bodies,
        .body_count = request->body_count,
        .pictures = request->pictures,
    };
    enum status status = result ? load_plan_make(&input, &plan, &why)
                                : status_fail(&why, STATUS_NO_MEMORY, "no memory for results");
    if (!status)
        status = bench_measure(request, &plan, result, &why);
    int signal_number = result ? result->signal_number : 0;
    load_plan_finish(&plan);
    free(result);
    enum cli_exit code = terminal_end(request->arguments.command, status, &why);
    return signal_number && code == CLI_OK ? BENCH_SIGNAL_EXIT + signal_number : (int)code;
}

/* ---- Options ---- */

static bool bench_add_to_query(struct bench_request *request, const char *name, const char *value)
{
    static const char plain[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~,";
    struct buf target;
    buf_init(&target, URL_MAX_TARGET);
    enum status status = buf_printf(&target, NULL, "%s%c%s=", request->url.target,
                                    strchr(request->url.target, '?') ? '&' : '?', name);
    for (; *value && !status; value++)
        status = strchr(plain, *value)
                     ? buf_append(&target, value, 1, NULL)
                     : buf_printf(&target, NULL, "%%%02X", (unsigned)(unsigned char)*value);
    if (!status)
        memcpy(request->url.target, target.data, target.size + 1);
    else
        terminal_complain(request->arguments.command, "the query would have more than %d bytes",
                          URL_MAX_TARGET);
    buf_finish(&target);
    return !status;
}

static bool bench_take_body(struct bench_request *request)
{
    for (int kind = 0; kind < LOAD_PLAN_BODY_COUNT; kind++) {
        if (strcmp(optarg, load_plan_body_names[kind]) != 0)
            continue;
        for (size_t i = 0; i < request->body_count; i++)
            if (request->bodies[i] == (enum load_plan_body)kind) {
                terminal_complain(request->arguments.command, "option '--body': %s is given twice",
                                  optarg);
                return false;
            }
        request->bodies[request->body_count++] = (enum load_plan_body)kind;
        return true;
    }
    terminal_complain(request->arguments.command,
                      "option '--body' is raw, multipart or json, not '%s'", optarg);
    return false;
}

static bool bench_take_rate(struct bench_request *request)
{
    char *end;
    double rate = strtod(optarg, &end);
    bool digits = *optarg && strspn(optarg, "0123456789.") == strlen(optarg) && !*end;
    if (digits && rate >= 0.001 && rate <= BENCH_MAX_RATE) {
        request->per_second = rate;
        return true;
    }
    terminal_complain(request->arguments.command,
                      "option '--rate' is a number from 0.001 to %d, not '%s'", BENCH_MAX_RATE,
                      optarg);
    return false;
}

static bool bench_take_text(struct bench_request *request, int key)
{
    struct fail why;
    enum status status = STATUS_OK;
    if (key == BENCH_URL) {
        status = url_parse(optarg, &request->url, &why);
        request->has_url = true;
    } else if (key == BENCH_HEADER) {
        status = load_plan_check_header(optarg, &why);
        arguments_list_add(&request->headers, optarg);
    } else if (key == BENCH_IMAGE) {
        arguments_list_add(&request->images, optarg);
    } else if (key == BENCH_LABELS) {
        request->labels = optarg;
    } else if (key == BENCH_LABEL_SET) {
        request->label_set = optarg;
    } else {
        request->pool = optarg;
    }
    if (status)
        terminal_complain(request->arguments.command, "option '--%s': %s",
                          key == BENCH_URL ? "url" : "header", why.message);
    return !status;
}

static bool bench_take(struct bench_request *request, int key)
{
    static const struct {
        int key;
        const char *name;
        size_t least, most, offset;
    } numbers[] = {
        {BENCH_CONNECTIONS, "connections", 1, BENCH_MAX_CONNECTIONS,
         offsetof(struct bench_request, connections)},
        {BENCH_DURATION, "duration", 1, BENCH_MAX_DURATION_S,
         offsetof(struct bench_request, duration_s)},
        {BENCH_REQUESTS, "requests", 1, BENCH_MAX_REQUESTS,
         offsetof(struct bench_request, requests)},
        {BENCH_WARMUP, "warmup", 0, BENCH_MAX_DURATION_S, offsetof(struct bench_request, warmup_s)},
        {BENCH_IMAGES_PER_REQUEST, "images-per-request", 1, LOAD_PLAN_MAX_PICTURES,
         offsetof(struct bench_request, pictures)},
        {BENCH_TOP_K, "top-k", 1, BENCH_MAX_LABELS, offsetof(struct bench_request, top_k)},
        {BENCH_TIMEOUT_MS, "timeout-ms", 1, BENCH_MAX_TIMEOUT_MS,
         offsetof(struct bench_request, timeout_ms)},
    };
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        if (numbers[i].key == key)
            return arguments_number(&request->arguments, numbers[i].name, optarg, numbers[i].least,
                                    numbers[i].most,
                                    (size_t *)((char *)request + numbers[i].offset));
    if (key == BENCH_BODY)
        return bench_take_body(request);
    return key == BENCH_RATE ? bench_take_rate(request) : bench_take_text(request, key);
}

static const char *bench_find_mistake(const struct bench_request *request)
{
    const bool classifies =
        request->labels || request->label_set || request->pool || request->top_k;
    if (!request->has_url)
        return "no --url given (see --help)";
    if (request->duration_s && request->requests)
        return "--duration and --requests exclude each other";
    if (!request->images.count && (request->body_count || request->pictures || classifies))
        return "--body, --images-per-request, --labels, --label-set, --pool and --top-k go with "
               "--image";
    if (picture_feed_standard_inputs(request->images.items, request->images.count) > 1)
        return "- (standard input) can be read only once";
    for (size_t i = 0; i < request->body_count; i++)
        if (request->bodies[i] == LOAD_PLAN_RAW && request->pictures > 1)
            return "a raw body holds one picture; use --body multipart or --body json";
    return NULL;
}

static bool bench_set_query(struct bench_request *request)
{
    char top_k[24];
    snprintf(top_k, sizeof top_k, "%zu", request->top_k);
    return (!request->labels || bench_add_to_query(request, "labels", request->labels)) &&
           (!request->label_set || bench_add_to_query(request, "label_set", request->label_set)) &&
           (!request->pool || bench_add_to_query(request, "pool", request->pool)) &&
           (!request->top_k || bench_add_to_query(request, "top_k", top_k));
}

static void bench_set_defaults(struct bench_request *request)
{
    if (!request->connections)
        request->connections =
            request->per_second > 0 ? BENCH_OPEN_CONNECTIONS : BENCH_CLOSED_CONNECTIONS;
    if (!request->duration_s && !request->requests)
        request->duration_s = BENCH_DEFAULT_DURATION_S;
    if (!request->timeout_ms)
        request->timeout_ms = BENCH_DEFAULT_TIMEOUT_MS;
    if (!request->pictures)
        request->pictures = 1;
    if (!request->body_count)
        request->bodies[request->body_count++] =
            request->pictures > 1 ? LOAD_PLAN_MULTIPART : LOAD_PLAN_RAW;
}

static int bench_read_and_run(struct bench_request *request)
{
    int key;
    size_t words;
    while ((key = arguments_next(&request->arguments)) >= ARGUMENTS_OWN)
        if (!bench_take(request, key))
            return CLI_USAGE;
    if (key == ARGUMENTS_HELP) {
        printf(bench_help, BENCH_CLOSED_CONNECTIONS, BENCH_OPEN_CONNECTIONS,
               BENCH_DEFAULT_DURATION_S, LOAD_PLAN_MAX_PICTURE_BYTES >> 20,
               BENCH_DEFAULT_TIMEOUT_MS);
        return terminal_end(request->arguments.command, STATUS_OK, NULL);
    }
    if (key == ARGUMENTS_WRONG)
        return CLI_USAGE;
    const char *const *rest = arguments_rest(&request->arguments, &words);
    const char *mistake = bench_find_mistake(request);
    if (words)
        terminal_complain(request->arguments.command, "'%s' is no option (see --help)", rest[0]);
    else if (mistake)
        terminal_complain(request->arguments.command, "%s", mistake);
    if (words || mistake || !bench_set_query(request))
        return CLI_USAGE;
    bench_set_defaults(request);
    return bench_run(request);
}

int cli_bench(int argc, char **argv)
{
    struct bench_request request = {0};
    int code = CLI_FAILED;
    arguments_init(&request.arguments, "bench", argc, argv, bench_options);
    if (arguments_list_init(&request.images, &request.arguments) &&
        arguments_list_init(&request.headers, &request.arguments))
        code = bench_read_and_run(&request);
    arguments_list_finish(&request.images);
    arguments_list_finish(&request.headers);
    return code;
}
