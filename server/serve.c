#include "server/serve.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config/config.h"
#include "engine/base/log.h"
#include "server/completions.h"
#include "server/http.h"
#include "server/label_cache.h"
#include "server/label_sets.h"
#include "server/listener.h"
#include "server/loop.h"
#include "server/service.h"
#include "server/workers.h"

/* All that a running server is made of, in the order in which it is put together. */
struct serve {
    struct config config;
    struct service service;
    struct completions completions;
    struct loop *loop;
    struct http *http;
    void (*end_at_once)(void);
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

/* Requests that bring no labels use the model's own, if it has any. */
static enum status serve_compile_labels(struct service *service, struct engine_session *session,
                                        struct fail *why)
{
    struct engine_label_list list;
    enum status status = engine_default_labels(service->engine, &list, why);
    if (status)
        return status == STATUS_NOT_FOUND ? STATUS_OK : status;
    status = engine_labels_compile(session, list.names, list.count, &service->default_sentence, 1,
                                   &service->default_labels, why);
    engine_label_list_finish(&list);
    if (!status && service->pool)
        status = engine_labels_check_pool(service->default_labels, service->pool, why);
    return status ? status_context(why, status, "labels.txt") : STATUS_OK;
}

/* A grey picture against the labels, with the pool if there is one: what is not finite shows here.
 */
static enum status serve_try(const struct service *service, struct engine_session *session,
                             const struct engine_labels *labels, struct fail *why)
{
    const struct engine_info *info = engine_info(service->engine);
    struct engine_composition *composition = NULL;
    float *pixels = calloc(3 * info->image_size * info->image_size, sizeof *pixels);
    float *feature = calloc(info->joint_width, sizeof *feature);
    float *cosines = calloc(engine_labels_count(labels), sizeof *cosines);
    enum status status = pixels && feature && cosines
                             ? STATUS_OK
                             : status_fail(why, STATUS_NO_MEMORY, "no memory to warm up");
    if (!status && service->pool)
        status = engine_composition_create(service->pool, &composition, why);
    if (!status)
        status = engine_compose_images(session, pixels, 1, &composition, feature, why);
    const struct engine_composition *const compositions[] = {composition};
    const struct engine_scoring scoring = {
        .labels = labels, .count = 1, .image_features = feature, .compositions = compositions};
    if (!status)
        status = engine_score(session, &scoring, cosines, why);
    engine_composition_destroy(composition);
    free(pixels);
    free(feature);
    free(cosines);
    return status;
}

/* Compiles the model's own labels, and classifies a picture: the first request finds everything
 * warm, and a model or pool that cannot be used is found now. */
static enum status serve_warm_up(struct service *service, struct fail *why)
{
    struct engine_session *session = NULL;
    struct engine_labels *labels = NULL;
    const char *name = "a";
    enum status status = engine_session_create(service->engine, 1, &session, why);
    if (!status)
        status = serve_compile_labels(service, session, why);
    if (!status)
        status =
            engine_labels_compile(session, &name, 1, &service->default_sentence, 1, &labels, why);
    if (!status)
        status = serve_try(service, session,
                           service->default_labels ? service->default_labels : labels, why);
    engine_labels_release(labels);
    engine_session_destroy(session);
    return status;
}

static enum status serve_load_pool(struct service *service, const struct config *config,
                                   struct fail *why)
{
    const struct engine_pool_options options = {.any_fingerprint =
                                                    config->pool_fingerprint == CONFIG_ANY};
    service->default_sentence = engine_default_sentence;
    if (!config->pool)
        return STATUS_OK;
    enum status status =
        engine_pool_load(service->engine, config->pool, &options, &service->pool, why);
    if (status)
        return status;
    const struct engine_pool_info *info = engine_pool_info(service->pool);
    if (!strcmp(info->name, "none"))
        return status_fail(why, STATUS_INVALID,
                           "%s: a pool cannot be called none, which stands for no pool",
                           config->pool);
    service->default_sentence = info->sentence;
    log_line(LOG_INFO, "pool %s: %zu prompts, %zu clusters take %zu each, %zu text blocks",
             info->name, info->prompts, info->clusters, info->per_cluster, info->depth);
    return STATUS_OK;
}

static size_t serve_threads(const struct config *config)
{
    return config->threads ? (size_t)config->threads : engine_cores();
}

static enum status serve_open_model(struct serve *serve, struct fail *why)
{
    struct service *service = &serve->service;
    const struct config *config = &serve->config;
    static const char *const activations[] = {
        [CONFIG_ACTIVATION_OF_MODEL] = NULL,
        [CONFIG_QUICK_GELU] = "quick_gelu",
        [CONFIG_GELU] = "gelu",
    };
    const struct engine_options options = {.activation = activations[config->activation],
                                           .composition_cache_bytes =
                                               config->composition_cache_bytes};
    enum status status = engine_open(config->model, &options, &service->engine, why);
    if (!status)
        status = label_cache_create(config->label_cache_bytes, &service->label_cache, why);
    const struct label_sets_limits limits = {.max_sets = config->max_label_sets,
                                             .max_bytes = config->label_set_bytes};
    if (!status)
        status = label_sets_create(&limits, &service->label_sets, why);
    if (status)
        return status;
    const struct engine_info *info = engine_info(service->engine);
    log_line(LOG_INFO, "model %s: %zu parameters, %zux%zu pixels, %s", info->name, info->parameters,
             info->image_size, info->image_size, info->backend);
    return serve_load_pool(service, config, why);
}

static enum status serve_start(struct serve *serve, const struct router *router, struct fail *why)
{
    const struct config *config = &serve->config;
    struct workers_options options = {
        .threads = serve_threads(config),
        .max_queue_rows = config->max_queue_rows,
        .max_batch_rows = config->max_batch_rows,
    };
    char url[300];
    int listen_fd;
    enum status status = serve_open_model(serve, why);
    if (!status)
        status = workers_create(serve->service.engine, &serve->completions, &options,
                                &serve->service.workers, why);
    if (!status) /* with the workers there to help */
        status = serve_warm_up(&serve->service, why);
    if (!status)
        status =
            listener_open(config->host, (unsigned)config->port, &listen_fd, url, sizeof url, why);
    if (!status)
        status =
            http_create(&serve->service, router, listen_fd, &serve->completions, &serve->http, why);
    if (status)
        return status;
    const struct engine_labels *labels = serve->service.default_labels;
    log_line(LOG_INFO, "%zu labels by default, %zu worker threads",
             labels ? engine_labels_count(labels) : 0, options.threads);
    printf("listening on %s\n", url);
    fflush(stdout);
    return STATUS_OK;
}

static void serve_finish(struct serve *serve)
{
    http_destroy(serve->http);
    workers_destroy(serve->service.workers);
    engine_labels_release(serve->service.default_labels);
    engine_pool_release(serve->service.pool);
    label_cache_destroy(serve->service.label_cache);
    label_sets_destroy(serve->service.label_sets);
    engine_close(serve->service.engine);
    completions_finish(&serve->completions);
    loop_destroy(serve->loop);
}

static enum status serve_run(struct serve *serve, const struct router *router, struct fail *why)
{
    enum status status =
        loop_create(serve->config.drain_timeout_ms, serve->end_at_once, &serve->loop, why);
    if (status)
        return status;
    serve->service.config = &serve->config;
    completions_init(&serve->completions, loop_wake, serve->loop);
    status = serve_start(serve, router, why);
    if (!status)
        status = loop_run(serve->loop, serve->http, why);
    serve_finish(serve);
    return status;
}

static int serve_until_stopped(struct serve *serve, const struct router *router)
{
    struct fail why;
    log_set_level((enum log_level)serve->config.log_level);
    signal(SIGPIPE, SIG_IGN);
    if (serve_run(serve, router, &why)) {
        fprintf(stderr, "attriprompt serve: %s\n", why.message);
        return 1;
    }
    log_line(LOG_INFO, "stopped");
    return 0;
}

int serve_main(int argc, char **argv, const struct router *router, void (*end_at_once)(void))
{
    struct serve serve = {.end_at_once = end_at_once};
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
        code = serve_until_stopped(&serve, router);
    config_finish(&serve.config);
    return code;
}
