#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "api/cli/address.h"
#include "api/cli/arguments.h"
#include "api/cli/cli.h"
#include "api/cli/problem.h"
#include "api/cli/response.h"
#include "api/cli/terminal.h"
#include "api/cli/url.h"
#include "config/version.h"
#include "engine/base/buf.h"
#include "server/clock.h"

#define HEALTH_DEFAULT_URL "http://127.0.0.1:8080/readyz"

enum {
    HEALTH_URL = ARGUMENTS_OWN,
    HEALTH_TIMEOUT_MS,
    HEALTH_DEFAULT_TIMEOUT_MS = 3000,
    HEALTH_MAX_TIMEOUT_MS = 600000,
    HEALTH_MAX_BODY = 65536,
    HEALTH_MAX_BYTES = RESPONSE_MAX_HEAD + 8 * HEALTH_MAX_BODY, /* even in chunks of one byte */
    HEALTH_MAX_REQUEST = URL_MAX_TARGET + URL_MAX_AUTHORITY + 256,
    HEALTH_STEP_BYTES = 4096,
    HEALTH_MAX_PROBLEM = 400
};

static const struct option health_options[] = {
    {"help", no_argument, NULL, ARGUMENTS_HELP},
    {"timeout-ms", required_argument, NULL, HEALTH_TIMEOUT_MS},
    {"url", required_argument, NULL, HEALTH_URL},
    {0},
};

static const char health_help[] =
    "Usage: attriprompt health [OPTION]...\n"
    "\n"
    "Asks a running server whether it is ready, by one GET. Says nothing if it is.\n"
    "\n"
    "  --url URL           what to get (default: " HEALTH_DEFAULT_URL "). http:// only;\n"
    "                      the host is a name, an IPv4 address, or an IPv6 address in brackets\n"
    "  --timeout-ms N      the time for all of it, in milliseconds, from 1 to %d\n"
    "                      (default %d)\n"
    "  --help              print this\n"
    "\n"
    "Exit status: 0 if the answer is 200 and complete in time, and its body has at most %d\n"
    "bytes; 1 if not, with a message that says why; 2 for wrong usage.\n"
    "\n"
    "Examples:\n"
    "  attriprompt health\n"
    "  attriprompt health --url 'http://[::1]:9090/livez' --timeout-ms 500\n";

struct health_check {
    struct url url;
    size_t timeout_ms;
    uint64_t deadline_us;
    int fd;
    struct response response;
};

static enum status health_send(const struct health_check *check, struct fail *why)
{
    struct buf request;
    buf_init(&request, HEALTH_MAX_REQUEST);
    enum status status =
        buf_printf(&request, why,
                   "GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: attriprompt-health/" VERSION_TEXT
                   "\r\nAccept: */*\r\nConnection: close\r\n\r\n",
                   check->url.target, check->url.authority);
    size_t sent = 0;
    while (!status && sent < request.size) {
        ssize_t step = send(check->fd, request.data + sent, request.size - sent, MSG_NOSIGNAL);
        if (step >= 0)
            sent += (size_t)step;
        else if (errno == EAGAIN)
            status = address_wait(check->fd, POLLOUT, check->deadline_us, why);
        else if (errno != EINTR)
            status = status_fail(why, STATUS_IO, "sending: %s", strerror(errno));
    }
    buf_finish(&request);
    return status;
}

static enum status health_take(struct health_check *check, const char *bytes, size_t size,
                               size_t *total, struct fail *why)
{
    size_t used;
    if (!size)
        return response_end(&check->response, why);
    *total += size;
    enum status status = response_feed(&check->response, bytes, size, &used, why);
    if (!status && check->response.body.size > HEALTH_MAX_BODY)
        status = status_fail(why, STATUS_LIMIT, "a body of more than %d bytes", HEALTH_MAX_BODY);
    if (!status && *total > HEALTH_MAX_BYTES)
        status = status_fail(why, STATUS_LIMIT, "an answer of more than %d bytes with its framing",
                             HEALTH_MAX_BYTES);
    return status;
}

static enum status health_receive(struct health_check *check, struct fail *why)
{
    char step[HEALTH_STEP_BYTES];
    size_t total = 0;
    enum status status = STATUS_OK;
    response_start(&check->response);
    while (!status && !response_is_complete(&check->response)) {
        ssize_t size = recv(check->fd, step, sizeof step, 0);
        if (size >= 0)
            status = health_take(check, step, (size_t)size, &total, why);
        else if (errno == EAGAIN)
            status = address_wait(check->fd, POLLIN, check->deadline_us, why);
        else if (errno != EINTR)
            status = status_fail(why, STATUS_IO, "receiving: %s", strerror(errno));
    }
    return status;
}

static enum status health_exchange(struct health_check *check, struct fail *why)
{
    struct address_list addresses;
    size_t index;
    enum status status = address_resolve(&check->url, check->deadline_us, &addresses, why);
    if (!status)
        status = address_connect(&addresses, check->deadline_us, &check->fd, &index, why);
    if (status)
        return status;
    status = health_send(check, why);
    if (!status)
        status = health_receive(check, why);
    close(check->fd);
    if (status == STATUS_CANCELLED)
        return status_fail(why, status, "no complete answer within %zu ms", check->timeout_ms);
    if (status || check->response.status == 200)
        return status;
    char problem[HEALTH_MAX_PROBLEM];
    problem_describe(&check->response, problem, sizeof problem);
    return status_fail(why, STATUS_IO, "status %s", problem);
}

static enum cli_exit health_run(const struct arguments *arguments, struct health_check *check)
{
    struct fail why;
    check->deadline_us = clock_now_us() + (uint64_t)check->timeout_ms * 1000;
    response_init(&check->response, HEALTH_MAX_BODY + 1);
    enum status status = health_exchange(check, &why);
    response_finish(&check->response);
    if (status)
        status_context(&why, status, "http://%s%.200s", check->url.authority, check->url.target);
    return terminal_end(arguments->command, status, &why);
}

int cli_health(int argc, char **argv)
{
    struct arguments arguments;
    struct health_check check = {.timeout_ms = HEALTH_DEFAULT_TIMEOUT_MS};
    const char *url = HEALTH_DEFAULT_URL;
    struct fail why;
    size_t words;
    arguments_init(&arguments, "health", argc, argv, health_options);
    for (int key; (key = arguments_next(&arguments)) != ARGUMENTS_END;) {
        if (key == ARGUMENTS_HELP) {
            printf(health_help, HEALTH_MAX_TIMEOUT_MS, HEALTH_DEFAULT_TIMEOUT_MS, HEALTH_MAX_BODY);
            return terminal_end(arguments.command, STATUS_OK, NULL);
        }
        if (key == HEALTH_URL)
            url = optarg;
        else if (key != HEALTH_TIMEOUT_MS ||
                 !arguments_number(&arguments, "timeout-ms", optarg, 1, HEALTH_MAX_TIMEOUT_MS,
                                   &check.timeout_ms))
            return CLI_USAGE;
    }
    const char *const *rest = arguments_rest(&arguments, &words);
    if (words)
        terminal_complain(arguments.command, "'%s' is no option (see --help)", rest[0]);
    else if (url_parse(url, &check.url, &why))
        terminal_complain(arguments.command, "option '--url': %s", why.message);
    else
        return health_run(&arguments, &check);
    return CLI_USAGE;
}
