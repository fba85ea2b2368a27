#include "engine/train/losses.h"

#include <math.h>
#include <string.h>

#include "engine/retrieve.h"

static double losses_dot(const float *a, const float *b, size_t count)
{
    double sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += (double)a[i] * (double)b[i];
    return sum;
}

static void losses_add(float *y, double scale, const float *x, size_t count)
{
    for (size_t i = 0; i < count; i++)
        y[i] += (float)(scale * (double)x[i]);
}

/* logits become probabilities; returns the logarithm of what they were divided by. */
static double losses_softmax(double *logits, size_t count)
{
    double most = logits[0], sum = 0;
    for (size_t i = 1; i < count; i++)
        most = logits[i] > most ? logits[i] : most;
    for (size_t i = 0; i < count; i++)
        sum += exp(logits[i] - most);
    double log_sum = most + log(sum);
    for (size_t i = 0; i < count; i++)
        logits[i] = exp(logits[i] - log_sum);
    return log_sum;
}

/* ---- Features ---- */

/* -log softmax_c(s image t_c)[label], and `share` times its gradient onto dtexts. */
static double losses_classify(const struct losses_setting *setting,
                              const struct losses_batch *batch, size_t picture, const float *image,
                              double share, double *logits, float *dtexts)
{
    size_t classes = batch->classes, joint = batch->joint, label = batch->labels[picture];
    const float *texts = batch->texts + picture * classes * joint;
    float *d = dtexts + picture * classes * joint;
    for (size_t c = 0; c < classes; c++)
        logits[c] = setting->logit_scale * losses_dot(image, texts + c * joint, joint);
    double own = logits[label], loss = losses_softmax(logits, classes) - own;
    for (size_t c = 0; c < classes; c++)
        losses_add(d + c * joint, share * setting->logit_scale * (logits[c] - (c == label)), image,
                   joint);
    return loss;
}

static size_t losses_best(const double *logits, size_t count)
{
    size_t best = 0;
    for (size_t i = 1; i < count; i++)
        best = logits[i] > logits[best] ? i : best;
    return best;
}

/* Returns how many pictures have their own class as the best. */
static size_t losses_two_streams(const struct losses_setting *setting,
                                 const struct losses_batch *batch, double *logits, double *terms,
                                 float *dtexts)
{
    double each = 1.0 / (double)batch->pictures;
    size_t right = 0;
    for (size_t picture = 0; picture < batch->pictures; picture++) {
        const float *image = batch->images + picture * batch->joint;
        double share = setting->weights[ENGINE_TRAINING_GLOBAL] * each;
        terms[ENGINE_TRAINING_GLOBAL] +=
            each * losses_classify(setting, batch, picture, image, share, logits, dtexts);
        right += losses_best(logits, batch->classes) == batch->labels[picture];
        if (setting->weights[ENGINE_TRAINING_FINE] == 0)
            continue;
        for (size_t i = picture * batch->clusters; i < (picture + 1) * batch->clusters; i++) {
            double weight = each * (double)batch->cluster_shares[i];
            share = setting->weights[ENGINE_TRAINING_FINE] * weight;
            terms[ENGINE_TRAINING_FINE] +=
                weight * losses_classify(setting, batch, picture,
                                         batch->cluster_images + i * batch->joint, share, logits,
                                         dtexts);
        }
    }
    return right;
}

/* From the text of each picture's own class to the pictures of the batch. */
static void losses_text_to_image(const struct losses_setting *setting,
                                 const struct losses_batch *batch, double *logits, double *terms,
                                 float *dtexts)
{
    size_t pictures = batch->pictures, joint = batch->joint;
    double each = 1.0 / (double)pictures;
    for (size_t picture = 0; picture < pictures; picture++) {
        size_t label = batch->labels[picture], same = 0;
        size_t at = (picture * batch->classes + label) * joint;
        double loss = 0;
        for (size_t other = 0; other < pictures; other++) {
            logits[other] = setting->logit_scale *
                            losses_dot(batch->texts + at, batch->images + other * joint, joint);
            same += batch->labels[other] == label;
            loss -= batch->labels[other] == label ? logits[other] : 0;
        }
        terms[ENGINE_TRAINING_TEXT_TO_IMAGE] +=
            each * (loss / (double)same + losses_softmax(logits, pictures));
        for (size_t other = 0; other < pictures; other++) {
            double off = logits[other] - (batch->labels[other] == label ? 1.0 / (double)same : 0);
            losses_add(dtexts + at,
                       setting->weights[ENGINE_TRAINING_TEXT_TO_IMAGE] * each *
                           setting->logit_scale * off,
                       batch->images + other * joint, joint);
        }
    }
}

static void losses_self_regularisation(const struct losses_setting *setting,
                                       const struct losses_batch *batch, double *terms,
                                       float *dtexts)
{
    size_t row = batch->classes * batch->joint, count = batch->pictures * row;
    double weight = setting->weights[ENGINE_TRAINING_SELF], sum = 0;
    if (setting->self_form == LOSSES_L1) {
        float slope = (float)(weight / (double)count);
        for (size_t i = 0; i < count; i++) {
            double off = (double)batch->texts[i] - (double)batch->plain_texts[i % row];
            sum += fabs(off);
            dtexts[i] += off > 0 ? slope : off < 0 ? -slope : 0;
        }
        terms[ENGINE_TRAINING_SELF] = sum / (double)count;
        return;
    }
    double each = 8 / (double)(batch->pictures * batch->classes);
    for (size_t i = 0; i < count; i++) {
        sum += (double)batch->texts[i] * (double)batch->plain_texts[i % row];
        dtexts[i] -= (float)(weight * each * (double)batch->plain_texts[i % row]);
    }
    terms[ENGINE_TRAINING_SELF] = 8 - each * sum;
}

