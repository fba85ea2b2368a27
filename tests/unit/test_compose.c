/* What must hold of prompted text features whatever the numbers are. */
#include "tests/unit/prompted.h"

#include "engine/engine_state.h"
#include "engine/labels.h"
#include "engine/pool_file.h"
#include "engine/vision.h"

enum { CACHE = 8 << 20 };

static const struct prompted_case case_full = {"even", "plain"};       /* depth: all blocks */
static const struct prompted_case case_part = {"deep_text", "middle"}; /* depth: 2 of 3 */

/* Two computations of a cosine or a feature that differ in rounding. Largest difference seen:
 * 1.9e-7. */
static const double cosine_tolerance = 2e-6;

static double largest_difference(const float *a, const float *b, size_t count)
{
    double largest = 0;
    for (size_t i = 0; i < count; i++)
        largest = unit_worse(largest, fabs((double)a[i] - (double)b[i]));
    print_message("largest difference %.1e\n", largest);
    return largest;
}

/* The pool of a case, changed by change(file). */
static void change_pool(struct prompted *prompted, const struct prompted_case *of,
                        void (*change)(struct pool_file *))
{
    struct fail why;
    struct pool_file file;
    char path[256];
    snprintf(path, sizeof path, PROMPTED "%s/%s.pool.safetensors", of->model, of->variant);
    unit_assert_ok(pool_file_load(path, &file, &why), why);
    change(&file);
    for (size_t i = 0; i < prompted->pictures; i++)
        engine_composition_destroy(prompted->compositions[i]);
    engine_pool_release(prompted->pool);
    unit_assert_ok(pool_create(&prompted->engine->text, prompted->engine->model, &file, "changed",
                               true, 1u << 30, &prompted->pool, &why),
                   why);
    for (size_t i = 0; i < prompted->pictures; i++)
        unit_assert_ok(engine_composition_create(prompted->pool, &prompted->compositions[i], &why),
                       why);
}

/* Cosines [pictures, labels] with the case's own pool and with the changed one. */
static void score_both(const struct prompted_case *of, void (*change)(struct pool_file *),
                       struct prompted *prompted, float **out_before, float **out_after)
{
    prompted_open(prompted, of, 0, CACHE);
    prompted_look(prompted, prompted->pictures);
    *out_before = prompted_score(prompted, prompted->labels, 0);
    change_pool(prompted, of, change);
    prompted_look(prompted, prompted->pictures);
    *out_after = prompted_score(prompted, prompted->labels, 0);
}

static double difference_by(const struct prompted_case *of, void (*change)(struct pool_file *))
{
    struct prompted prompted;
    float *before, *after;
    score_both(of, change, &prompted, &before, &after);
    double largest = largest_difference(before, after, prompted.pictures * prompted.label_count);
    free(before);
    free(after);
    prompted_close(&prompted);
    return largest;
}

/* ---- Without prompts it is CLIP ---- */

static void cut_depth(struct pool_file *file)
{
    file->depth = 0;
}

static void test_depth_zero_is_plain_clip(void **state)
{
    (void)state;
    struct fail why;
    struct prompted prompted;
    float *prompts, *none;
    score_both(&case_full, cut_depth, &prompted, &prompts, &none);
    float *plain = calloc(prompted.label_count, sizeof *plain);
    float *feature = calloc(prompted.joint, sizeof *feature);
    for (size_t i = 0; i < prompted.pictures; i++) {
        engine_cosines(prompted.engine, prompted.labels, prompted.features + i * prompted.joint,
                       plain);
        assert_memory_equal(plain, none + i * prompted.label_count,
                            prompted.label_count * sizeof *plain);
    }
    for (size_t i = 0; i < prompted.label_count; i++) { /* and these are the features of texts */
        char text[64];
        const char *written = text;
        snprintf(text, sizeof text, "a photo of a %s.", prompted.names[i]);
        unit_assert_ok(engine_embed_texts(prompted.session, &written, 1, feature, &why), why);
        assert_true(largest_difference(feature, engine_labels_feature(prompted.labels, i),
                                       prompted.joint) <= cosine_tolerance);
    }
    assert_true(largest_difference(prompts, none, prompted.pictures * prompted.label_count) > 0.01);
    free(plain);
    free(feature);
    free(prompts);
    free(none);
    prompted_close(&prompted);
}

/* ---- What prompts do not depend on ---- */

static size_t token_floats(const struct pool_file *file)
{
    return file->prompts * file->tokens * file->width;
}

