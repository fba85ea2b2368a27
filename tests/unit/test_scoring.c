/* The same numbers whatever is remembered, computed together, or shared between threads. */
#include "tests/unit/prompted.h"

#include "engine/engine_state.h"

enum { CACHE = 8 << 20 };

static const struct prompted_case case_full = {"even", "plain"};
static const struct prompted_case case_part = {"deep_text", "middle"};

/* A picture alone and in company: other sizes of products, so other rounding. Largest difference
 * seen: 2.0e-7. */
static const double company_tolerance = 2e-6;

static double largest_difference(const float *a, const float *b, size_t count)
{
    double largest = 0;
    for (size_t i = 0; i < count; i++)
        largest = unit_worse(largest, fabs((double)a[i] - (double)b[i]));
    return largest;
}

static size_t distinct_compositions(const struct prompted *prompted)
{
    size_t distinct = 0;
    for (size_t i = 0; i < prompted->pictures; i++) {
        bool known = false;
        const struct engine_composition *a = prompted->compositions[i];
        for (size_t k = 0; k < i; k++)
            known |= !memcmp(a->prompts, prompted->compositions[k]->prompts,
                             a->layers * a->chosen * sizeof *a->prompts);
        distinct += !known;
    }
    return distinct;
}

/* Not remembered, remembered, and with too little memory to remember much: the same bits. */
static void check_memory(const struct prompted_case *of)
{
    const size_t caches[] = {0, CACHE, 20000};
    float *first = NULL;
    for (size_t i = 0; i < UNIT_COUNT(caches); i++) {
        struct prompted prompted;
        struct engine_composition_cache_figures figures;
        prompted_open(&prompted, of, 0, caches[i]);
        prompted_look(&prompted, prompted.pictures);
        size_t floats = prompted.pictures * prompted.label_count;
        size_t distinct = distinct_compositions(&prompted);
        for (size_t round = 0; round < 3; round++) {
            float *cosines = prompted_score(&prompted, prompted.labels, 0);
            if (!first)
                first = cosines;
            else
                assert_memory_equal(cosines, first, floats * sizeof *first);
            if (cosines != first)
                free(cosines);
        }
        engine_composition_cache_figures(prompted.engine, &figures);
        assert_true(figures.bytes <= figures.max_bytes);
        assert_true(distinct < prompted.pictures); /* a picture is there twice */
        if (caches[i] == CACHE) {
            assert_int_equal(figures.misses, distinct);
            assert_int_equal(figures.hits, 2 * distinct);
        } else if (!caches[i]) {
            assert_int_equal(figures.misses, 3 * distinct);
            assert_int_equal(figures.entries, 0);
        }
        prompted_close(&prompted);
    }
    free(first);
}

static void test_memory(void **state)
{
    (void)state;
    check_memory(&case_full);
    check_memory(&case_part);
}

/* Compositions that begin alike go on from the rows that are known, to the same bits. */
static void check_resuming(const struct prompted_case *of)
{
    struct prompted fresh, knowing;
    struct engine_composition_cache_figures before, after;
    prompted_open(&fresh, of, 0, 0);
    prompted_open(&knowing, of, 0, CACHE);
    prompted_look(&fresh, fresh.pictures);
    prompted_look(&knowing, knowing.pictures);
    free(prompted_score(&knowing, knowing.labels, 0));
    engine_composition_cache_figures(knowing.engine, &before);
    for (size_t i = 0; i < fresh.pictures; i++) {
        struct engine_composition *a = fresh.compositions[i], *b = knowing.compositions[i];
        size_t last = (a->layers - 1) * a->chosen;
        for (size_t k = 0; k < a->chosen; k++) /* other prompts in the last layer */
            a->prompts[last + k] = b->prompts[last + k] = (uint16_t)(i + k);
    }
    float *expected = prompted_score(&fresh, fresh.labels, 0);
    float *found = prompted_score(&knowing, knowing.labels, 0);
    engine_composition_cache_figures(knowing.engine, &after);
    assert_true(after.resumed - before.resumed >= 5);
    assert_memory_equal(expected, found, fresh.pictures * fresh.label_count * sizeof *found);
    free(expected);
    free(found);
    prompted_close(&fresh);
    prompted_close(&knowing);
}

static void test_resuming(void **state)
{
    (void)state;
    check_resuming(&case_full);
    check_resuming(&case_part);
}

