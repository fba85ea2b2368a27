#include "config/config.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

enum config_type { CONFIG_NUMBER, CONFIG_TEXT, CONFIG_LOG_LEVEL };

struct config_option {
    const char *name; /* as the flag without its dashes; the variable's name follows from it */
    enum config_type type;
    size_t offset; /* of the field in struct config */
    const char *preset;
    uint64_t minimum, maximum; /* of a number */
    const char *help;
};

#define CONFIG_FIELD(field) offsetof(struct config, field)

#define KIB 1024ull
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)

static const struct config_option config_options[] = {
    {"host", CONFIG_TEXT, CONFIG_FIELD(host), "127.0.0.1", 0, 0, "address or name to listen on"},
    {"port", CONFIG_NUMBER, CONFIG_FIELD(port), "8080", 0, 65535,
     "port to listen on; 0 takes any free one, which is printed"},
    {"model", CONFIG_TEXT, CONFIG_FIELD(model), "engine/models/emoji-clip", 0, 0,
     "model folder in HuggingFace's layout"},
    {"threads", CONFIG_NUMBER, CONFIG_FIELD(threads), "0", 0, 64,
     "worker threads; 0 starts one for each core this process may use"},
    {"log-level", CONFIG_LOG_LEVEL, CONFIG_FIELD(log_level), "info", 0, 0,
     "what to log: error, warn, info or debug"},

    {"max-connections", CONFIG_NUMBER, CONFIG_FIELD(max_connections), "512", 1, 1000000,
     "connections open at the same time"},
    {"connection-timeout-s", CONFIG_NUMBER, CONFIG_FIELD(connection_timeout_s), "60", 1, 86400,
     "seconds of silence after which a connection is closed"},
    {"max-body-bytes", CONFIG_NUMBER, CONFIG_FIELD(max_body_bytes), "33554432", 1, 2 * GIB,
     "largest body of a request"},
    {"body-timeout-ms", CONFIG_NUMBER, CONFIG_FIELD(body_timeout_ms), "60000", 10, 86400000,
     "time in which a request must have arrived in full"},
    {"max-buffered-bytes", CONFIG_NUMBER, CONFIG_FIELD(max_buffered_bytes), "536870912", 1,
     1024 * GIB, "all bodies in memory together; beyond it requests are answered 429"},

    {"max-image-pixels", CONFIG_NUMBER, CONFIG_FIELD(max_image_pixels), "50000000", 1, 4 * GIB,
     "width times height of a picture"},
    {"max-jpeg-scans", CONFIG_NUMBER, CONFIG_FIELD(max_jpeg_scans), "100", 1, 10000,
     "scans of a progressive JPEG"},
    {"max-images-per-request", CONFIG_NUMBER, CONFIG_FIELD(max_images_per_request), "32", 1, 4096,
     "pictures in one request"},
    {"max-labels", CONFIG_NUMBER, CONFIG_FIELD(max_labels), "2000", 1, 1000000,
     "labels in one request"},
    {"max-label-texts", CONFIG_NUMBER, CONFIG_FIELD(max_label_texts), "20000", 1, 100000000,
     "labels times sentences in one request"},
    {"label-cache-bytes", CONFIG_NUMBER, CONFIG_FIELD(label_cache_bytes), "67108864", 0, 64 * GIB,
     "memory for compiled labels of earlier requests"},

    {"max-queue-rows", CONFIG_NUMBER, CONFIG_FIELD(max_queue_rows), "256", 1, 1000000,
     "pictures that may wait; beyond it requests are answered 429"},
    {"max-batch-rows", CONFIG_NUMBER, CONFIG_FIELD(max_batch_rows), "8", 1, 1024,
     "pictures that share one pass through the model"},
    {"request-timeout-ms", CONFIG_NUMBER, CONFIG_FIELD(request_timeout_ms), "30000", 1, 86400000,
     "time to answer a request that names no timeout_ms of its own"},
    {"max-request-timeout-ms", CONFIG_NUMBER, CONFIG_FIELD(max_request_timeout_ms), "120000", 1,
     86400000, "largest timeout_ms a request may ask for"},
    {"drain-timeout-ms", CONFIG_NUMBER, CONFIG_FIELD(drain_timeout_ms), "10000", 0, 86400000,
     "time to finish what is in flight after SIGTERM or SIGINT"},
};

enum { CONFIG_OPTION_COUNT = sizeof config_options / sizeof config_options[0] };

static enum status config_set_number(uint64_t *field, const struct config_option *option,
                                     const char *value, const char *source, struct fail *why)
{
    char *end = NULL;
    errno = 0;
    uint64_t number = strtoull(value, &end, 10);
    if (!isdigit((unsigned char)value[0]) || *end || errno || number < option->minimum ||
        number > option->maximum)
        return status_fail(why, STATUS_INVALID,
                           "%s: \"%s\" is not a whole number from %" PRIu64 " to %" PRIu64, source,
                           value, option->minimum, option->maximum);
    *field = number;
    return STATUS_OK;
}