/* In groups of their own, so that those of the first block, which get positions, stay. */
static void split_groups(struct pool_file *file)
{
    size_t values = token_floats(file), keys = file->prompts * file->query_width;
    if (file->groups > 1)
        return;
    file->values = realloc(file->values, file->blocks * values * sizeof(float));
    file->keys = realloc(file->keys, file->blocks * keys * sizeof(float));
    for (size_t block = 1; block < file->blocks; block++) {
        memcpy(file->values + block * values, file->values, values * sizeof(float));
        memcpy(file->keys + block * keys, file->keys, keys * sizeof(float));
    }
    file->groups = file->blocks;
}

static void shift_later_prompts(struct pool_file *file)
{
    split_groups(file);
    for (size_t i = token_floats(file); i < file->groups * token_floats(file); i++)
        file->values[i] += 0.37f;
}

static void scale_later_prompts(struct pool_file *file)
{
    split_groups(file);
    for (size_t i = token_floats(file); i < file->groups * token_floats(file); i++)
        file->values[i] *= 3;
}

static void shift_one_dimension(struct pool_file *file)
{
    split_groups(file);
    for (size_t i = token_floats(file); i < file->groups * token_floats(file); i += file->width)
        file->values[i] += 0.37f;
}

static void scale_keys(struct pool_file *file)
{
    for (size_t i = 0; i < file->groups * file->prompts; i++)
        for (size_t d = 0; d < file->query_width; d++)
            file->keys[i * file->query_width + d] *= (float)(1 << i % 5); /* exact */
}

/* Norms take shifts of all dimensions away, and scale but for their epsilon. */
static void test_shift_and_scale_of_prompts(void **state)
{
    (void)state;
    assert_true(difference_by(&case_full, split_groups) <= 0);
    assert_true(difference_by(&case_full, shift_later_prompts) <= cosine_tolerance);
    assert_true(difference_by(&case_full, scale_later_prompts) <= 2e-5); /* 3.9e-6 seen */
    assert_true(difference_by(&case_part, shift_later_prompts) <= cosine_tolerance);
    assert_true(difference_by(&case_full, shift_one_dimension) > 1e-4);
}

static void test_length_of_keys(void **state)
{
    (void)state;
    assert_true(difference_by(&case_full, scale_keys) <= 0);
    assert_true(difference_by(&case_part, scale_keys) <= 0);
}

static size_t renumbered(size_t prompt, size_t prompts)
{
    return (prompt * 5 + 3) % prompts; /* 5 divides no pool's number of prompts here */
}

static void renumber_without_positions(struct pool_file *file)
{
    size_t values = file->tokens * file->width, keys = file->query_width;
    struct pool_file old = *file;
    file->pos0 = false;
    file->values = calloc(file->groups * file->prompts * values, sizeof(float));
    file->keys = calloc(file->groups * file->prompts * keys, sizeof(float));
    for (size_t i = 0; i < file->groups * file->prompts; i++) {
        size_t first = i / file->prompts * file->prompts;
        size_t to = first + renumbered(i - first, file->prompts);
        memcpy(file->values + to * values, old.values + i * values, values * sizeof(float));
        memcpy(file->keys + to * keys, old.keys + i * keys, keys * sizeof(float));
    }
    free(old.values);
    free(old.keys);
}

static void leave_out_positions(struct pool_file *file)
{
    file->pos0 = false;
}

/* The prompts of a layer are a set: where no positions are added, numbers only name them. */
static void test_numbers_of_prompts(void **state)
{
    (void)state;
    struct prompted prompted, turned;
    float *with, *without, *again, *after;
    score_both(&case_full, leave_out_positions, &prompted, &with, &without);
    score_both(&case_full, renumber_without_positions, &turned, &again, &after);
    size_t count = prompted.pictures * prompted.label_count;
    for (size_t i = 0; i < prompted.pictures; i++) {
        const struct engine_composition *a = prompted.compositions[i], *b = turned.compositions[i];
        size_t prompts = engine_pool_info(prompted.pool)->prompts;
        for (size_t at = 0; at < a->layers * a->chosen; at++) {
            size_t first = at / a->chosen * a->chosen, found = 0;
            for (size_t k = first; k < first + a->chosen; k++)
                found += b->prompts[k] == renumbered(a->prompts[at], prompts) &&
                         b->clusters[k] == a->clusters[at];
            assert_int_equal(found, 1);
        }
    }
    assert_true(largest_difference(without, after, count) <= cosine_tolerance);
    assert_true(largest_difference(with, without, count) > 1e-4);
    free(with);
    free(without);
    free(again);
    free(after);
    prompted_close(&prompted);
    prompted_close(&turned);
}

