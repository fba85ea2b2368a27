/* The text tower with prompts in double precision, one text at a time and every row of it: what
 * differences of a loss are taken of. Its weights are those of a loaded model. */
#ifndef TESTS_UNIT_DOUBLE_TOWER_H
#define TESTS_UNIT_DOUBLE_TOWER_H

#include "tests/unit/unit.h"

#include "engine/clip_model.h"
#include "engine/pool_file.h"

enum { DOUBLE_TOWER_MOST_ROWS = 80 };

struct double_linear {
    size_t outputs, inputs;
    double *weight; /* [outputs, inputs] */
    double *bias;   /* [outputs] */
};

struct double_block {
    struct double_linear qkv, out, expand, contract;
};

struct double_tower {
    const struct clip_model *model;
    struct double_block *blocks;
    struct double_linear projection;
};

/* A handle does not give its numbers away, but multiplies with them: by 0, and by 1. */
static inline struct double_linear double_linear_of(const struct gemm_weight *weight)
{
    struct double_linear linear = {.outputs = gemm_weight_outputs(weight),
                                   .inputs = gemm_weight_inputs(weight)};
    float *x = calloc(linear.inputs, sizeof *x), *y = calloc(linear.outputs, sizeof *y);
    const struct gemm_weight *at = weight;
    linear.weight = calloc(linear.outputs * linear.inputs, sizeof *linear.weight);
    linear.bias = calloc(linear.outputs, sizeof *linear.bias);
    gemm_multiply(at, x, linear.inputs, 1, y, linear.outputs);
    for (size_t out = 0; out < linear.outputs; out++)
        linear.bias[out] = y[out];
    for (size_t in = 0; in < linear.inputs; in++) {
        x[in] = 1 << 20; /* so large that adding the bias rounds little of it away */
        gemm_multiply(at, x, linear.inputs, 1, y, linear.outputs);
        x[in] = 0;
        for (size_t out = 0; out < linear.outputs; out++)
            linear.weight[out * linear.inputs + in] =
                ((double)y[out] - linear.bias[out]) / (1 << 20);
    }
    free(x);
    free(y);
    return linear;
}

static inline void double_linear_finish(struct double_linear *linear)
{
    free(linear->weight);
    free(linear->bias);
}

static inline void double_tower_open(struct double_tower *tower, const struct clip_model *model)
{
    size_t blocks = model->geometry.text.blocks;
    tower->model = model;
    tower->blocks = calloc(blocks, sizeof *tower->blocks);
    for (size_t i = 0; i < blocks; i++)
        tower->blocks[i] =
            (struct double_block){.qkv = double_linear_of(model->text_blocks[i].qkv),
                                  .out = double_linear_of(model->text_blocks[i].out),
                                  .expand = double_linear_of(model->text_blocks[i].expand),
                                  .contract = double_linear_of(model->text_blocks[i].contract)};
    tower->projection = double_linear_of(model->text_projection);
}

static inline void double_tower_close(struct double_tower *tower)
{
    for (size_t i = 0; i < tower->model->geometry.text.blocks; i++) {
        double_linear_finish(&tower->blocks[i].qkv);
        double_linear_finish(&tower->blocks[i].out);
        double_linear_finish(&tower->blocks[i].expand);
        double_linear_finish(&tower->blocks[i].contract);
    }
    double_linear_finish(&tower->projection);
    free(tower->blocks);
}

static inline void double_multiply(const struct double_linear *linear, const double *x, double *y,
                                   bool add)
{
    for (size_t out = 0; out < linear->outputs; out++) {
        double sum = linear->bias[out] + (add ? y[out] : 0);
        for (size_t in = 0; in < linear->inputs; in++)
            sum += linear->weight[out * linear->inputs + in] * x[in];
        y[out] = sum;
    }
}

static inline void double_norm(const struct clip_model *model, const struct clip_model_norm *norm,
                               const double *x, double *y)
{
    size_t width = model->geometry.text.width;
    double mean = 0, squares = 0;
    for (size_t i = 0; i < width; i++)
        mean += x[i] / (double)width;
    for (size_t i = 0; i < width; i++)
        squares += (x[i] - mean) * (x[i] - mean) / (double)width;
    for (size_t i = 0; i < width; i++)
        y[i] =
            (x[i] - mean) / sqrt(squares + model->geometry.layer_norm_epsilon) * norm->weight[i] +
            norm->bias[i];
}

