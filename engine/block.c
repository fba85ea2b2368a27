#include "engine/block.h"

#include <math.h>
#include <string.h>

enum {
    BLOCK_ROWS_A_CHUNK = 64, /* of layer norm */
    BLOCK_MOST_WAYS = 16,    /* each part of a product packs the rows again */
};

/* Fewer multiplications than this are not worth a part of their own: 20 microseconds at 100
 * GFLOP/s, about what it takes to wake a thread. */
static const double block_worth_sharing = 1e6;

struct block_linear_job {
    const struct block_setting *setting;
    const struct gemm_weight *weight;
    bool add, activate;
    const float *x;
    size_t x_stride, rows;
    float *y;
    size_t y_stride;
    size_t first, count, step; /* columns in all, and in one chunk */
};

static void block_activate(const struct block_setting *setting, float *z, size_t count)
{
    if (setting->activation == CLIP_MODEL_QUICK_GELU)
        setting->kernels->quick_gelu(z, count);
    else
        setting->kernels->gelu(z, count);
}

static void block_linear_chunk(void *argument, size_t index)
{
    const struct block_linear_job *job = argument;
    size_t from = index * job->step;
    size_t count = job->count - from < job->step ? job->count - from : job->step;
    size_t first = job->first + from;
    gemm_columns(job->weight, first, count, job->add, job->x, job->x_stride, job->rows, job->y,
                 job->y_stride);
    if (job->activate)
        for (size_t row = 0; row < job->rows; row++)
            block_activate(job->setting, job->y + row * job->y_stride + first, count);
}

size_t block_columns_a_part(const struct block_setting *setting, size_t rows, size_t columns,
                            size_t inner)
{
    double work = (double)rows * (double)columns * (double)inner;
    size_t ways = 1;
    if (work >= 2 * block_worth_sharing)
        ways = setting->ways < BLOCK_MOST_WAYS ? setting->ways : BLOCK_MOST_WAYS;
    size_t step = (columns + ways - 1) / ways;
    return (step + GEMM_COLUMN_STEP - 1) / GEMM_COLUMN_STEP * GEMM_COLUMN_STEP;
}

static void block_linear_run(struct block_linear_job *job)
{
    job->step =
        block_columns_a_part(job->setting, job->rows, job->count, gemm_weight_inputs(job->weight));
    size_t chunks = (job->count + job->step - 1) / job->step;
    parallel_for(job->setting->team, chunks, block_linear_chunk, job);
}

void block_linear(const struct block_setting *setting, const struct gemm_weight *weight, bool add,
                  const float *x, size_t x_stride, size_t rows, float *y, size_t y_stride)
{
    struct block_linear_job job = {.setting = setting,
                                   .weight = weight,
                                   .add = add,
                                   .x = x,
                                   .x_stride = x_stride,
                                   .rows = rows,
                                   .y = y,
                                   .y_stride = y_stride,
                                   .count = gemm_weight_outputs(weight)};
    block_linear_run(&job);
}

void block_linear_part(const struct block_setting *setting, const struct gemm_weight *weight,
                       size_t first, size_t count, const float *x, size_t x_stride, size_t rows,
                       float *y, size_t y_stride)
{
    struct block_linear_job job = {.setting = setting,
                                   .weight = weight,
                                   .x = x,
                                   .x_stride = x_stride,
                                   .rows = rows,
                                   .y = y,
                                   .y_stride = y_stride,
                                   .first = first,
                                   .count = count};
    block_linear_run(&job);
}

struct block_norm_job {
    const struct block_setting *setting;
    const struct clip_model_norm *norm;
    const float *x;
    size_t rows;
    float *y;
};

static void block_norm_chunk(void *argument, size_t index)
{
    const struct block_norm_job *job = argument;
    size_t width = job->setting->tower->width;
    size_t first = index * BLOCK_ROWS_A_CHUNK;
    size_t left = job->rows - first;
    job->setting->kernels->layer_norm(
        job->x + first * width, width, left < BLOCK_ROWS_A_CHUNK ? left : BLOCK_ROWS_A_CHUNK, width,
        job->norm->weight, job->norm->bias, job->setting->epsilon, job->y + first * width, width);
}

