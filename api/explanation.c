#include "api/explanation.h"

#include <jansson.h>
#include <math.h>

static json_t *explanation_numbers(const uint16_t *numbers, size_t count)
{
    json_t *array = json_array();
    for (size_t i = 0; i < count; i++)
        if (json_array_append_new(array, json_integer(numbers[i]))) {
            json_decref(array);
            return NULL;
        }
    return array;
}

json_t *explanation_margin(float margin)
{
    return isfinite(margin) ? json_real((double)margin) : json_null();
}

json_t *explanation_prompts(const struct engine_composition *composition)
{
    json_t *layers = json_array();
    for (size_t layer = 0; layer < composition->layers; layer++)
        if (json_array_append_new(
                layers, explanation_numbers(composition->prompts + layer * composition->chosen,
                                            composition->chosen))) {
            json_decref(layers);
            return NULL;
        }
    return layers;
}

/* The best prompt of a cluster that comes after `last` (chosen: the first); chosen if there is
 * none. Equal similarities follow in order of the prompts. */
static size_t explanation_next(const struct engine_composition *composition, size_t first,
                               uint16_t cluster, size_t last)
{
    const float *similarity = composition->similarities + first;
    size_t chosen = composition->chosen, next = chosen;
    for (size_t i = 0; i < chosen; i++) {
        bool later = last == chosen || similarity[i] < similarity[last] ||
                     (similarity[i] <= similarity[last] && i > last);
        if (composition->clusters[first + i] == cluster && later &&
            (next == chosen || similarity[i] > similarity[next]))
            next = i;
    }
    return next;
}

/* Which cluster took which prompt, into the three arrays. */
static int explanation_add_choices(const struct engine_composition *composition, size_t layer,
                                   size_t clusters, json_t *prompts, json_t *takers,
                                   json_t *similarities)
{
    size_t chosen = composition->chosen, first = layer * chosen;
    int failed = 0;
    for (uint16_t cluster = 0; cluster < clusters; cluster++)
        for (size_t i = explanation_next(composition, first, cluster, chosen); i < chosen;
             i = explanation_next(composition, first, cluster, i)) {
            failed |= json_array_append_new(prompts, json_integer(composition->prompts[first + i]));
            failed |= json_array_append_new(takers, json_integer(cluster));
            failed |= json_array_append_new(
                similarities, json_real((double)composition->similarities[first + i]));
        }
    return failed;
}

static json_t *explanation_layer(const struct engine_composition *composition, size_t layer,
                                 size_t grid)
{
    json_t *prompts = json_array(), *takers = json_array(), *similarities = json_array();
    int failed =
        explanation_add_choices(composition, layer, engine_pool_info(composition->pool)->clusters,
                                prompts, takers, similarities);
    json_t *made =
        json_pack("{s:o, s:o, s:{s:[I, I], s:o, s:o, s:o, s:o}}", "prompts",
                  explanation_numbers(composition->prompts + layer * composition->chosen,
                                      composition->chosen),
                  "margin", explanation_margin(composition->margins[layer]), "clusters", "grid",
                  (json_int_t)grid, (json_int_t)grid, "assignment",
                  explanation_numbers(composition->assignment + layer * composition->patches,
                                      composition->patches),
                  "prompt", prompts, "cluster", takers, "similarity", similarities);
    if (failed) {
        json_decref(made);
        return NULL;
    }
    return made;
}

json_t *explanation_json(const struct engine_composition *composition,
                         const struct engine_info *info)
{
    json_t *layers = json_array();
    for (size_t layer = 0; layer < composition->layers; layer++)
        if (json_array_append_new(layers, explanation_layer(composition, layer,
                                                            info->image_size / info->patch_size))) {
            json_decref(layers);
            return NULL;
        }
    return json_pack("{s:o, s:o}", "layers", layers, "margin",
                     explanation_margin(engine_composition_margin(composition)));
}