/* out [width] of a row over qkv [rows, 3 width] of itself and those before it. */
static inline void double_attend(const struct clip_model *model, const double *qkv, size_t row,
                                 double *out)
{
    size_t width = model->geometry.text.width, head_width = width / model->geometry.text.heads;
    for (size_t first = 0; first < width; first += head_width) {
        double weights[DOUBLE_TOWER_MOST_ROWS], sum = 0;
        for (size_t j = 0; j <= row; j++) {
            double score = 0;
            for (size_t i = first; i < first + head_width; i++)
                score += qkv[row * 3 * width + i] * qkv[j * 3 * width + width + i];
            sum += weights[j] = exp(score / sqrt((double)head_width));
        }
        for (size_t i = first; i < first + head_width; i++) {
            out[i] = 0;
            for (size_t j = 0; j <= row; j++)
                out[i] += weights[j] / sum * qkv[j * 3 * width + 2 * width + i];
        }
    }
}

static inline void double_run_block(const struct double_tower *tower, size_t block, size_t rows,
                                    double *x)
{
    const struct clip_model *model = tower->model;
    const struct clip_model_block *norms = &model->text_blocks[block];
    const struct double_block *weights = &tower->blocks[block];
    size_t width = model->geometry.text.width, hidden = model->geometry.text.mlp_width;
    double *qkv = calloc(rows * 3 * width, sizeof *qkv), *work = calloc(hidden, sizeof *work);
    double *normed = calloc(width, sizeof *normed);
    for (size_t row = 0; row < rows; row++) {
        double_norm(model, &norms->norm1, x + row * width, normed);
        double_multiply(&weights->qkv, normed, qkv + row * 3 * width, false);
    }
    for (size_t row = 0; row < rows; row++) {
        double_attend(model, qkv, row, normed);
        double_multiply(&weights->out, normed, x + row * width, true);
        double_norm(model, &norms->norm2, x + row * width, normed);
        double_multiply(&weights->expand, normed, work, false);
        for (size_t i = 0; i < hidden; i++)
            work[i] = model->geometry.activation == CLIP_MODEL_QUICK_GELU
                          ? work[i] / (1 + exp(-1.702 * work[i]))
                          : 0.5 * work[i] * (1 + erf(work[i] / sqrt(2)));
        double_multiply(&weights->contract, work, x + row * width, true);
    }
    free(qkv);
    free(work);
    free(normed);
}

/* values: of the file, in double. prompts [depth, chosen]. ids [count]: start of text, ..., end of
 * text. out [joint]: the unit feature. */
static inline void double_tower_feature(const struct double_tower *tower,
                                        const struct pool_file *file, const double *values,
                                        const uint16_t *prompts, const int32_t *ids, size_t count,
                                        double *out)
{
    const struct clip_model *model = tower->model;
    size_t width = model->geometry.text.width, joint = model->geometry.joint_width;
    size_t chosen = file->clusters * file->per_cluster, slots = chosen * file->tokens;
    size_t rows = count + slots, floats = file->tokens * width;
    double *x = calloc(rows * width, sizeof *x), squares = 0;
    assert_true(rows <= DOUBLE_TOWER_MOST_ROWS);
    for (size_t at = 0; at < count; at++) {
        size_t row = at ? at + slots : 0;
        for (size_t i = 0; i < width; i++)
            x[row * width + i] = (double)model->token_embedding[(size_t)ids[at] * width + i] +
                                 model->text_positions[row * width + i];
    }
    for (size_t block = 0; block < model->geometry.text.blocks; block++) {
        for (size_t k = 0; k < chosen * floats && block < file->depth; k++) {
            size_t group = file->groups > 1 ? block : 0;
            size_t prompt = group * file->prompts + prompts[block * chosen + k / floats];
            x[width + k] = values[prompt * floats + k % floats];
            if (block == 0 && file->pos0)
                x[width + k] += model->text_positions[width + k];
        }
        double_run_block(tower, block, rows, x);
    }
    double_norm(model, &model->text_final_norm, x + (rows - 1) * width, x);
    double_multiply(&tower->projection, x, out, false);
    for (size_t i = 0; i < joint; i++)
        squares += out[i] * out[i];
    for (size_t i = 0; i < joint; i++)
        out[i] /= sqrt(squares);
    free(x);
}

#endif
