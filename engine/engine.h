/*
 * The only door to the engine: open a model, compile labels, classify pictures, embed pictures and
 * texts. Everything outside engine/ includes this header and engine/base/ only.
 *
 * Threads: struct engine and struct engine_labels are immutable and shared by any number of
 * threads; a struct engine_session is scratch for one call at a time. Heavy work of a call is
 * shared with idle threads of the engine's team (engine_team_*).
 */
#ifndef ENGINE_ENGINE_H
#define ENGINE_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/status.h"

/* ---- Model ---- */

struct engine;

struct engine_options {
    size_t helpers;         /* threads started only to help; a server whose workers serve uses 0 */
    const char *activation; /* NULL: what config.json says; else "quick_gelu" or "gelu" */
};

struct engine_tower {
    size_t width, heads, blocks, mlp_width;
};

/* What engine_decode does to a picture. */
struct engine_preprocessing {
    size_t shortest_edge; /* pixels, after the resize */
    size_t crop_size;     /* pixels, square */
    float mean[3], deviation[3];
};

struct engine_info {
    const char *name;       /* last component of the folder */
    const char *layout;     /* "huggingface", "openai", "open_clip" */
    const char *activation; /* "quick_gelu", "gelu" */
    const char *backend;    /* library and kernel that multiply matrices */
    size_t image_size, patch_size, patches, joint_width, context, vocabulary, parameters;
    struct engine_tower vision, text;
    struct engine_preprocessing preprocessing;
    float logit_scale;
};

enum status engine_open(const char *model_dir, const struct engine_options *options,
                        struct engine **out, struct fail *why);
/* No session, labels or call may be left. NULL is allowed. */
void engine_close(struct engine *engine);

const struct engine_info *engine_info(const struct engine *engine);

/* ---- The compute team: idle threads help, see parallel.h ---- */

/* Lends the calling thread until done(argument) is true; done runs under the team's lock. */
void engine_team_serve(struct engine *engine, bool (*done)(void *), void *argument);
/* Call after changing what a done() looks at. */
void engine_team_notify(struct engine *engine);
/* How many threads may compute at a time in one process: what Debian's OpenBLAS is built for. It
 * keeps a fixed number of work buffers, and ends the process when more are wanted. */
enum { ENGINE_MAX_THREADS = 64 };
/* Cores this process may use: affinity and cgroup quota; at most ENGINE_MAX_THREADS. */
size_t engine_cores(void);

/* ---- Sessions ---- */

struct engine_session;

/* Scratch for up to max_images pictures a call. Allocates all it will ever need. */
enum status engine_session_create(struct engine *engine, size_t max_images,
                                  struct engine_session **out, struct fail *why);
void engine_session_destroy(struct engine_session *session);

/* stop(argument) is asked before every pass of a long call (texts, labels); once it is true the
 * call fails with STATUS_CANCELLED. NULL takes it away. stop may read what other threads write. */
void engine_session_set_stop(struct engine_session *session, bool (*stop)(void *), void *argument);

/* ---- Pictures ---- */

struct engine_image_limits {
    size_t max_pixels;
    uint32_t max_jpeg_scans;
};

struct engine_image_info {
    const char *format; /* "JPEG", "PNG"; static storage */
    uint32_t width, height;
};

extern const struct engine_image_limits engine_image_default_limits;

/* Bytes of a picture file -> out_pixels [3, image_size, image_size], normalised. Any thread; no
 * session needed. out_info may be NULL. Errors as in image.h: STATUS_UNSUPPORTED, STATUS_FORMAT,
 * STATUS_LIMIT. */
enum status engine_decode(const struct engine *engine, const uint8_t *bytes, size_t size,
                          const struct engine_image_limits *limits, float *out_pixels,
                          struct engine_image_info *out_info, struct fail *why);

/* pixels [count, 3, image_size, image_size] -> out_features [count, joint_width], unit length.
 * count <= the session's max_images. STATUS_INVALID, with undefined features, if the model's
 * numbers overflow. */
