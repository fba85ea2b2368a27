/* A transformer block against the same in straight loops and double precision, and the products
 * that it shares among threads against whole ones. */
#include "tests/unit/unit.h"

#include "engine/block.h"

enum { MOST_SEQUENCES = 8, HELPERS = 3 };

static const float epsilon = 1e-3f; /* large enough to be noticed */

static float *make_floats(size_t count, float middle, float range, uint32_t seed)
{
    float *values = malloc(count * sizeof *values);
    assert_non_null(values);
    for (size_t i = 0; i < count; i++)
        values[i] = middle + unit_random_float(&seed, range);
    return values;
}

static struct parallel_team *make_team(size_t helpers)
{
    struct fail why;
    struct parallel_team *team;
    unit_assert_ok(parallel_create(helpers, &team, &why), why);
    return team;
}

struct layer {
    size_t outputs, inputs;
    float *weight, *bias;
    struct gemm_weight *packed;
};

static struct layer make_layer(size_t outputs, size_t inputs, uint32_t seed)
{
    struct fail why;
    struct layer layer = {.outputs = outputs, .inputs = inputs};
    layer.weight = make_floats(outputs * inputs, 0, 2 / sqrtf((float)inputs), seed);
    layer.bias = make_floats(outputs, 0, 0.3f, seed + 1);
    unit_assert_ok(
        gemm_weight_create(layer.weight, layer.bias, outputs, inputs, &layer.packed, &why), why);
    return layer;
}

static void free_layer(struct layer *layer)
{
    free(layer->weight);
    free(layer->bias);
    gemm_weight_destroy(layer->packed);
}

/* ---- Shared products ---- */

struct product {
    struct layer layer;
    size_t rows, x_stride, y_stride;
    float *x, *y; /* y before the product */
};

static struct product make_product(size_t rows, size_t outputs, size_t inputs)
{
    struct product product = {.rows = rows, .x_stride = inputs + 2, .y_stride = outputs + 3};
    product.layer = make_layer(outputs, inputs, 1);
    product.x = make_floats(rows * product.x_stride, 0, 1, 3);
    product.y = make_floats(rows * product.y_stride, 0, 1, 4);
    return product;
}

static void free_product(struct product *product)
{
    free_layer(&product->layer);
    free(product->x);
    free(product->y);
}

static size_t y_bytes(const struct product *product)
{
    return product->rows * product->y_stride * sizeof(float);
}

static float *copy_of_y(const struct product *product)
{
    float *y = malloc(y_bytes(product));
    assert_non_null(y);
    memcpy(y, product->y, y_bytes(product));
    return y;
}

static float *whole_product(const struct product *product, bool add)
{
    float *y = copy_of_y(product);
    (add ? gemm_multiply_add : gemm_multiply)(product->layer.packed, product->x, product->x_stride,
                                              product->rows, y, product->y_stride);
    return y;
}

static float *shared_product(const struct product *product, struct parallel_team *team, size_t ways,
                             bool add)
{
    const struct block_setting setting = {.team = team, .ways = ways};
    float *y = copy_of_y(product);
    block_linear(&setting, product->layer.packed, add, product->x, product->x_stride, product->rows,
                 y, product->y_stride);
    return y;
}

/* Near the whole product, the floats between its rows untouched, and the same bytes whenever it is
 * repeated and whoever helps. */
static void check_shared(const struct product *product, size_t ways, bool add)
{
    struct parallel_team *alone = make_team(0), *helped = make_team(HELPERS);
    float *expected = whole_product(product, add);
    float *found = shared_product(product, alone, ways, add);
    for (size_t i = 0; i < product->rows * product->y_stride; i++)
        unit_assert_near(found[i], expected[i], 1e-5);
    for (int repeat = 0; repeat < 6; repeat++) {
        float *again = shared_product(product, repeat % 3 ? helped : alone, ways, add);
        assert_memory_equal(again, found, y_bytes(product));
        free(again);
    }
    free(found);
    free(expected);
    parallel_destroy(alone);
    parallel_destroy(helped);
}

