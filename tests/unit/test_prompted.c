/* Compositions and logits against another implementation, in double precision, of the plain method
 * with every text padded to 77 tokens: see tests/golden/make_prompted.py. */
#include "tests/unit/prompted.h"

#include "engine/compose_plain.h"
#include "engine/engine_state.h"

enum { CACHE = 8 << 20 };

/* Below this a choice may differ for rounding. */
static const double firm_margin = 1e-5;

/* Of a cosine, and so of a logit divided by its scale: what two unit features may be off together.
 * Largest error seen: 3.4e-7. */
static const double cosine_tolerance = 1e-6;

static void check_assignment(const struct prompted *prompted, size_t picture, size_t layer,
                             const float *expected)
{
    const struct engine_composition *composition = prompted->compositions[picture];
    size_t first = layer * composition->patches;
    for (size_t patch = 0; patch < composition->patches; patch++)
        assert_true(composition->assignment[first + patch] ==
                    expected[picture * composition->layers * composition->patches + first + patch]);
}

/* Returns how many layers were firm enough to compare. */
static size_t check_compositions(const struct prompted *prompted)
{
    const size_t *shape;
    size_t compared = 0;
    float *prompts = prompted_tensor(prompted->reference, "composition", &shape);
    float *margins = prompted_tensor(prompted->reference, "margin", NULL);
    float *cluster_margins = prompted_tensor(prompted->reference, "cluster_margin", NULL);
    float *assignment = prompted_tensor(prompted->reference, "assignment", NULL);
    size_t layers = shape[1], chosen = shape[2];
    for (size_t picture = 0; picture < prompted->pictures; picture++) {
        const struct engine_composition *composition = prompted->compositions[picture];
        assert_int_equal(composition->layers, layers);
        assert_int_equal(composition->chosen, chosen);
        for (size_t layer = 0; layer < layers; layer++) {
            size_t at = picture * layers + layer;
            double margin = (double)composition->margins[layer];
            if (!((double)margins[at] > firm_margin && (double)cluster_margins[at] > firm_margin))
                continue;
            compared++;
            check_assignment(prompted, picture, layer, assignment);
            for (size_t i = 0; i < chosen; i++)
                assert_true(composition->prompts[layer * chosen + i] == prompts[at * chosen + i]);
            if (margins[at] > 8)
                assert_true(isinf(margin));
            else
                unit_assert_near(margin, (double)margins[at], 2e-6);
        }
    }
    free(prompts);
    free(margins);
    free(cluster_margins);
    free(assignment);
    return compared;
}

static double check_logits(const struct prompted *prompted, const float *cosines)
{
    float *logits = prompted_tensor(prompted->reference, "logits", NULL);
    double largest = 0;
    for (size_t i = 0; i < prompted->pictures * prompted->label_count; i++)
        largest = unit_worse(
            largest, fabs((double)cosines[i] - (double)logits[i] / (double)prompted->logit_scale));
    free(logits);
    return largest;
}

static void test_references(void **state)
{
    (void)state;
    double largest = 0;
    size_t compared = 0, layers = 0;
    for (size_t i = 0; i < UNIT_COUNT(prompted_cases); i++) {
        struct prompted prompted;
        prompted_open(&prompted, &prompted_cases[i], 0, CACHE);
        prompted_look(&prompted, prompted.pictures);
        compared += check_compositions(&prompted);
        layers += prompted.pictures * prompted.compositions[0]->layers;
        float *cosines = prompted_score(&prompted, prompted.labels, 0);
        double error = check_logits(&prompted, cosines);
        print_message("%s/%s: largest error of a cosine %.1e\n", prompted_cases[i].model,
                      prompted_cases[i].variant, error);
        largest = unit_worse(largest, error);
        free(cosines);
        prompted_close(&prompted);
    }
    print_message("%zu of %zu choices were firm; largest error of a cosine %.1e\n", compared,
                  layers, largest);
    assert_int_equal(compared, layers); /* make_prompted.py sees to it */
    assert_true(largest <= cosine_tolerance);
}

/* The 77-token path and the trie path, label by label. Largest difference seen: 4.0e-7. */
static void test_plain_path(void **state)
{
    (void)state;
    struct fail why;
    double largest = 0;
    for (size_t i = 0; i < UNIT_COUNT(prompted_cases); i++) {
        struct prompted prompted;
        prompted_open(&prompted, &prompted_cases[i], 0, 0);
        prompted_look(&prompted, prompted.pictures);
        float *fast = prompted_score(&prompted, prompted.labels, 0);
        const struct engine *engine = prompted.engine;
        size_t context = engine_info(engine)->context;
        int32_t *ids = calloc(prompted.label_count * context, sizeof *ids);
        size_t starts[PROMPTED_MOST_LABELS + 1] = {0};
        for (size_t label = 0; label < prompted.label_count; label++) {
            char text[256];
            const char *sentence = engine_pool_info(prompted.pool)->sentence;
            const char *place = strstr(sentence, "{}");
            size_t count;
            snprintf(text, sizeof text, "%.*s%s%s", (int)(place - sentence), sentence,
                     prompted.names[label], place + 2);
            unit_assert_ok(engine_tokenize(engine, text, ids + starts[label], &count, NULL, &why),
                           why);
            starts[label + 1] = starts[label] + count;
        }
        struct arena arena;
        unit_assert_ok(arena_init(&arena, compose_plain_scratch_bytes(engine->model, 3), &why),
                       why);
        float *features = calloc(prompted.label_count * prompted.joint, sizeof *features);
        for (size_t picture = 0; picture < prompted.pictures; picture++) {
            compose_plain_features(&engine->text, engine->model, prompted.pool,
                                   prompted.compositions[picture]->prompts, ids, starts,
                                   prompted.label_count, 3, &arena, features);
            for (size_t label = 0; label < prompted.label_count; label++) {
                double cosine = 0;
                for (size_t d = 0; d < prompted.joint; d++)
                    cosine += (double)features[label * prompted.joint + d] *
                              (double)prompted.features[picture * prompted.joint + d];
                largest = unit_worse(
                    largest, fabs(cosine - (double)fast[picture * prompted.label_count + label]));
            }
        }
        arena_finish(&arena);
        free(features);
        free(ids);
        free(fast);
        prompted_close(&prompted);
    }
    print_message("largest difference of a cosine %.1e\n", largest);
    assert_true(largest <= cosine_tolerance);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_references),
        cmocka_unit_test(test_plain_path),
    };
    return cmocka_run_group_tests_name("prompted", tests, NULL, NULL);
}
