/*
 * The files of a CLIP tokenizer as plain tables: tokenizer.json, or vocab.json with merges.txt.
 * Everything is checked: ids are in range and given once, both special tokens are there and the
 * symbols of all bytes, the parts and the result of every merge are in the vocabulary.
 */
#ifndef ENGINE_TOKENIZER_FILE_H
#define ENGINE_TOKENIZER_FILE_H

#include <stddef.h>
#include <stdint.h>

#include "engine/base/status.h"
#include "engine/bpe.h"

/* Ids are below this. */
#define TOKENIZER_FILE_MAX_IDS ((size_t)1 << 24)

/* Of each file. CLIP's own take at most 3.6 MB. */
#define TOKENIZER_FILE_MAX_BYTES ((size_t)16 << 20)

struct tokenizer_file {
    int32_t start_of_text, end_of_text;
    size_t id_count;     /* the largest id + 1 */
    int32_t inside[256]; /* the id of each byte value's symbol */
    int32_t last[256];   /* the same with </w> */
    struct bpe_merge *merges;
    size_t merge_count;
};

/* The bytes of tokenizer.json. */
enum status tokenizer_file_parse(const char *json, size_t size, struct tokenizer_file *out,
                                 struct fail *why);

/* The bytes of vocab.json and merges.txt. */
enum status tokenizer_file_parse_pair(const char *vocab, size_t vocab_size, const char *merges,
                                      size_t merges_size, struct tokenizer_file *out,
                                      struct fail *why);

void tokenizer_file_finish(struct tokenizer_file *file);

#endif
