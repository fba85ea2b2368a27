#include "engine/tokenizer_file.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/buf.h"
#include "engine/base/mem.h"

#define TOKENIZER_FILE_START  "<|startoftext|>"
#define TOKENIZER_FILE_END    "<|endoftext|>"
#define TOKENIZER_FILE_SUFFIX "</w>"

/* A token cut for a message, at the start of a character. */
struct tokenizer_file_name {
    char text[48];
};

static struct tokenizer_file_name tokenizer_file_name(const char *token)
{
    struct tokenizer_file_name name = {""};
    size_t length = strlen(token), limit = sizeof name.text - 4;
    if (length <= limit) {
        memcpy(name.text, token, length);
        return name;
    }
    while (limit > 0 && ((unsigned char)token[limit] & 0xc0) == 0x80)
        limit--;
    memcpy(name.text, token, limit);
    memcpy(name.text + limit, "...", 3);
    return name;
}

/* What is gathered while a file is read. */
struct tokenizer_file_reader {
    json_t *vocab;
    unsigned char *taken; /* a bit for each id */
    struct buf joined;    /* the name of a merge's result */
    struct tokenizer_file file;
};

static enum status tokenizer_file_load_json(const char *json, size_t size, const char *name,
                                            json_t **out, struct fail *why)
{
    json_error_t error;
    json_t *root = json_loadb(json, size, JSON_REJECT_DUPLICATES, &error);
    if (!root)
        return status_fail(why, STATUS_FORMAT, "%s: line %d: %s", name, error.line, error.text);
    if (!json_is_object(root)) {
        json_decref(root);
        return status_fail(why, STATUS_FORMAT, "%s is not a JSON object", name);
    }
    *out = root;
    return STATUS_OK;
}

static enum status tokenizer_file_take_id(struct tokenizer_file_reader *reader, const char *token,
                                          const json_t *value, struct fail *why)
{
    json_int_t id = json_integer_value(value);
    if (!json_is_integer(value) || id < 0 || id >= (json_int_t)TOKENIZER_FILE_MAX_IDS)
        return status_fail(why, STATUS_FORMAT,
                           "the id of token \"%s\" is not a whole number from 0 to %zu",
                           tokenizer_file_name(token).text, TOKENIZER_FILE_MAX_IDS - 1);
    unsigned char bit = (unsigned char)(1u << (id % 8));
    if (reader->taken[id / 8] & bit)
        return status_fail(why, STATUS_FORMAT, "id %lld of token \"%s\" belongs to another token",
                           (long long)id, tokenizer_file_name(token).text);
    reader->taken[id / 8] |= bit;
    if (reader->file.id_count <= (size_t)id)
        reader->file.id_count = (size_t)id + 1;
    return STATUS_OK;
}

/* The id of a token in the checked vocabulary, or `otherwise`. */
static int32_t tokenizer_file_find(const struct tokenizer_file_reader *reader, const char *token,
                                   int32_t otherwise)
{
    const json_t *value = json_object_get(reader->vocab, token);
    return value ? (int32_t)json_integer_value(value) : otherwise;
}

static const json_t *tokenizer_file_find_added(const json_t *added_tokens, const char *token)
{
    size_t i;
    const json_t *added;
    json_array_foreach(added_tokens, i, added)
    {
        const char *content = json_string_value(json_object_get(added, "content"));
        if (content && strcmp(content, token) == 0)
            return json_object_get(added, "id");
    }
    return NULL;
}

static enum status tokenizer_file_find_special(struct tokenizer_file_reader *reader,
                                               const json_t *added_tokens, const char *token,
                                               int32_t *out, struct fail *why)
{
    const json_t *added = tokenizer_file_find_added(added_tokens, token);
    int32_t id = tokenizer_file_find(reader, token, -1);
    if (id < 0 && !added)
        return status_fail(why, STATUS_FORMAT, "the special token \"%s\" is missing", token);
    if (id < 0) {
        enum status status = tokenizer_file_take_id(reader, token, added, why);
        if (status)
            return status;
        id = (int32_t)json_integer_value(added);
    } else if (added && (!json_is_integer(added) || json_integer_value(added) != id)) {
        return status_fail(why, STATUS_FORMAT,
                           "added_tokens gives \"%s\" another id than the vocabulary's %d", token,
                           id);
    }
    *out = id;
    return STATUS_OK;
}

