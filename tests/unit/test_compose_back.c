/* Gradients of text features against differences in double precision, on models of several
 * geometries. */
#include "tests/unit/prompted.h"

#include "engine/compose_back.h"
#include "engine/engine_state.h"
#include "tests/unit/double_tower.h"

enum { PICTURES = 3, MOST_TEXTS = 6, MOST_IDS = 256, MOST_JOINT = 128, CHECKED = 16 };

/* Texts that share beginnings, one of them twice. */
static const char *const text_names[MOST_TEXTS] = {"cat", "cat dog", "dog", "cat", "photo", "a"};

struct learner {
    struct prompted prompted;
    struct double_tower tower;
    struct trie *trie;
    struct arena arena;
    struct compose_back back;
    int32_t ids[MOST_IDS];
    size_t starts[MOST_TEXTS + 1];
    size_t joint, value_count;
    uint16_t *prompts; /* [PICTURES, depth, chosen] */
    float *features, *directions, *gradient;
    double *values;
};

static void tokenize(struct learner *learner)
{
    struct fail why;
    bool cut;
    for (size_t i = 0; i < MOST_TEXTS; i++) {
        int32_t ids[DOUBLE_TOWER_MOST_ROWS];
        size_t count;
        unit_assert_ok(
            engine_tokenize(learner->prompted.engine, text_names[i], ids, &count, &cut, &why), why);
        assert_true(learner->starts[i] + count <= MOST_IDS);
        memcpy(learner->ids + learner->starts[i], ids, count * sizeof *ids);
        learner->starts[i + 1] = learner->starts[i] + count;
    }
    unit_assert_ok(trie_create(learner->ids, learner->starts, MOST_TEXTS, &learner->trie, &why),
                   why);
}

static void learner_open(struct learner *learner, const struct prompted_case *of)
{
    struct fail why;
    uint32_t seed = 7;
    *learner = (struct learner){.joint = 0};
    prompted_open(&learner->prompted, of, 1, 0);
    const struct clip_model *model = learner->prompted.engine->model;
    struct engine_pool *pool = learner->prompted.pool;
    const struct pool_file *file = &pool->file;
    prompted_look(&learner->prompted, PICTURES);
    tokenize(learner);
    double_tower_open(&learner->tower, model);
    learner->joint = model->geometry.joint_width;
    assert_true(learner->joint <= MOST_JOINT);
    learner->value_count = file->groups * file->prompts * file->tokens * file->width;
    size_t layer = file->depth * pool->chosen;
    size_t features = PICTURES * MOST_TEXTS * learner->joint;
    learner->prompts = calloc(PICTURES * layer + 1, sizeof *learner->prompts);
    for (size_t i = 0; i < PICTURES; i++)
        memcpy(learner->prompts + i * layer, learner->prompted.compositions[i]->prompts,
               layer * sizeof *learner->prompts);
    learner->features = calloc(features, sizeof(float));
    learner->directions = calloc(features, sizeof(float));
    learner->gradient = calloc(learner->value_count, sizeof(float));
    learner->values = calloc(learner->value_count, sizeof(double));
    for (size_t i = 0; i < features; i++)
        learner->directions[i] = unit_random_float(&seed, 1);
    for (size_t i = 0; i < learner->value_count; i++)
        learner->values[i] = file->values[i];
    free(pool->keys_values); /* which training does without */
    pool->keys_values = NULL;
    unit_assert_ok(
        arena_init(&learner->arena,
                   compose_back_scratch_bytes(model, learner->trie->nodes, learner->trie->leaves,
                                              pool->slots, PICTURES),
                   &why),
        why);
}

static void learner_close(struct learner *learner)
{
    free(learner->prompts);
    free(learner->features);
    free(learner->directions);
    free(learner->gradient);
    free(learner->values);
    arena_finish(&learner->arena);
    trie_destroy(learner->trie);
    double_tower_close(&learner->tower);
    prompted_close(&learner->prompted);
}

static void go_forth_and_back(struct learner *learner)
{
    struct engine *engine = learner->prompted.engine;
    arena_rewind(&learner->arena, 0);
    compose_back_forward(&learner->back, &engine->compose, learner->trie, learner->prompted.pool,
                         learner->prompts, PICTURES, &learner->arena, learner->features);
    compose_back_gradient(&learner->back, learner->directions, learner->gradient);
    assert_int_equal(learner->arena.used_bytes, learner->arena.capacity_bytes);
}

/* Of text i % MOST_TEXTS under the composition of picture i / MOST_TEXTS, in double; [joint]. */
static void feature_of(const struct learner *learner, size_t i, double *out)
{
    const struct pool_file *file = &learner->prompted.pool->file;
    size_t layer = file->depth * learner->prompted.pool->chosen;
    size_t text = i % MOST_TEXTS, first = learner->starts[text];
    double_tower_feature(&learner->tower, file, learner->values,
                         learner->prompts + i / MOST_TEXTS * layer, learner->ids + first,
                         learner->starts[text + 1] - first, out);
}

/* What the gradient is one of: the features along the directions. */
static double loss_of(const struct learner *learner)
{
    double feature[MOST_JOINT], loss = 0;
    for (size_t i = 0; i < PICTURES * MOST_TEXTS; i++) {
        feature_of(learner, i, feature);
        for (size_t k = 0; k < learner->joint; k++)
            loss += feature[k] * (double)learner->directions[i * learner->joint + k];
    }
    return loss;
}

