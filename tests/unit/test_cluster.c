#include "tests/unit/unit.h"

#include "engine/cluster.h"

enum { MOST_ROWS = 64, MOST_WIDTH = 40 };

struct rows {
    size_t count, width;
    float values[MOST_ROWS * MOST_WIDTH]; /* unit, or zero */
};

static void make_unit(struct rows *rows)
{
    for (size_t row = 0; row < rows->count; row++)
        kernels_make_unit(&kernels_plain, rows->values + row * rows->width, rows->width);
}

static void fill_random(struct rows *rows, size_t count, size_t width, uint32_t seed)
{
    rows->count = count;
    rows->width = width;
    for (size_t i = 0; i < count * width; i++)
        rows->values[i] = unit_random_float(&seed, 1);
    make_unit(rows);
}

static void run(const struct kernels *kernels, const struct rows *rows, size_t clusters,
                size_t max_rounds, uint16_t *out)
{
    float *scratch =
        calloc(cluster_scratch_floats(rows->count, rows->width, clusters), sizeof *scratch);
    cluster_rows(kernels, rows->values, rows->count, rows->width, clusters, max_rounds, scratch,
                 out);
    free(scratch);
}

/* Every row in one of the clusters, none of which is empty, numbered by their first rows. */
static void check_partition(const uint16_t *assignment, size_t count, size_t clusters)
{
    size_t seen = 0;
    for (size_t row = 0; row < count; row++) {
        assert_true(assignment[row] <= seen);
        seen += assignment[row] == seen;
    }
    assert_int_equal(seen, clusters);
}

/* The sum of every row's cosine with the unit sum of its cluster. */
static double objective(const struct rows *rows, const uint16_t *assignment, size_t clusters)
{
    double sum = 0;
    for (size_t cluster = 0; cluster < clusters; cluster++) {
        double centre[MOST_WIDTH] = {0}, squares = 0;
        for (size_t row = 0; row < rows->count; row++)
            for (size_t i = 0; i < rows->width && assignment[row] == cluster; i++)
                centre[i] += (double)rows->values[row * rows->width + i];
        for (size_t i = 0; i < rows->width; i++)
            squares += centre[i] * centre[i];
        sum += sqrt(squares);
    }
    return sum;
}

static void test_one_cluster_and_singletons(void **state)
{
    (void)state;
    struct rows rows;
    uint16_t assignment[MOST_ROWS];
    fill_random(&rows, 31, 17, 1);
    run(kernels_best(), &rows, 1, CLUSTER_MAX_ROUNDS, assignment);
    for (size_t row = 0; row < rows.count; row++)
        assert_int_equal(assignment[row], 0);
    run(kernels_best(), &rows, rows.count, CLUSTER_MAX_ROUNDS, assignment);
    for (size_t row = 0; row < rows.count; row++)
        assert_int_equal(assignment[row], row);
}

/* Three bundles of directions far apart, in any order of rows. */
static void test_finds_what_belongs_together(void **state)
{
    (void)state;
    struct rows rows = {.count = 30, .width = 8};
    uint16_t assignment[MOST_ROWS];
    uint32_t seed = 3;
    for (size_t row = 0; row < rows.count; row++) {
        for (size_t i = 0; i < rows.width; i++)
            rows.values[row * rows.width + i] = unit_random_float(&seed, 0.1f);
        rows.values[row * rows.width + (row * 7 + 1) % 3] += 1;
    }
    make_unit(&rows);
    run(kernels_best(), &rows, 3, CLUSTER_MAX_ROUNDS, assignment);
    check_partition(assignment, rows.count, 3);
    for (size_t a = 0; a < rows.count; a++)
        for (size_t b = 0; b < rows.count; b++)
            assert_int_equal(assignment[a] == assignment[b], (a * 7 + 1) % 3 == (b * 7 + 1) % 3);
}

/* More clusters than different rows: every similarity is exactly 0 or 1, so the rule for empty
 * clusters and the ties can be followed by hand. */
