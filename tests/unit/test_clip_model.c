/* Model folders with something wrong in them, made from the small models of tests/golden/towers by
 * changing one thing. What a good model computes is in test_towers.c. */
#include "tests/unit/unit.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/buf.h"
#include "engine/base/log.h"
#include "engine/clip_model.h"
#include "engine/safetensors.h"

#define TOWERS "tests/golden/towers/"

enum { MOST_TENSORS = 128, MOST_FILE_BYTES = 1 << 20 };

struct entry {
    char name[160];
    const char *dtype;
    uint32_t rank;
    size_t shape[SAFETENSORS_MAX_RANK];
    unsigned char *data;
    size_t bytes;
};

/* A model taken apart, to be changed and written again. */
struct parts {
    char folder[64];
    size_t count;
    struct entry entries[MOST_TENSORS];
};

static void path_of(const struct parts *parts, const char *name, char *out)
{
    snprintf(out, 128, "%s/%s", parts->folder, name);
}

static void write_file(const struct parts *parts, const char *name, const void *bytes, size_t size)
{
    char path[128];
    path_of(parts, name, path);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, size, file), size);
    fclose(file);
}

static void write_text(const struct parts *parts, const char *name, const char *text)
{
    write_file(parts, name, text, strlen(text));
}

static void remove_file(const struct parts *parts, const char *name)
{
    char path[128];
    path_of(parts, name, path);
    unlink(path);
}

static void take_apart(const char *model, struct parts *parts)
{
    struct fail why;
    struct safetensors *file;
    char path[256];
    snprintf(path, sizeof path, TOWERS "%s/model.safetensors", model);
    unit_assert_ok(safetensors_open(path, &file, &why), why);
    parts->count = safetensors_count(file);
    assert_true(parts->count < MOST_TENSORS);
    for (size_t i = 0; i < parts->count; i++) {
        const struct safetensors_tensor *tensor = safetensors_at(file, i);
        struct entry *entry = &parts->entries[i];
        *entry = (struct entry){.dtype = safetensors_dtype_name(tensor->dtype),
                                .rank = tensor->rank,
                                .bytes = tensor->bytes};
        snprintf(entry->name, sizeof entry->name, "%s", tensor->name);
        memcpy(entry->shape, tensor->shape, sizeof entry->shape);
        entry->data = malloc(tensor->bytes);
        memcpy(entry->data, tensor->data, tensor->bytes);
    }
    safetensors_close(file);
}

static struct parts *open_parts(const char *model, bool with_config)
{
    struct parts *parts = calloc(1, sizeof *parts);
    strcpy(parts->folder, "/tmp/test_clip_model.XXXXXX");
    assert_non_null(mkdtemp(parts->folder));
    take_apart(model, parts);
    if (with_config) {
        struct fail why;
        struct buf config;
        char path[256];
        snprintf(path, sizeof path, TOWERS "%s/config.json", model);
        buf_init(&config, MOST_FILE_BYTES);
        unit_assert_ok(buf_read_file(&config, path, &why), why);
        write_file(parts, "config.json", config.data, config.size);
        buf_finish(&config);
    }
    return parts;
}

static void close_parts(struct parts *parts)
{
    remove_file(parts, "model.safetensors");
    remove_file(parts, "config.json");
    rmdir(parts->folder);
    for (size_t i = 0; i < parts->count; i++)
        free(parts->entries[i].data);
    free(parts);
}

static struct entry *find(struct parts *parts, const char *name)
{
    for (size_t i = 0; i < parts->count; i++)
        if (!strcmp(parts->entries[i].name, name))
            return &parts->entries[i];
    fail_msg("no tensor %s", name);
    return NULL;
}

/* A tensor of zeros; rank 0 for a scalar. */
static void add(struct parts *parts, const char *name, uint32_t rank, size_t rows)
{
    struct entry *entry = &parts->entries[parts->count++];
    *entry = (struct entry){.dtype = "F32", .rank = rank, .shape = {rows}, .bytes = 4 * rows};
    snprintf(entry->name, sizeof entry->name, "%s", name);
    entry->data = calloc(rows, 4);
}