/* ---- Keys that are a picture's own queries ---- */

enum {
    PLANTED_LAYER = 2,
    PLANTED_FIRST = 10,
    MOST_PATCHES = 16,
    MOST_WIDTH = 64,
    MOST_CLUSTERS = 4
};

struct planted {
    size_t clusters, patches, width, joint;
    float rows[MOST_PATCHES * MOST_WIDTH]; /* of the picture, after the last block */
    float queries[MOST_CLUSTERS * MOST_WIDTH];
};

static struct planted planted;

static void plant_look(void *context, size_t block, const float *x)
{
    if (block == *(size_t *)context)
        memcpy(planted.rows, x + planted.width,
               planted.patches * planted.width * sizeof planted.rows[0]);
}

/* By the definition, from the rows and the clusters that the engine found. */
static void plant_queries(const struct prompted *prompted)
{
    const struct clip_model *model = prompted->engine->model;
    const struct engine_composition *composition = prompted->compositions[0];
    const float *mean = prompted->pool->file.query_mean + PLANTED_LAYER * planted.joint;
    for (size_t cluster = 0; cluster < planted.clusters; cluster++) {
        float centre[MOST_WIDTH] = {0}, *query = planted.queries + cluster * planted.joint;
        size_t members = 0;
        for (size_t patch = 0; patch < planted.patches; patch++) {
            if (composition->assignment[PLANTED_LAYER * planted.patches + patch] != cluster)
                continue;
            members++;
            for (size_t i = 0; i < planted.width; i++)
                centre[i] += planted.rows[patch * planted.width + i];
        }
        for (size_t i = 0; i < planted.width; i++)
            centre[i] /= (float)members;
        kernels_plain.layer_norm(centre, planted.width, 1, planted.width,
                                 model->vision_post_norm.weight, model->vision_post_norm.bias,
                                 1e-5f, centre, planted.width);
        gemm_multiply(model->vision_projection, centre, planted.width, 1, query, planted.joint);
        kernels_make_unit(&kernels_plain, query, planted.joint);
        for (size_t i = 0; i < planted.joint; i++)
            query[i] -= mean[i];
    }
}

static void plant_keys(struct pool_file *file)
{
    memcpy(file->keys + PLANTED_FIRST * file->query_width, planted.queries,
           file->clusters * file->query_width * sizeof(float));
}

static void test_planted_keys_are_found(void **state)
{
    (void)state;
    struct prompted prompted;
    prompted_open(&prompted, &case_full, 0, 0);
    const struct clip_model_geometry *geometry = &prompted.engine->model->geometry;
    planted = (struct planted){.clusters = engine_pool_info(prompted.pool)->clusters,
                               .patches = geometry->patches,
                               .width = geometry->vision.width,
                               .joint = geometry->joint_width};
    size_t last = geometry->vision.blocks;
    const struct vision_watcher watcher = {.look = plant_look, .context = &last, .last = last};
    prompted_look(&prompted, 1);
    vision_forward(&prompted.engine->vision, prompted.engine->model, prompted.pixels, 1, &watcher,
                   &prompted.session->arena, prompted.features);
    plant_queries(&prompted);
    change_pool(&prompted, &case_full, plant_keys);
    prompted_look(&prompted, 1);
    const struct engine_composition *composition = prompted.compositions[0];
    for (size_t i = 0; i < planted.clusters; i++) {
        size_t at = PLANTED_LAYER * composition->chosen + i;
        assert_int_equal(composition->prompts[at], PLANTED_FIRST + i);
        assert_int_equal(composition->clusters[at], i);
        unit_assert_near(composition->similarities[at], 1, 1e-6);
    }
    prompted_close(&prompted);
}

/* ---- Labels ---- */

static void test_order_and_twins_of_labels(void **state)
{
    (void)state;
    struct prompted prompted;
    prompted_open(&prompted, &case_full, 0, 0);
    prompted_look(&prompted, prompted.pictures);
    float *cosines = prompted_score(&prompted, prompted.labels, 0);
    size_t count = prompted.label_count;
    for (size_t i = 0; i < count / 2; i++) {
        const char *name = prompted.names[i];
        prompted.names[i] = prompted.names[count - 1 - i];
        prompted.names[count - 1 - i] = name;
    }
    struct engine_labels *turned = prompted_labels(&prompted);
    float *again = prompted_score(&prompted, turned, 0);
    for (size_t picture = 0; picture < prompted.pictures; picture++) {
        const float *row = cosines + picture * count;
        for (size_t i = 0; i < count; i++)
            assert_true(row[i] == again[picture * count + count - 1 - i]);
        size_t twins = 0; /* cat and Cat are the same tokens */
        for (size_t a = 0; a < count; a++)
            for (size_t b = 0; b < a; b++)
                twins += row[a] == row[b];
        assert_int_equal(twins, 1);
    }
    free(cosines);
    free(again);
    engine_labels_release(turned);
    prompted_close(&prompted);
}