void block_layer_norm(const struct block_setting *setting, const struct clip_model_norm *norm,
                      const float *x, size_t rows, float *y)
{
    struct block_norm_job job = {setting, norm, x, rows, y};
    parallel_for(setting->team, (rows + BLOCK_ROWS_A_CHUNK - 1) / BLOCK_ROWS_A_CHUNK,
                 block_norm_chunk, &job);
}

struct block_attention_job {
    const struct block_setting *setting;
    const struct block_sequences *sequences;
    size_t width, head_width, longest;
    const float *qkv; /* [rows, 3 width] */
    float *scores;    /* for each sequence [heads, length, longest] */
    float *out;       /* [rows, width] */
};

static void block_mask_and_normalise(const struct block_setting *setting, float *scores,
                                     size_t length)
{
    for (size_t row = 0; row < length; row++) {
        float *values = scores + row * length;
        size_t visible = setting->causal ? row + 1 : length;
        setting->kernels->softmax(values, visible);
        memset(values + visible, 0, (length - visible) * sizeof(float));
    }
}

/* One head of one sequence. */
static void block_attention_chunk(void *argument, size_t index)
{
    const struct block_attention_job *job = argument;
    size_t heads = job->setting->tower->heads;
    size_t sequence = index / heads, head = index % heads;
    size_t start = job->sequences->starts[sequence];
    size_t length = job->sequences->starts[sequence + 1] - start;
    size_t stride = 3 * job->width;
    const float *q = job->qkv + start * stride + head * job->head_width;
    const float *k = q + job->width, *v = k + job->width;
    float *scores = job->scores + (start * heads + head * length) * job->longest;
    float scale = 1.0f / sqrtf((float)job->head_width);

    gemm_scores(q, stride, k, stride, length, length, job->head_width, scale, scores, length);
    block_mask_and_normalise(job->setting, scores, length);
    gemm_combine(scores, length, v, stride, length, job->head_width, length,
                 job->out + start * job->width + head * job->head_width, job->width);
}

static size_t block_longest(const struct block_sequences *sequences)
{
    size_t longest = 0;
    for (size_t i = 0; i < sequences->count; i++) {
        size_t length = sequences->starts[i + 1] - sequences->starts[i];
        longest = length > longest ? length : longest;
    }
    return longest;
}

static void block_attention(const struct block_setting *setting,
                            const struct block_sequences *sequences, const float *qkv,
                            float *scores, float *out)
{
    const struct clip_model_tower *tower = setting->tower;
    struct block_attention_job job = {.setting = setting,
                                      .sequences = sequences,
                                      .width = tower->width,
                                      .head_width = tower->width / tower->heads,
                                      .longest = block_longest(sequences),
                                      .qkv = qkv,
                                      .scores = scores,
                                      .out = out};
    parallel_for(setting->team, sequences->count * tower->heads, block_attention_chunk, &job);
}

void block_mlp(const struct block_setting *setting, const struct clip_model_block *block,
               size_t rows, const struct block_scratch *scratch, float *y)
{
    size_t width = setting->tower->width, mlp_width = setting->tower->mlp_width;
    block_layer_norm(setting, &block->norm2, y, rows, scratch->normed);
    struct block_linear_job expand = {.setting = setting,
                                      .weight = block->expand,
                                      .activate = true,
                                      .x = scratch->normed,
                                      .x_stride = width,
                                      .rows = rows,
                                      .y = scratch->work,
                                      .y_stride = mlp_width,
                                      .count = mlp_width};
    block_linear_run(&expand);
    block_linear(setting, block->contract, true, scratch->work, mlp_width, rows, y, width);
}

void block_forward(const struct block_setting *setting, const struct clip_model_block *block,
                   const struct block_sequences *sequences, const struct block_scratch *scratch,
                   float *x)
{
    size_t rows = sequences->starts[sequences->count], width = setting->tower->width;
    block_layer_norm(setting, &block->norm1, x, rows, scratch->normed);
    block_linear(setting, block->qkv, false, scratch->normed, width, rows, scratch->qkv, 3 * width);
    block_attention(setting, sequences, scratch->qkv, scratch->work, scratch->normed);
    block_linear(setting, block->out, true, scratch->normed, width, rows, x, width);
    block_mlp(setting, block, rows, scratch, x);
}