static void write_model(const struct parts *parts, const struct entry *left_out)
{
    struct fail why;
    struct buf header, data;
    buf_init(&header, MOST_FILE_BYTES);
    buf_init(&data, MOST_FILE_BYTES);
    uint64_t length = 0;
    buf_append(&header, &length, sizeof length, &why);
    for (size_t i = 0; i < parts->count; i++) {
        const struct entry *entry = &parts->entries[i];
        if (entry == left_out)
            continue;
        const struct safetensors_tensor shaped = {.rank = entry->rank};
        struct safetensors_tensor tensor = shaped;
        char shape[128];
        memcpy(tensor.shape, entry->shape, sizeof tensor.shape);
        buf_printf(&header, &why,
                   "%c\"%s\":{\"dtype\":\"%s\",\"shape\":%s,\"data_offsets\":[%zu,%zu]}",
                   header.size == sizeof length ? '{' : ',', entry->name, entry->dtype,
                   safetensors_shape_text(&tensor, shape, sizeof shape), data.size,
                   data.size + entry->bytes);
        buf_append(&data, entry->data, entry->bytes, &why);
    }
    unit_assert_ok(buf_append_text(&header, "}", &why), why);
    length = header.size - sizeof length;
    memcpy(header.data, &length, sizeof length);
    unit_assert_ok(buf_append(&header, data.data, data.size, &why), why);
    write_file(parts, "model.safetensors", header.data, header.size);
    buf_finish(&header);
    buf_finish(&data);
}

static void expect_model(const struct parts *parts, int activation, struct clip_model **out)
{
    struct fail why;
    const struct clip_model_options options = {.activation = activation};
    unit_assert_ok(clip_model_load(parts->folder, &options, out, &why), why);
}

static void expect_refused(const struct parts *parts, enum status status, const char *part)
{
    struct fail why = {0};
    struct clip_model *model = NULL;
    const struct clip_model_options options = {.activation = -1};
    unit_assert_fails(clip_model_load(parts->folder, &options, &model, &why), status, why, part);
    assert_null(model);
    assert_non_null(strstr(why.message, parts->folder));
    assert_int_equal(clip_model_load(parts->folder, &options, &model, NULL), status);
}

/* ---- Tensors ---- */

static bool is_buffer(const struct entry *entry)
{
    return strstr(entry->name, "position_ids") != NULL;
}

static void check_missing(const char *model)
{
    struct parts *parts = open_parts(model, true);
    char message[192];
    for (size_t i = 0; i < parts->count; i++) {
        struct clip_model *loaded;
        write_model(parts, &parts->entries[i]);
        if (is_buffer(&parts->entries[i])) {
            expect_model(parts, -1, &loaded);
            clip_model_destroy(loaded);
            continue;
        }
        snprintf(message, sizeof message, "tensor %s is missing", parts->entries[i].name);
        expect_refused(parts, STATUS_FORMAT, message);
    }
    close_parts(parts);
}

static void test_missing_tensor(void **state)
{
    (void)state;
    check_missing("same_huggingface");
    check_missing("same_openai");
}

static void test_value_not_finite(void **state)
{
    (void)state;
    struct parts *parts = open_parts("same_huggingface", true);
    const float bad[] = {NAN, INFINITY, -INFINITY};
    char message[192];
    for (size_t i = 0; i < parts->count; i++) {
        struct entry *entry = &parts->entries[i];
        if (is_buffer(entry))
            continue;
        unsigned char *last = entry->data + entry->bytes - sizeof bad[0], before[sizeof bad[0]];
        memcpy(before, last, sizeof before);
        memcpy(last, &bad[i % UNIT_COUNT(bad)], sizeof bad[0]);
        write_model(parts, NULL);
        snprintf(message, sizeof message, "tensor %s: holds a value that is not finite",
                 entry->name);
        expect_refused(parts, STATUS_INVALID, message);
        memcpy(last, before, sizeof before);
    }
    close_parts(parts);
}

static void test_wrong_dtype(void **state)
{
    (void)state;
    struct parts *parts = open_parts("same_huggingface", true);
    char message[192];
    for (size_t i = 0; i < parts->count; i++) {
        struct entry *entry = &parts->entries[i];
        if (is_buffer(entry))
            continue;
        entry->dtype = "I32";
        write_model(parts, NULL);
        snprintf(message, sizeof message, "tensor %s: dtype is I32; must be F32", entry->name);
        expect_refused(parts, STATUS_UNSUPPORTED, message);
        entry->dtype = "F32";
    }
    close_parts(parts);
}

/* Another number of rows, of dimensions, or none at all. Without a config the geometry follows some
 * of the tensors, and it is the others that no longer fit. */
