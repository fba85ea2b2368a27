#include "tests/unit/unit.h"

#include "server/distinct.h"
#include "server/metrics.h"

/* ---- Histograms ---- */

static void test_a_value_on_a_bound_is_below_it(void **state)
{
    (void)state;
    static const struct histogram_bounds bounds = {.unit = 1, .count = 3, .upper = {1, 10, 100}};
    struct histogram histogram = {.sum = 0};
    static const uint64_t values[] = {0, 1, 2, 10, 11, 100, 101, 1000000};
    for (size_t i = 0; i < UNIT_COUNT(values); i++)
        histogram_add(&histogram, &bounds, values[i]);
    assert_int_equal(histogram.counts[0], 2);
    assert_int_equal(histogram.counts[1], 2);
    assert_int_equal(histogram.counts[2], 2);
    assert_int_equal(histogram.counts[HISTOGRAM_MOST_BOUNDS], 2);
    assert_int_equal(histogram.sum, 1000225);
    assert_int_equal(histogram_count(&histogram), UNIT_COUNT(values));
}

static void test_bounds_ascend(void **state)
{
    (void)state;
    const struct histogram_bounds *all[] = {&histogram_durations, &histogram_rows};
    for (size_t i = 0; i < UNIT_COUNT(all); i++) {
        assert_true(all[i]->count && all[i]->count <= HISTOGRAM_MOST_BOUNDS);
        for (size_t j = 1; j < all[i]->count; j++)
            assert_true(all[i]->upper[j - 1] < all[i]->upper[j]);
    }
}

/* ---- Counting what is distinct ---- */

static void test_distinct(void **state)
{
    (void)state;
    static struct distinct distinct;
    assert_true(distinct_estimate(&distinct) == 0);
    uint32_t counted = 0;
    for (uint32_t most = 1; most <= 100000; most *= 10) {
        for (; counted < most; counted++)
            for (int again = 0; again < 2; again++)
                distinct_add(&distinct, 7, &counted, sizeof counted);
        unit_assert_near(distinct_estimate(&distinct), most, 0.5 + 0.02 * most);
    }
    for (; counted < 3000000; counted++)
        distinct_add(&distinct, 7, &counted, sizeof counted);
    assert_true(isfinite(distinct_estimate(&distinct)));
    assert_true(distinct_estimate(&distinct) <= DISTINCT_MOST);
}

static void test_distinct_by_seed(void **state)
{
    (void)state;
    static struct distinct distinct;
    for (uint64_t seed = 0; seed < 5; seed++)
        distinct_add(&distinct, seed, "same", 4);
    unit_assert_near(distinct_estimate(&distinct), 5, 0.5);
}

/* ---- The text format ---- */

static void test_exposition(void **state)
{
    (void)state;
    struct buf out;
    struct fail why;
    buf_init(&out, 1 << 16);
    struct exposition exposition = {.out = &out, .why = &why};
    static const struct histogram_bounds bounds = {.unit = 1e-6, .count = 2, .upper = {100, 2500}};
    struct histogram histogram = {.sum = 0};
    histogram_add(&histogram, &bounds, 50);
    histogram_add(&histogram, &bounds, 100);
    histogram_add(&histogram, &bounds, 7000);
    exposition_only_count(&exposition, "a_total", "counter", "Of a.", UINT64_MAX);
    exposition_begin(&exposition, "b", "gauge", "Of b.");
    exposition_number(&exposition, "b",
                      &(struct exposition_labels){{{"x", "q\"b\\n\nü"}, {"y", ""}}}, 0.25);
    exposition_begin(&exposition, "c", "histogram", "Of c.");
    exposition_histogram(&exposition, "c", &(struct exposition_labels){{{"s", "t"}}}, &histogram,
                         &bounds);
    assert_int_equal(exposition.status, STATUS_OK);
    assert_string_equal(out.data, "# HELP a_total Of a.\n"
                                  "# TYPE a_total counter\n"
                                  "a_total 18446744073709551615\n"
                                  "# HELP b Of b.\n"
                                  "# TYPE b gauge\n"
                                  "b{x=\"q\\\"b\\\\n\\nü\",y=\"\"} 0.25\n"
                                  "# HELP c Of c.\n"
                                  "# TYPE c histogram\n"
                                  "c_bucket{s=\"t\",le=\"0.0001\"} 2\n"
                                  "c_bucket{s=\"t\",le=\"0.0025\"} 2\n"
                                  "c_bucket{s=\"t\",le=\"+Inf\"} 3\n"
                                  "c_sum{s=\"t\"} 0.00715\n"
                                  "c_count{s=\"t\"} 3\n");
    buf_finish(&out);
}