enum status engine_embed_images(struct engine_session *session, const float *pixels, size_t count,
                                float *out_features, struct fail *why);

/* ---- Texts ---- */

/* out_ids [context]; see tokenizer_encode. */
enum status engine_tokenize(const struct engine *engine, const char *text, int32_t *out_ids,
                            size_t *out_count, bool *out_cut, struct fail *why);

/* texts [count], NUL-terminated UTF-8 -> out_features [count, joint_width], unit length. A text
 * over the context is STATUS_LIMIT. After a failure out_features may be written in part. */
enum status engine_embed_texts(struct engine_session *session, const char *const *texts,
                               size_t count, float *out_features, struct fail *why);

/* ---- Lists of labels ---- */

enum { ENGINE_MAX_LIST_LABELS = 100000, ENGINE_MAX_LIST_BYTES = 4 << 20 };

/* Labels as people write them: UTF-8 text without the white space around. */
struct engine_label_list {
    const char *const *names; /* [count], 1 or more */
    size_t count;
    char *text; /* what names point into */
};

/* text [size], a label a line. Blank lines, lines that begin with '#' and a byte order mark are
 * passed over. STATUS_FORMAT names the line that holds a NUL or is not UTF-8, or says that there
 * are no labels; STATUS_LIMIT beyond the limits above. */
enum status engine_label_list_parse(const char *text, size_t size, struct engine_label_list *out,
                                    struct fail *why);
/* NUL-terminated text, labels between commas. STATUS_INVALID names the label that is empty or not
 * UTF-8; STATUS_LIMIT for too many. */
enum status engine_label_list_split(const char *text, struct engine_label_list *out,
                                    struct fail *why);
/* labels.txt of the model's folder, read now and parsed as above. STATUS_NOT_FOUND if there is
 * none, STATUS_IO if it is not a regular file. */
enum status engine_default_labels(const struct engine *engine, struct engine_label_list *out,
                                  struct fail *why);
void engine_label_list_finish(struct engine_label_list *list); /* NULL is allowed */

/* ---- Labels ---- */

/* A compiled set of labels: names, sentences, and the unit text feature of each label. Immutable,
 * reference counted. */
struct engine_labels;

extern const char *const engine_default_sentence; /* "a photo of a {}." */

/* names [count]: 1 or more, distinct, not blank. sentences [sentence_count]: templates with exactly
 * one "{}"; several are averaged as CLIP does (mean of the unit features, made unit again);
 * sentence_count 0 means engine_default_sentence. Everything is copied. STATUS_INVALID or
 * STATUS_LIMIT name the label or sentence at fault. */
enum status engine_labels_compile(struct engine_session *session, const char *const *names,
                                  size_t count, const char *const *sentences, size_t sentence_count,
                                  struct engine_labels **out, struct fail *why);
struct engine_labels *engine_labels_acquire(struct engine_labels *labels);
void engine_labels_release(struct engine_labels *labels); /* NULL is allowed */

size_t engine_labels_count(const struct engine_labels *labels);
const char *engine_labels_name(const struct engine_labels *labels, size_t index);
const float *engine_labels_features(const struct engine_labels *labels); /* [count, joint_width] */

/* ---- Classification ---- */

/* Zero-shot CLIP: logit = logit_scale * cosine(image, label). image_features
 * [joint_width] and out_cosines [count]. */
void engine_cosines(const struct engine *engine, const struct engine_labels *labels,
                    const float *image_features, float *out_cosines);

struct engine_prediction {
    size_t label; /* index in the label set */
    float probability;
    float logit;
    float cosine;
};

/* Softmax of the logits; the top_k (at most count) best in decreasing order, ties to the lower
 * index, into out_predictions. out_count: how many were written. */
void engine_top(const struct engine *engine, const float *cosines, size_t count, size_t top_k,
                struct engine_prediction *out_predictions, size_t *out_count);

/* out_logits, out_probabilities: [count]; either may be NULL. */
void engine_probabilities(const struct engine *engine, const float *cosines, size_t count,
                          float *out_logits, float *out_probabilities);

#endif