static void check_shapes(void (*change)(struct entry *), const char *part)
{
    struct parts *parts = open_parts("same_huggingface", true);
    for (size_t i = 0; i < parts->count; i++) {
        struct entry *entry = &parts->entries[i];
        if (is_buffer(entry) || entry->rank == 0)
            continue;
        struct entry before = *entry;
        entry->data = calloc(2 * before.bytes, 1);
        change(entry);
        write_model(parts, NULL);
        struct fail why;
        struct clip_model *model = NULL;
        assert_int_not_equal(clip_model_load(parts->folder, NULL, &model, &why), STATUS_OK);
        if (!strstr(why.message, before.name) && !strstr(why.message, "config says"))
            fail_msg("\"%s\" does not name %s", why.message, before.name);
        if (!strstr(why.message, part) && !strstr(why.message, "config says"))
            fail_msg("\"%s\" does not say \"%s\"", why.message, part);
        free(entry->data);
        *entry = before;
    }
    close_parts(parts);
}

static void add_row(struct entry *entry)
{
    entry->bytes += entry->bytes / entry->shape[0];
    entry->shape[0]++;
}

static void add_dimension(struct entry *entry)
{
    entry->shape[entry->rank++] = 1;
}

static void remove_rows(struct entry *entry)
{
    entry->shape[0] = 0;
    entry->bytes = 0;
}

static void test_wrong_shape(void **state)
{
    (void)state;
    check_shapes(add_row, "; expected ");
    check_shapes(add_dimension, " dimensions");
    check_shapes(remove_rows, "expected no empty dimension");
}

static void test_shapes_in_messages(void **state)
{
    (void)state;
    struct parts *parts = open_parts("same_huggingface", true);
    struct entry *entry = find(parts, "vision_model.encoder.layers.1.self_attn.k_proj.weight");
    entry->shape[0] = 8;
    entry->shape[1] = 32;
    write_model(parts, NULL);
    expect_refused(parts, STATUS_FORMAT,
                   "tensor vision_model.encoder.layers.1.self_attn.k_proj.weight has shape "
                   "[8, 32]; expected [16, 16]");
    close_parts(parts);
}

/* A square projection could be read either way: this one is not square. */
static void test_projection_of_the_other_layout(void **state)
{
    (void)state;
    struct parts *parts = open_parts("same_openai", true);
    struct entry *entry = find(parts, "text_projection");
    entry->shape[0] = 16;
    entry->shape[1] = 24;
    write_model(parts, NULL);
    expect_refused(parts, STATUS_FORMAT,
                   "tensor text_projection has shape [16, 24]; expected [24, 16]");
    close_parts(parts);
}

static void test_positions_must_be_square(void **state)
{
    (void)state;
    struct parts *parts = open_parts("same_openai", true);
    struct entry *entry = find(parts, "visual.positional_embedding");
    entry->bytes -= entry->bytes / entry->shape[0];
    entry->shape[0]--;
    write_model(parts, NULL);
    expect_refused(parts, STATUS_UNSUPPORTED,
                   "tensor visual.positional_embedding has 4 rows; expected 1 and a square number");
    close_parts(parts);
}

static void test_patches_must_be_square_and_rgb(void **state)
{
    (void)state;
    struct parts *parts = open_parts("same_openai", true);
    struct entry *entry = find(parts, "visual.conv1.weight");
    entry->shape[2] = 4;
    entry->shape[3] = 9;
    write_model(parts, NULL);
    expect_refused(parts, STATUS_UNSUPPORTED, "[16, 3, 4, 9]; expected [width, 3, patch, patch]");
    entry->shape[1] = 12;
    entry->shape[2] = entry->shape[3] = 3;
    write_model(parts, NULL);
    expect_refused(parts, STATUS_UNSUPPORTED, "[16, 12, 3, 3]; expected [width, 3, patch, patch]");
    close_parts(parts);
}

/* Loads while standard error goes to a file, whose text goes into out_log. */
static void expect_model_logging(const struct parts *parts, struct clip_model **out,
                                 struct buf *out_log)
{
    char path[128];
    struct fail why;
    path_of(parts, "log", path);
    int before = dup(STDERR_FILENO), file = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0600);
    assert_true(before >= 0 && file >= 0 && dup2(file, STDERR_FILENO) >= 0);
    enum status status = clip_model_load(parts->folder, NULL, out, &why);
    dup2(before, STDERR_FILENO);
    close(before);
    close(file);
    unit_assert_ok(status, why);
    out_log->size = 0;
    unit_assert_ok(buf_read_file(out_log, path, &why), why);
    remove_file(parts, "log");
}