static enum status tokenizer_file_check_ids(struct tokenizer_file_reader *reader,
                                            const json_t *added_tokens, struct fail *why)
{
    const char *token;
    json_t *value;
    json_object_foreach(reader->vocab, token, value)
    {
        enum status status = tokenizer_file_take_id(reader, token, value, why);
        if (status)
            return status;
    }
    enum status status = tokenizer_file_find_special(reader, added_tokens, TOKENIZER_FILE_START,
                                                     &reader->file.start_of_text, why);
    if (status)
        return status;
    return tokenizer_file_find_special(reader, added_tokens, TOKENIZER_FILE_END,
                                       &reader->file.end_of_text, why);
}

static enum status tokenizer_file_find_symbol(const struct tokenizer_file_reader *reader,
                                              const char *symbol, unsigned byte, int32_t *out,
                                              struct fail *why)
{
    *out = tokenizer_file_find(reader, symbol, -1);
    if (*out < 0)
        return status_fail(why, STATUS_FORMAT, "the token \"%s\" of byte 0x%02x is missing", symbol,
                           byte);
    return STATUS_OK;
}

/* Bytes that are visible Latin-1 characters stand for themselves, the other 68, in order, are the
 * characters from U+0100 on. */
static enum status tokenizer_file_find_bytes(struct tokenizer_file_reader *reader, struct fail *why)
{
    struct tokenizer_file *file = &reader->file;
    unsigned next = 0x100;
    for (unsigned byte = 0; byte < 256; byte++) {
        bool visible = (byte > ' ' && byte < 0x7f) || (byte > 0xa0 && byte != 0xad);
        unsigned point = visible ? byte : next++;
        char symbol[2 + sizeof TOKENIZER_FILE_SUFFIX];
        size_t size = 0;
        if (point < 0x80) {
            symbol[size++] = (char)point;
        } else {
            symbol[size++] = (char)(0xc0 | point >> 6);
            symbol[size++] = (char)(0x80 | (point & 0x3f));
        }
        symbol[size] = '\0';
        enum status status =
            tokenizer_file_find_symbol(reader, symbol, byte, &file->inside[byte], why);
        memcpy(symbol + size, TOKENIZER_FILE_SUFFIX, sizeof TOKENIZER_FILE_SUFFIX);
        if (!status)
            status = tokenizer_file_find_symbol(reader, symbol, byte, &file->last[byte], why);
        if (status)
            return status;
    }
    return STATUS_OK;
}

/* where and number name the merge in a message: "merges.txt: line" 7. */
static enum status tokenizer_file_add_merge(struct tokenizer_file_reader *reader, const char *left,
                                            const char *right, const char *where, size_t number,
                                            struct fail *why)
{
    struct buf *joined = &reader->joined;
    joined->size = 0;
    enum status status = buf_append_text(joined, left, why);
    if (!status)
        status = buf_append_text(joined, right, why);
    if (status)
        return status_context(why, status, "%s %zu", where, number);
    const char *names[3] = {left, right, joined->data};
    int32_t ids[3];
    for (size_t i = 0; i < 3; i++) {
        ids[i] = tokenizer_file_find(reader, names[i], -1);
        if (ids[i] < 0)
            return status_fail(why, STATUS_FORMAT, "%s %zu: token \"%s\" is not in the vocabulary",
                               where, number, tokenizer_file_name(names[i]).text);
    }
    reader->file.merges[reader->file.merge_count++] = (struct bpe_merge){ids[0], ids[1], ids[2]};
    return STATUS_OK;
}

/* Cuts "left right" in two, in place. */
static bool tokenizer_file_split(char *line, char **out_right)
{
    char *space = strchr(line, ' ');
    if (!space || space == line || !space[1] || strchr(space + 1, ' '))
        return false;
    *space = '\0';
    *out_right = space + 1;
    return true;
}

static enum status tokenizer_file_add_text(struct tokenizer_file_reader *reader, char *line,
                                           const char *where, size_t number, struct fail *why)
{
    char *right;
    if (!tokenizer_file_split(line, &right))
        return status_fail(why, STATUS_FORMAT, "%s %zu is not two tokens with one space between",
                           where, number);
    return tokenizer_file_add_merge(reader, line, right, where, number, why);
}

