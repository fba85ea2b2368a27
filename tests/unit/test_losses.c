/* Values of the losses worked out by hand, and their gradients against differences. */
#include "tests/unit/unit.h"

#include "engine/train/losses.h"

enum {
    PICTURES = 5,
    CLASSES = 4,
    CLUSTERS = 3,
    JOINT = 6,
    TEXT_FLOATS = PICTURES * CLASSES * JOINT,
    GROUPS = 2,
    PROMPTS = 4,
    KEY_WIDTH = 5,
    KEYS = GROUPS * PROMPTS,
    MATCHES = 7
};

struct batch {
    struct losses_batch batch;
    uint32_t labels[PICTURES];
    float images[PICTURES * JOINT], cluster_images[PICTURES * CLUSTERS * JOINT];
    float cluster_shares[PICTURES * CLUSTERS], texts[TEXT_FLOATS], plain_texts[CLASSES * JOINT];
    double logits[PICTURES + CLASSES], terms[ENGINE_TRAINING_TERMS];
    float dtexts[TEXT_FLOATS];
    size_t right;
};

static void fill(float *values, size_t count, uint32_t *seed)
{
    for (size_t i = 0; i < count; i++)
        values[i] = unit_random_float(seed, 1);
}

static void make_units(float *values, size_t count)
{
    for (float *at = values; at < values + count * JOINT; at += JOINT) {
        float squares = 0;
        for (size_t i = 0; i < JOINT; i++)
            squares += at[i] * at[i];
        for (size_t i = 0; i < JOINT; i++)
            at[i] /= sqrtf(squares);
    }
}

static void batch_make(struct batch *batch)
{
    static const uint32_t labels[PICTURES] = {1, 3, 1, 0, 2};
    uint32_t seed = 11;
    *batch = (struct batch){.batch = {.pictures = PICTURES,
                                      .classes = CLASSES,
                                      .clusters = CLUSTERS,
                                      .joint = JOINT,
                                      .labels = batch->labels,
                                      .images = batch->images,
                                      .cluster_images = batch->cluster_images,
                                      .cluster_shares = batch->cluster_shares,
                                      .texts = batch->texts,
                                      .plain_texts = batch->plain_texts}};
    memcpy(batch->labels, labels, sizeof labels);
    fill(batch->images, UNIT_COUNT(batch->images), &seed);
    fill(batch->cluster_images, UNIT_COUNT(batch->cluster_images), &seed);
    fill(batch->texts, UNIT_COUNT(batch->texts), &seed);
    fill(batch->plain_texts, UNIT_COUNT(batch->plain_texts), &seed);
    make_units(batch->images, PICTURES);
    make_units(batch->cluster_images, PICTURES * CLUSTERS);
    make_units(batch->texts, PICTURES * CLASSES);
    make_units(batch->plain_texts, CLASSES);
    for (size_t i = 0; i < PICTURES * CLUSTERS; i++)
        batch->cluster_shares[i] = (float)(1 + i % CLUSTERS) / 6;
}

static void batch_run(struct batch *batch, const struct losses_setting *setting)
{
    losses_features(setting, &batch->batch, batch->logits, batch->terms, batch->dtexts,
                    &batch->right);
}

static double batch_total(struct batch *batch, const struct losses_setting *setting)
{
    double total = 0;
    batch_run(batch, setting);
    for (size_t term = ENGINE_TRAINING_GLOBAL; term <= ENGINE_TRAINING_SELF; term++)
        total += setting->weights[term] * batch->terms[term];
    return total;
}

static void check_text_gradient(const struct losses_setting *setting, const char *what)
{
    struct batch batch;
    float dtexts[TEXT_FLOATS];
    double worst = 0, largest = 0;
    batch_make(&batch);
    batch_run(&batch, setting);
    memcpy(dtexts, batch.dtexts, sizeof dtexts);
    for (size_t i = 0; i < TEXT_FLOATS; i++) {
        float was = batch.texts[i], more_at = was + 1e-4f, less_at = was - 1e-4f;
        batch.texts[i] = more_at;
        double more = batch_total(&batch, setting);
        batch.texts[i] = less_at;
        double less = batch_total(&batch, setting);
        batch.texts[i] = was;
        double slope = (more - less) / ((double)more_at - (double)less_at);
        worst = unit_worse(worst, fabs(slope - (double)dtexts[i]));
        largest = unit_worse(largest, fabs(slope));
    }
    print_message("%s: largest %.2e, worst error %.1e\n", what, largest, worst);
    assert_true(largest > 1e-3 && worst <= 2e-6 * (1 + largest));
}

