/*
 * The only door to the engine: open a model, compile labels, load prompt pools, classify pictures,
 * embed pictures and texts. Everything outside engine/ includes this header and engine/base/ only.
 *
 * Threads: struct engine, struct engine_labels and struct engine_pool are immutable and shared by
 * any number of threads; a struct engine_session is scratch for one call at a time. Heavy work of a
 * call is shared with idle threads of the engine's team (engine_team_*).
 */
#ifndef ENGINE_ENGINE_H
#define ENGINE_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/status.h"
#include "engine/image_format.h"

/* ---- Model ---- */

struct engine;

struct engine_options {
    size_t helpers;         /* threads started only to help; a server whose workers serve uses 0 */
    const char *activation; /* NULL: what config.json says; else "quick_gelu" or "gelu" */
    /* For text features of compositions that were seen before, and what leads to them; 0 keeps
     * nothing. */
    size_t composition_cache_bytes;
};

enum { ENGINE_DEFAULT_COMPOSITION_CACHE_BYTES = 256 << 20 };

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
    /* SHA-256 of the projections into the joint space, 64 hexadecimal digits: which models a prompt
     * pool can be used with, see fingerprint.h. */
    const char *fingerprint;
    size_t image_size, patch_size, patches, joint_width, context, vocabulary, parameters;
    struct engine_tower vision, text;
    struct engine_preprocessing preprocessing;
    float logit_scale;
};

enum status engine_open(const char *model_dir, const struct engine_options *options,
                        struct engine **out, struct fail *why);
/* No session, labels, pool or call may be left. NULL is allowed. */
void engine_close(struct engine *engine);

const struct engine_info *engine_info(const struct engine *engine);

/* ---- The compute team: idle threads help, see parallel.h ---- */

/* Lends the calling thread until done(argument) is true, or CLOCK_MONOTONIC has come to wake_us
 * microseconds (UINT64_MAX: never); done runs under the team's lock. */
void engine_team_serve(struct engine *engine, bool (*done)(void *), void *argument,
                       uint64_t wake_us);
/* Call after changing what a done() looks at. */
void engine_team_notify(struct engine *engine);
/* How many threads may compute at a time in one process: what Debian's OpenBLAS is built for. It
 * keeps a fixed number of work buffers, and ends the process when more are wanted. */
enum { ENGINE_MAX_THREADS = 64 };
/* Cores this process may use: affinity and cgroup quota; at most ENGINE_MAX_THREADS. */
size_t engine_cores(void);

/* ---- Sessions ---- */

struct engine_session;

/* Scratch for up to max_images pictures a call. Allocates all it will ever need, but for that of
 * compositions, which grows with the pools that it meets. */
enum status engine_session_create(struct engine *engine, size_t max_images,
                                  struct engine_session **out, struct fail *why);
void engine_session_destroy(struct engine_session *session);

/* stop(argument) is asked before every pass of a long call (texts, labels); once it is true the
 * call fails with STATUS_CANCELLED. NULL takes it away. stop may read what other threads write. */
void engine_session_set_stop(struct engine_session *session, bool (*stop)(void *), void *argument);

/* ---- Pictures: image_sniff() of image_format.h tells their format, decodable or not ---- */

struct engine_image_options {
    size_t max_bytes; /* of a file */
    size_t max_pixels;
    uint32_t max_jpeg_scans;
    /* Decode a large JPEG at an eighth, a quarter or half of its size, as long as its shorter edge
     * keeps twice what the model looks at; faster, and nearly the same. */
    bool scaled_jpeg;
};

struct engine_image_info {
    enum image_format format;
    uint32_t width, height; /* as decoded and turned upright */
};

extern const struct engine_image_options engine_image_default_options;

/* Bytes of a picture file -> out_pixels [3, image_size, image_size], normalised. Any thread; no
 * session needed. out_info may be NULL. Errors as in image.h: STATUS_UNSUPPORTED, STATUS_FORMAT,
 * STATUS_LIMIT. */
enum status engine_decode(const struct engine *engine, const uint8_t *bytes, size_t size,
                          const struct engine_image_options *options, float *out_pixels,
                          struct engine_image_info *out_info, struct fail *why);

/* pixels [count, 3, image_size, image_size] -> out_features [count, joint_width], unit length.
 * count <= the session's max_images. STATUS_INVALID, with undefined features, if the model's
 * numbers overflow. */
enum status engine_embed_images(struct engine_session *session, const float *pixels, size_t count,
                                float *out_features, struct fail *why);

/* ---- Prompt pools ---- */

