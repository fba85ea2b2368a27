/* What a config says, of open_clip above all. How it is held against the tensors is in
 * test_clip_model.c. */
#include "tests/unit/unit.h"

#include <unistd.h>

#include "engine/clip_config.h"
#include "engine/clip_model.h"

static enum status load(const char *json, struct clip_config *out, struct fail *why)
{
    char path[] = "/tmp/test_clip_config.XXXXXX";
    int file = mkstemp(path);
    assert_true(file >= 0);
    assert_int_equal(write(file, json, strlen(json)), strlen(json));
    close(file);
    enum status status = clip_config_load(path, -1, out, why);
    unlink(path);
    return status;
}

static struct clip_config expect_config(const char *json)
{
    struct clip_config config;
    struct fail why;
    unit_assert_ok(load(json, &config, &why), why);
    return config;
}

static void expect_refused(const char *json, enum status status, const char *part)
{
    struct clip_config config = {.activation = 77};
    struct fail why;
    unit_assert_fails(load(json, &config, &why), status, why, part);
    assert_non_null(strstr(why.message, "/tmp/test_clip_config."));
    assert_int_equal(config.activation, 77);
    assert_int_equal(load(json, &config, NULL), status);
}

static void test_missing_file_states_nothing(void **state)
{
    (void)state;
    struct clip_config config;
    struct fail why;
    unit_assert_ok(clip_config_load("/nowhere/config.json", -1, &config, &why), why);
    assert_int_equal(config.activation, -1);
    assert_int_equal(config.text.heads.value, 0);
    assert_int_equal(config.vision.head_width.value, 0);
}

static void test_other_models_of_open_clip_are_refused(void **state)
{
    (void)state;
#define CASE(section, key, value, message)                                                         \
    {                                                                                              \
        "{\"model_cfg\":{\"" section "\":{\"" key "\":" value "}}}", section "." key message       \
    }
    static const struct {
        const char *config, *part;
    } cases[] = {
        CASE("vision_cfg", "timm_model_name", "\"convnext_base\"",
             " is \"convnext_base\"; models that set it are not supported"),
        CASE("vision_cfg", "layers", "[3,4,6,3]", " is a list: ResNet towers are not supported"),
        CASE("vision_cfg", "pool_type", "\"avg\"", " is \"avg\"; only \"tok\" is supported"),
        CASE("vision_cfg", "global_average_pool", "true", " is true; only false is supported"),
        CASE("vision_cfg", "attentional_pool", "true", " is true"),
        CASE("vision_cfg", "attentional_pool", "\"parallel\"", " is \"parallel\""),
        CASE("vision_cfg", "final_ln_after_pool", "true", " is true"),
        CASE("vision_cfg", "no_ln_pre", "true", " is true"),
        CASE("vision_cfg", "pos_embed_type", "\"sin_cos_2d\"",
             " is \"sin_cos_2d\"; only \"learnable\" is supported"),
        CASE("vision_cfg", "act_kwargs", "{\"approximate\":\"tanh\"}",
             " is {\"approximate\":\"tanh\"}; models that set it are not supported"),
        CASE("vision_cfg", "ls_init_value", "1e-5", " is 1e-5; models"),
        CASE("vision_cfg", "block_type", "\"custom\"",
             " is \"custom\"; only \"default\" is supported"),
        CASE("vision_cfg", "qk_norm", "true", " is true"),
        CASE("vision_cfg", "norm_kwargs", "{\"eps\":1e-5,\"bias\":false}",
             " holds other arguments"),
        CASE("vision_cfg", "norm_kwargs", "{\"eps\":1e-6}",
             ".eps is 1e-06 and text_cfg.norm_kwargs.eps 1e-05"),
        CASE("text_cfg", "hf_model_name", "\"roberta-base\"", " is \"roberta-base\""),
        CASE("text_cfg", "text_arch", "\"modern\"", " is \"modern\"; only \"clip\""),
        CASE("text_cfg", "tokenizer_kwargs", "{\"clean\":\"canonicalize\"}", " is {\"clean\":"),
        CASE("text_cfg", "embed_cls", "true", " is true"),
        CASE("text_cfg", "no_causal_mask", "true", " is true"),
        CASE("text_cfg", "no_causal_mask", "1", " is 1; only false is supported"),
        CASE("text_cfg", "pool_type", "\"last\"", " is \"last\"; only \"argmax\" is supported"),
        CASE("text_cfg", "proj_type", "\"none\"", " is \"none\"; only \"linear\" is supported"),
        CASE("text_cfg", "proj_bias", "true", " is true"),
        CASE("text_cfg", "act_kwargs", "{}", " is {}"),
        CASE("text_cfg", "scale_fc", "true", " is true"),
        CASE("text_cfg", "norm_kwargs", "7", " holds other arguments than eps"),
    };
#undef CASE
    for (size_t i = 0; i < UNIT_COUNT(cases); i++)
        expect_refused(cases[i].config, STATUS_UNSUPPORTED, cases[i].part);
    expect_refused("{\"vision_cfg\":{\"pool_type\":\"avg\"}}", STATUS_UNSUPPORTED,
                   "vision_cfg.pool_type is \"avg\"; only");
    expect_refused("{\"model_cfg\":{\"text_cfg\":{\"norm_kwargs\":{\"eps\":0}}}}", STATUS_INVALID,
                   "text_cfg.norm_kwargs.eps is not a number from");
}

static void test_open_clip_defaults(void **state)
{
    (void)state;
    struct clip_config config = expect_config("{\"model_cfg\":{}}");
    assert_int_equal(config.activation, CLIP_MODEL_GELU);
    assert_int_equal(config.text.heads.value, 8);
    assert_string_equal(config.text.heads.key, "text_cfg.heads (by default)");
    assert_int_equal(config.vision.heads.value, 0);
    assert_int_equal(config.vision.head_width.value, 64);
    assert_int_equal(config.text.width.value, 0);
}

/* The accepted values may be written out. */
static void test_open_clip_values(void **state)
{
    (void)state;
    struct clip_config config = expect_config(
        "{\"model_cfg\":{\"quick_gelu\":true,\"custom_text\":true,\"vision_cfg\":{\"head_width\":"
        "80,"
        "\"pool_type\":\"tok\",\"no_ln_pre\":false,\"ls_init_value\":null,\"patch_dropout\":0.5,"
        "\"norm_kwargs\":{\"eps\":1e-6}},\"text_cfg\":{\"heads\":20,\"pool_type\":\"argmax\","
        "\"no_causal_mask\":false,\"hf_tokenizer_name\":\"x\",\"norm_kwargs\":{\"eps\":1e-6}}}}");
    assert_int_equal(config.activation, CLIP_MODEL_QUICK_GELU);
    assert_int_equal(config.vision.head_width.value, 80);
    assert_int_equal(config.text.heads.value, 20);
    unit_assert_near(config.layer_norm_epsilon, 1e-6, 0);
    config = expect_config("{\"model_cfg\":{\"vision_cfg\":{\"norm_kwargs\":{}},\"text_cfg\":{}}}");
    unit_assert_near(config.layer_norm_epsilon, 1e-5, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_missing_file_states_nothing),
        cmocka_unit_test(test_other_models_of_open_clip_are_refused),
        cmocka_unit_test(test_open_clip_defaults),
        cmocka_unit_test(test_open_clip_values),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