static void test_gradients_of_features(void **state)
{
    (void)state;
    struct losses_setting all = {.logit_scale = 4, .weights = {0.7, 0.3, 0.9, 2.5}};
    for (int term = ENGINE_TRAINING_GLOBAL; term <= ENGINE_TRAINING_SELF; term++) {
        struct losses_setting one = {.logit_scale = 4};
        one.weights[term] = 1.5;
        check_text_gradient(&one, engine_training_term_names[term]);
    }
    check_text_gradient(&all, "all");
    all.self_form = LOSSES_COSINE;
    check_text_gradient(&all, "all, self by cosine");
}

static void test_values(void **state)
{
    (void)state;
    struct batch batch;
    const struct losses_setting setting = {.logit_scale = 0, .weights = {1, 1, 1, 1}};
    batch_make(&batch);
    for (size_t i = 0; i < TEXT_FLOATS; i++)
        batch.plain_texts[i % (CLASSES * JOINT)] = batch.texts[i];
    batch_run(&batch, &setting);
    unit_assert_near(batch.terms[ENGINE_TRAINING_GLOBAL], log(CLASSES), 1e-12);
    unit_assert_near(batch.terms[ENGINE_TRAINING_FINE], log(CLASSES),
                     1e-6); /* shares are rounded */
    unit_assert_near(batch.terms[ENGINE_TRAINING_TEXT_TO_IMAGE], log(PICTURES), 1e-12);
}

/* Where prompted features are the plain ones there is nothing to regularise. */
static void test_self_of_plain_features(void **state)
{
    (void)state;
    struct batch batch;
    struct losses_setting setting = {.logit_scale = 4, .weights = {[ENGINE_TRAINING_SELF] = 25}};
    batch_make(&batch);
    for (size_t i = 0; i < TEXT_FLOATS; i++)
        batch.texts[i] = batch.plain_texts[i % (CLASSES * JOINT)];
    batch_run(&batch, &setting);
    assert_true(batch.terms[ENGINE_TRAINING_SELF] == 0);
    for (size_t i = 0; i < TEXT_FLOATS; i++)
        assert_true(batch.dtexts[i] == 0);
    setting.self_form = LOSSES_COSINE;
    batch_run(&batch, &setting);
    unit_assert_near(batch.terms[ENGINE_TRAINING_SELF], 0, 1e-6);
}

static void test_one_class_and_one_label(void **state)
{
    (void)state;
    struct batch batch;
    const struct losses_setting setting = {.logit_scale = 100, .weights = {1, 1, 1, 1}};
    batch_make(&batch);
    memset(batch.labels, 0, sizeof batch.labels);
    batch_run(&batch, &setting);
    for (size_t term = 0; term <= ENGINE_TRAINING_SELF; term++)
        assert_true(isfinite(batch.terms[term]));
    batch.batch.classes = 1;
    batch_run(&batch, &setting);
    assert_true(batch.terms[ENGINE_TRAINING_GLOBAL] == 0 && batch.terms[ENGINE_TRAINING_FINE] == 0);
    assert_int_equal(batch.right, PICTURES);
}

static void test_counts_right_ones(void **state)
{
    (void)state;
    struct batch batch;
    const struct losses_setting setting = {.logit_scale = 4, .weights = {1}};
    batch_make(&batch);
    for (size_t picture = 0; picture < PICTURES; picture++) /* all but the last */
        memcpy(batch.texts +
                   (picture * CLASSES + (picture < 4 ? batch.labels[picture] : 0)) * JOINT,
               batch.images + picture * JOINT, JOINT * sizeof(float));
    batch_run(&batch, &setting);
    assert_int_equal(batch.right, PICTURES - 1);
}

/* ---- Keys ---- */

struct key_case {
    float keys[KEYS * KEY_WIDTH], dkeys[KEYS * KEY_WIDTH];
    double queries[MATCHES][KEY_WIDTH], terms[ENGINE_TRAINING_TERMS],
        scratch[KEYS * (2 * KEY_WIDTH + 1)];
    struct losses_match matches[MATCHES];
    struct losses_keys of;
};

