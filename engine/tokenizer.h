/*
 * CLIP's byte-level BPE. The ids equal those of HuggingFace's fast CLIP tokenizer: Unicode NFC,
 * lower case of each character (full mapping, no final-sigma rule), the CLIP pattern
 * (contractions, letter runs, single digits, other runs; white space only separates), bytes to a
 * printable alphabet, merges inside each piece with `</w>` at its end; start of text first, end of
 * text last. The vocabulary must have the symbols of all bytes, so no symbol is unknown.
 *
 * Two differences. Text that spells a special token ("<|endoftext|>") is ordinary text, on purpose.
 * And NFC here knows the combining marks that Unicode added after 9.0, which matters only where
 * several marks on one letter have to be put in order. OpenAI's own code runs ftfy and
 * html.unescape in place of NFC: the same for clean text.
 *
 * Immutable after load: any thread.
 */
#ifndef ENGINE_TOKENIZER_H
#define ENGINE_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/status.h"

/* The longest text that is encoded, in bytes; STATUS_LIMIT above. */
#define TOKENIZER_MAX_TEXT ((size_t)1 << 20)

struct tokenizer;

/* From tokenizer.json in the folder or, if there is none, vocab.json and merges.txt. Each file may
 * have 16 MiB. The model and the special tokens are read and checked; the rest of tokenizer.json
 * (normaliser, splitting pattern, other added tokens) is not: it is CLIP's, built in. */
enum status tokenizer_load(const char *model_dir, struct tokenizer **out, struct fail *why);

/* The same from the bytes of tokenizer.json, or of vocab.json and merges.txt. */
enum status tokenizer_parse(const char *json, size_t size, struct tokenizer **out,
                            struct fail *why);
enum status tokenizer_parse_pair(const char *vocab, size_t vocab_size, const char *merges,
                                 size_t merges_size, struct tokenizer **out, struct fail *why);

void tokenizer_destroy(struct tokenizer *tokenizer);

int32_t tokenizer_start_of_text(const struct tokenizer *tokenizer);
int32_t tokenizer_end_of_text(const struct tokenizer *tokenizer);

/* One more than the largest id: must not exceed the rows of the model's token embedding. */
size_t tokenizer_vocabulary(const struct tokenizer *tokenizer);

/* Writes at most context ids (context >= 2) to out_ids, start and end of text included; a longer
 * text is cut and keeps its end of text, with *out_cut (may be NULL) set to true. length is in
 * bytes. STATUS_FORMAT for invalid UTF-8, naming the byte offset. */
enum status tokenizer_encode(const struct tokenizer *tokenizer, const char *text, size_t length,
                             size_t context, int32_t *out_ids, size_t *out_count, bool *out_cut,
                             struct fail *why);

#endif
