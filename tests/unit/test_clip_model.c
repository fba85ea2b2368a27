/* Model files with something wrong in a tensor. What a good model computes is in test_towers.c. */
#include "tests/unit/model_parts.h"

#include <fcntl.h>

#include "engine/base/log.h"

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
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
