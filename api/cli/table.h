/*
 * Tables of labels with percentages, and bars where somebody looks on.
 */
#ifndef API_CLI_TABLE_H
#define API_CLI_TABLE_H

#include <stdbool.h>
#include <stddef.h>

#include "api/cli/terminal.h"
#include "engine/base/buf.h"
#include "engine/base/status.h"

struct table {
    size_t label_columns;
    size_t bar_columns; /* 0: no bars */
    bool utf8;          /* bars of eighth blocks, else of '#' */
    bool cut;           /* shorten labels wider than label_columns */
};

/* widest_label: columns of the widest label to come. */
void table_init(struct table *table, const struct terminal *terminal, size_t widest_label);

/* Appends "  label   12.3%  bar" and a newline. fraction is in 0..1. */
enum status table_append_row(const struct table *table, struct buf *out, const char *label,
                             double fraction, struct fail *why);

/* Appends text, padded with spaces to columns and, if cut, shortened to them. */
enum status table_append_cell(struct buf *out, const char *text, size_t columns, bool cut,
                              struct fail *why);

/* Appends a bar of at most columns, without padding. */
enum status table_append_bar(struct buf *out, double fraction, size_t columns, bool utf8,
                             struct fail *why);

#endif
