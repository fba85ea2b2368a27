#include "config/config.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "config/shipped.h"
#include "engine/base/buf.h"

enum config_type { CONFIG_NUMBER, CONFIG_TEXT, CONFIG_CHOICE };

struct config_option {
    const char *name; /* as the flag without its dashes; the variable's name follows from it */
    enum config_type type;
    size_t offset;             /* of the field in struct config */
    const char *preset;        /* NULL: none, which a text alone may have */
    uint64_t minimum, maximum; /* of a number */
    const char *help;
    const char *const *choices; /* of a choice, which is kept as an index; ends with NULL */
};

static const char *const config_log_levels[] = {"error", "warn", "info", "debug", NULL};
static const char *const config_fingerprints[] = {"match", "any", NULL};
static const char *const config_log_formats[] = {"auto", "json", "text", NULL};
static const char *const config_switches[] = {"off", "on", NULL};
static const char *const config_jpeg_decodings[] = {"exact", "scaled", NULL};
static const char *const config_activations[] = {"model", "quick_gelu", "gelu", NULL};

#define CONFIG_ROW(type_, name_, field_, preset_, ...)                                             \
    {                                                                                              \
        .type = type_, .name = name_, .offset = offsetof(struct config, field_),                   \
        .preset = preset_, __VA_ARGS__                                                             \
    }
#define CONFIG_NUMBER_ROW(name, field, preset, least, most, text)                                  \
    CONFIG_ROW(CONFIG_NUMBER, name, field, preset, .minimum = least, .maximum = most, .help = text)
#define CONFIG_TEXT_ROW(name, field, preset, text)                                                 \
    CONFIG_ROW(CONFIG_TEXT, name, field, preset, .help = text)
#define CONFIG_CHOICE_ROW(name, field, preset, list, text)                                         \
    CONFIG_ROW(CONFIG_CHOICE, name, field, preset, .choices = list, .help = text)

#define KIB 1024ull
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)