void losses_features(const struct losses_setting *setting, const struct losses_batch *batch,
                     double *logits, double *terms, float *dtexts, size_t *out_right)
{
    memset(dtexts, 0, batch->pictures * batch->classes * batch->joint * sizeof *dtexts);
    for (size_t term = ENGINE_TRAINING_GLOBAL; term <= ENGINE_TRAINING_SELF; term++)
        terms[term] = 0;
    *out_right = losses_two_streams(setting, batch, logits, terms, dtexts);
    if (setting->weights[ENGINE_TRAINING_TEXT_TO_IMAGE] != 0)
        losses_text_to_image(setting, batch, logits, terms, dtexts);
    if (setting->weights[ENGINE_TRAINING_SELF] != 0)
        losses_self_regularisation(setting, batch, terms, dtexts);
}

/* ---- Keys ---- */

struct losses_key_scratch {
    double *units;   /* [groups, prompts, width] */
    double *dunits;  /* the same */
    double *lengths; /* [groups, prompts] */
};

size_t losses_keys_doubles(const struct losses_keys *keys)
{
    return keys->groups * keys->prompts * (2 * keys->width + 1);
}

static void losses_make_units(const struct losses_keys *keys, struct losses_key_scratch *scratch)
{
    size_t width = keys->width;
    for (size_t key = 0; key < keys->groups * keys->prompts; key++) {
        const float *from = keys->keys + key * width;
        scratch->lengths[key] = sqrt(losses_dot(from, from, width));
        for (size_t i = 0; i < width; i++) {
            scratch->units[key * width + i] = (double)from[i] / scratch->lengths[key];
            scratch->dunits[key * width + i] = 0;
        }
    }
}

static void losses_match_keys(const struct losses_setting *setting, const struct losses_keys *keys,
                              struct losses_key_scratch *scratch, double *terms)
{
    size_t width = keys->width;
    double each = 1.0 / (double)keys->match_count, sum = 0;
    for (size_t i = 0; i < keys->match_count; i++) {
        const struct losses_match *match = &keys->matches[i];
        double *d = scratch->dunits + match->key * width;
        sum += retrieve_dot(match->query, scratch->units + match->key * width, width);
        for (size_t k = 0; k < width; k++)
            d[k] -= setting->weights[ENGINE_TRAINING_KEY_MATCHING] * each * match->query[k];
    }
    terms[ENGINE_TRAINING_KEY_MATCHING] = 1 - each * sum;
}

static void losses_spread_keys(const struct losses_setting *setting, const struct losses_keys *keys,
                               struct losses_key_scratch *scratch, double *terms)
{
    size_t width = keys->width, prompts = keys->prompts;
    double each = 1.0 / ((double)keys->groups * (double)prompts * (double)(prompts - 1));
    for (size_t key = 0; key < keys->groups * prompts; key++) {
        size_t first = key / prompts * prompts;
        double *d = scratch->dunits + key * width;
        for (size_t other = first; other < first + prompts; other++) {
            const double *unit = scratch->units + other * width;
            if (other == key)
                continue;
            double cosine = retrieve_dot(scratch->units + key * width, unit, width);
            terms[ENGINE_TRAINING_KEY_DIVERSITY] += each * cosine * cosine;
            for (size_t i = 0; i < width; i++)
                d[i] +=
                    setting->weights[ENGINE_TRAINING_KEY_DIVERSITY] * each * 4 * cosine * unit[i];
        }
    }
}

/* Of u = k / |k|: (d - u (u d)) / |k|. */
static void losses_leave_units(const struct losses_keys *keys,
                               const struct losses_key_scratch *scratch, float *dkeys)
{
    size_t width = keys->width;
    for (size_t key = 0; key < keys->groups * keys->prompts; key++) {
        const double *unit = scratch->units + key * width, *d = scratch->dunits + key * width;
        double along = retrieve_dot(unit, d, width);
        for (size_t i = 0; i < width; i++)
            dkeys[key * width + i] = (float)((d[i] - along * unit[i]) / scratch->lengths[key]);
    }
}

void losses_of_keys(const struct losses_setting *setting, const struct losses_keys *keys,
                    double *scratch, double *terms, float *dkeys)
{
    size_t count = keys->groups * keys->prompts;
    struct losses_key_scratch parts = {.units = scratch,
                                       .dunits = scratch + count * keys->width,
                                       .lengths = scratch + 2 * count * keys->width};
    terms[ENGINE_TRAINING_KEY_MATCHING] = terms[ENGINE_TRAINING_KEY_DIVERSITY] = 0;
    losses_make_units(keys, &parts);
    if (setting->weights[ENGINE_TRAINING_KEY_MATCHING] != 0 && keys->match_count)
        losses_match_keys(setting, keys, &parts, terms);
    if (setting->weights[ENGINE_TRAINING_KEY_DIVERSITY] != 0 && keys->prompts > 1)
        losses_spread_keys(setting, keys, &parts, terms);
    losses_leave_units(keys, &parts, dkeys);
}
