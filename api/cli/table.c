#include "api/cli/table.h"

#include <stdint.h>

#include "api/cli/printable.h"

enum {
    TABLE_MAX_LABEL_COLUMNS = 32,
    TABLE_MIN_LABEL_COLUMNS = 8,
    TABLE_MIN_BAR_COLUMNS = 4,
    TABLE_MAX_BAR_COLUMNS = 50,
    TABLE_FIXED_COLUMNS = 2 + 2 + 6 + 2 + 1, /* indent, gaps, percentage, spare last column */
    TABLE_EIGHTHS = 8
};

void table_init(struct table *table, const struct terminal *terminal, size_t widest_label)
{
    *table = (struct table){.utf8 = terminal->utf8, .cut = terminal->interactive};
    table->label_columns =
        widest_label < TABLE_MAX_LABEL_COLUMNS ? widest_label : TABLE_MAX_LABEL_COLUMNS;
    if (!terminal->interactive)
        return;
    size_t room =
        terminal->columns > TABLE_FIXED_COLUMNS ? terminal->columns - TABLE_FIXED_COLUMNS : 0;
    if (table->label_columns > room / 2)
        table->label_columns = room / 2;
    if (table->label_columns < TABLE_MIN_LABEL_COLUMNS)
        table->label_columns = TABLE_MIN_LABEL_COLUMNS;
    size_t bar = room > table->label_columns ? room - table->label_columns : 0;
    if (bar >= TABLE_MIN_BAR_COLUMNS)
        table->bar_columns = bar < TABLE_MAX_BAR_COLUMNS ? bar : TABLE_MAX_BAR_COLUMNS;
}

enum status table_append_cell(struct buf *out, const char *text, size_t columns, bool cut,
                              struct fail *why)
{
    enum status status = buf_append(out, "", 0, why);
    size_t start = out->size;
    if (!status)
        status = printable_append(out, text, cut ? columns : SIZE_MAX, why);
    size_t shown = status ? 0 : printable_columns(out->data + start);
    if (!status && shown < columns)
        status = buf_printf(out, why, "%*s", (int)(columns - shown), "");
    return status;
}

enum status table_append_bar(struct buf *out, double fraction, size_t columns, bool utf8,
                             struct fail *why)
{
    static const char *const blocks[TABLE_EIGHTHS + 1] = {"",  "▏", "▎", "▍", "▌",
                                                          "▋", "▊", "▉", "█"};
    double inside = fraction > 0 ? (fraction < 1 ? fraction : 1) : 0; /* NaN is 0 too */
    size_t steps = utf8 ? TABLE_EIGHTHS : 1;
    size_t filled = (size_t)(inside * (double)(columns * steps) + 0.5);
    enum status status = buf_append(out, "", 0, why);
    for (; filled >= steps && !status; filled -= steps)
        status = buf_append_text(out, utf8 ? blocks[TABLE_EIGHTHS] : "#", why);
    return status || !filled ? status : buf_append_text(out, blocks[filled], why);
}

static void table_trim(struct buf *out)
{
    while (out->size && out->data[out->size - 1] == ' ')
        out->data[--out->size] = '\0';
}

enum status table_append_row(const struct table *table, struct buf *out, const char *label,
                             double fraction, struct fail *why)
{
    enum status status = buf_append_text(out, "  ", why);
    if (!status)
        status = table_append_cell(out, label, table->label_columns, table->cut, why);
    if (!status)
        status = buf_printf(out, why, "  %5.1f%%  ", 100 * fraction);
    if (!status)
        status = table_append_bar(out, fraction, table->bar_columns, table->utf8, why);
    if (status)
        return status;
    table_trim(out);
    return buf_append_text(out, "\n", why);
}
