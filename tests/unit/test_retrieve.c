#include "tests/unit/unit.h"

#include "engine/retrieve.h"

enum { MOST_CLUSTERS = 6, MOST_PROMPTS = 40 };

struct choice {
    struct retrieve_choice made;
    size_t count;
    uint16_t prompts[MOST_PROMPTS], clusters[MOST_PROMPTS];
    float similarity[MOST_PROMPTS];
};

static void choose(const struct retrieve_problem *problem, struct choice *choice)
{
    uint16_t taken_by[MOST_PROMPTS], favourite[MOST_CLUSTERS], wants[MOST_CLUSTERS];
    const struct retrieve_scratch scratch = {taken_by, favourite, wants};
    choice->made = (struct retrieve_choice){
        .prompts = choice->prompts, .clusters = choice->clusters, .similarity = choice->similarity};
    choice->count = problem->clusters * problem->per_cluster;
    retrieve_choose(problem, &scratch, &choice->made);
    for (size_t i = 1; i < choice->count; i++)
        assert_true(choice->prompts[i - 1] < choice->prompts[i]);
}

/* The definition: all pairs, best first. Fills which cluster has each prompt, or MOST_CLUSTERS. */
static void visit_all_pairs(const struct retrieve_problem *problem, size_t *taken_by)
{
    size_t wants[MOST_CLUSTERS];
    bool visited[MOST_CLUSTERS][MOST_PROMPTS] = {{false}};
    for (size_t j = 0; j < problem->clusters; j++)
        wants[j] = problem->per_cluster;
    for (size_t m = 0; m < problem->prompts; m++)
        taken_by[m] = MOST_CLUSTERS;
    for (size_t step = 0; step < problem->clusters * problem->prompts; step++) {
        size_t best_j = MOST_CLUSTERS, best_m = 0;
        for (size_t m = 0; m < problem->prompts; m++)
            for (size_t j = 0; j < problem->clusters; j++)
                if (!visited[j][m] &&
                    (best_j == MOST_CLUSTERS ||
                     problem->similarity[j * problem->prompts + m] >
                         problem->similarity[best_j * problem->prompts + best_m])) {
                    best_j = j;
                    best_m = m;
                }
        visited[best_j][best_m] = true;
        if (wants[best_j] && taken_by[best_m] == MOST_CLUSTERS) {
            taken_by[best_m] = best_j;
            wants[best_j]--;
        }
    }
}

/* Coarse values are full of ties. */
static void fill(double *similarity, size_t count, bool coarse, uint32_t *seed)
{
    for (size_t i = 0; i < count; i++)
        similarity[i] =
            coarse ? (double)(unit_random(seed) % 5) / 4 : (double)unit_random_float(seed, 1);
}

static struct retrieve_problem problem_of(uint32_t number, const double *similarity)
{
    size_t clusters = 1 + number % MOST_CLUSTERS, per_cluster = 1 + number / 7 % 3;
    size_t least = clusters * per_cluster, prompts = least + number * 5 % (MOST_PROMPTS - least);
    return (struct retrieve_problem){.retrieval = POOL_RETRIEVAL_DISTINCT,
                                     .clusters = clusters,
                                     .prompts = prompts,
                                     .per_cluster = per_cluster,
                                     .similarity = similarity};
}

static void test_follows_the_definition(void **state)
{
    (void)state;
    double similarity[MOST_CLUSTERS * MOST_PROMPTS];
    uint32_t seed = 1;
    for (uint32_t number = 0; number < 2000; number++) {
        struct retrieve_problem problem = problem_of(number, similarity);
        size_t taken_by[MOST_PROMPTS], given[MOST_CLUSTERS] = {0};
        struct choice choice;
        fill(similarity, problem.clusters * problem.prompts, number % 2, &seed);
        choose(&problem, &choice);
        visit_all_pairs(&problem, taken_by);
        for (size_t i = 0; i < choice.count; i++) {
            uint16_t prompt = choice.prompts[i], cluster = choice.clusters[i];
            assert_int_equal(taken_by[prompt], cluster);
            given[cluster]++;
            assert_true((double)choice.similarity[i] ==
                        (double)(float)similarity[cluster * problem.prompts + prompt]);
        }
        for (size_t j = 0; j < problem.clusters; j++)
            assert_int_equal(given[j], problem.per_cluster);
    }
}

