#include "api/cli/cluster_map.h"

#include <math.h>

#include "api/explanation.h"

/* Clusters beyond these share the last sign. */
static const char cluster_map_signs[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ+";

static char cluster_map_sign(size_t cluster)
{
    size_t last = sizeof cluster_map_signs - 2;
    return cluster_map_signs[cluster < last ? cluster : last];
}

static enum status cluster_map_append_row(struct buf *out, const uint16_t *assignment, size_t grid,
                                          struct fail *why)
{
    enum status status = buf_append_text(out, "   ", why);
    for (size_t column = 0; column < grid && !status; column++)
        status = buf_printf(out, why, " %c", cluster_map_sign(assignment[column]));
    return status;
}

static enum status cluster_map_append_choice(struct buf *out,
                                             const struct engine_composition *composition,
                                             size_t layer, size_t place, struct fail *why)
{
    size_t at = layer * composition->chosen + explanation_choice(composition, layer, place);
    const uint16_t *assignment = composition->assignment + layer * composition->patches;
    size_t members = 0;
    for (size_t i = 0; i < composition->patches; i++)
        members += assignment[i] == composition->clusters[at];
    return buf_printf(out, why, "    %c  %3zu patches  prompt %-5u similarity %6.3f",
                      cluster_map_sign(composition->clusters[at]), members,
                      (unsigned)composition->prompts[at], (double)composition->similarities[at]);
}

static enum status cluster_map_append_layer(struct buf *out,
                                            const struct engine_composition *composition,
                                            size_t layer, size_t grid, struct fail *why)
{
    const uint16_t *assignment = composition->assignment + layer * composition->patches;
    float margin = composition->margins[layer];
    enum status status =
        isfinite(margin)
            ? buf_printf(out, why, "  text block %zu, margin %.2g\n", layer + 1, (double)margin)
            : buf_printf(out, why, "  text block %zu, all prompts\n", layer + 1);
    size_t rows = composition->patches / grid;
    for (size_t line = 0; (line < rows || line < composition->chosen) && !status; line++) {
        if (line < rows)
            status = cluster_map_append_row(out, assignment + line * grid, grid, why);
        else
            status = buf_printf(out, why, "%*s", (int)(3 + 2 * grid), "");
        if (!status && line < composition->chosen)
            status = cluster_map_append_choice(out, composition, layer, line, why);
        if (!status)
            status = buf_append_text(out, "\n", why);
    }
    return status;
}

enum status cluster_map_append(struct buf *out, const struct engine_composition *composition,
                               size_t grid, struct fail *why)
{
    enum status status = STATUS_OK;
    for (size_t layer = 0; layer < composition->layers && !status; layer++)
        status = cluster_map_append_layer(out, composition, layer, grid, why);
    return status;
}
