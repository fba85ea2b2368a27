#include "api/explanation.h"

#include <jansson.h>
#include <math.h>
#include <stdbool.h>

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

static bool explanation_before(const struct engine_composition *composition, size_t a, size_t b)
{
    if (composition->clusters[a] != composition->clusters[b])
        return composition->clusters[a] < composition->clusters[b];
    float left = composition->similarities[a], right = composition->similarities[b];
    return left > right || (left >= right && a < b);
}

size_t explanation_choice(const struct engine_composition *composition, size_t layer, size_t place)
{
    size_t first = layer * composition->chosen, last = first + composition->chosen;
    for (size_t choice = first; choice < last; choice++) {
        size_t before = 0;
        for (size_t other = first; other < last; other++)
            before += explanation_before(composition, other, choice);
        if (before == place)
            return choice - first;
    }
    return 0;
}

/* Which cluster took which prompt, into the three arrays. */
static int explanation_add_choices(const struct engine_composition *composition, size_t layer,
                                   json_t *prompts, json_t *takers, json_t *similarities)
{
    int failed = 0;
    for (size_t place = 0; place < composition->chosen; place++) {
        size_t at = layer * composition->chosen + explanation_choice(composition, layer, place);
        failed |= json_array_append_new(prompts, json_integer(composition->prompts[at]));
        failed |= json_array_append_new(takers, json_integer(composition->clusters[at]));
        failed |=
            json_array_append_new(similarities, json_real((double)composition->similarities[at]));
    }
    return failed;
}

static json_t *explanation_layer(const struct engine_composition *composition, size_t layer,
                                 size_t grid)
{
    json_t *prompts = json_array(), *takers = json_array(), *similarities = json_array();
    int failed = explanation_add_choices(composition, layer, prompts, takers, similarities);
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