/* In all 24 orders of four clusters, and with the prompts renumbered. */
static void test_numbering_does_not_matter(void **state)
{
    (void)state;
    enum { CLUSTERS = 4, PROMPTS = 12 };
    double similarity[CLUSTERS * PROMPTS], turned[CLUSTERS * PROMPTS];
    uint32_t seed = 5;
    fill(similarity, CLUSTERS * PROMPTS, false, &seed);
    const struct retrieve_problem problem = {POOL_RETRIEVAL_DISTINCT, CLUSTERS, PROMPTS, 2,
                                             similarity};
    struct retrieve_problem other = problem;
    struct choice choice, again;
    choose(&problem, &choice);
    other.similarity = turned;
    for (size_t order = 0; order < 256; order++) {
        size_t at[CLUSTERS] = {order & 3, order >> 2 & 3, order >> 4 & 3, order >> 6};
        if ((1 << at[0] | 1 << at[1] | 1 << at[2] | 1 << at[3]) != 15)
            continue;
        for (size_t j = 0; j < CLUSTERS; j++)
            memcpy(turned + at[j] * PROMPTS, similarity + j * PROMPTS, PROMPTS * sizeof *turned);
        choose(&other, &again);
        assert_memory_equal(again.prompts, choice.prompts, choice.count * sizeof *choice.prompts);
        assert_true(again.made.margin == choice.made.margin);
        for (size_t i = 0; i < choice.count; i++)
            assert_int_equal(again.clusters[i], at[choice.clusters[i]]);
    }
    for (size_t j = 0; j < CLUSTERS; j++)
        for (size_t m = 0; m < PROMPTS; m++)
            turned[j * PROMPTS + (m * 5 + 3) % PROMPTS] = similarity[j * PROMPTS + m];
    choose(&other, &again);
    for (size_t i = 0; i < choice.count; i++) {
        bool found = false;
        for (size_t k = 0; k < choice.count; k++)
            found |= again.prompts[k] == (choice.prompts[i] * 5 + 3) % PROMPTS &&
                     again.clusters[k] == choice.clusters[i];
        assert_true(found);
    }
}

/* Nothing changes as long as no similarity moves by half the margin. */
static void test_margin(void **state)
{
    (void)state;
    double similarity[MOST_CLUSTERS * MOST_PROMPTS], moved[MOST_CLUSTERS * MOST_PROMPTS];
    uint32_t seed = 9;
    size_t finite = 0;
    for (uint32_t number = 0; number < 2000; number++) {
        struct retrieve_problem problem = problem_of(number, similarity), near = problem;
        struct choice choice, again;
        if (number % 4 == 3)
            problem.retrieval = near.retrieval = POOL_RETRIEVAL_TOPK_POOLED;
        fill(similarity, problem.clusters * problem.prompts, false, &seed);
        choose(&problem, &choice);
        assert_true(choice.made.margin >= 0);
        assert_int_equal(isinf(choice.made.margin),
                         problem.clusters * problem.per_cluster == problem.prompts);
        double step = isinf(choice.made.margin) ? 1 : 0.499 * choice.made.margin;
        for (size_t i = 0; i < problem.clusters * problem.prompts; i++)
            moved[i] = similarity[i] + step * (unit_random(&seed) % 2 ? 1 : -1);
        near.similarity = moved;
        choose(&near, &again);
        assert_memory_equal(again.prompts, choice.prompts, choice.count * sizeof *choice.prompts);
        finite += !isinf(choice.made.margin);
    }
    assert_true(finite > 1000);
}

static void test_margin_of_one_cluster(void **state)
{
    (void)state;
    const double similarity[] = {0.5, -0.25, 0.75, 0.125, 0.625};
    const struct retrieve_problem problem = {POOL_RETRIEVAL_DISTINCT, 1, 5, 2, similarity};
    struct choice choice;
    choose(&problem, &choice);
    assert_int_equal(choice.prompts[0], 2);
    assert_int_equal(choice.prompts[1], 4);
    assert_true(choice.made.margin == 0.125); /* the last chosen over the best rejected */
}

static void test_topk_pooled(void **state)
{
    (void)state;
    const double similarity[] = {0.9, 0.1, 0.8,  0.3, /* */
                                 0.2, 0.7, 0.85, 0.3,
                                 /* */};
    const struct retrieve_problem problem = {POOL_RETRIEVAL_TOPK_POOLED, 2, 4, 1, similarity};
    struct choice choice;
    choose(&problem, &choice);
    assert_int_equal(choice.prompts[0], 0);
    assert_int_equal(choice.clusters[0], 0);
    assert_int_equal(choice.prompts[1], 2);
    assert_int_equal(choice.clusters[1], 1); /* the better of the two */
    unit_assert_near(choice.made.margin, 0.15, 1e-12);
}

static void test_dot(void **state)
{
    (void)state;
    double a[37], b[37], sum = 0;
    uint32_t seed = 2;
    fill(a, 37, false, &seed);
    fill(b, 37, false, &seed);
    for (size_t count = 0; count <= 37; count++) {
        unit_assert_near(retrieve_dot(a, b, count), sum, 1e-14);
        if (count < 37)
            sum += a[count] * b[count];
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_follows_the_definition),
        cmocka_unit_test(test_numbering_does_not_matter),
        cmocka_unit_test(test_margin),
        cmocka_unit_test(test_margin_of_one_cluster),
        cmocka_unit_test(test_topk_pooled),
        cmocka_unit_test(test_dot),
    };
    return cmocka_run_group_tests_name("retrieve", tests, NULL, NULL);
}