/* All large enough to be shared, over 2 million multiplications, and one that is not. */
static void test_shared_products(void **state)
{
    (void)state;
    static const struct {
        size_t rows, outputs, inputs;
    } shapes[] = {{64, 1000, 300}, {64, 129, 300},   {64, 640, 300}, {3, 1023, 700},
                  {500, 65, 70},   {90, 383, 64},    {1, 2049, 999}, {2, 100, 300},
                  {700, 1, 3000},  {300, 64, 3 * 49}};
    static const size_t ways[] = {1, 2, 3, 16, 64};
    for (size_t shape = 0; shape < UNIT_COUNT(shapes); shape++) {
        struct product product =
            make_product(shapes[shape].rows, shapes[shape].outputs, shapes[shape].inputs);
        for (size_t way = 0; way < UNIT_COUNT(ways); way++) {
            check_shared(&product, ways[way], false);
            check_shared(&product, ways[way], true);
        }
        free_product(&product);
    }
}

/* ---- A block in double precision ---- */

struct sample {
    struct clip_model_tower tower;
    struct layer qkv, out, expand, contract;
    struct clip_model_block block;
};

static struct clip_model_norm make_norm(size_t width, uint32_t seed)
{
    return (struct clip_model_norm){make_floats(width, 1, 0.3f, seed),
                                    make_floats(width, 0, 0.2f, seed + 1)};
}

static struct sample make_sample(size_t width, size_t heads, size_t mlp_width)
{
    struct sample sample = {.tower = {width, heads, 1, mlp_width}};
    sample.qkv = make_layer(3 * width, width, 10);
    sample.out = make_layer(width, width, 20);
    sample.expand = make_layer(mlp_width, width, 30);
    sample.contract = make_layer(width, mlp_width, 40);
    sample.block = (struct clip_model_block){.norm1 = make_norm(width, 50),
                                             .norm2 = make_norm(width, 60),
                                             .qkv = sample.qkv.packed,
                                             .out = sample.out.packed,
                                             .expand = sample.expand.packed,
                                             .contract = sample.contract.packed};
    return sample;
}

static void free_sample(struct sample *sample)
{
    struct layer *layers[] = {&sample->qkv, &sample->out, &sample->expand, &sample->contract};
    for (size_t i = 0; i < UNIT_COUNT(layers); i++)
        free_layer(layers[i]);
    free(sample->block.norm1.weight);
    free(sample->block.norm1.bias);
    free(sample->block.norm2.weight);
    free(sample->block.norm2.bias);
}

static void plain_norm(const struct clip_model_norm *norm, const double *x, size_t width, double *y)
{
    double sum = 0, squares = 0;
    for (size_t i = 0; i < width; i++)
        sum += x[i];
    double mean = sum / (double)width;
    for (size_t i = 0; i < width; i++)
        squares += (x[i] - mean) * (x[i] - mean);
    double deviation = sqrt(squares / (double)width + (double)epsilon);
    for (size_t i = 0; i < width; i++)
        y[i] = (x[i] - mean) / deviation * norm->weight[i] + norm->bias[i];
}

static void plain_linear(const struct layer *layer, const double *x, double *y)
{
    for (size_t output = 0; output < layer->outputs; output++) {
        double sum = layer->bias[output];
        for (size_t i = 0; i < layer->inputs; i++)
            sum += x[i] * (double)layer->weight[output * layer->inputs + i];
        y[output] = sum;
    }
}

static double plain_activation(enum clip_model_activation activation, double z)
{
    return activation == CLIP_MODEL_QUICK_GELU ? z / (1 + exp(-1.702 * z))
                                               : z * (1 + erf(z / sqrt(2))) / 2;
}

/* What one row of a sequence takes from its first visible rows. qkv [visible at least, 3 width] */
static void plain_attention(const struct clip_model_tower *tower, const double *qkv, size_t row,
                            size_t visible, double *out)
{
    size_t width = tower->width, head_width = width / tower->heads, stride = 3 * width;
    for (size_t i = 0; i < width; i++)
        out[i] = 0;
    for (size_t head = 0; head < tower->heads; head++) {
        const double *q = qkv + row * stride + head * head_width;
        const double *k = qkv + width + head * head_width, *v = k + width;
        double total = 0, *mixed = out + head * head_width;
        for (size_t other = 0; other < visible; other++) {
            double score = 0;
            for (size_t i = 0; i < head_width; i++)
                score += q[i] * k[other * stride + i];
            double share = exp(score / sqrt((double)head_width));
            total += share;
            for (size_t i = 0; i < head_width; i++)
                mixed[i] += share * v[other * stride + i];
        }
        for (size_t i = 0; i < head_width; i++)
            mixed[i] /= total;
    }
}