/* The others keep their bits, the new ones are as if compiled with them, and what is known of a
 * composition stays known. */
static void check_added_label(const struct prompted_case *of)
{
    struct fail why;
    struct prompted prompted;
    const char *added[] = {"frog", "cat photo of dog"};
    struct engine_labels *more;
    prompted_open(&prompted, of, 0, CACHE);
    prompted_look(&prompted, prompted.pictures);
    size_t count = prompted.label_count;
    float *before = prompted_score(&prompted, prompted.labels, 0);
    struct engine_composition_cache_figures known, after;
    engine_composition_cache_figures(prompted.engine, &known);
    unit_assert_ok(
        engine_labels_revise(prompted.session, prompted.labels, NULL, added, 2, &more, &why), why);
    float *extended = prompted_score(&prompted, more, 0);
    engine_composition_cache_figures(prompted.engine, &after);
    assert_int_equal(after.misses - known.misses, known.misses); /* the new chunk, each time */
    assert_int_equal(after.hits - known.hits, known.misses);
    for (size_t i = 0; i < UNIT_COUNT(added); i++)
        prompted.names[prompted.label_count++] = added[i];
    struct engine_labels *whole = prompted_labels(&prompted);
    float *expected = prompted_score(&prompted, whole, 0);
    for (size_t picture = 0; picture < prompted.pictures; picture++)
        assert_memory_equal(before + picture * count, extended + picture * (count + 2),
                            count * sizeof *before);
    assert_true(largest_difference(extended, expected, prompted.pictures * (count + 2)) <=
                cosine_tolerance);
    free(before);
    free(extended);
    free(expected);
    engine_labels_release(more);
    engine_labels_release(whole);
    prompted_close(&prompted);
}

static void test_added_labels(void **state)
{
    (void)state;
    check_added_label(&case_full);
    check_added_label(&case_part);
}

/* Several sentences: the unit mean of their unit features, as in plain CLIP. */
static void test_sentences_are_averaged(void **state)
{
    (void)state;
    struct fail why;
    struct prompted prompted;
    const char *sentences[] = {"a photo of a {}.", "{} in photo", "{}."};
    struct engine_labels *each[3], *together;
    prompted_open(&prompted, &case_full, 0, CACHE);
    prompted_look(&prompted, 1);
    struct engine *engine = prompted.engine;
    const struct engine_composition *composition = prompted.compositions[0];
    size_t joint = prompted.joint;
    unit_assert_ok(
        engine_labels_compile(prompted.session, prompted.names, 1, sentences, 3, &together, &why),
        why);
    float *mean = calloc(joint, sizeof *mean), *one = calloc(joint, sizeof *one);
    for (size_t i = 0; i < 3; i++) {
        unit_assert_ok(engine_labels_compile(prompted.session, prompted.names, 1, sentences + i, 1,
                                             &each[i], &why),
                       why);
        unit_assert_ok(engine_state_encode_chunk(prompted.session, each[i]->parts[0].chunk,
                                                 composition->pool, composition->prompts, false,
                                                 one, &why),
                       why);
        engine->text.kernels->accumulate(mean, one, joint);
        engine_labels_release(each[i]);
    }
    kernels_make_unit(engine->text.kernels, mean, joint);
    unit_assert_ok(engine_state_encode_chunk(prompted.session, together->parts[0].chunk,
                                             composition->pool, composition->prompts, true, one,
                                             &why),
                   why);
    assert_true(largest_difference(mean, one, joint) <= cosine_tolerance);
    free(mean);
    free(one);
    engine_labels_release(together);
    prompted_close(&prompted);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_depth_zero_is_plain_clip),
        cmocka_unit_test(test_shift_and_scale_of_prompts),
        cmocka_unit_test(test_length_of_keys),
        cmocka_unit_test(test_numbers_of_prompts),
        cmocka_unit_test(test_planted_keys_are_found),
        cmocka_unit_test(test_order_and_twins_of_labels),
        cmocka_unit_test(test_added_labels),
        cmocka_unit_test(test_sentences_are_averaged),
    };
    return cmocka_run_group_tests_name("compose", tests, NULL, NULL);
}
