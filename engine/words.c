#include "engine/words.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "engine/base/mem.h"

enum { WORDS_CAPITAL_I_WITH_DOT = 0x130, WORDS_DOT_ABOVE = 0x307, WORDS_COMBINING_CLASSES = 256 };

/* U+11A7 is one below the trailing Hangul letters; utf8proc 2.8 takes it for one and drops it
 * after a syllable. A surrogate, which no text has, stands in for it while composing. */
enum { WORDS_JAMO_BEFORE_TRAILING = 0x11a7, WORDS_STAND_IN = 0xd800 };

enum words_class { WORDS_SPACE, WORDS_LETTER, WORDS_NUMBER, WORDS_OTHER };

static bool words_is_ascii(const char *text, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        if ((unsigned char)text[i] >= 0x80)
            return false;
    }
    return true;
}

static enum status words_lower_ascii(const char *text, size_t length, struct buf *out,
                                     struct fail *why)
{
    enum status status = buf_append(out, text, length, why);
    if (status)
        return status;
    for (char *c = out->data + out->size - length; c < out->data + out->size; c++) {
        if (*c >= 'A' && *c <= 'Z')
            *c += 'a' - 'A';
    }
    return STATUS_OK;
}

static utf8proc_ssize_t words_decode(const char *text, size_t length, utf8proc_int32_t *out_point)
{
    return utf8proc_iterate((const utf8proc_uint8_t *)text, (utf8proc_ssize_t)length, out_point);
}

static size_t words_decompose_point(utf8proc_int32_t point, utf8proc_int32_t *out, size_t room)
{
    int boundary = 0;
    return (size_t)utf8proc_decompose_char(point, out, (utf8proc_ssize_t)room, UTF8PROC_DECOMPOSE,
                                           &boundary);
}

/* Checks the text and counts the code points of its canonical decomposition. */
static enum status words_count_decomposed(const char *text, size_t length, size_t *out_count,
                                          struct fail *why)
{
    size_t count = 0;
    for (size_t i = 0; i < length;) {
        utf8proc_int32_t point;
        utf8proc_ssize_t size = words_decode(text + i, length - i, &point);
        if (size <= 0)
            return status_fail(why, STATUS_FORMAT, "text is not valid UTF-8 at byte %zu", i);
        count += words_decompose_point(point, NULL, 0);
        i += (size_t)size;
    }
    *out_count = count;
    return STATUS_OK;
}

static unsigned words_combining_class(utf8proc_int32_t point)
{
    return utf8proc_get_property(point)->combining_class % WORDS_COMBINING_CLASSES;
}

/* A stable counting sort: utf8proc's own reordering takes quadratic time, which a client could use
 * with a long run of marks. */
static void words_sort_marks(utf8proc_int32_t *marks, size_t count, utf8proc_int32_t *spare)
{
    size_t position[WORDS_COMBINING_CLASSES + 1] = {0};
    for (size_t i = 0; i < count; i++)
        position[words_combining_class(marks[i]) + 1]++;
    for (size_t class = 0; class < WORDS_COMBINING_CLASSES; class ++)
        position[class + 1] += position[class];
    for (size_t i = 0; i < count; i++)
        spare[position[words_combining_class(marks[i])]++] = marks[i];
    memcpy(marks, spare, count * sizeof *marks);
}

static void words_reorder(utf8proc_int32_t *points, size_t count, utf8proc_int32_t *spare)
{
    for (size_t i = 0; i < count;) {
        size_t start = i;
        unsigned previous = 0, class = 0;
        bool sorted = true;
        for (; i < count && (class = words_combining_class(points[i])) != 0; i++) {
            sorted = sorted && previous <= class;
            previous = class;
        }
        if (!sorted)
            words_sort_marks(points + start, i - start, spare);
        if (i == start)
            i++;
    }
}

static void words_replace(utf8proc_int32_t *points, size_t count, utf8proc_int32_t from,
                          utf8proc_int32_t to)
{
    for (size_t i = 0; i < count; i++) {
        if (points[i] == from)
            points[i] = to;
    }
}