/* Prompts for the text tower, and keys by which the features of a picture choose among them. A pool
 * is an immutable snapshot, reference counted. */
struct engine_pool;

struct engine_pool_metadata {
    const char *key, *value; /* UTF-8 */
};

struct engine_pool_info {
    const char *name;     /* "name" of the metadata, else that of the file */
    const char *sentence; /* what labels stood in when the pool was trained */
    size_t groups;        /* 1: all text blocks share their prompts; else one group a block */
    size_t prompts;       /* in a group */
    size_t tokens;        /* of a prompt */
    size_t text_width, text_blocks, query_width;
    size_t clusters, per_cluster; /* a block gets clusters * per_cluster prompts */
    size_t depth;                 /* text blocks that get prompts, from the first on */
    bool pos0;                    /* those of the first get position embeddings */
    const char *cluster_space, *query_space, *retrieval;
    float logit_scale; /* the pool's own, else the model's; 0 if there is neither */
    const struct engine_pool_metadata *metadata; /* [metadata_count], all of it, by key */
    size_t metadata_count;
};

/* A pool file by itself, checked as far as that goes without a model. */
struct engine_pool_file;

/* STATUS_NOT_FOUND, STATUS_IO, STATUS_FORMAT, STATUS_INVALID, STATUS_UNSUPPORTED or STATUS_LIMIT,
 * naming the file and the field. */
enum status engine_pool_file_open(const char *path, struct engine_pool_file **out,
                                  struct fail *why);
void engine_pool_file_close(struct engine_pool_file *file); /* NULL is allowed */
const struct engine_pool_info *engine_pool_file_info(const struct engine_pool_file *file);

enum { ENGINE_MAX_COMPARED_KEYS = 2048 };

/* Of the cosines between different keys of a group, of which the first ENGINE_MAX_COMPARED_KEYS are
 * compared: prompts whose keys are near to each other are hard to tell apart. The cosines are 0 in
 * a group of one. */
struct engine_pool_key_figures {
    double least, mean, greatest;
    size_t nearest[2];                /* the prompts whose cosine is greatest */
    double shortest_key, longest_key; /* their lengths, which do not matter to retrieval */
};

void engine_pool_key_figures(const struct engine_pool_file *file, size_t group,
                             struct engine_pool_key_figures *out);

struct engine_pool_options {
    bool any_fingerprint; /* also one that was trained with other weights */
};

/* Reads, checks that it fits the model (STATUS_INVALID names the field), and computes what can be
 * computed once. Heavy for a large pool. Any thread. */
enum status engine_pool_load(struct engine *engine, const char *path,
                             const struct engine_pool_options *options, struct engine_pool **out,
                             struct fail *why);
struct engine_pool *engine_pool_acquire(struct engine_pool *pool);
void engine_pool_release(struct engine_pool *pool); /* NULL is allowed */
const struct engine_pool_info *engine_pool_info(const struct engine_pool *pool);
/* Memory that the pool holds. */
size_t engine_pool_bytes(const struct engine_pool *pool);

/* ---- Compositions ---- */

/* Which prompts a picture gets, and why. Made by the caller, filled by engine_compose_images; one
 * thread at a time. Fields are read only. */
struct engine_composition {
    struct engine_pool *pool; /* acquired */
    size_t layers;            /* the pool's depth */
    size_t chosen;            /* prompts in a layer */
    size_t patches;           /* of a picture, row by row */
    uint16_t *prompts;        /* [layers, chosen], ascending in each layer */
    uint16_t *clusters;       /* [layers, chosen]: the cluster that took the prompt */
    float *similarities;      /* [layers, chosen]: cosine of the cluster's query and prompt's key */
    uint16_t *assignment;     /* [layers, patches]: the cluster of each patch */
    /* [layers, clusters, query width]: the clusters' means in the query space, before anything is
     * made unit; NULL unless engine_composition_keep_means was called. */
    float *means;
    float *margins; /* [layers]: see retrieve.h; INFINITY where there is no choice */
};

enum status engine_composition_create(struct engine_pool *pool, struct engine_composition **out,
                                      struct fail *why);
enum status engine_composition_keep_means(struct engine_composition *composition, struct fail *why);
void engine_composition_destroy(struct engine_composition *composition); /* NULL is allowed */

/* The least margin of any layer. */
float engine_composition_margin(const struct engine_composition *composition);

/* engine_embed_images that also fills compositions [count], some of which may be NULL. The features
 * are the same but for rounding. */
enum status engine_compose_images(struct engine_session *session, const float *pixels, size_t count,
                                  struct engine_composition *const *compositions,
                                  float *out_features, struct fail *why);