/* x += contract(activation(expand(norm2 x))) for one row. */
static void plain_mlp(const struct sample *sample, enum clip_model_activation activation, double *x)
{
    size_t width = sample->tower.width, mlp_width = sample->tower.mlp_width;
    double *normed = calloc(2 * width + mlp_width, sizeof *normed);
    double *hidden = normed + width, *added = hidden + mlp_width;
    plain_norm(&sample->block.norm2, x, width, normed);
    plain_linear(&sample->expand, normed, hidden);
    for (size_t i = 0; i < mlp_width; i++)
        hidden[i] = plain_activation(activation, hidden[i]);
    plain_linear(&sample->contract, hidden, added);
    for (size_t i = 0; i < width; i++)
        x[i] += added[i];
    free(normed);
}

/* One sequence, x [length, width], in place. */
static void plain_sequence(const struct sample *sample, enum clip_model_activation activation,
                           bool causal, size_t length, double *x)
{
    size_t width = sample->tower.width;
    double *qkv = calloc(length * 3 * width, sizeof *qkv);
    double *normed = calloc(2 * width, sizeof *normed), *added = normed + width;
    for (size_t row = 0; row < length; row++) {
        plain_norm(&sample->block.norm1, x + row * width, width, normed);
        plain_linear(&sample->qkv, normed, qkv + row * 3 * width);
    }
    for (size_t row = 0; row < length; row++) {
        plain_attention(&sample->tower, qkv, row, causal ? row + 1 : length, normed);
        plain_linear(&sample->out, normed, added);
        for (size_t i = 0; i < width; i++)
            x[row * width + i] += added[i];
        plain_mlp(sample, activation, x + row * width);
    }
    free(qkv);
    free(normed);
}

/* ---- The engine's block ---- */

/* Lengths of sequences, up to a 0. */
static const size_t ragged[][MOST_SEQUENCES] = {
    {1}, {7}, {77}, {3, 1, 3}, {1, 26, 50}, {30, 30, 17}, {12, 11, 10, 9, 8, 7, 20},
};

struct input {
    size_t starts[MOST_SEQUENCES + 1];
    struct block_sequences sequences; /* its starts are those above */
    size_t rows, longest;
    float *x; /* [rows, width] */
};

static void make_input(const size_t *lengths, size_t width, struct input *out)
{
    *out = (struct input){0};
    for (size_t count = 0; count < MOST_SEQUENCES && lengths[count]; count++) {
        out->rows += lengths[count];
        out->longest = lengths[count] > out->longest ? lengths[count] : out->longest;
        out->starts[count + 1] = out->rows;
        out->sequences = (struct block_sequences){count + 1, out->starts};
    }
    out->x = make_floats(out->rows * width, 0, 2, 70);
}

struct scratch {
    struct arena arena;
    struct block_scratch parts;
};

/* Filled with bits that are no numbers: nothing may rely on what scratch held. */
static void take_scratch(const struct clip_model_tower *tower, const struct input *input,
                         struct scratch *out)
{
    struct fail why;
    size_t row_bytes = input->rows * sizeof(float);
    size_t bytes = block_scratch_bytes(tower, input->rows, input->longest);
    unit_assert_ok(arena_init(&out->arena, bytes, &why), why);
    block_scratch_take(&out->parts, tower, input->rows, input->longest, &out->arena);
    assert_non_null(out->parts.work);
    memset(out->parts.normed, 0xff, tower->width * row_bytes);
    memset(out->parts.qkv, 0xff, 3 * tower->width * row_bytes);
    memset(out->parts.work, 0xff, tower->mlp_width * row_bytes);
}

static struct block_setting make_setting(const struct sample *sample, struct parallel_team *team,
                                         enum clip_model_activation activation, bool causal)
{
    return (struct block_setting){.team = team,
                                  .ways = 3,
                                  .kernels = kernels_best(),
                                  .tower = &sample->tower,
                                  .activation = activation,
                                  .epsilon = epsilon,
                                  .causal = causal};
}

