/* Model folders with something wrong in the config, or in which files there are. */
#include "tests/unit/model_parts.h"

#include "engine/base/log.h"

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
        cmocka_unit_test(test_config_is_checked),
        cmocka_unit_test(test_config_is_used),
        cmocka_unit_test(test_folder),
        cmocka_unit_test(test_open_clip_files_come_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