/* Canonical order and composition, in place; returns the new count. */
static size_t words_compose(utf8proc_int32_t *points, size_t count, utf8proc_int32_t *spare)
{
    words_reorder(points, count, spare);
    words_replace(points, count, WORDS_JAMO_BEFORE_TRAILING, WORDS_STAND_IN);
    size_t composed = (size_t)utf8proc_normalize_utf32(points, (utf8proc_ssize_t)count,
                                                       UTF8PROC_STABLE | UTF8PROC_COMPOSE);
    words_replace(points, composed, WORDS_STAND_IN, WORDS_JAMO_BEFORE_TRAILING);
    return composed;
}

static enum status words_append_lower(const utf8proc_int32_t *points, size_t count, struct buf *out,
                                      struct fail *why)
{
    /* The caller's array has 8 bytes for each, so this cannot overflow. */
    enum status status = buf_reserve(out, 4 * count, why);
    if (status)
        return status;
    utf8proc_uint8_t *to = (utf8proc_uint8_t *)out->data + out->size;
    for (size_t i = 0; i < count; i++) {
        /* The only character whose lower case is two; utf8proc knows one-to-one mappings. */
        bool dotted = points[i] == WORDS_CAPITAL_I_WITH_DOT;
        to += utf8proc_encode_char(dotted ? 'i' : utf8proc_tolower(points[i]), to);
        if (dotted)
            to += utf8proc_encode_char(WORDS_DOT_ABOVE, to);
    }
    *to = '\0';
    out->size = (size_t)((char *)to - out->data);
    return STATUS_OK;
}

enum status words_normalise(const char *text, size_t length, struct buf *out, struct fail *why)
{
    if (words_is_ascii(text, length))
        return words_lower_ascii(text, length, out, why);
    size_t count = 0, used = 0;
    enum status status = words_count_decomposed(text, length, &count, why);
    if (status)
        return status;
    utf8proc_int32_t *points = mem_resize(NULL, count, 2 * sizeof *points);
    if (!points)
        return status_fail(why, STATUS_NO_MEMORY, "no memory to normalise %zu bytes of text",
                           length);
    for (size_t i = 0; i < length;) {
        utf8proc_int32_t point;
        i += (size_t)words_decode(text + i, length - i, &point);
        used += words_decompose_point(point, points + used, count - used);
    }
    size_t composed = words_compose(points, count, points + count);
    status = words_append_lower(points, composed, out, why);
    free(points);
    return status;
}

/* Unicode's White_Space property. */
static bool words_is_space(utf8proc_int32_t point)
{
    return (point >= 0x09 && point <= 0x0d) || point == ' ' || point == 0x85 || point == 0xa0 ||
           point == 0x1680 || (point >= 0x2000 && point <= 0x200a) || point == 0x2028 ||
           point == 0x2029 || point == 0x202f || point == 0x205f || point == 0x3000;
}

static enum words_class words_classify(utf8proc_int32_t point)
{
    if (words_is_space(point))
        return WORDS_SPACE;
    switch (utf8proc_category(point)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
        return WORDS_LETTER;
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO:
        return WORDS_NUMBER;
    default:
        return WORDS_OTHER;
    }
}

static size_t words_contraction(const char *text, size_t length)
{
    static const char *const contractions[] = {"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"};
    for (size_t i = 0; i < sizeof contractions / sizeof *contractions; i++) {
        size_t size = strlen(contractions[i]);
        if (size <= length && memcmp(text, contractions[i], size) == 0)
            return size;
    }
    return 0;
}

/* The class of the character at text and its size in bytes. */
static enum words_class words_at(const char *text, size_t length, size_t *out_size)
{
    utf8proc_int32_t point;
    *out_size = (size_t)words_decode(text, length, &point);
    return words_classify(point);
}

bool words_next(const char *text, size_t length, size_t *cursor, size_t *out_start,
                size_t *out_length)
{
    size_t start = *cursor, size = 0;
    enum words_class class = WORDS_SPACE;
    while (start < length && (class = words_at(text + start, length - start, &size)) == WORDS_SPACE)
        start += size;
    if (start == length)
        return false;
    size_t contraction = words_contraction(text + start, length - start);
    size_t end = start + (contraction ? contraction : size);
    if (!contraction && class != WORDS_NUMBER) {
        while (end < length && words_at(text + end, length - end, &size) == class)
            end += size;
    }
    *cursor = end;
    *out_start = start;
    *out_length = end - start;
    return true;
}
