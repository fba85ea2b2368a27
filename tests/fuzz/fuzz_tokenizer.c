/* The first byte chooses: the rest is tokenizer.json, vocab.json and merges.txt with a NUL between,
 * or text to encode with a small vocabulary. An '@' in the files stands for the symbols of all
 * bytes. */
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "engine/tokenizer.h"
#include "tests/unit/symbols.h"

enum { CONTEXT = 512 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
    if (!condition)
        abort();
}

/* Whatever the text, the ids are in range, framed, and a shorter context is a prefix. */
static void check_encode(const struct tokenizer *tokenizer, const char *text, size_t length)
{
    int32_t ids[CONTEXT], few[CONTEXT];
    size_t count = 0, few_count = 0;
    bool cut = false;
    if (tokenizer_encode(tokenizer, text, length, CONTEXT, ids, &count, &cut, NULL))
        return;
    require(count >= 2 && count <= CONTEXT && (!cut || count == CONTEXT));
    require(ids[0] == tokenizer_start_of_text(tokenizer));
    require(ids[count - 1] == tokenizer_end_of_text(tokenizer));
    for (size_t i = 0; i < count; i++)
        require(ids[i] >= 0 && (size_t)ids[i] < tokenizer_vocabulary(tokenizer));
    size_t context = 2 + count / 2;
    require(!tokenizer_encode(tokenizer, text, length, context, few, &few_count, NULL, NULL));
    require(few_count <= context && memcmp(few, ids, (few_count - 1) * sizeof *ids) == 0);
}

static void fuzz_json(const char *json, size_t size)
{
    static const char text[] = "ab aba It's 12 \xc4\xb0\xcc\xa3";
    struct tokenizer *tokenizer;
    size_t whole_size;
    char *whole = symbols_expand(json, size, &whole_size);
    enum status status = tokenizer_parse(whole, whole_size, &tokenizer, NULL);
    free(whole);
    if (status)
        return;
    check_encode(tokenizer, text, sizeof text);
    check_encode(tokenizer, json, size);
    tokenizer_destroy(tokenizer);
}

static void fuzz_pair(const char *vocab, size_t size)
{
    const char *end = memchr(vocab, '\0', size);
    const char *merges = end ? end + 1 : vocab + size;
    size_t vocab_size = end ? (size_t)(end - vocab) : size;
    size_t merges_size = (size_t)(vocab + size - merges), whole_size;
    char *whole = symbols_expand(vocab, vocab_size, &whole_size);
    struct tokenizer *tokenizer;
    enum status status =
        tokenizer_parse_pair(whole, whole_size, merges, merges_size, &tokenizer, NULL);
    free(whole);
    if (status)
        return;
    check_encode(tokenizer, merges, merges_size);
    tokenizer_destroy(tokenizer);
}

static void fuzz_text(const char *text, size_t length)
{
    static const char json[] =
        "{\"model\":{\"end_of_word_suffix\":\"</w>\",\"merges\":[\"a b\",\"b a\",\"ab ab\","
        "\"a a\",\"aa a</w>\",\"\xc3\x84 \xc2\xb0\"],\"vocab\":{@,\"ab\":512,\"ba\":513,"
        "\"abab\":514,\"aa\":515,\"aaa</w>\":516,\"\xc3\x84\xc2\xb0\":517,"
        "\"<|startoftext|>\":518,\"<|endoftext|>\":519}}}";
    static struct tokenizer *tokenizer; /* kept: loading takes far longer than the text */
    if (!tokenizer) {
        size_t size;
        char *whole = symbols_expand(json, sizeof json - 1, &size);
        require(!tokenizer_parse(whole, size, &tokenizer, NULL));
        free(whole);
    }
    check_encode(tokenizer, text, length);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const targets[])(const char *, size_t) = {fuzz_json, fuzz_pair, fuzz_text};
    if (size > 0)
        targets[data[0] % 3]((const char *)data + 1, size - 1);
    return 0;
}