static double difference_at(struct learner *learner, size_t index)
{
    double was = learner->values[index], step = 1e-5;
    learner->values[index] = was + step;
    double more = loss_of(learner);
    learner->values[index] = was - step;
    double less = loss_of(learner);
    learner->values[index] = was;
    return (more - less) / (2 * step);
}

static void check_features(const struct learner *learner)
{
    double feature[MOST_JOINT], worst = 0;
    for (size_t i = 0; i < PICTURES * MOST_TEXTS; i++) {
        feature_of(learner, i, feature);
        for (size_t k = 0; k < learner->joint; k++)
            worst = unit_worse(
                worst, fabs(feature[k] - (double)learner->features[i * learner->joint + k]));
    }
    assert_true(worst <= 3e-6);
}

static bool is_chosen(const struct learner *learner, size_t index)
{
    const struct engine_pool *pool = learner->prompted.pool;
    const struct pool_file *file = &pool->file;
    size_t prompt = index / (file->tokens * file->width);
    for (size_t at = 0; at < PICTURES * file->depth * pool->chosen; at++) {
        size_t block = at / pool->chosen % file->depth;
        if ((file->groups > 1 ? block : 0) * file->prompts + learner->prompts[at] == prompt)
            return true;
    }
    return false;
}

static void check_case(const struct prompted_case *of)
{
    struct learner learner;
    uint32_t seed = 3;
    double largest = 0, worst = 0;
    size_t chosen = 0;
    learner_open(&learner, of);
    go_forth_and_back(&learner);
    check_features(&learner);
    for (size_t i = 0; i < learner.value_count; i++) {
        largest = unit_worse(largest, fabs((double)learner.gradient[i]));
        chosen += is_chosen(&learner, i);
        if (!is_chosen(&learner, i))
            assert_true(learner.gradient[i] == 0);
    }
    assert_true(chosen > 0 && largest > 0);
    for (size_t done = 0; done < CHECKED;) {
        size_t index = unit_random(&seed) % learner.value_count;
        if (!is_chosen(&learner, index))
            continue;
        worst = unit_worse(worst,
                           fabs(difference_at(&learner, index) - (double)learner.gradient[index]));
        done++;
    }
    print_message("%s %s: largest gradient %.2e, worst error %.1e\n", of->model, of->variant,
                  largest, worst);
    assert_true(worst <= 2e-5 * largest);
    learner_close(&learner);
}

static void test_against_differences(void **state)
{
    (void)state;
    for (size_t i = 0; i < UNIT_COUNT(prompted_cases); i++)
        check_case(&prompted_cases[i]);
}

/* Norms take shifts of a prompt away, and its scale but for their epsilon: the gradient of a prompt
 * that acts through a norm alone is across both. */
static void test_gradients_lie_across_shift_and_scale(void **state)
{
    (void)state;
    const struct prompted_case of = {"even", "layers"};
    struct learner learner;
    learner_open(&learner, &of);
    go_forth_and_back(&learner);
    const struct pool_file *file = &learner.prompted.pool->file;
    size_t width = file->width, layer = file->prompts * file->tokens * width, checked = 0;
    double worst_sum = 0, worst_along = 0;
    assert_int_equal(file->depth, file->blocks);
    for (size_t at = layer; at < learner.value_count; at += width) {
        double sum = 0, along = 0, mean = 0, length = 0, off = 0;
        for (size_t i = at; i < at + width; i++)
            mean += file->values[i] / (double)width;
        for (size_t i = at; i < at + width; i++) {
            double d = learner.gradient[i], away = file->values[i] - mean;
            sum += d;
            along += d * away;
            length += d * d;
            off += away * away;
        }
        if (length <= 0)
            continue;
        checked++;
        worst_sum = unit_worse(worst_sum, fabs(sum) / sqrt(length * (double)width));
        worst_along = unit_worse(worst_along, fabs(along) / sqrt(length * off));
    }
    print_message("cosine with a shift %.1e, with scale %.1e\n", worst_sum, worst_along);
    assert_true(checked > 0);
    assert_true(worst_sum <= 2e-6);
    assert_true(worst_along <= 1e-4);
    learner_close(&learner);
}

/* The picture's gradient is its own: pictures that go through together are as if each were alone.
 */
static void test_pictures_add_up(void **state)
{
    (void)state;
    const struct prompted_case of = {"deep_text", "middle"};
    struct learner learner;
    learner_open(&learner, &of);
    go_forth_and_back(&learner);
    struct engine *engine = learner.prompted.engine;
    const struct engine_pool *pool = learner.prompted.pool;
    size_t layer = pool->file.depth * pool->chosen, floats = MOST_TEXTS * learner.joint;
    float *alone = calloc(learner.value_count, sizeof *alone), largest = 0, worst = 0;
    for (size_t picture = 0; picture < PICTURES; picture++) {
        arena_rewind(&learner.arena, 0);
        compose_back_forward(&learner.back, &engine->compose, learner.trie, pool,
                             learner.prompts + picture * layer, 1, &learner.arena,
                             learner.features);
        compose_back_gradient(&learner.back, learner.directions + picture * floats, alone);
    }
    for (size_t i = 0; i < learner.value_count; i++) {
        largest = fmaxf(largest, fabsf(alone[i]));
        worst = fmaxf(worst, fabsf(alone[i] - learner.gradient[i]));
    }
    assert_true(largest > 0 && worst <= 1e-5f * largest);
    free(alone);
    learner_close(&learner);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_differences),
        cmocka_unit_test(test_gradients_lie_across_shift_and_scale),
        cmocka_unit_test(test_pictures_add_up),
    };
    return cmocka_run_group_tests_name("compose_back", tests, NULL, NULL);
}