static void test_exposition_stays_failed(void **state)
{
    (void)state;
    struct buf out;
    struct fail why;
    buf_init(&out, 40);
    struct exposition exposition = {.out = &out, .why = &why};
    exposition_only_count(&exposition, "a", "gauge", "More than fits into forty bytes.", 1);
    exposition_count(&exposition, "a", NULL, 1);
    assert_int_equal(exposition.status, STATUS_LIMIT);
    assert_int_equal(out.size, 0);
    buf_finish(&out);
}

/* ---- The metrics ---- */

static const struct router_route routes[] = {
    {.method = "GET", .path = "/a"},
    {.method = "PUT", .path = "/a"},
    {.method = "GET", .path = "/b/{name}"},
};
static const struct router router = {routes, UNIT_COUNT(routes)};

static struct metrics *make(void)
{
    struct metrics *metrics = NULL;
    struct fail why;
    unit_assert_ok(metrics_create(&router, &metrics, &why), why);
    return metrics;
}

static char *show(const struct metrics *metrics)
{
    struct buf out;
    struct fail why;
    buf_init(&out, 1 << 20);
    struct exposition exposition = {.out = &out, .why = &why};
    metrics_write(metrics, &exposition);
    assert_int_equal(exposition.status, STATUS_OK);
    return out.data;
}

static void assert_shows(const char *text, const char *line)
{
    const char *found = strstr(text, line);
    if (!found || (found != text && found[-1] != '\n') || found[strlen(line)] != '\n')
        fail_msg("there is no line %s in\n%s", line, text);
}

static void test_requests_are_counted_by_template(void **state)
{
    (void)state;
    struct metrics *metrics = make();
    const struct metrics_request requests[] = {
        {&routes[0], "GET", 200, METRICS_NOT_REJECTED, 50},
        {&routes[0], "HEAD", 200, METRICS_NOT_REJECTED, 150},
        {&routes[1], "PUT", 429, METRICS_QUEUE_FULL, 150},
        {&routes[2], "GET", 200, METRICS_NOT_REJECTED, 0},
        {&routes[2], "GET", 499, METRICS_INCOMPLETE, 0},
        {NULL, "GET", 404, METRICS_NOT_REJECTED, 0},
        {NULL, "BREW", 405, METRICS_NOT_REJECTED, 0},
        {NULL, "get", 418, METRICS_NOT_REJECTED, 0},
    };
    for (size_t i = 0; i < UNIT_COUNT(requests); i++)
        metrics_count_request(metrics, &requests[i]);
    metrics_count_library_answer(metrics, 400);
    metrics_count_library_answer(metrics, 431);
    metrics_count_connection(metrics, true);
    metrics_count_connection(metrics, false);
    metrics_count_connection(metrics, false);
    metrics_count_cancelled(metrics);
    char *text = show(metrics);
#define REQUESTS "attriprompt_http_requests_total"
    assert_shows(text, REQUESTS "{route=\"/a\",method=\"GET\",code=\"200\"} 1");
    assert_shows(text, REQUESTS "{route=\"/a\",method=\"HEAD\",code=\"200\"} 1");
    assert_shows(text, REQUESTS "{route=\"/a\",method=\"PUT\",code=\"429\"} 1");
    assert_shows(text, REQUESTS "{route=\"/b/{name}\",method=\"GET\",code=\"200\"} 1");
    assert_shows(text, REQUESTS "{route=\"other\",method=\"GET\",code=\"404\"} 1");
    assert_shows(text, REQUESTS "{route=\"other\",method=\"other\",code=\"405\"} 1");
    assert_shows(text, REQUESTS "{route=\"other\",method=\"other\",code=\"other\"} 1");
    assert_shows(text, REQUESTS "{route=\"other\",method=\"other\",code=\"400\"} 1");
    assert_shows(text, REQUESTS "{route=\"other\",method=\"other\",code=\"431\"} 1");
#define DURATION "attriprompt_http_request_duration_seconds"
    assert_shows(text, DURATION "_bucket{route=\"/a\",le=\"0.0001\"} 1");
    assert_shows(text, DURATION "_bucket{route=\"/a\",le=\"+Inf\"} 3");
    assert_shows(text, DURATION "_sum{route=\"/a\"} 0.00035");
    assert_shows(text, DURATION "_count{route=\"other\"} 3");
#define REJECTED "attriprompt_rejected_total"
    assert_shows(text, REJECTED "{reason=\"queue_full\"} 1");
    assert_shows(text, REJECTED "{reason=\"malformed\"} 1");
    assert_shows(text, REJECTED "{reason=\"head_too_large\"} 1");
    assert_shows(text, REJECTED "{reason=\"incomplete\"} 1");
    assert_shows(text, REJECTED "{reason=\"draining\"} 0");
    assert_shows(text, "attriprompt_cancelled_total 1");
    assert_shows(text, "attriprompt_connections_ended_total{requests=\"none\"} 2");
    assert_shows(text, "attriprompt_connections_ended_total{requests=\"some\"} 1");
    free(text);
    metrics_destroy(metrics);
}