static void keys_make(struct key_case *keys)
{
    uint32_t seed = 5;
    *keys = (struct key_case){.of = {.groups = GROUPS,
                                     .prompts = PROMPTS,
                                     .width = KEY_WIDTH,
                                     .keys = keys->keys,
                                     .matches = keys->matches,
                                     .match_count = MATCHES}};
    fill(keys->keys, KEYS * KEY_WIDTH, &seed);
    for (size_t i = 0; i < MATCHES; i++) {
        for (size_t k = 0; k < KEY_WIDTH; k++)
            keys->queries[i][k] = (double)unit_random_float(&seed, 1);
        keys->matches[i] = (struct losses_match){keys->queries[i], i * 3 % (KEYS - 1)};
    }
    assert_int_equal(losses_keys_doubles(&keys->of), UNIT_COUNT(keys->scratch));
}

static double keys_total(struct key_case *keys, const struct losses_setting *setting)
{
    losses_of_keys(setting, &keys->of, keys->scratch, keys->terms, keys->dkeys);
    return setting->weights[ENGINE_TRAINING_KEY_MATCHING] *
               keys->terms[ENGINE_TRAINING_KEY_MATCHING] +
           setting->weights[ENGINE_TRAINING_KEY_DIVERSITY] *
               keys->terms[ENGINE_TRAINING_KEY_DIVERSITY];
}

static void check_key_gradient(const struct losses_setting *setting)
{
    struct key_case keys;
    float dkeys[KEYS * KEY_WIDTH];
    double largest = 0;
    keys_make(&keys);
    keys_total(&keys, setting);
    memcpy(dkeys, keys.dkeys, sizeof dkeys);
    for (size_t i = 0; i < KEYS * KEY_WIDTH; i++) {
        float was = keys.keys[i], more_at = was + 1e-4f, less_at = was - 1e-4f;
        keys.keys[i] = more_at;
        double more = keys_total(&keys, setting);
        keys.keys[i] = less_at;
        double less = keys_total(&keys, setting);
        keys.keys[i] = was;
        double slope = (more - less) / ((double)more_at - (double)less_at);
        unit_assert_near(dkeys[i], slope, 1e-6);
        largest = unit_worse(largest, fabs(slope));
    }
    assert_true(largest > 1e-2);
}

static void test_gradients_of_keys(void **state)
{
    (void)state;
    check_key_gradient(&(struct losses_setting){.weights = {[ENGINE_TRAINING_KEY_MATCHING] = 0.5}});
    check_key_gradient(
        &(struct losses_setting){.weights = {[ENGINE_TRAINING_KEY_DIVERSITY] = 0.7}});
    check_key_gradient(&(struct losses_setting){
        .weights = {[ENGINE_TRAINING_KEY_MATCHING] = 0.5, [ENGINE_TRAINING_KEY_DIVERSITY] = 0.1}});
}

static void test_keys_without_weights_stay(void **state)
{
    (void)state;
    struct key_case keys;
    const struct losses_setting setting = {.weights = {1, 1, 1, 1}};
    keys_make(&keys);
    assert_true(keys_total(&keys, &setting) == 0);
    for (size_t i = 0; i < KEYS * KEY_WIDTH; i++)
        assert_true(keys.dkeys[i] == 0);
}

/* Keys that are the queries match in full; keys at right angles are as different as can be. */
static void test_values_of_keys(void **state)
{
    (void)state;
    struct key_case keys;
    const struct losses_setting setting = {
        .weights = {[ENGINE_TRAINING_KEY_MATCHING] = 1, [ENGINE_TRAINING_KEY_DIVERSITY] = 1}};
    keys_make(&keys);
    memset(keys.keys, 0, sizeof keys.keys);
    for (size_t key = 0; key < KEYS; key++)
        keys.keys[key * KEY_WIDTH + key % PROMPTS] = 2;
    for (size_t i = 0; i < MATCHES; i++)
        for (size_t k = 0; k < KEY_WIDTH; k++)
            keys.queries[i][k] = k == keys.matches[i].key % PROMPTS;
    unit_assert_near(keys_total(&keys, &setting), 0, 1e-12);
    for (size_t key = 0; key < KEYS; key++) /* all the same */
        memcpy(keys.keys + key * KEY_WIDTH, keys.keys, KEY_WIDTH * sizeof(float));
    keys_total(&keys, &setting);
    unit_assert_near(keys.terms[ENGINE_TRAINING_KEY_DIVERSITY], 1, 1e-12);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gradients_of_features),
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_self_of_plain_features),
        cmocka_unit_test(test_one_class_and_one_label),
        cmocka_unit_test(test_counts_right_ones),
        cmocka_unit_test(test_gradients_of_keys),
        cmocka_unit_test(test_keys_without_weights_stay),
        cmocka_unit_test(test_values_of_keys),
    };
    return cmocka_run_group_tests_name("losses", tests, NULL, NULL);
}