static void test_budget_under_random_compositions(void **state)
{
    (void)state;
    enum { MANY = 10000 };
    struct fail why;
    struct prompted prompted;
    struct engine_composition_cache_figures figures;
    uint32_t seed = 1;
    prompted_open(&prompted, &case_full, 0, 200000);
    prompted_look(&prompted, 1);
    struct engine_composition *composition = prompted.compositions[0];
    const struct engine_composition *const compositions[] = {composition};
    const struct engine_scoring scoring = {.labels = prompted.labels,
                                           .count = 1,
                                           .image_features = prompted.features,
                                           .compositions = compositions};
    float *cosines = calloc(prompted.label_count, sizeof *cosines);
    for (size_t i = 0; i < MANY; i++) {
        for (size_t layer = 0; layer < composition->layers; layer++) {
            uint16_t first = (uint16_t)(unit_random(&seed) % 13);
            for (size_t k = 0; k < composition->chosen; k++)
                composition->prompts[layer * composition->chosen + k] = (uint16_t)(first + k);
        }
        unit_assert_ok(engine_score(prompted.session, &scoring, cosines, &why), why);
        engine_composition_cache_figures(prompted.engine, &figures);
        assert_true(figures.bytes <= 200000);
    }
    print_message("%llu hits, %llu misses of which %llu resumed, %llu evictions, %zu bytes\n",
                  (unsigned long long)figures.hits, (unsigned long long)figures.misses,
                  (unsigned long long)figures.resumed, (unsigned long long)figures.evictions,
                  figures.bytes);
    assert_int_equal(figures.hits + figures.misses, MANY);
    assert_true(figures.hits > 100 && figures.resumed > 1000 && figures.evictions > 1000);
    free(cosines);
    prompted_close(&prompted);
}

static void test_threads_give_equal_bits(void **state)
{
    (void)state;
    struct prompted alone, helped;
    prompted_open(&alone, &case_part, 0, CACHE);
    prompted_look(&alone, alone.pictures);
    float *expected = prompted_score(&alone, alone.labels, 0);
    for (size_t helpers = 1; helpers <= 3; helpers += 2) {
        prompted_open(&helped, &case_part, helpers, CACHE);
        prompted_look(&helped, helped.pictures);
        float *found = prompted_score(&helped, helped.labels, 0);
        assert_memory_equal(helped.features, alone.features,
                            alone.pictures * alone.joint * sizeof(float));
        assert_memory_equal(found, expected, alone.pictures * alone.label_count * sizeof(float));
        for (size_t i = 0; i < alone.pictures; i++) {
            const struct engine_composition *a = alone.compositions[i], *b = helped.compositions[i];
            size_t choices = a->layers * a->chosen;
            assert_memory_equal(a->prompts, b->prompts, choices * sizeof *a->prompts);
            assert_memory_equal(a->similarities, b->similarities, choices * sizeof(float));
            assert_memory_equal(a->assignment, b->assignment,
                                a->layers * a->patches * sizeof *a->assignment);
            assert_memory_equal(a->margins, b->margins, a->layers * sizeof(float));
        }
        free(found);
        prompted_close(&helped);
    }
    free(expected);
    prompted_close(&alone);
}

static void test_company(void **state)
{
    (void)state;
    struct prompted alone, together;
    prompted_open(&alone, &case_full, 0, CACHE);
    prompted_open(&together, &case_full, 0, CACHE);
    prompted_look(&alone, 1);
    prompted_look(&together, together.pictures);
    float *one = prompted_score(&alone, alone.labels, 0);
    float *many = prompted_score(&together, together.labels, 0);
    for (size_t i = 0; i < alone.pictures; i++) {
        const struct engine_composition *a = alone.compositions[i], *b = together.compositions[i];
        assert_memory_equal(a->prompts, b->prompts, a->layers * a->chosen * sizeof *a->prompts);
    }
    double largest = largest_difference(one, many, alone.pictures * alone.label_count);
    print_message("alone and together: cosines differ by %.1e\n", largest);
    assert_true(largest <= company_tolerance);
    free(one);
    free(many);
    prompted_close(&alone);
    prompted_close(&together);
}