static const struct config_option config_options[] = {
    CONFIG_TEXT_ROW("host", host, "127.0.0.1", "address or name to listen on"),
    CONFIG_NUMBER_ROW("port", port, "8080", 0, 65535,
                      "port to listen on; 0 takes any free one, which is printed"),
    CONFIG_TEXT_ROW("model", model, shipped_model, "model folder in HuggingFace's layout"),
    CONFIG_TEXT_ROW("pool", pool, NULL,
                    "file of a prompt pool, which becomes the one that requests get by default"),
    CONFIG_CHOICE_ROW("pool-fingerprint", pool_fingerprint, "match", config_fingerprints,
                      "whether pools may have been trained with other weights"),
    CONFIG_TEXT_ROW("pool-dir", pool_dir, NULL,
                    "folder that is watched for pools, NAME.safetensors each"),
    CONFIG_TEXT_ROW("state-dir", state_dir, NULL,
                    "folder in which label sets and pools survive a restart; made if need be"),
    CONFIG_NUMBER_ROW("threads", threads, "0", 0, 64,
                      "worker threads; 0 starts one for each core this process may use"),
    CONFIG_CHOICE_ROW("activation", activation, "model", config_activations,
                      "activation of the model's blocks, where its folder does not say which"),
    CONFIG_CHOICE_ROW("log-level", log_level, "info", config_log_levels, "what to log"),
    CONFIG_CHOICE_ROW("log-format", log_format, "auto", config_log_formats,
                      "lines of the log as JSON or as text; auto: text on a terminal, else JSON"),
    CONFIG_CHOICE_ROW("access-log", access_log, "on", config_switches,
                      "log a line for each request, at level info"),

    CONFIG_NUMBER_ROW("max-connections", max_connections, "512", 1, 1000000,
                      "connections open at the same time"),
    CONFIG_NUMBER_ROW("connection-timeout-s", connection_timeout_s, "60", 1, 86400,
                      "seconds of silence after which a connection is closed"),
    CONFIG_NUMBER_ROW("max-body-bytes", max_body_bytes, "33554432", 1, 2 * GIB,
                      "largest body of a request"),
    CONFIG_NUMBER_ROW(
        "body-timeout-ms", body_timeout_ms, "60000", 10, 86400000,
        "time in which a request's body must have arrived, and its answer have been taken"),
    CONFIG_NUMBER_ROW(
        "max-buffered-bytes", max_buffered_bytes, "536870912", 1, 1024 * GIB,
        "all bodies and answers in memory together; beyond it requests are answered 429"),

    CONFIG_NUMBER_ROW("max-image-bytes", max_image_bytes, "33554432", 1, 2 * GIB,
                      "largest file of a picture"),
    CONFIG_NUMBER_ROW("max-image-pixels", max_image_pixels, "50000000", 1, 4 * GIB,
                      "width times height of a picture"),
    CONFIG_NUMBER_ROW("max-jpeg-scans", max_jpeg_scans, "100", 1, 10000,
                      "scans of a progressive JPEG"),
    CONFIG_CHOICE_ROW("jpeg-decoding", jpeg_decoding, "exact", config_jpeg_decodings,
                      "scaled: decode large JPEGs smaller; faster, and nearly the same"),
    CONFIG_NUMBER_ROW("max-images-per-request", max_images_per_request, "32", 1, 4096,
                      "pictures in one request"),
    CONFIG_NUMBER_ROW("max-labels", max_labels, "2000", 1, 1000000, "labels in one request"),
    CONFIG_NUMBER_ROW("max-label-texts", max_label_texts, "20000", 1, 100000000,
                      "labels times sentences in one request"),
    CONFIG_NUMBER_ROW("label-cache-bytes", label_cache_bytes, "67108864", 0, 64 * GIB,
                      "memory for compiled labels of earlier requests"),
    CONFIG_NUMBER_ROW("max-label-sets", max_label_sets, "1000", 0, 1000000,
                      "label sets registered at the same time"),
    CONFIG_NUMBER_ROW("max-set-labels", max_set_labels, "10000", 1, 1000000,
                      "labels in a registered set"),
    CONFIG_NUMBER_ROW("max-set-texts", max_set_texts, "100000", 1, 100000000,
                      "labels times sentences in a registered set"),
    CONFIG_NUMBER_ROW("label-set-bytes", label_set_bytes, "1073741824", 0, 1024 * GIB,
                      "memory for all registered label sets together"),
    CONFIG_NUMBER_ROW("max-pools", max_pools, "100", 0, 100000, "pools at the same time"),
    CONFIG_NUMBER_ROW("pool-versions", pool_versions, "3", 1, 1000,
                      "versions of a pool that are kept, the current one included"),
    CONFIG_NUMBER_ROW("pool-bytes", pool_bytes, "2147483648", 0, 1024 * GIB,
                      "memory for all versions of all pools together"),
    CONFIG_NUMBER_ROW("max-pool-file-bytes", max_pool_file_bytes, "1073741824", 1, 64 * GIB,
                      "largest file of a pool that is uploaded"),
    CONFIG_NUMBER_ROW("max-uploads", max_uploads, "4", 1, 1000,
                      "uploads of pools at the same time; beyond it 429"),
    CONFIG_NUMBER_ROW("upload-timeout-ms", upload_timeout_ms, "600000", 10, 86400000,
                      "time in which an uploaded pool must have arrived"),
    CONFIG_NUMBER_ROW("composition-cache-bytes", composition_cache_bytes, "268435456", 0, 64 * GIB,
                      "memory for what was computed for compositions that were seen before"),

    CONFIG_NUMBER_ROW(
        "max-queue-rows", max_queue_rows, "256", 1, 1000000,
        "pictures that may wait, beyond it 429; a request counts as one until it is read"),
    CONFIG_NUMBER_ROW("max-queue-bytes", max_queue_bytes, "268435456", 1, 1024 * GIB,
                      "bodies of classifications that wait, all together; beyond it 429"),
    CONFIG_NUMBER_ROW("max-batch-rows", max_batch_rows, "8", 1, 1024,
                      "pictures that share one pass through the model"),
    CONFIG_NUMBER_ROW("batch-delay-us", batch_delay_us, "0", 0, 10000000,
                      "how long pictures may be held back to fill a batch"),
    CONFIG_NUMBER_ROW("max-waiting-changes", max_waiting_changes, "64", 1, 100000,
                      "changes of label sets and pools that may wait; beyond it 429"),
    CONFIG_NUMBER_ROW("worker-stall-ms", worker_stall_ms, "60000", 100, 86400000,
                      "time without a sign of life from a worker after which /livez says no, and "
                      "/readyz after half of it"),
    CONFIG_NUMBER_ROW("request-timeout-ms", request_timeout_ms, "30000", 1, 86400000,
                      "time to answer a classification that names no timeout_ms of its own"),
    CONFIG_NUMBER_ROW("max-request-timeout-ms", max_request_timeout_ms, "120000", 1, 86400000,
                      "largest timeout_ms a classification may ask for"),
    CONFIG_NUMBER_ROW("change-timeout-ms", change_timeout_ms, "600000", 1, 86400000,
                      "time to change a label set or pool, and the largest timeout_ms of that"),
    CONFIG_NUMBER_ROW("drain-delay-ms", drain_delay_ms, "0", 0, 86400000,
                      "time to go on serving after SIGTERM or SIGINT, while /readyz says no"),
    CONFIG_NUMBER_ROW("drain-timeout-ms", drain_timeout_ms, "10000", 0, 86400000,
                      "time to finish what is in flight after that"),
};