static void test_extra_tensors_are_ignored_with_a_warning(void **state)
{
    (void)state;
    static const char *const buffers[] = {"input_resolution", "context_length", "vocab_size",
                                          "logit_bias"};
    struct clip_model *plain, *with_extra;
    struct buf log;
    buf_init(&log, MOST_FILE_BYTES);
    struct parts *parts = open_parts("same_huggingface", true);
    for (size_t i = 0; i < UNIT_COUNT(buffers); i++)
        add(parts, buffers[i], 0, 1);
    write_model(parts, NULL);
    log_set_level(LOG_WARN);
    expect_model_logging(parts, &plain, &log);
    assert_int_equal(log.size, 0);
    add(parts, "vision_model.head.weight", 1, 5);
    write_model(parts, NULL);
    expect_model_logging(parts, &with_extra, &log);
    assert_non_null(strstr(log.data, "ignored tensors that CLIP does not use: 1, the first is "
                                     "vision_model.head.weight"));
    assert_int_equal(plain->parameters, with_extra->parameters);
    log_set_level(LOG_DEBUG);
    buf_finish(&log);
    clip_model_destroy(plain);
    clip_model_destroy(with_extra);
    close_parts(parts);
}

static void test_variants_are_refused(void **state)
{
    (void)state;
    struct parts *parts = open_parts("same_openai", true);
    add(parts, "visual.transformer.resblocks.0.ls_1.gamma", 1, 16);
    write_model(parts, NULL);
    expect_refused(parts, STATUS_UNSUPPORTED,
                   "tensor visual.transformer.resblocks.0.ls_1.gamma: models with LayerScale");
    close_parts(parts);

    parts = open_parts("same_openai", true);
    strcpy(find(parts, "token_embedding.weight")->name, "embed.weight");
    strcpy(find(parts, "visual.class_embedding")->name, "visual.cls_token");
    write_model(parts, NULL);
    expect_refused(parts, STATUS_UNSUPPORTED, "not a CLIP model: no tensor is called text_model.");
    close_parts(parts);
}

static void test_blocks_are_counted(void **state)
{
    (void)state;
    struct parts *parts = open_parts("same_openai", false);
    write_text(parts, "config.json",
               "{\"vision_config\":{\"num_attention_heads\":2},"
               "\"text_config\":{\"num_attention_heads\":3}}");
    add(parts, "transformer.resblocks.3.ln_1.weight", 1, 24);
    write_model(parts, NULL);
    expect_refused(parts, STATUS_FORMAT, "tensor transformer.resblocks.1.ln_1.weight is missing");
    strcpy(parts->entries[parts->count - 1].name, "transformer.resblocks.256.ln_1.weight");
    write_model(parts, NULL);
    expect_refused(parts, STATUS_LIMIT, "number of text blocks is 257; must be from 1 to 256");
    strcpy(parts->entries[parts->count - 1].name, "transformer.resblocks.99999999999999999999.x");
    write_model(parts, NULL);
    expect_refused(parts, STATUS_LIMIT, "number of text blocks is");
    close_parts(parts);
}

static void lengthen(struct parts *parts, const char *name, size_t rows)
{
    struct entry *entry = find(parts, name);
    free(entry->data);
    entry->bytes = rows * (entry->bytes / entry->shape[0]);
    entry->data = calloc(entry->bytes, 1);
    entry->shape[0] = rows;
    write_model(parts, NULL);
}

#define ATTENTION(vision, text)                                                                    \
    "{\"vision_config\":{\"num_attention_heads\":" vision "},"                                     \
    "\"text_config\":{\"num_attention_heads\":" text "}}"

/* The file is small, but a session would need memory for every pair of tokens in every head. */
static void test_attention_is_bounded(void **state)
{
    (void)state;
    struct clip_model *model;
    struct parts *parts = open_parts("same_huggingface", false);
    lengthen(parts, "vision_model.embeddings.position_embedding.weight", 1 + 64 * 64);
    write_text(parts, "config.json", ATTENTION("16", "3"));
    expect_refused(parts, STATUS_LIMIT,
                   "16 attention heads over 4097 tokens in the vision tower; heads times tokens "
                   "squared must be at most 268435456");
    write_text(parts, "config.json", ATTENTION("8", "3"));
    expect_model(parts, -1, &model);
    clip_model_destroy(model);
    lengthen(parts, "text_model.embeddings.position_embedding.weight", 4000);
    write_text(parts, "config.json", ATTENTION("8", "24"));
    expect_refused(parts, STATUS_LIMIT, "24 attention heads over 4000 tokens in the text tower");
    close_parts(parts);
}