/* Sixteen pictures in one pass: under one pool, under another, and under none. */
static void test_mixed_batch(void **state)
{
    (void)state;
    enum { BATCH = 16 };
    struct fail why;
    struct prompted prompted;
    prompted_open(&prompted, &case_full, 1, CACHE);
    prompted_look(&prompted, prompted.pictures);
    const struct engine_info *info = engine_info(prompted.engine);
    size_t floats = 3 * info->image_size * info->image_size, labels = prompted.label_count;
    struct engine_pool *pools[] = {prompted.pool, prompted_pool(prompted.engine, "even", "layers"),
                                   NULL};
    struct engine_composition *compositions[BATCH] = {0};
    float *pixels = calloc(BATCH, floats * sizeof *pixels);
    float *features = calloc(BATCH, prompted.joint * sizeof *features);
    float *cosines = calloc(BATCH, labels * sizeof *cosines);
    for (size_t i = 0; i < BATCH; i++) {
        memcpy(pixels + i * floats, prompted.pixels + i % prompted.pictures * floats,
               floats * sizeof *pixels);
        if (pools[i % 3])
            unit_assert_ok(engine_composition_create(pools[i % 3], &compositions[i], &why), why);
    }
    unit_assert_ok(
        engine_compose_images(prompted.session, pixels, BATCH, compositions, features, &why), why);
    const struct engine_scoring scoring = {
        .labels = prompted.labels,
        .count = BATCH,
        .image_features = features,
        .compositions = (const struct engine_composition *const *)compositions};
    unit_assert_ok(engine_score(prompted.session, &scoring, cosines, &why), why);
    float *one = calloc(labels, sizeof *one);
    for (size_t i = 0; i < BATCH; i++) { /* each of them by itself */
        struct engine_composition *composition = NULL;
        float feature[64];
        if (pools[i % 3])
            unit_assert_ok(engine_composition_create(pools[i % 3], &composition, &why), why);
        unit_assert_ok(engine_compose_images(prompted.session, pixels + i * floats, 1, &composition,
                                             feature, &why),
                       why);
        const struct engine_composition *const only[] = {composition};
        const struct engine_scoring single = {
            .labels = prompted.labels, .count = 1, .image_features = feature, .compositions = only};
        unit_assert_ok(engine_score(prompted.session, &single, one, &why), why);
        assert_true(largest_difference(one, cosines + i * labels, labels) <= company_tolerance);
        engine_composition_destroy(composition);
    }
    for (size_t i = 0; i < BATCH; i++)
        engine_composition_destroy(compositions[i]);
    engine_pool_release(pools[1]);
    free(one);
    free(pixels);
    free(features);
    free(cosines);
    prompted_close(&prompted);
}

static void test_shortlist(void **state)
{
    (void)state;
    struct prompted prompted;
    prompted_open(&prompted, &case_full, 0, CACHE);
    prompted_look(&prompted, prompted.pictures);
    size_t labels = prompted.label_count, floats = prompted.pictures * labels;
    float *exact = prompted_score(&prompted, prompted.labels, 0);
    float *some = prompted_score(&prompted, prompted.labels, 3);
    float *all = prompted_score(&prompted, prompted.labels, labels);
    float *plain = calloc(labels, sizeof *plain);
    assert_memory_equal(exact, all, floats * sizeof *all);
    for (size_t picture = 0; picture < prompted.pictures; picture++) {
        float least = INFINITY, out = -INFINITY;
        size_t kept = 0;
        engine_cosines(prompted.engine, prompted.labels,
                       prompted.features + picture * prompted.joint, plain);
        for (size_t i = 0; i < labels; i++) {
            float cosine = some[picture * labels + i];
            if (isinf(cosine)) {
                assert_true(cosine < 0);
                out = plain[i] > out ? plain[i] : out;
                continue;
            }
            kept++;
            least = plain[i] < least ? plain[i] : least;
            assert_true(fabsf(cosine - exact[picture * labels + i]) <= 2e-6f);
        }
        assert_int_equal(kept, 3);
        assert_true(least >= out); /* the best of plain CLIP */
    }
    free(exact);
    free(some);
    free(all);
    free(plain);
    prompted_close(&prompted);
}

static bool stop_at_once(void *argument)
{
    ++*(int *)argument;
    return true;
}

static void test_stops(void **state)
{
    (void)state;
    struct fail why;
    struct prompted prompted;
    int asked = 0;
    prompted_open(&prompted, &case_full, 0, CACHE);
    prompted_look(&prompted, prompted.pictures);
    const struct engine_scoring scoring = {
        .labels = prompted.labels,
        .count = 1,
        .image_features = prompted.features,
        .compositions = (const struct engine_composition *const *)prompted.compositions};
    float *cosines = calloc(prompted.label_count, sizeof *cosines);
    engine_session_set_stop(prompted.session, stop_at_once, &asked);
    assert_int_equal(engine_score(prompted.session, &scoring, cosines, &why), STATUS_CANCELLED);
    assert_int_equal(asked, 1);
    engine_session_set_stop(prompted.session, NULL, NULL);
    unit_assert_ok(engine_score(prompted.session, &scoring, cosines, &why), why);
    free(cosines);
    prompted_close(&prompted);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_resuming),
        cmocka_unit_test(test_budget_under_random_compositions),
        cmocka_unit_test(test_threads_give_equal_bits),
        cmocka_unit_test(test_company),
        cmocka_unit_test(test_mixed_batch),
        cmocka_unit_test(test_shortlist),
        cmocka_unit_test(test_stops),
    };
    return cmocka_run_group_tests_name("scoring", tests, NULL, NULL);
}