struct block_readout_job {
    const struct block_setting *setting;
    const struct block_sequences *sequences;
    size_t width, head_width, longest;
    const float *q;   /* [sequences, width] */
    const float *qkv; /* [rows, 3 width], the first third unused */
    float *scores;    /* [sequences, longest], a head at a time */
    float *out;       /* [sequences, width] */
};

static void block_readout_chunk(void *argument, size_t sequence)
{
    const struct block_readout_job *job = argument;
    size_t start = job->sequences->starts[sequence];
    size_t length = job->sequences->starts[sequence + 1] - start;
    size_t stride = 3 * job->width, heads = job->setting->tower->heads;
    float scale = 1.0f / sqrtf((float)job->head_width);
    float *scores = job->scores + sequence * job->longest;
    for (size_t head = 0; head < heads; head++) {
        size_t offset = head * job->head_width;
        const float *k = job->qkv + start * stride + job->width + offset;
        const float *q = job->q + sequence * job->width + offset;
        gemm_scores(q, job->width, k, stride, 1, length, job->head_width, scale, scores, length);
        job->setting->kernels->softmax(scores, length);
        gemm_combine(scores, length, k + job->width, stride, 1, job->head_width, length,
                     job->out + sequence * job->width + offset, job->width);
    }
}

/* The rows that are read, one of each sequence, from x [rows, width] to out [sequences, width]. */
static void block_gather(const struct block_sequences *sequences, bool last, size_t width,
                         const float *x, float *out)
{
    for (size_t i = 0; i < sequences->count; i++) {
        size_t row = last ? sequences->starts[i + 1] - 1 : sequences->starts[i];
        memcpy(out + i * width, x + row * width, width * sizeof(float));
    }
}

void block_forward_readout(const struct block_setting *setting,
                           const struct clip_model_block *block,
                           const struct block_sequences *sequences,
                           const struct block_scratch *scratch, bool last, const float *x,
                           float *out)
{
    const struct clip_model_tower *tower = setting->tower;
    size_t rows = sequences->starts[sequences->count], width = tower->width;
    size_t count = sequences->count, longest = block_longest(sequences);
    float *read = scratch->work, *q = read + count * width, *scores = q + count * width;

    block_layer_norm(setting, &block->norm1, x, rows, scratch->normed);
    block_linear_part(setting, block->qkv, width, 2 * width, scratch->normed, width, rows,
                      scratch->qkv, 3 * width);
    block_gather(sequences, last, width, scratch->normed, read);
    block_linear_part(setting, block->qkv, 0, width, read, width, count, q, width);

    struct block_readout_job job = {.setting = setting,
                                    .sequences = sequences,
                                    .width = width,
                                    .head_width = width / tower->heads,
                                    .longest = longest,
                                    .q = q,
                                    .qkv = scratch->qkv,
                                    .scores = scores,
                                    .out = scratch->normed};
    parallel_for(setting->team, count, block_readout_chunk, &job);

    block_gather(sequences, last, width, x, out);
    block_linear(setting, block->out, true, scratch->normed, width, count, out, width);
    block_mlp(setting, block, count, scratch, out);
}

/* Scores need heads x longest values a row, the readout two rows more than that, the MLP mlp_width.
 */
static size_t block_work_floats(const struct clip_model_tower *tower, size_t rows, size_t longest)
{
    size_t scores = tower->heads * longest + 2 * tower->width;
    return rows * (scores > tower->mlp_width ? scores : tower->mlp_width);
}

size_t block_scratch_bytes(const struct clip_model_tower *tower, size_t rows, size_t longest)
{
    return arena_floats_bytes(rows * tower->width) + arena_floats_bytes(rows * 3 * tower->width) +
           arena_floats_bytes(block_work_floats(tower, rows, longest));
}

void block_scratch_take(struct block_scratch *scratch, const struct clip_model_tower *tower,
                        size_t rows, size_t longest, struct arena *arena)
{
    scratch->normed = arena_floats(arena, rows * tower->width);
    scratch->qkv = arena_floats(arena, rows * 3 * tower->width);
    scratch->work = arena_floats(arena, block_work_floats(tower, rows, longest));
}
