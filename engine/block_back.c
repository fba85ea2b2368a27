#include "engine/block_back.h"

enum {
    BLOCK_BACK_ROWS_A_CHUNK = 64,      /* of layer norm */
    BLOCK_BACK_VALUES_A_CHUNK = 65536, /* of the activation */
};

struct block_back_product {
    const struct block_back_part *part;
    const float *dy;
    size_t dy_stride, rows;
    float *dx;
    size_t dx_stride;
    size_t step; /* columns in one chunk */
};

static void block_back_linear_chunk(void *argument, size_t index)
{
    const struct block_back_product *product = argument;
    const struct block_back_part *part = product->part;
    size_t column = index * product->step, left = gemm_weight_inputs(part->weight) - column;
    gemm_back(part->weight, part->first, part->count, column,
              left < product->step ? left : product->step, part->add, product->dy,
              product->dy_stride, product->rows, product->dx, product->dx_stride);
}

void block_back_linear(const struct block_setting *setting, const struct block_back_part *part,
                       const float *dy, size_t dy_stride, size_t rows, float *dx, size_t dx_stride)
{
    struct block_back_product product = {.part = part,
                                         .dy = dy,
                                         .dy_stride = dy_stride,
                                         .rows = rows,
                                         .dx = dx,
                                         .dx_stride = dx_stride};
    size_t columns = gemm_weight_inputs(part->weight);
    product.step = block_columns_a_part(setting, rows, columns, part->count);
    parallel_for(setting->team, (columns + product.step - 1) / product.step,
                 block_back_linear_chunk, &product);
}

struct block_back_norm {
    const struct block_setting *setting;
    const struct clip_model_norm *norm;
    const float *x, *dy;
    size_t rows;
    float *dx;
};

static void block_back_norm_chunk(void *argument, size_t index)
{
    const struct block_back_norm *job = argument;
    size_t width = job->setting->tower->width, first = index * BLOCK_BACK_ROWS_A_CHUNK;
    size_t left = job->rows - first, at = first * width;
    job->setting->kernels->layer_norm_back(
        job->x + at, width, left < BLOCK_BACK_ROWS_A_CHUNK ? left : BLOCK_BACK_ROWS_A_CHUNK, width,
        job->norm->weight, job->setting->epsilon, job->dy + at, width, job->dx + at, width);
}

void block_back_layer_norm(const struct block_setting *setting, const struct clip_model_norm *norm,
                           const float *x, const float *dy, size_t rows, float *dx)
{
    struct block_back_norm job = {setting, norm, x, dy, rows, dx};
    parallel_for(setting->team, (rows + BLOCK_BACK_ROWS_A_CHUNK - 1) / BLOCK_BACK_ROWS_A_CHUNK,
                 block_back_norm_chunk, &job);
}

struct block_back_slopes {
    const struct block_setting *setting;
    const float *z;
    float *d;
    size_t count;
};

static void block_back_activation_chunk(void *argument, size_t index)
{
    const struct block_back_slopes *job = argument;
    const struct kernels *kernels = job->setting->kernels;
    size_t first = index * BLOCK_BACK_VALUES_A_CHUNK, left = job->count - first;
    size_t count = left < BLOCK_BACK_VALUES_A_CHUNK ? left : BLOCK_BACK_VALUES_A_CHUNK;
    if (job->setting->activation == CLIP_MODEL_QUICK_GELU)
        kernels->quick_gelu_back(job->z + first, job->d + first, count);
    else
        kernels->gelu_back(job->z + first, job->d + first, count);
}

void block_back_activation(const struct block_setting *setting, const float *z, float *d,
                           size_t count)
{
    struct block_back_slopes job = {setting, z, d, count};
    parallel_for(setting->team, (count + BLOCK_BACK_VALUES_A_CHUNK - 1) / BLOCK_BACK_VALUES_A_CHUNK,
                 block_back_activation_chunk, &job);
}
