/*
 * Every option of `attriprompt serve`, one row of a table each (config.c): its name, its type, its
 * default, its bounds and its help. A flag wins over the environment, the environment over the
 * file, the file over the default.
 *
 *   --max-body-bytes 1048576   or   --max-body-bytes=1048576
 *   ATTRIPROMPT_MAX_BODY_BYTES=1048576
 *   max-body-bytes = 1048576        in the file that --config or ATTRIPROMPT_CONFIG names
 *
 * Filled once at start, then only read: any thread.
 */
#ifndef CONFIG_CONFIG_H
#define CONFIG_CONFIG_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "engine/base/log.h"
#include "engine/base/status.h"

enum config_fingerprint { CONFIG_MATCH, CONFIG_ANY };

enum config_jpeg_decoding { CONFIG_JPEG_EXACT, CONFIG_JPEG_SCALED };

enum config_activation { CONFIG_ACTIVATION_OF_MODEL, CONFIG_QUICK_GELU, CONFIG_GELU };

enum config_log_format { CONFIG_LOG_AUTO, CONFIG_LOG_JSON, CONFIG_LOG_TEXT };

enum config_switch { CONFIG_OFF, CONFIG_ON };

enum config_source { CONFIG_DEFAULT, CONFIG_FILE, CONFIG_ENVIRONMENT, CONFIG_FLAG };

enum { CONFIG_MOST_OPTIONS = 64 };

/* Texts belong to the command line, the environment, the table or file_text. */
struct config {
    const char *host;
    uint64_t port;
    const char *model;
    const char *pool;          /* NULL: none */
    uint64_t pool_fingerprint; /* enum config_fingerprint */
    const char *pool_dir;      /* NULL: none */
    const char *state_dir;     /* NULL: none */
    uint64_t threads;
    uint64_t activation; /* enum config_activation */
    uint64_t log_level;  /* enum log_level */
    uint64_t log_format; /* enum config_log_format */
    uint64_t access_log; /* enum config_switch */

    uint64_t max_connections;
    uint64_t connection_timeout_s;
    uint64_t max_body_bytes;
    uint64_t body_timeout_ms;
    uint64_t max_buffered_bytes;

    uint64_t max_image_bytes;
    uint64_t max_image_pixels;
    uint64_t max_jpeg_scans;
    uint64_t jpeg_decoding; /* enum config_jpeg_decoding */
    uint64_t max_images_per_request;
    uint64_t max_labels;
    uint64_t max_label_texts;
    uint64_t label_cache_bytes;
    uint64_t max_label_sets;
    uint64_t max_set_labels;
    uint64_t max_set_texts;
    uint64_t label_set_bytes;
    uint64_t max_pools;
    uint64_t pool_versions;
    uint64_t pool_bytes;
    uint64_t max_pool_file_bytes;
    uint64_t max_uploads;
    uint64_t upload_timeout_ms;
    uint64_t composition_cache_bytes;

    uint64_t max_queue_rows;
    uint64_t max_queue_bytes;
    uint64_t max_batch_rows;
    uint64_t batch_delay_us;
    uint64_t max_waiting_changes;
    uint64_t worker_stall_ms;
    uint64_t request_timeout_ms;
    uint64_t max_request_timeout_ms;
    uint64_t change_timeout_ms;
    uint64_t drain_delay_ms;
    uint64_t drain_timeout_ms;

    bool print, check;                          /* --print-config, --check-config */
    char *file_text;                            /* owned */
    unsigned char sources[CONFIG_MOST_OPTIONS]; /* enum config_source, in the order of the table */
};

/* Fills *out from the defaults, the file, the environment, and arguments[0..count), which are flags
 * only (no program or command name); --print-config and --check-config are told in *out. Failures
 * name the option or the line, the value and what is allowed. STATUS_INVALID; of the file also
 * those of buf_read_file. */
enum status config_load(struct config *out, int count, char *const *arguments, struct fail *why);
void config_finish(struct config *config); /* NULL is allowed */

/* Every option with its value, what it does and where the value comes from, as a file that
 * --config takes. */
void config_print(const struct config *config, FILE *stream);

/* One paragraph an option, from the table. */
void config_print_help(FILE *stream);

#endif