static void test_logit_scale(void **state)
{
    (void)state;
    struct clip_model *model;
    struct parts *parts = open_parts("same_huggingface", true);
    struct entry *entry = find(parts, "logit_scale");
    const float values[] = {2.5f, 1000, -1000};
    memcpy(entry->data, &values[0], sizeof values[0]);
    write_model(parts, NULL);
    expect_model(parts, -1, &model);
    unit_assert_near(model->geometry.logit_scale, exp(2.5), 1e-5);
    clip_model_destroy(model);
    memcpy(entry->data, &values[1], sizeof values[1]);
    write_model(parts, NULL);
    expect_refused(parts, STATUS_INVALID, "tensor logit_scale is 1000");
    memcpy(entry->data, &values[2], sizeof values[2]);
    write_model(parts, NULL);
    expect_refused(parts, STATUS_INVALID, "tensor logit_scale is -1000");
    entry->rank = 1;
    entry->shape[0] = 2;
    entry->bytes = 8;
    entry->data = realloc(entry->data, 8);
    write_model(parts, NULL);
    expect_refused(parts, STATUS_FORMAT, "tensor logit_scale has shape [2]; expected []");
    close_parts(parts);
}

/* ---- Config ---- */

static void test_config_is_checked(void **state)
{
    (void)state;
    const struct {
        const char *config;
        enum status status;
        const char *part;
    } cases[] = {
        {"", STATUS_FORMAT, "config.json: line 1"},
        {"[1]", STATUS_FORMAT, "config.json: not a JSON object"},
        {"{\"projection_dim\":512}", STATUS_INVALID,
         "config says projection_dim is 512, but the tensors say 16"},
        {"{\"vision_config\":{\"hidden_size\":768}}", STATUS_INVALID,
         "config says vision_config.hidden_size is 768, but the tensors say 16"},
        {"{\"vision_config\":{\"num_hidden_layers\":12}}", STATUS_INVALID,
         "vision_config.num_hidden_layers is 12, but the tensors say 2"},
        {"{\"vision_config\":{\"image_size\":224}}", STATUS_INVALID,
         "vision_config.image_size is 224, but the tensors say 12"},
        {"{\"vision_config\":{\"patch_size\":16}}", STATUS_INVALID,
         "vision_config.patch_size is 16, but the tensors say 6"},
        {"{\"text_config\":{\"vocab_size\":49408}}", STATUS_INVALID,
         "text_config.vocab_size is 49408, but the tensors say 525"},
        {"{\"text_config\":{\"max_position_embeddings\":77}}", STATUS_INVALID,
         "text_config.max_position_embeddings is 77, but the tensors say 24"},
        {"{\"text_config\":{\"intermediate_size\":2048}}", STATUS_INVALID,
         "text_config.intermediate_size is 2048, but the tensors say 48"},
        {"{\"vision_config\":{\"num_attention_heads\":3}}", STATUS_INVALID,
         "vision_config.num_attention_heads is 3, which does not divide the vision width of 16"},
        {"{\"vision_config\":{\"num_attention_heads\":0}}", STATUS_INVALID,
         "vision_config.num_attention_heads is not a whole number from 1"},
        {"{\"vision_config\":{\"num_attention_heads\":\"2\"}}", STATUS_INVALID,
         "vision_config.num_attention_heads is not a whole number"},
        {"{\"vision_config\":{\"hidden_act\":\"relu\"}}", STATUS_UNSUPPORTED,
         "vision_config.hidden_act is \"relu\"; supported are"},
        {"{\"vision_config\":{\"hidden_act\":\"gelu\"},"
         "\"text_config\":{\"hidden_act\":\"quick_gelu\"}}",
         STATUS_UNSUPPORTED, "vision_config.hidden_act is \"gelu\" and text_config.hidden_act"},
        {"{\"text_config\":{\"layer_norm_eps\":0}}", STATUS_INVALID,
         "text_config.layer_norm_eps is not a number from"},
        {"{\"text_config\":{\"layer_norm_eps\":1e-6},\"vision_config\":{\"layer_norm_eps\":1e-5}}",
         STATUS_UNSUPPORTED, "vision_config.layer_norm_eps is 1e-05 and"},
        {"{\"vision_config\":{\"hidden_act\":\"gelu\"},\"text_config\":{}}", STATUS_UNSUPPORTED,
         "vision_config.hidden_act is \"gelu\" and text_config.hidden_act \"quick_gelu\" (quick"},
        {"{\"vision_config\":{\"hidden_act\":null},\"text_config\":{\"hidden_act\":\"gelu\"}}",
         STATUS_UNSUPPORTED,
         "vision_config.hidden_act is \"quick_gelu\" and text_config.hidden_act"},
        {"{\"vision_config\":{\"layer_norm_eps\":1e-3},\"text_config\":{}}", STATUS_UNSUPPORTED,
         "vision_config.layer_norm_eps is 0.001 and text_config.layer_norm_eps 1e-05 (1e-05 where"},
        {"{\"vision_config\":{},\"text_config\":{\"layer_norm_eps\":1e-3}}", STATUS_UNSUPPORTED,
         "vision_config.layer_norm_eps is 1e-05 and text_config.layer_norm_eps 0.001"},
        {"{}", STATUS_INVALID, "the vision width of 16 is no multiple of 64"},
        {"{\"vision_config\":{\"num_attention_heads\":1}}", STATUS_INVALID,
         "the text width of 24 is no multiple of 64"},
        {"{\"model_cfg\":{\"quick_gelu\":1}}", STATUS_INVALID, "quick_gelu is neither true nor"},
        {"{\"model_cfg\":{\"vision_cfg\":{\"head_width\":64}}}", STATUS_INVALID,
         "vision_cfg.head_width is 64, which does not divide the vision width of 16"},
        {"{\"embed_dim\":8,\"vision_cfg\":{}}", STATUS_INVALID, "embed_dim is 8, but the tensors"},
    };
    struct parts *parts = open_parts("same_huggingface", false);
    write_model(parts, NULL);
    for (size_t i = 0; i < UNIT_COUNT(cases); i++) {
        write_text(parts, "config.json", cases[i].config);
        expect_refused(parts, cases[i].status, cases[i].part);
    }
    remove_file(parts, "config.json");
    expect_refused(parts, STATUS_INVALID, "no multiple of 64");
    close_parts(parts);
}

