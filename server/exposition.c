#include "server/exposition.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static void exposition_text(struct exposition *exposition, const char *text)
{
    if (!exposition->status)
        exposition->status = buf_append_text(exposition->out, text, exposition->why);
}

static void exposition_value(struct exposition *exposition, const char *value)
{
    for (const char *c = value; *c && !exposition->status; c++)
        if (*c == '\n')
            exposition_text(exposition, "\\n");
        else if (*c == '"' || *c == '\\')
            exposition->status = buf_printf(exposition->out, exposition->why, "\\%c", *c);
        else
            exposition->status = buf_append(exposition->out, c, 1, exposition->why);
}

static void exposition_series(struct exposition *exposition, const char *name, const char *suffix,
                              const struct exposition_labels *labels)
{
    exposition_text(exposition, name);
    exposition_text(exposition, suffix);
    if (!labels || !labels->pairs[0].name)
        return;
    for (size_t i = 0; i < EXPOSITION_MOST_LABELS && labels->pairs[i].name; i++) {
        exposition_text(exposition, i ? "," : "{");
        exposition_text(exposition, labels->pairs[i].name);
        exposition_text(exposition, "=\"");
        exposition_value(exposition, labels->pairs[i].value);
        exposition_text(exposition, "\"");
    }
    exposition_text(exposition, "}");
}

static void exposition_end_count(struct exposition *exposition, uint64_t value)
{
    if (!exposition->status)
        exposition->status = buf_printf(exposition->out, exposition->why, " %" PRIu64 "\n", value);
}

static void exposition_end_number(struct exposition *exposition, double value)
{
    if (!exposition->status)
        exposition->status = buf_printf(exposition->out, exposition->why, " %.15g\n", value);
}

void exposition_begin(struct exposition *exposition, const char *name, const char *type,
                      const char *help)
{
    if (!exposition->status)
        exposition->status = buf_printf(exposition->out, exposition->why,
                                        "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

void exposition_count(struct exposition *exposition, const char *name,
                      const struct exposition_labels *labels, uint64_t value)
{
    exposition_series(exposition, name, "", labels);
    exposition_end_count(exposition, value);
}

void exposition_number(struct exposition *exposition, const char *name,
                       const struct exposition_labels *labels, double value)
{
    exposition_series(exposition, name, "", labels);
    exposition_end_number(exposition, value);
}

void exposition_histogram(struct exposition *exposition, const char *name,
                          const struct exposition_labels *labels, const struct histogram *histogram,
                          const struct histogram_bounds *bounds)
{
    struct exposition_labels all = labels ? *labels : (struct exposition_labels){0};
    size_t last = 0;
    while (last < EXPOSITION_MOST_LABELS - 1 && all.pairs[last].name)
        last++;
    all.pairs[last].name = "le";
    uint64_t below = 0;
    for (size_t i = 0; i < bounds->count; i++) {
        char upper[32];
        snprintf(upper, sizeof upper, "%.15g", (double)bounds->upper[i] * bounds->unit);
        all.pairs[last].value = upper;
        below += histogram->counts[i];
        exposition_series(exposition, name, "_bucket", &all);
        exposition_end_count(exposition, below);
    }
    all.pairs[last].value = "+Inf";
    exposition_series(exposition, name, "_bucket", &all);
    exposition_end_count(exposition, histogram_count(histogram));
    exposition_series(exposition, name, "_sum", labels);
    exposition_end_number(exposition, (double)histogram->sum * bounds->unit);
    exposition_series(exposition, name, "_count", labels);
    exposition_end_count(exposition, histogram_count(histogram));
}

void exposition_only_count(struct exposition *exposition, const char *name, const char *type,
                           const char *help, uint64_t value)
{
    exposition_begin(exposition, name, type, help);
    exposition_count(exposition, name, NULL, value);
}

void exposition_only_number(struct exposition *exposition, const char *name, const char *type,
                            const char *help, double value)
{
    exposition_begin(exposition, name, type, help);
    exposition_number(exposition, name, NULL, value);
}