static enum status config_set_log_level(uint64_t *field, const char *value, const char *source,
                                        struct fail *why)
{
    static const char *const names[] = {"error", "warn", "info", "debug"};
    for (uint64_t level = LOG_ERROR; level <= LOG_DEBUG; level++)
        if (!strcmp(value, names[level])) {
            *field = level;
            return STATUS_OK;
        }
    return status_fail(why, STATUS_INVALID, "%s: \"%s\" is not error, warn, info or debug", source,
                       value);
}

static enum status config_set(struct config *config, const struct config_option *option,
                              const char *value, const char *source, struct fail *why)
{
    char *field = (char *)config + option->offset;
    switch (option->type) {
    case CONFIG_NUMBER:
        return config_set_number((uint64_t *)field, option, value, source, why);
    case CONFIG_LOG_LEVEL:
        return config_set_log_level((uint64_t *)field, value, source, why);
    case CONFIG_TEXT:
        break;
    }
    if (!*value)
        return status_fail(why, STATUS_INVALID, "%s: must not be empty", source);
    *(const char **)field = value;
    return STATUS_OK;
}

static void config_variable_name(const struct config_option *option, char *out, size_t capacity)
{
    snprintf(out, capacity, "ATTRIPROMPT_%s", option->name);
    for (char *c = out; *c; c++)
        *c = *c == '-' ? '_' : (char)toupper((unsigned char)*c);
}

static enum status config_apply_presets(struct config *config, struct fail *why)
{
    for (size_t i = 0; i < CONFIG_OPTION_COUNT; i++) {
        const struct config_option *option = &config_options[i];
        char variable[64];
        config_variable_name(option, variable, sizeof variable);
        const char *value = getenv(variable);
        enum status status = value ? config_set(config, option, value, variable, why)
                                   : config_set(config, option, option->preset, option->name, why);
        if (status)
            return status;
    }
    return STATUS_OK;
}

static const struct config_option *config_find(const char *name, size_t length)
{
    for (size_t i = 0; i < CONFIG_OPTION_COUNT; i++)
        if (strlen(config_options[i].name) == length &&
            !strncmp(config_options[i].name, name, length))
            return &config_options[i];
    return NULL;
}

/* Takes the flag at *position, with its value, and moves on. */
static enum status config_apply_flag(struct config *config, int count, char *const *arguments,
                                     int *position, struct fail *why)
{
    const char *argument = arguments[(*position)++];
    if (strncmp(argument, "--", 2) != 0)
        return status_fail(why, STATUS_INVALID, "unexpected argument \"%s\"", argument);
    const char *equals = strchr(argument, '=');
    size_t length = equals ? (size_t)(equals - argument) : strlen(argument);
    const struct config_option *option = config_find(argument + 2, length - 2);
    if (!option)
        return status_fail(why, STATUS_INVALID, "unknown option %.*s", (int)length, argument);
    const char *value = equals ? equals + 1 : NULL;
    if (!value && *position < count)
        value = arguments[(*position)++];
    if (!value)
        return status_fail(why, STATUS_INVALID, "--%s needs a value", option->name);
    char source[64];
    snprintf(source, sizeof source, "--%s", option->name);
    return config_set(config, option, value, source, why);
}

static enum status config_check(const struct config *config, struct fail *why)
{
    if (config->max_buffered_bytes < config->max_body_bytes)
        return status_fail(why, STATUS_INVALID,
                           "--max-buffered-bytes (%" PRIu64 ") must be at least --max-body-bytes "
                           "(%" PRIu64 ")",
                           config->max_buffered_bytes, config->max_body_bytes);
    if (config->max_request_timeout_ms < config->request_timeout_ms)
        return status_fail(why, STATUS_INVALID,
                           "--max-request-timeout-ms (%" PRIu64 ") must be at least "
                           "--request-timeout-ms (%" PRIu64 ")",
                           config->max_request_timeout_ms, config->request_timeout_ms);
    return STATUS_OK;
}

enum status config_load(struct config *out, int count, char *const *arguments, struct fail *why)
{
    struct config config = {0};
    enum status status = config_apply_presets(&config, why);
    for (int position = 0; !status && position < count;)
        status = config_apply_flag(&config, count, arguments, &position, why);
    if (!status)
        status = config_check(&config, why);
    if (!status)
        *out = config;
    return status;
}

void config_print_help(FILE *stream)
{
    for (size_t i = 0; i < CONFIG_OPTION_COUNT; i++) {
        const struct config_option *option = &config_options[i];
        char variable[64];
        config_variable_name(option, variable, sizeof variable);
        fprintf(stream, "  --%s %s\n", option->name,
                option->type == CONFIG_NUMBER ? "N"
                : option->type == CONFIG_TEXT ? "TEXT"
                                              : "LEVEL");
        fprintf(stream, "      %s\n      default %s", option->help, option->preset);
        if (option->type == CONFIG_NUMBER)
            fprintf(stream, ", from %" PRIu64 " to %" PRIu64, option->minimum, option->maximum);
        fprintf(stream, "; environment %s\n", variable);
    }
}