static void test_identical_rows(void **state)
{
    (void)state;
    struct rows rows = {.count = 5, .width = 4};
    uint16_t assignment[MOST_ROWS];
    for (size_t row = 0; row < rows.count; row++)
        rows.values[row * rows.width] = 1;
    run(kernels_best(), &rows, 3, CLUSTER_MAX_ROUNDS, assignment);
    check_partition(assignment, rows.count, 3);
    /* All go to the first centre; the empty ones take rows 0 and 1 out of it, in turn. */
    const uint16_t expected[] = {0, 1, 2, 2, 2};
    assert_memory_equal(assignment, expected, sizeof expected);

    struct rows pairs = {.count = 4, .width = 4};
    pairs.values[0] = pairs.values[4] = 1;  /* rows 0 and 1 along one axis, */
    pairs.values[9] = pairs.values[13] = 1; /* 2 and 3 along another */
    run(kernels_best(), &pairs, 3, CLUSTER_MAX_ROUNDS, assignment);
    check_partition(assignment, pairs.count, 3);
    assert_int_equal(assignment[2], assignment[3]);
    assert_int_not_equal(assignment[0], assignment[1]);

    struct rows nothing = {.count = 6, .width = 4}; /* rows of length zero */
    run(kernels_best(), &nothing, 4, CLUSTER_MAX_ROUNDS, assignment);
    check_partition(assignment, nothing.count, 4);
}

/* Rounds never make it worse. Random rows leave no cluster empty, so that rule does not interfere.
 */
static void test_objective_grows(void **state)
{
    (void)state;
    size_t grew = 0;
    for (uint32_t seed = 1; seed <= 40; seed++) {
        struct rows rows;
        uint16_t assignment[MOST_ROWS];
        double before = 0;
        fill_random(&rows, 49, 12, seed);
        for (size_t rounds = 1; rounds <= CLUSTER_MAX_ROUNDS; rounds++) {
            run(kernels_best(), &rows, 4, rounds, assignment);
            check_partition(assignment, rows.count, 4);
            double now = objective(&rows, assignment, 4);
            assert_true(now >= before - 1e-5);
            grew += rounds > 1 && now > before + 1e-4;
            before = now;
        }
    }
    assert_true(grew > 40); /* or the test would see nothing */
}

/* The definition once more, in double and without any short cut. */
struct slow {
    const struct rows *rows;
    size_t clusters, filled; /* how often a cluster was empty */
    double centres[MOST_ROWS][MOST_WIDTH];
    double own[MOST_ROWS];
    size_t of[MOST_ROWS];
};

static double slow_near(const struct slow *slow, size_t row, const double *centre)
{
    double sum = 0;
    for (size_t i = 0; i < slow->rows->width; i++)
        sum += (double)slow->rows->values[row * slow->rows->width + i] * centre[i];
    return sum;
}

static void slow_set_centre(struct slow *slow, size_t cluster, size_t row)
{
    for (size_t i = 0; i < slow->rows->width; i++)
        slow->centres[cluster][i] = (double)slow->rows->values[row * slow->rows->width + i];
}

static void slow_start(struct slow *slow)
{
    double mean[MOST_WIDTH] = {0};
    size_t first = 0;
    for (size_t row = 0; row < slow->rows->count; row++)
        for (size_t i = 0; i < slow->rows->width; i++)
            mean[i] += (double)slow->rows->values[row * slow->rows->width + i];
    for (size_t row = 1; row < slow->rows->count; row++)
        if (slow_near(slow, row, mean) > slow_near(slow, first, mean))
            first = row;
    slow_set_centre(slow, 0, first);
    for (size_t cluster = 1; cluster < slow->clusters; cluster++) {
        size_t farthest = 0;
        double least = INFINITY;
        for (size_t row = 0; row < slow->rows->count; row++) {
            double nearest = -INFINITY;
            for (size_t k = 0; k < cluster; k++)
                nearest = fmax(nearest, slow_near(slow, row, slow->centres[k]));
            if (nearest < least) {
                least = nearest;
                farthest = row;
            }
        }
        slow_set_centre(slow, cluster, farthest);
    }
}

static void slow_assign(struct slow *slow)
{
    size_t sizes[MOST_ROWS] = {0};
    for (size_t row = 0; row < slow->rows->count; row++) {
        slow->of[row] = 0;
        for (size_t k = 1; k < slow->clusters; k++)
            if (slow_near(slow, row, slow->centres[k]) >
                slow_near(slow, row, slow->centres[slow->of[row]]))
                slow->of[row] = k;
        slow->own[row] = slow_near(slow, row, slow->centres[slow->of[row]]);
        sizes[slow->of[row]]++;
    }
    for (size_t k = 0; k < slow->clusters; k++) {
        size_t taken = slow->rows->count;
        if (sizes[k])
            continue;
        for (size_t row = 0; row < slow->rows->count; row++)
            if (sizes[slow->of[row]] > 1 &&
                (taken == slow->rows->count || slow->own[row] < slow->own[taken]))
                taken = row;
        sizes[slow->of[taken]]--;
        sizes[k]++;
        slow->of[taken] = k;
        slow->filled++;
    }
}