/* One element of model.merges: "left right" or ["left", "right"]. */
static enum status tokenizer_file_add_json(struct tokenizer_file_reader *reader,
                                           const json_t *merge, size_t number, struct fail *why)
{
    static const char where[] = "tokenizer.json: merge";
    if (json_is_string(merge)) {
        char *line = mem_copy_text(json_string_value(merge), json_string_length(merge));
        if (!line)
            return status_fail(why, STATUS_NO_MEMORY, "no memory for a merge");
        enum status status = tokenizer_file_add_text(reader, line, where, number, why);
        free(line);
        return status;
    }
    const char *left = json_string_value(json_array_get(merge, 0));
    const char *right = json_string_value(json_array_get(merge, 1));
    if (json_array_size(merge) != 2 || !left || !right)
        return status_fail(why, STATUS_FORMAT, "%s %zu is neither a string nor two strings", where,
                           number);
    return tokenizer_file_add_merge(reader, left, right, where, number, why);
}

static enum status tokenizer_file_reserve_merges(struct tokenizer_file_reader *reader, size_t count,
                                                 struct fail *why)
{
    reader->file.merges = mem_zeroed(count, sizeof *reader->file.merges);
    if (!reader->file.merges)
        return status_fail(why, STATUS_NO_MEMORY, "no memory for %zu merges", count);
    return STATUS_OK;
}

static enum status tokenizer_file_read_array(struct tokenizer_file_reader *reader,
                                             const json_t *merges, struct fail *why)
{
    size_t count = json_array_size(merges);
    enum status status = tokenizer_file_reserve_merges(reader, count, why);
    for (size_t i = 0; i < count && !status; i++)
        status = tokenizer_file_add_json(reader, json_array_get(merges, i), i + 1, why);
    return status;
}

/* merges.txt: one merge a line; lines that are empty or start with "#version" do not count. */
static enum status tokenizer_file_read_lines(struct tokenizer_file_reader *reader, char *text,
                                             size_t size, struct fail *why)
{
    static const char where[] = "merges.txt: line", version[] = "#version";
    if (memchr(text, '\0', size))
        return status_fail(why, STATUS_FORMAT, "merges.txt has a NUL byte");
    size_t lines = 1, number = 0;
    for (const char *c = text; (c = strchr(c, '\n')); c++)
        lines++;
    enum status status = tokenizer_file_reserve_merges(reader, lines, why);
    for (char *line = text, *next; line && !status; line = next) {
        next = strchr(line, '\n');
        if (next)
            *next++ = '\0';
        size_t length = strlen(line);
        if (length > 0 && line[length - 1] == '\r')
            line[--length] = '\0';
        number++;
        if (length > 0 && strncmp(line, version, sizeof version - 1) != 0)
            status = tokenizer_file_add_text(reader, line, where, number, why);
    }
    return status;
}

static bool tokenizer_file_is_none(const json_t *value)
{
    return !value || json_is_null(value);
}

static bool tokenizer_file_is_text(const json_t *value, const char *text)
{
    return json_is_string(value) && strcmp(json_string_value(value), text) == 0;
}

/* Refuses what would need another algorithm than CLIP's. */
static enum status tokenizer_file_check_model(const json_t *model, struct fail *why)
{
    static const char *const switches[] = {"fuse_unk", "byte_fallback", "ignore_merges"};
    const json_t *type = json_object_get(model, "type");
    const json_t *prefix = json_object_get(model, "continuing_subword_prefix");
    const json_t *unknown = json_object_get(model, "unk_token");
    if (!json_is_object(model))
        return status_fail(why, STATUS_FORMAT, "tokenizer.json: no object \"model\"");
    if (type && !tokenizer_file_is_text(type, "BPE"))
        return status_fail(why, STATUS_UNSUPPORTED, "tokenizer.json: model.type is not \"BPE\"");
    if (!tokenizer_file_is_text(json_object_get(model, "end_of_word_suffix"),
                                TOKENIZER_FILE_SUFFIX))
        return status_fail(why, STATUS_UNSUPPORTED,
                           "tokenizer.json: model.end_of_word_suffix is not \"%s\"",
                           TOKENIZER_FILE_SUFFIX);
    if (!tokenizer_file_is_none(prefix) && !tokenizer_file_is_text(prefix, ""))
        return status_fail(why, STATUS_UNSUPPORTED,
                           "tokenizer.json: model.continuing_subword_prefix is not empty");
    if (!tokenizer_file_is_none(unknown) && !tokenizer_file_is_text(unknown, TOKENIZER_FILE_END))
        return status_fail(why, STATUS_UNSUPPORTED, "tokenizer.json: model.unk_token is not \"%s\"",
                           TOKENIZER_FILE_END);
    if (!tokenizer_file_is_none(json_object_get(model, "dropout")))
        return status_fail(why, STATUS_UNSUPPORTED, "tokenizer.json: model.dropout is set");
    for (size_t i = 0; i < sizeof switches / sizeof *switches; i++) {
        if (json_is_true(json_object_get(model, switches[i])))
            return status_fail(why, STATUS_UNSUPPORTED, "tokenizer.json: model.%s is true",
                               switches[i]);
    }
    return STATUS_OK;
}

