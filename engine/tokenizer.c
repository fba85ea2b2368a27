#include "engine/tokenizer.h"

#include <stdio.h>
#include <stdlib.h>

#include "engine/base/buf.h"
#include "engine/base/mem.h"
#include "engine/bpe.h"
#include "engine/tokenizer_file.h"
#include "engine/words.h"

/* Normalising makes text at most three times as long and asks for room to spare. */
#define TOKENIZER_MAX_NORMALISED (8 * TOKENIZER_MAX_TEXT)

struct tokenizer {
    struct bpe bpe;
    int32_t start_of_text, end_of_text;
    size_t vocabulary;
};

static enum status tokenizer_create(const struct tokenizer_file *file, struct tokenizer **out,
                                    struct fail *why)
{
    struct tokenizer *tokenizer = mem_zeroed(1, sizeof *tokenizer);
    if (!tokenizer)
        return status_fail(why, STATUS_NO_MEMORY, "no memory for a tokenizer");
    enum status status = bpe_init(&tokenizer->bpe, file->inside, file->last, file->merges,
                                  file->merge_count, file->id_count, why);
    if (status) {
        free(tokenizer);
        return status;
    }
    tokenizer->start_of_text = file->start_of_text;
    tokenizer->end_of_text = file->end_of_text;
    tokenizer->vocabulary = file->id_count;
    *out = tokenizer;
    return STATUS_OK;
}

void tokenizer_destroy(struct tokenizer *tokenizer)
{
    if (!tokenizer)
        return;
    bpe_finish(&tokenizer->bpe);
    free(tokenizer);
}

enum status tokenizer_parse(const char *json, size_t size, struct tokenizer **out, struct fail *why)
{
    struct tokenizer_file file;
    enum status status = tokenizer_file_parse(json, size, &file, why);
    if (status)
        return status;
    status = tokenizer_create(&file, out, why);
    tokenizer_file_finish(&file);
    return status;
}

enum status tokenizer_parse_pair(const char *vocab, size_t vocab_size, const char *merges,
                                 size_t merges_size, struct tokenizer **out, struct fail *why)
{
    struct tokenizer_file file;
    enum status status =
        tokenizer_file_parse_pair(vocab, vocab_size, merges, merges_size, &file, why);
    if (status)
        return status;
    status = tokenizer_create(&file, out, why);
    tokenizer_file_finish(&file);
    return status;
}

static enum status tokenizer_read(struct buf *buf, const char *model_dir, const char *name,
                                  struct fail *why)
{
    char *path = NULL;
    if (asprintf(&path, "%s/%s", model_dir, name) < 0)
        return status_fail(why, STATUS_NO_MEMORY, "no memory for a path");
    enum status status = buf_read_file(buf, path, why);
    free(path);
    return status;
}

static enum status tokenizer_load_pair(const char *model_dir, struct tokenizer **out,
                                       struct fail *why)
{
    struct buf vocab, merges;
    buf_init(&vocab, TOKENIZER_FILE_MAX_BYTES);
    buf_init(&merges, TOKENIZER_FILE_MAX_BYTES);
    enum status status = tokenizer_read(&vocab, model_dir, "vocab.json", why);
    if (status == STATUS_NOT_FOUND)
        status_fail(why, status, "%s has neither tokenizer.json nor vocab.json", model_dir);
    if (!status)
        status = tokenizer_read(&merges, model_dir, "merges.txt", why);
    if (!status) {
        status = tokenizer_parse_pair(vocab.data, vocab.size, merges.data, merges.size, out, why);
        if (status)
            status_context(why, status, "%s", model_dir);
    }
    buf_finish(&vocab);
    buf_finish(&merges);
    return status;
}

enum status tokenizer_load(const char *model_dir, struct tokenizer **out, struct fail *why)
{
    struct buf json;
    buf_init(&json, TOKENIZER_FILE_MAX_BYTES);
    enum status status = tokenizer_read(&json, model_dir, "tokenizer.json", why);
    if (status == STATUS_NOT_FOUND)
        return tokenizer_load_pair(model_dir, out, why);
    if (!status) {
        status = tokenizer_parse(json.data, json.size, out, why);
        if (status)
            status_context(why, status, "%s", model_dir);
    }
    buf_finish(&json);
    return status;
}

int32_t tokenizer_start_of_text(const struct tokenizer *tokenizer)
{
    return tokenizer->start_of_text;
}

int32_t tokenizer_end_of_text(const struct tokenizer *tokenizer)
{
    return tokenizer->end_of_text;
}

size_t tokenizer_vocabulary(const struct tokenizer *tokenizer)
{
    return tokenizer->vocabulary;
}

/* The ids of the normalised text, without start and end of text; returns whether it was cut. */
static bool tokenizer_encode_words(const struct tokenizer *tokenizer, struct bpe_scratch *scratch,
                                   const struct buf *words, size_t room, int32_t *out_ids,
                                   size_t *out_count)
{
    size_t count = 0, cursor = 0, start, length;
    bool cut = false;
    while (!cut && words_next(words->data, words->size, &cursor, &start, &length)) {
        size_t left = room - count;
        size_t added = left ? bpe_encode(&tokenizer->bpe, scratch, words->data + start, length,
                                         out_ids + count, left)
                            : 1;
        cut = added > left;
        count += cut ? left : added;
    }
    *out_count = count;
    return cut;
}

enum status tokenizer_encode(const struct tokenizer *tokenizer, const char *text, size_t length,
                             size_t context, int32_t *out_ids, size_t *out_count, bool *out_cut,
                             struct fail *why)
{
    if (context < 2)
        return status_fail(why, STATUS_INVALID, "a context of %zu tokens: at least 2 are needed",
                           context);
    if (length > TOKENIZER_MAX_TEXT)
        return status_fail(why, STATUS_LIMIT, "text of %zu bytes: at most %zu are allowed", length,
                           TOKENIZER_MAX_TEXT);
    struct buf words;
    struct bpe_scratch scratch;
    buf_init(&words, TOKENIZER_MAX_NORMALISED);
    enum status status = words_normalise(text, length, &words, why);
    if (!status)
        status = bpe_scratch_init(&scratch, words.size, why);
    if (!status) {
        size_t count;
        bool cut =
            tokenizer_encode_words(tokenizer, &scratch, &words, context - 2, out_ids + 1, &count);
        out_ids[0] = tokenizer->start_of_text;
        out_ids[count + 1] = tokenizer->end_of_text;
        *out_count = count + 2;
        if (out_cut)
            *out_cut = cut;
        bpe_scratch_finish(&scratch);
    }
    buf_finish(&words);
    return status;
}