static void test_pictures_pools_and_stages(void **state)
{
    (void)state;
    struct metrics *metrics = make();
    metrics_count_image(metrics, IMAGE_JPEG, STATUS_OK);
    metrics_count_image(metrics, IMAGE_JPEG, STATUS_OK);
    metrics_count_image(metrics, IMAGE_PNG, STATUS_FORMAT);
    metrics_count_image(metrics, IMAGE_PNG, STATUS_LIMIT);
    metrics_count_image(metrics, IMAGE_WEBP, STATUS_UNSUPPORTED);
    metrics_count_image(metrics, IMAGE_UNKNOWN, STATUS_NO_MEMORY);
    metrics_count_pool_load(metrics, STATUS_OK);
    metrics_count_pool_load(metrics, STATUS_FORMAT);
    metrics_count_pool_load(metrics, STATUS_LIMIT);
    metrics_count_pool_load(metrics, STATUS_IO);
    metrics_count_stages(metrics, &(struct job_timings){1, 2000, 3, 4, 5000});
    uint16_t prompts[] = {1, 2, 3, 4};
    for (uint16_t i = 0; i < 10; i++) {
        prompts[3] = i % 5;
        metrics_note_composition(
            metrics, &(struct engine_composition){.layers = 2, .chosen = 2, .prompts = prompts});
    }
    char *text = show(metrics);
    assert_shows(text, "attriprompt_images_total{format=\"jpeg\",result=\"ok\"} 2");
    assert_shows(text, "attriprompt_images_total{format=\"png\",result=\"damaged\"} 1");
    assert_shows(text, "attriprompt_images_total{format=\"png\",result=\"too_large\"} 1");
    assert_shows(text, "attriprompt_images_total{format=\"webp\",result=\"unsupported\"} 1");
    assert_shows(text, "attriprompt_images_total{format=\"unknown\",result=\"error\"} 1");
    assert_shows(text, "attriprompt_pool_load_total{result=\"ok\"} 1");
    assert_shows(text, "attriprompt_pool_load_total{result=\"invalid\"} 2");
    assert_shows(text, "attriprompt_pool_load_total{result=\"error\"} 1");
#define STAGE "attriprompt_request_stage_duration_seconds"
    assert_shows(text, STAGE "_sum{stage=\"queue\"} 1e-06");
    assert_shows(text, STAGE "_sum{stage=\"decode\"} 0.002");
    assert_shows(text, STAGE "_sum{stage=\"image\"} 3e-06");
    assert_shows(text, STAGE "_sum{stage=\"retrieve\"} 4e-06");
    assert_shows(text, STAGE "_sum{stage=\"text\"} 0.005");
    const char *found = strstr(text, "\nattriprompt_distinct_compositions ");
    assert_non_null(found);
    unit_assert_near(strtod(strrchr(found, ' '), NULL), 5, 0.1);
    free(text);
    metrics_destroy(metrics);
}

static size_t count_lines(const char *text)
{
    size_t lines = 0;
    for (; (text = strchr(text, '\n')); text++)
        lines++;
    return lines;
}

/* Whatever clients send, there are only so many series. */
static void test_series_are_bounded(void **state)
{
    (void)state;
    struct metrics *metrics = make();
    size_t lines = 0;
    for (int round = 0; round < 2; round++) {
        for (int status = 0; status < 1200; status++)
            for (size_t route = 0; route <= UNIT_COUNT(routes); route++) {
                char method[16];
                snprintf(method, sizeof method, "M%d", status);
                struct metrics_request request = {
                    .route = route ? &routes[route - 1] : NULL, .method = method, .status = status};
                metrics_count_request(metrics, &request);
            }
        char *text = show(metrics);
        assert_true(!round || count_lines(text) == lines);
        lines = count_lines(text);
        assert_null(strstr(text, "M1"));
        free(text);
    }
    metrics_destroy(metrics);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_value_on_a_bound_is_below_it),
        cmocka_unit_test(test_bounds_ascend),
        cmocka_unit_test(test_distinct),
        cmocka_unit_test(test_distinct_by_seed),
        cmocka_unit_test(test_exposition),
        cmocka_unit_test(test_exposition_stays_failed),
        cmocka_unit_test(test_requests_are_counted_by_template),
        cmocka_unit_test(test_pictures_pools_and_stages),
        cmocka_unit_test(test_series_are_bounded),
    };
    return cmocka_run_group_tests_name("metrics", tests, NULL, NULL);
}