static void slow_move(struct slow *slow)
{
    memset(slow->centres, 0, sizeof slow->centres);
    for (size_t row = 0; row < slow->rows->count; row++)
        for (size_t i = 0; i < slow->rows->width; i++)
            slow->centres[slow->of[row]][i] +=
                (double)slow->rows->values[row * slow->rows->width + i];
    for (size_t k = 0; k < slow->clusters; k++) {
        double squares = 0;
        for (size_t i = 0; i < slow->rows->width; i++)
            squares += slow->centres[k][i] * slow->centres[k][i];
        for (size_t i = 0; i < slow->rows->width; i++)
            slow->centres[k][i] /= sqrt(squares);
    }
}

static void slow_run(struct slow *slow)
{
    size_t before[MOST_ROWS];
    slow_start(slow);
    for (size_t round = 0; round < CLUSTER_MAX_ROUNDS; round++) {
        if (round)
            slow_move(slow);
        slow_assign(slow);
        if (round && !memcmp(before, slow->of, slow->rows->count * sizeof *before))
            break;
        memcpy(before, slow->of, sizeof before);
    }
}

/* A few directions again and again, all of whose products are exact. With fewer of them than
 * clusters some clusters get nothing, which does not happen otherwise: a centre is a row at first.
 */
static void fill_from_few(struct rows *rows, size_t count, uint32_t seed)
{
    static const float few[][4] = {
        {1, 0, 0, 0},
        {0, 1, 0, 0},
        {0.5f, 0.5f, 0.5f, 0.5f},
        {0, 0, 1, 0},
        {-0.5f, 0.5f, 0.5f, 0.5f},
        {0.5f, 0.5f, -0.5f, -0.5f},
    };
    size_t kinds = 1 + unit_random(&seed) % UNIT_COUNT(few);
    rows->count = count;
    rows->width = 4;
    for (size_t row = 0; row < count; row++)
        memcpy(rows->values + row * 4, few[unit_random(&seed) % kinds], sizeof few[0]);
}

static void test_follows_the_definition(void **state)
{
    (void)state;
    size_t filled = 0, different = 0;
    enum { CASES = 3000 };
    for (uint32_t seed = 1; seed <= CASES; seed++) {
        struct rows rows;
        struct slow slow = {.rows = &rows};
        uint16_t assignment[MOST_ROWS];
        if (seed % 2)
            fill_random(&rows, 8 + seed % 24, 2 + seed % 3, seed);
        else
            fill_from_few(&rows, 8 + seed % 24, seed);
        slow.clusters = 2 + seed % 7;
        slow_run(&slow);
        run(kernels_best(), &rows, slow.clusters, CLUSTER_MAX_ROUNDS, assignment);
        bool same = true;
        for (size_t a = 0; a < rows.count; a++)
            for (size_t b = 0; b < a; b++)
                same &= (assignment[a] == assignment[b]) == (slow.of[a] == slow.of[b]);
        different += !same;
        filled += same && slow.filled;
    }
    print_message("%zu of %d differ, %zu had an empty cluster\n", different, CASES, filled);
    assert_int_equal(different, 0);
    assert_true(filled > 500);
}

/* Odd sizes, every kernel table: the same clusters, on repeat too. */
static void test_every_table_agrees(void **state)
{
    (void)state;
    for (uint32_t seed = 1; seed <= 60; seed++) {
        struct rows rows;
        uint16_t plain[MOST_ROWS], fast[MOST_ROWS];
        size_t clusters = 1 + seed % 7;
        fill_random(&rows, 8 + seed % 50, 1 + seed * 3 % MOST_WIDTH, seed);
        run(&kernels_plain, &rows, clusters, CLUSTER_MAX_ROUNDS, plain);
        for (size_t i = 0; kernels_at(i); i++) {
            run(kernels_at(i), &rows, clusters, CLUSTER_MAX_ROUNDS, fast);
            if (rows.width > 2) /* narrower rows are full of ties */
                assert_memory_equal(fast, plain, rows.count * sizeof *fast);
            check_partition(fast, rows.count, clusters);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_cluster_and_singletons),
        cmocka_unit_test(test_finds_what_belongs_together),
        cmocka_unit_test(test_identical_rows),
        cmocka_unit_test(test_objective_grows),
        cmocka_unit_test(test_follows_the_definition),
        cmocka_unit_test(test_every_table_agrees),
    };
    return cmocka_run_group_tests_name("cluster", tests, NULL, NULL);
}