static enum status tokenizer_file_begin(struct tokenizer_file_reader *reader, json_t *vocab,
                                        const json_t *added_tokens, const char *name,
                                        struct fail *why)
{
    *reader = (struct tokenizer_file_reader){.vocab = vocab};
    buf_init(&reader->joined, TOKENIZER_FILE_MAX_BYTES);
    if (!json_is_object(vocab))
        return status_fail(why, STATUS_FORMAT, "%s: no object \"model.vocab\"", name);
    reader->taken = mem_zeroed(TOKENIZER_FILE_MAX_IDS / 8, 1);
    if (!reader->taken)
        return status_fail(why, STATUS_NO_MEMORY, "no memory for a vocabulary");
    enum status status = tokenizer_file_check_ids(reader, added_tokens, why);
    if (!status)
        status = tokenizer_file_find_bytes(reader, why);
    return status ? status_context(why, status, "%s", name) : STATUS_OK;
}

/* Hands the tables over, or takes them back after a failure. */
static enum status tokenizer_file_end(struct tokenizer_file_reader *reader, enum status status,
                                      struct tokenizer_file *out)
{
    free(reader->taken);
    buf_finish(&reader->joined);
    if (status)
        tokenizer_file_finish(&reader->file);
    else
        *out = reader->file;
    return status;
}

enum status tokenizer_file_parse(const char *json, size_t size, struct tokenizer_file *out,
                                 struct fail *why)
{
    json_t *root;
    enum status status = tokenizer_file_load_json(json, size, "tokenizer.json", &root, why);
    if (status)
        return status;
    const json_t *model = json_object_get(root, "model");
    const json_t *merges = json_object_get(model, "merges");
    status = tokenizer_file_check_model(model, why);
    if (!status && !json_is_array(merges))
        status = status_fail(why, STATUS_FORMAT, "tokenizer.json: no array \"model.merges\"");
    if (!status) {
        struct tokenizer_file_reader reader;
        status = tokenizer_file_begin(&reader, json_object_get(model, "vocab"),
                                      json_object_get(root, "added_tokens"), "tokenizer.json", why);
        if (!status)
            status = tokenizer_file_read_array(&reader, merges, why);
        status = tokenizer_file_end(&reader, status, out);
    }
    json_decref(root);
    return status;
}

enum status tokenizer_file_parse_pair(const char *vocab, size_t vocab_size, const char *merges,
                                      size_t merges_size, struct tokenizer_file *out,
                                      struct fail *why)
{
    json_t *root;
    enum status status = tokenizer_file_load_json(vocab, vocab_size, "vocab.json", &root, why);
    if (status)
        return status;
    char *text = mem_copy_text(merges, merges_size);
    if (!text) {
        json_decref(root);
        return status_fail(why, STATUS_NO_MEMORY, "no memory for merges.txt");
    }
    struct tokenizer_file_reader reader;
    status = tokenizer_file_begin(&reader, root, NULL, "vocab.json", why);
    if (!status)
        status = tokenizer_file_read_lines(&reader, text, merges_size, why);
    status = tokenizer_file_end(&reader, status, out);
    free(text);
    json_decref(root);
    return status;
}

void tokenizer_file_finish(struct tokenizer_file *file)
{
    if (!file)
        return;
    free(file->merges);
    *file = (struct tokenizer_file){0};
}