/* Microseconds that the last call spent on compositions, of its whole time. */
uint64_t engine_session_retrieve_us(const struct engine_session *session);

struct engine_composition_cache_figures {
    size_t entries, bytes, max_bytes; /* what is in it, of both kinds below */
    uint64_t hits, misses;            /* of the text features of a chunk of labels */
    uint64_t resumed;                 /* misses that could begin after some blocks */
    uint64_t evictions;               /* of either kind */
};

void engine_composition_cache_figures(const struct engine *engine,
                                      struct engine_composition_cache_figures *out);

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

/* A compiled set of labels: names, sentences, what the text tower needs of them, and the unit text
 * feature of each label in plain CLIP. Immutable, reference counted. */
struct engine_labels;

extern const char *const engine_default_sentence; /* "a photo of a {}." */

/* names [count]: 1 or more, distinct, not blank. sentences [sentence_count]: templates with exactly
 * one "{}"; several are averaged as CLIP does (mean of the unit features, made unit again);
 * sentence_count 0 means engine_default_sentence. Everything is copied. STATUS_INVALID or
 * STATUS_LIMIT name the label or sentence at fault. */
enum status engine_labels_compile(struct engine_session *session, const char *const *names,
                                  size_t count, const char *const *sentences, size_t sentence_count,
                                  struct engine_labels **out, struct fail *why);
/* A new set of the same sentences: the labels of `from` without those that removed [labels of from]
 * marks (NULL: none), in their order, and behind them names [count], as above and distinct from the
 * others too. At the price of the new labels; and of some old ones where most of their neighbours
 * were removed, or once in a while when many small additions are put together, after which their
 * features may differ in the last digits. STATUS_INVALID if nothing would be left. */
enum status engine_labels_revise(struct engine_session *session, const struct engine_labels *from,
                                 const bool *removed, const char *const *names, size_t count,
                                 struct engine_labels **out, struct fail *why);
struct engine_labels *engine_labels_acquire(struct engine_labels *labels);
void engine_labels_release(struct engine_labels *labels); /* NULL is allowed */

size_t engine_labels_count(const struct engine_labels *labels);
const char *engine_labels_name(const struct engine_labels *labels, size_t index);
size_t engine_labels_sentence_count(const struct engine_labels *labels);
const char *engine_labels_sentence(const struct engine_labels *labels, size_t index);
const float *engine_labels_feature(const struct engine_labels *labels, size_t index); /* [joint] */

/* Memory that the set holds, shared or not. */
size_t engine_labels_bytes(const struct engine_labels *labels);

/* STATUS_LIMIT names a label that is too long to be used together with the pool. */
enum status engine_labels_check_pool(const struct engine_labels *labels,
                                     const struct engine_pool *pool, struct fail *why);

/* ---- Classification ---- */

/* Zero-shot CLIP: logit = logit_scale * cosine(image, label). image_features
 * [joint_width] and out_cosines [labels]. */
void engine_cosines(const struct engine *engine, const struct engine_labels *labels,
                    const float *image_features, float *out_cosines);

struct engine_scoring {
    const struct engine_labels *labels; /* engine_labels_check_pool holds for every pool */
    size_t count;                       /* pictures */
    const float *image_features;        /* [count, joint_width] */
    /* [count]; NULL, or NULL for a picture: as engine_cosines. */
    const struct engine_composition *const *compositions;
    /* Compute prompted features for so many labels of each picture only, those that plain CLIP
     * finds best; the others get the cosine -INFINITY, and so the probability 0. 0: for all. */
    size_t shortlist;
};

/* out_cosines [count, labels]. Labels are encoded once for each composition among the pictures
 * (with a shortlist, for each picture), unless the cache knows it. The same numbers whether it does
 * or not. */
enum status engine_score(struct engine_session *session, const struct engine_scoring *scoring,
                         float *out_cosines, struct fail *why);

struct engine_prediction {
    size_t label; /* index in the label set */
    float probability;
    float logit;
    float cosine;
};

/* Softmax of the logits; the top_k (at most count) best in decreasing order, ties to the lower
 * index, into out_predictions. out_count: how many were written. logit_scale: of the pool, if there
 * is one, else of the model. */
void engine_top(float logit_scale, const float *cosines, size_t count, size_t top_k,
                struct engine_prediction *out_predictions, size_t *out_count);

/* out_logits, out_probabilities: [count]; either may be NULL. */
void engine_probabilities(float logit_scale, const float *cosines, size_t count, float *out_logits,
                          float *out_probabilities);

#endif