enum {
    CONFIG_OPTION_COUNT = sizeof config_options / sizeof config_options[0],
    CONFIG_MAX_FILE_BYTES = 1 << 20
};

_Static_assert((int)CONFIG_OPTION_COUNT <= (int)CONFIG_MOST_OPTIONS, "room for every source");

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

/* "error, warn, info, debug" into out [capacity]; returns out. */
static char *config_list_choices(const struct config_option *option, char *out, size_t capacity)
{
    size_t used = 0;
    out[0] = '\0';
    for (const char *const *choice = option->choices; *choice && used < capacity; choice++)
        used += (size_t)snprintf(out + used, capacity - used, "%s%s", used ? ", " : "", *choice);
    return out;
}

static enum status config_set_choice(uint64_t *field, const struct config_option *option,
                                     const char *value, const char *source, struct fail *why)
{
    char list[128];
    for (uint64_t i = 0; option->choices[i]; i++)
        if (!strcmp(value, option->choices[i])) {
            *field = i;
            return STATUS_OK;
        }
    return status_fail(why, STATUS_INVALID, "%s: \"%s\" is none of %s", source, value,
                       config_list_choices(option, list, sizeof list));
}

static enum status config_set(struct config *config, const struct config_option *option,
                              const char *value, enum config_source from, const char *source,
                              struct fail *why)
{
    char *field = (char *)config + option->offset;
    config->sources[option - config_options] = (unsigned char)from;
    switch (option->type) {
    case CONFIG_NUMBER:
        return config_set_number((uint64_t *)field, option, value, source, why);
    case CONFIG_CHOICE:
        return config_set_choice((uint64_t *)field, option, value, source, why);
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
    enum status status = STATUS_OK;
    for (size_t i = 0; i < CONFIG_OPTION_COUNT && !status; i++) {
        const struct config_option *option = &config_options[i];
        if (option->preset)
            status = config_set(config, option, option->preset, CONFIG_DEFAULT, option->name, why);
    }
    return status;
}

/* An empty variable is none. */
static enum status config_apply_environment(struct config *config, const bool *flagged,
                                            struct fail *why)
{
    enum status status = STATUS_OK;
    for (size_t i = 0; i < CONFIG_OPTION_COUNT && !status; i++) {
        char variable[64];
        config_variable_name(&config_options[i], variable, sizeof variable);
        const char *value = getenv(variable);
        if (value && *value && !flagged[i])
            status =
                config_set(config, &config_options[i], value, CONFIG_ENVIRONMENT, variable, why);
    }
    return status;
}

static const struct config_option *config_find(const char *name, size_t length)
{
    for (size_t i = 0; i < CONFIG_OPTION_COUNT; i++)
        if (strlen(config_options[i].name) == length &&
            !strncmp(config_options[i].name, name, length))
            return &config_options[i];
    return NULL;
}

/* ---- The file ---- */

/* Cuts the white space off both ends of a text that may be written to. */
static char *config_trim(char *text)
{
    text += strspn(text, " \t\r");
    size_t length = strlen(text);
    while (length && strchr(" \t\r", text[length - 1]))
        length--;
    text[length] = '\0';
    return text;
}

static enum status config_apply_line(struct config *config, char *line, const char *source,
                                     bool *seen, struct fail *why)
{
    char *equals = strchr(line, '=');
    if (!equals)
        return status_fail(why, STATUS_INVALID, "%s: \"%.60s\" is not NAME = VALUE", source, line);
    *equals = '\0';
    const char *name = config_trim(line), *value = config_trim(equals + 1);
    const struct config_option *option = config_find(name, strlen(name));
    if (!option)
        return status_fail(why, STATUS_INVALID, "%s: unknown option \"%.60s\"", source, name);
    if (seen[option - config_options])
        return status_fail(why, STATUS_INVALID, "%s: %s is given twice", source, option->name);
    seen[option - config_options] = true;
    char named[512];
    snprintf(named, sizeof named, "%s: %s", source, option->name);
    return config_set(config, option, value, CONFIG_FILE, named, why);
}

static enum status config_apply_lines(struct config *config, const char *path, struct fail *why)
{
    bool seen[CONFIG_OPTION_COUNT] = {false};
    size_t number = 0;
    enum status status = STATUS_OK;
    for (char *next = config->file_text; next && !status;) {
        char source[400], *line = next;
        next = strchr(line, '\n');
        if (next)
            *next++ = '\0';
        line = config_trim(line);
        snprintf(source, sizeof source, "%s, line %zu", path, ++number);
        if (*line && *line != '#')
            status = config_apply_line(config, line, source, seen, why);
    }
    return status;
}

static enum status config_apply_file(struct config *config, const char *path, struct fail *why)
{
    struct buf text;
    buf_init(&text, CONFIG_MAX_FILE_BYTES);
    enum status status = buf_read_file(&text, path, why);
    if (!status && memchr(text.data, '\0', text.size))
        status = status_fail(why, STATUS_FORMAT, "%s holds a NUL byte", path);
    if (status) {
        buf_finish(&text);
        return status;
    }
    config->file_text = text.data;
    return config_apply_lines(config, path, why);
}

/* ---- Flags ---- */

struct config_flags {
    int count;
    char *const *arguments;
    bool flagged[CONFIG_OPTION_COUNT];
    const char *file; /* of --config */
};

/* The value of a flag: behind its '=', or the next argument. */
static enum status config_take_value(const struct config_flags *flags, int *position,
                                     const char *equals, const char *flag, size_t length,
                                     const char **out, struct fail *why)
{
    *out = equals ? equals + 1 : NULL;
    if (!*out && *position < flags->count)
        *out = flags->arguments[(*position)++];
    return *out ? STATUS_OK
                : status_fail(why, STATUS_INVALID, "%.*s needs a value", (int)length, flag);
}

static bool config_is(const char *flag, size_t length, const char *name)
{
    return strlen(name) == length && !strncmp(flag, name, length);
}

/* Takes the flag at *position, with its value, and moves on. */
static enum status config_apply_flag(struct config *config, struct config_flags *flags,
                                     int *position, struct fail *why)
{
    const char *argument = flags->arguments[(*position)++], *value;
    if (strncmp(argument, "--", 2) != 0)
        return status_fail(why, STATUS_INVALID, "unexpected argument \"%s\"", argument);
    const char *equals = strchr(argument, '=');
    size_t length = equals ? (size_t)(equals - argument) : strlen(argument);
    bool print = config_is(argument, length, "--print-config") && !equals;
    bool check = config_is(argument, length, "--check-config") && !equals;
    config->print |= print;
    config->check |= check;
    if (print || check)
        return STATUS_OK;
    bool file = config_is(argument, length, "--config");
    const struct config_option *option = config_find(argument + 2, length - 2);
    if (!option && !file)
        return status_fail(why, STATUS_INVALID, "unknown option %.*s", (int)length, argument);
    enum status status = config_take_value(flags, position, equals, argument, length, &value, why);
    if (status)
        return status;
    if (file) {
        flags->file = value;
        return STATUS_OK;
    }
    char source[64];
    snprintf(source, sizeof source, "--%s", option->name);
    flags->flagged[option - config_options] = true;
    return config_set(config, option, value, CONFIG_FLAG, source, why);
}

static enum status config_apply_flags(struct config *config, struct config_flags *flags,
                                      struct fail *why)
{
    enum status status = STATUS_OK;
    for (int position = 0; !status && position < flags->count;)
        status = config_apply_flag(config, flags, &position, why);
    return status;
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

/* The flags are read twice: first for their mistakes and for --config, at last for their values,
 * which win over what was set in between. */
enum status config_load(struct config *out, int count, char *const *arguments, struct fail *why)
{
    struct config config = {0};
    struct config_flags flags = {.count = count, .arguments = arguments};
    enum status status = config_apply_flags(&config, &flags, why);
    const char *variable = getenv("ATTRIPROMPT_CONFIG");
    const char *file = flags.file ? flags.file : variable && *variable ? variable : NULL;
    if (!status)
        status = config_apply_presets(&config, why);
    if (!status && file)
        status = config_apply_file(&config, file, why);
    if (!status)
        status = config_apply_environment(&config, flags.flagged, why);
    if (!status)
        status = config_apply_flags(&config, &flags, why);
    if (!status)
        status = config_check(&config, why);
    if (status)
        config_finish(&config);
    else
        *out = config;
    return status;
}

void config_finish(struct config *config)
{
    if (!config)
        return;
    free(config->file_text);
    config->file_text = NULL;
}

void config_print(const struct config *config, FILE *stream)
{
    static const char *const sources[] = {[CONFIG_DEFAULT] = "default",
                                          [CONFIG_FILE] = "from the file",
                                          [CONFIG_ENVIRONMENT] = "from the environment",
                                          [CONFIG_FLAG] = "from a flag"};
    fprintf(stream, "# attriprompt serve, every option: NAME = VALUE\n");
    for (size_t i = 0; i < CONFIG_OPTION_COUNT; i++) {
        const struct config_option *option = &config_options[i];
        const char *field = (const char *)config + option->offset;
        fprintf(stream, "\n# %s (%s)\n", option->help, sources[config->sources[i]]);
        if (option->type == CONFIG_NUMBER)
            fprintf(stream, "%s = %" PRIu64 "\n", option->name, *(const uint64_t *)field);
        else if (option->type == CONFIG_CHOICE)
            fprintf(stream, "%s = %s\n", option->name, option->choices[*(const uint64_t *)field]);
        else if (*(const char *const *)field)
            fprintf(stream, "%s = %s\n", option->name, *(const char *const *)field);
        else
            fprintf(stream, "# %s =\n", option->name);
    }
}

void config_print_help(FILE *stream)
{
    for (size_t i = 0; i < CONFIG_OPTION_COUNT; i++) {
        const struct config_option *option = &config_options[i];
        char variable[64], list[128];
        config_variable_name(option, variable, sizeof variable);
        fprintf(stream, "  --%s %s\n", option->name,
                option->type == CONFIG_NUMBER ? "N"
                : option->type == CONFIG_TEXT ? "TEXT"
                                              : "NAME");
        fprintf(stream, "      %s\n      default %s", option->help,
                option->preset ? option->preset : "none");
        if (option->type == CONFIG_NUMBER)
            fprintf(stream, ", from %" PRIu64 " to %" PRIu64, option->minimum, option->maximum);
        else if (option->type == CONFIG_CHOICE)
            fprintf(stream, ", one of %s", config_list_choices(option, list, sizeof list));
        fprintf(stream, "; environment %s\n", variable);
    }
}
