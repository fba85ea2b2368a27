/* From cosines to an answer: engine_probabilities and engine_top of engine.h. Pure functions. */
#include <math.h>
#include <stdbool.h>

#include "engine/engine.h"

static float classify_best_cosine(const float *cosines, size_t count)
{
    float best = cosines[0];
    for (size_t label = 1; label < count; label++)
        best = cosines[label] > best ? cosines[label] : best;
    return best;
}

/* The denominator of the softmax, relative to the best logit. */
static double classify_partition(float logit_scale, const float *cosines, size_t count, float best)
{
    double sum = 0;
    for (size_t label = 0; label < count; label++)
        sum += exp((double)logit_scale * ((double)cosines[label] - best));
    return sum;
}

void engine_probabilities(float logit_scale, const float *cosines, size_t count, float *out_logits,
                          float *out_probabilities)
{
    if (count == 0)
        return;
    float best = classify_best_cosine(cosines, count);
    double sum = classify_partition(logit_scale, cosines, count, best);
    for (size_t label = 0; label < count; label++) {
        if (out_logits)
            out_logits[label] = logit_scale * cosines[label];
        if (out_probabilities)
            out_probabilities[label] =
                (float)(exp((double)logit_scale * ((double)cosines[label] - best)) / sum);
    }
}

/* Whether a comes before b in an answer. */
static bool classify_before(const struct engine_prediction *a, const struct engine_prediction *b)
{
    return a->cosine > b->cosine || (a->cosine == b->cosine && a->label < b->label);
}

/* Restores the heap property below `at`; the root is the one that comes last in an answer. */
static void classify_sift_down(struct engine_prediction *heap, size_t count, size_t at)
{
    for (;;) {
        size_t last = at;
        for (size_t child = 2 * at + 1; child <= 2 * at + 2 && child < count; child++)
            if (classify_before(&heap[last], &heap[child]))
                last = child;
        if (last == at)
            return;
        struct engine_prediction moved = heap[at];
        heap[at] = heap[last];
        heap[last] = moved;
        at = last;
    }
}

/* A heap of the `kept` best, then a heap sort in place: best first. */
static void classify_select(const float *cosines, size_t count, size_t kept,
                            struct engine_prediction *heap)
{
    for (size_t label = 0; label < kept; label++)
        heap[label] = (struct engine_prediction){.label = label, .cosine = cosines[label]};
    for (size_t at = kept / 2; at-- > 0;)
        classify_sift_down(heap, kept, at);
    for (size_t label = kept; label < count; label++) {
        struct engine_prediction next = {.label = label, .cosine = cosines[label]};
        if (classify_before(&next, &heap[0])) {
            heap[0] = next;
            classify_sift_down(heap, kept, 0);
        }
    }
    for (size_t left = kept; left > 1; left--) {
        struct engine_prediction worst = heap[0];
        heap[0] = heap[left - 1];
        heap[left - 1] = worst;
        classify_sift_down(heap, left - 1, 0);
    }
}

void engine_top(float logit_scale, const float *cosines, size_t count, size_t top_k,
                struct engine_prediction *out_predictions, size_t *out_count)
{
    size_t kept = top_k < count ? top_k : count;
    *out_count = kept;
    if (kept == 0)
        return;
    classify_select(cosines, count, kept, out_predictions);
    float best = out_predictions[0].cosine;
    double sum = classify_partition(logit_scale, cosines, count, best);
    for (size_t i = 0; i < kept; i++) {
        struct engine_prediction *prediction = &out_predictions[i];
        prediction->logit = logit_scale * prediction->cosine;
        prediction->probability =
            (float)(exp((double)logit_scale * ((double)prediction->cosine - best)) / sum);
    }
}