static void check_config(struct parts *parts, const char *config, int activation,
                         enum clip_model_activation expected, double epsilon)
{
    struct clip_model *model;
    write_text(parts, "config.json", config);
    expect_model(parts, activation, &model);
    assert_int_equal(model->geometry.activation, expected);
    unit_assert_near(model->geometry.layer_norm_epsilon, epsilon, 1e-9);
    assert_int_equal(model->geometry.vision.heads, 2);
    assert_int_equal(model->geometry.text.heads, 3);
    clip_model_destroy(model);
}

#define HEADS(vision, text)                                                                        \
    "{\"vision_config\":{\"num_attention_heads\":2" vision "},"                                    \
    "\"text_config\":{\"num_attention_heads\":3" text "}}"

static void test_config_is_used(void **state)
{
    (void)state;
    struct parts *parts = open_parts("same_huggingface", false);
    write_model(parts, NULL);
    check_config(parts, HEADS("", ""), -1, CLIP_MODEL_QUICK_GELU, 1e-5);
    check_config(parts, HEADS(",\"hidden_act\":\"gelu\"", ",\"hidden_act\":\"gelu\""), -1,
                 CLIP_MODEL_GELU, 1e-5);
    check_config(parts, HEADS(",\"hidden_act\":\"quick_gelu\"", ""), -1, CLIP_MODEL_QUICK_GELU,
                 1e-5);
    check_config(parts, HEADS(",\"hidden_act\":\"gelu\"", ""), CLIP_MODEL_QUICK_GELU,
                 CLIP_MODEL_QUICK_GELU, 1e-5);
    check_config(parts, HEADS(",\"hidden_act\":\"relu\"", ""), CLIP_MODEL_GELU, CLIP_MODEL_GELU,
                 1e-5);
    check_config(parts,
                 HEADS(",\"hidden_act\":null,\"layer_norm_eps\":1e-3", ",\"layer_norm_eps\":1e-3"),
                 -1, CLIP_MODEL_QUICK_GELU, 1e-3);
    check_config(parts,
                 "{\"model_cfg\":{\"vision_cfg\":{\"head_width\":8},\"text_cfg\":{\"heads\":3}}}",
                 -1, CLIP_MODEL_GELU, 1e-5);
    check_config(parts,
                 "{\"quick_gelu\":true,\"vision_cfg\":{\"head_width\":8},"
                 "\"text_cfg\":{\"heads\":3}}",
                 -1, CLIP_MODEL_QUICK_GELU, 1e-5);
    close_parts(parts);
}

