#include "server/serve.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "config/config.h"
#include "engine/base/log.h"
#include "server/access_log.h"
#include "server/completions.h"
#include "server/http.h"
#include "server/listener.h"
#include "server/loop.h"
#include "server/metrics.h"
#include "server/service.h"
#include "server/workers.h"

/* All that a running server is made of, in the order in which it is put together. */
struct serve {
    struct config config;
    struct service service;
    struct completions completions;
    struct loop *loop;
    struct http *http;
};

static void serve_print_help(void)
{
    printf(
        "usage: attriprompt serve [OPTION VALUE]...\n"
        "\n"
        "Serves image classification over HTTP. A flag wins over the environment, the\n"
        "environment over the file, the file over the default.\n"
        "\n"
        "  --config FILE\n"
        "      file with a line NAME = VALUE for each option that it sets, and comments behind #;\n"
        "      environment ATTRIPROMPT_CONFIG\n"
        "  --print-config\n"
        "      print every option with its value, as such a file, and end\n"
        "  --check-config\n"
        "      end with 0 if the options are valid, with 2 and a message if not\n");
    config_print_help(stdout);
}

/* One fewer than OpenBLAS has work buffers for, with the background threads and this one. */
enum { SERVE_MAX_THREADS = ENGINE_MAX_THREADS - WORKERS_BACKGROUND - 1 };

static size_t serve_threads(const struct config *config)
{
    size_t threads = config->threads ? (size_t)config->threads : engine_cores();
    return threads < SERVE_MAX_THREADS ? threads : SERVE_MAX_THREADS;
}

static enum log_format serve_log_format(const struct config *config)
{
    if (config->log_format != CONFIG_LOG_AUTO)
        return config->log_format == CONFIG_LOG_JSON ? LOG_JSON : LOG_TEXT;
    return isatty(STDERR_FILENO) ? LOG_TEXT : LOG_JSON;
}

/* By what it is seen from outside. */
static enum status serve_open_outlook(struct serve *serve, const struct router *router,
                                      struct fail *why)
{
    const struct config *config = &serve->config;
    struct service *service = &serve->service;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    service->started_s = (double)now.tv_sec + (double)now.tv_nsec / 1e9;
    enum status status = metrics_create(router, &service->metrics, why);
    if (status || config->access_log == CONFIG_OFF || !log_enabled(LOG_INFO))
        return status;
    return access_log_create(STDERR_FILENO, serve_log_format(config), &service->access_log, why);
}

static enum status serve_start(struct serve *serve, const struct serve_api *api, struct fail *why)
{
    const struct config *config = &serve->config;
    struct workers_options options = {
        .threads = serve_threads(config),
        .max_queue_rows = config->max_queue_rows,
        .max_queue_bytes = config->max_queue_bytes,
        .max_batch_rows = config->max_batch_rows,
        .batch_delay_us = config->batch_delay_us,
        .max_background_jobs = config->max_waiting_changes,
    };
    char url[300];
    int listen_fd;
    enum status status = serve_open_outlook(serve, api->router, why);
    if (!status)
        status = service_open(&serve->service, why);
    if (!status)
        status = workers_create(serve->service.engine, &serve->completions, &options,
                                &serve->service.workers, why);
    if (!status)
        status = service_restore(&serve->service, api->restore_label_set, why);
    if (!status)
        status = service_warm_up(&serve->service, why);
    if (!status)
        status =
            listener_open(config->host, (unsigned)config->port, &listen_fd, url, sizeof url, why);
    if (!status)
        status = http_create(&serve->service, api->router, listen_fd, &serve->completions,
                             &serve->http, why);
    if (!status) /* before anybody is told that it listens, and sends a signal */
        status = loop_attach(serve->loop, serve->http, why);
    if (status)
        return status;
    log_line(LOG_INFO, "%zu labels by default, %zu worker threads",
             serve->service.default_names.count, options.threads);
    printf("listening on %s\n", url);
    fflush(stdout);
    return STATUS_OK;
}

static void serve_finish(struct serve *serve)
{
    http_destroy(serve->http);
    workers_destroy(serve->service.workers);
    service_close(&serve->service);
    access_log_destroy(serve->service.access_log);
    metrics_destroy(serve->service.metrics);
    completions_finish(&serve->completions);
    loop_destroy(serve->loop);
}

static enum status serve_run(struct serve *serve, const struct serve_api *api, struct fail *why)
{
    const struct loop_options options = {.drain_delay_ms = serve->config.drain_delay_ms,
                                         .drain_timeout_ms = serve->config.drain_timeout_ms,
                                         .end_at_once = api->end_at_once};
    enum status status = loop_create(&options, &serve->loop, why);
    if (status)
        return status;
    serve->service.config = &serve->config;
    completions_init(&serve->completions, loop_wake, serve->loop);
    status = serve_start(serve, api, why);
    if (!status)
        loop_run(serve->loop);
    serve_finish(serve);
    return status;
}

static int serve_until_stopped(struct serve *serve, const struct serve_api *api)
{
    struct fail why;
    log_set_level((enum log_level)serve->config.log_level);
    log_set_format(serve_log_format(&serve->config));
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a file that may not grow is an error like a full disk */
    signal(SIGHUP, SIG_IGN);  /* until there is a loop to take it */
    if (serve_run(serve, api, &why)) {
        fprintf(stderr, "attriprompt serve: %s\n", why.message);
        return 1;
    }
    log_line(LOG_INFO, "stopped");
    return 0;
}

int serve_main(int argc, char **argv, const struct serve_api *api)
{
    struct serve serve = {.loop = NULL};
    struct fail why;
    for (int i = 1; i < argc; i++)
        if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h")) {
            serve_print_help();
            return 0;
        }
    if (config_load(&serve.config, argc - 1, argv + 1, &why)) {
        fprintf(stderr, "attriprompt serve: %s\n", why.message);
        return 2;
    }
    if (serve.config.print)
        config_print(&serve.config, stdout);
    int code = 0;
    if (!serve.config.print && !serve.config.check)
        code = serve_until_stopped(&serve, api);
    config_finish(&serve.config);
    return code;
}