/* block_forward of the input: [rows, width], free(). */
static float *forward(const struct block_setting *setting, const struct sample *sample,
                      const struct input *input)
{
    struct scratch scratch;
    size_t bytes = input->rows * sample->tower.width * sizeof(float);
    float *x = malloc(bytes);
    assert_non_null(x);
    memcpy(x, input->x, bytes);
    take_scratch(&sample->tower, input, &scratch);
    block_forward(setting, &sample->block, &input->sequences, &scratch.parts, x);
    arena_finish(&scratch.arena);
    return x;
}

static double forward_error(const struct block_setting *setting, const struct sample *sample,
                            const struct input *input)
{
    size_t width = sample->tower.width;
    double *expected = calloc(input->rows * width, sizeof *expected), largest = 0;
    for (size_t i = 0; i < input->rows * width; i++)
        expected[i] = input->x[i];
    for (size_t i = 0; i < input->sequences.count; i++)
        plain_sequence(sample, setting->activation, setting->causal,
                       input->starts[i + 1] - input->starts[i],
                       expected + input->starts[i] * width);
    float *found = forward(setting, sample, input);
    for (size_t i = 0; i < input->rows * width; i++) {
        double error = fabs((double)found[i] - expected[i]) / (1 + fabs(expected[i]));
        largest = error <= largest ? largest : error; /* also when it is not a number */
    }
    free(found);
    free(expected);
    return largest;
}

/* The readout near the rows of block_forward; x untouched. */
static void check_readout(const struct block_setting *setting, const struct sample *sample,
                          const struct input *input, bool last)
{
    size_t width = sample->tower.width, bytes = input->rows * width * sizeof(float);
    struct scratch scratch;
    float *rows = forward(setting, sample, input), *x = malloc(bytes);
    float *out = malloc(input->sequences.count * width * sizeof *out);
    memcpy(x, input->x, bytes);
    take_scratch(&sample->tower, input, &scratch);
    block_forward_readout(setting, &sample->block, &input->sequences, &scratch.parts, last, x, out);
    assert_memory_equal(x, input->x, bytes);
    for (size_t i = 0; i < input->sequences.count; i++) {
        size_t row = last ? input->starts[i + 1] - 1 : input->starts[i];
        for (size_t column = 0; column < width; column++)
            unit_assert_near(out[i * width + column], rows[row * width + column], 2e-5);
    }
    arena_finish(&scratch.arena);
    free(out);
    free(rows);
    free(x);
}

/* Both activations, with and without the causal mask, over every set of sequences. Largest error
 * seen: 2.3e-6 of 1 + |value|. */
static void check_block(size_t width, size_t heads, size_t mlp_width)
{
    struct sample sample = make_sample(width, heads, mlp_width);
    struct parallel_team *team = make_team(HELPERS);
    double largest = 0;
    for (size_t set = 0; set < UNIT_COUNT(ragged); set++) {
        struct input input;
        make_input(ragged[set], width, &input);
        for (int mode = 0; mode < 4; mode++) {
            bool causal = mode & 1;
            struct block_setting setting = make_setting(
                &sample, team, mode & 2 ? CLIP_MODEL_GELU : CLIP_MODEL_QUICK_GELU, causal);
            double error = forward_error(&setting, &sample, &input);
            assert_true(error <= 1e-5);
            largest = fmax(largest, error);
            check_readout(&setting, &sample, &input, true);
            if (!causal)
                check_readout(&setting, &sample, &input, false);
        }
        free(input.x);
    }
    print_message("%zu wide, %zu heads, MLP %zu: largest error %.1e of 1 + |value|\n", width, heads,
                  mlp_width, largest);
    parallel_destroy(team);
    free_sample(&sample);
}

static void test_narrow_heads(void **state)
{
    (void)state;
    check_block(60, 5, 150);
}

static void test_mlp_narrower_than_the_block(void **state)
{
    (void)state;
    check_block(64, 1, 40);
}

/* Over 2 million multiplications in a product, so that it is shared. */
static void test_wide_block(void **state)
{
    (void)state;
    check_block(130, 2, 300);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shared_products),
        cmocka_unit_test(test_narrow_heads),
        cmocka_unit_test(test_mlp_narrower_than_the_block),
        cmocka_unit_test(test_wide_block),
    };
    gemm_start();
    return cmocka_run_group_tests_name("block", tests, NULL, NULL);
}