/* ---- Folder ---- */

static void test_folder(void **state)
{
    (void)state;
    struct fail why;
    struct clip_model *model;
    unit_assert_fails(clip_model_load("/nowhere/model", NULL, &model, &why), STATUS_NOT_FOUND, why,
                      "model folder /nowhere/model: No such file");
    unit_assert_fails(clip_model_load(TOWERS "openai/model.safetensors", NULL, &model, &why),
                      STATUS_INVALID, why, "not a folder");
    struct parts *parts = open_parts("same_openai", false);
    expect_refused(parts, STATUS_NOT_FOUND,
                   "has none of model.safetensors, open_clip_model.safetensors, "
                   "open_clip_pytorch_model.safetensors");
    write_text(parts, "pytorch_model.bin", "");
    expect_refused(parts, STATUS_UNSUPPORTED, "only pytorch_model.bin, a Python pickle");
    write_text(parts, "model.safetensors.index.json", "{}");
    expect_refused(parts, STATUS_UNSUPPORTED, "split into several files");
    write_text(parts, "model.safetensors", "");
    expect_refused(parts, STATUS_FORMAT, "model.safetensors: the file is empty");
    write_text(parts, "model.safetensors", "not a model, but long enough");
    expect_refused(parts, STATUS_LIMIT, "not a safetensors file?");
    remove_file(parts, "pytorch_model.bin");
    remove_file(parts, "model.safetensors.index.json");
    close_parts(parts);
    clip_model_destroy(NULL);
}

/* As timm publishes: its own vision tower as model.safetensors, with a config of its own. */
static void test_open_clip_files_come_first(void **state)
{
    (void)state;
    struct clip_model *model;
    struct parts *parts = open_parts("same_open_clip", false);
    char from[128], to[128];
    write_model(parts, NULL);
    path_of(parts, "model.safetensors", from);
    path_of(parts, "open_clip_model.safetensors", to);
    assert_int_equal(rename(from, to), 0);
    write_text(parts, "model.safetensors", "no CLIP model");
    write_text(parts, "config.json", "{\"architecture\":\"vit_base_patch16_clip_224\"}");
    expect_refused(parts, STATUS_LIMIT, "/model.safetensors: header length");
    write_text(parts, "open_clip_config.json",
               "{\"model_cfg\":{\"vision_cfg\":{\"head_width\":8},\"text_cfg\":{\"heads\":3}}}");
    expect_model(parts, -1, &model);
    assert_int_equal(model->geometry.text.heads, 3);
    clip_model_destroy(model);
    remove_file(parts, "open_clip_model.safetensors");
    expect_refused(parts, STATUS_LIMIT, "/model.safetensors: header length");
    remove_file(parts, "open_clip_config.json");
    close_parts(parts);
}

int main(void)
{
    log_set_level(LOG_DEBUG);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_missing_tensor),
        cmocka_unit_test(test_value_not_finite),
        cmocka_unit_test(test_wrong_dtype),
        cmocka_unit_test(test_wrong_shape),
        cmocka_unit_test(test_shapes_in_messages),
        cmocka_unit_test(test_projection_of_the_other_layout),
        cmocka_unit_test(test_positions_must_be_square),
        cmocka_unit_test(test_patches_must_be_square_and_rgb),
        cmocka_unit_test(test_extra_tensors_are_ignored_with_a_warning),
        cmocka_unit_test(test_variants_are_refused),
        cmocka_unit_test(test_blocks_are_counted),
        cmocka_unit_test(test_attention_is_bounded),
        cmocka_unit_test(test_logit_scale),
        cmocka_unit_test(test_config_is_checked),
        cmocka_unit_test(test_config_is_used),
        cmocka_unit_test(test_folder),
        cmocka_unit_test(test_open_clip_files_come_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
