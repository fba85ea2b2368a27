#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "engine/base/buf.h"
#include "engine/tokenizer.h"
#include "tests/unit/symbols.h"

#define GOLDEN "tests/golden/tokenizer"

enum { CONTEXT = 4096 };

static struct buf read_file(const char *path)
{
    struct buf buf;
    struct fail why = {0};
    buf_init(&buf, 1 << 24);
    if (buf_read_file(&buf, path, &why))
        fail_msg("%s", why.message);
    return buf;
}

static void write_file(const char *folder, const char *name, const char *bytes, size_t size)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

static struct tokenizer *load(const char *folder)
{
    struct tokenizer *tokenizer = NULL;
    struct fail why = {0};
    if (tokenizer_load(folder, &tokenizer, &why))
        fail_msg("%s", why.message);
    return tokenizer;
}

static size_t encode(const struct tokenizer *tokenizer, const char *text, size_t context,
                     int32_t *ids, bool *cut)
{
    size_t count = 0;
    struct fail why = {0};
    if (tokenizer_encode(tokenizer, text, strlen(text), context, ids, &count, cut, &why))
        fail_msg("%s", why.message);
    return count;
}

static void assert_golden_cases(const struct tokenizer *tokenizer)
{
    static int32_t ids[CONTEXT];
    json_t *cases = json_load_file(GOLDEN "/cases.json", JSON_ALLOW_NUL, NULL);
    assert_true(json_array_size(cases) >= 30);
    for (size_t i = 0; i < json_array_size(cases); i++) {
        json_t *text = json_object_get(json_array_get(cases, i), "text");
        json_t *expected = json_object_get(json_array_get(cases, i), "ids");
        size_t count = 0;
        bool cut = true;
        assert_int_equal(tokenizer_encode(tokenizer, json_string_value(text),
                                          json_string_length(text), CONTEXT, ids, &count, &cut,
                                          NULL),
                         STATUS_OK);
        assert_false(cut);
        assert_int_equal(count, json_array_size(expected));
        for (size_t k = 0; k < count; k++)
            assert_int_equal(ids[k], json_integer_value(json_array_get(expected, k)));
    }
    json_decref(cases);
}

static void ids_equal_the_reference(void **state)
{
    (void)state;
    struct tokenizer *tokenizer = load(GOLDEN);
    assert_golden_cases(tokenizer);
    int32_t ids[CONTEXT];
    encode(tokenizer, "", CONTEXT, ids, NULL);
    assert_int_equal(ids[0], tokenizer_start_of_text(tokenizer));
    assert_int_equal(ids[1], tokenizer_end_of_text(tokenizer));
    assert_int_equal(tokenizer_vocabulary(tokenizer), tokenizer_end_of_text(tokenizer) + 1);
    tokenizer_destroy(tokenizer);
    tokenizer_destroy(NULL);
}

static void merges_may_be_arrays(void **state)
{
    (void)state;
    json_t *root = json_load_file(GOLDEN "/tokenizer.json", 0, NULL);
    json_t *merges = json_object_get(json_object_get(root, "model"), "merges");
    for (size_t i = 0; i < json_array_size(merges); i++) {
        const char *line = json_string_value(json_array_get(merges, i));
        int left = (int)strcspn(line, " ");
        json_t *left_text = json_stringn(line, (size_t)left);
        json_array_set_new(merges, i, json_pack("[o, s]", left_text, line + left + 1));
    }
    char *json = json_dumps(root, 0);
    struct tokenizer *tokenizer;
    assert_int_equal(tokenizer_parse(json, strlen(json), &tokenizer, NULL), STATUS_OK);
    assert_golden_cases(tokenizer);
    tokenizer_destroy(tokenizer);
    free(json);
    json_decref(root);
}

static void loads_vocab_and_merges(void **state)
{
    (void)state;
    char folder[] = "/tmp/test_tokenizer.XXXXXX", path[512];
    struct fail why = {0};
    struct tokenizer *tokenizer = NULL;
    struct buf vocab = read_file(GOLDEN "/vocab.json"), merges = read_file(GOLDEN "/merges.txt");
    assert_non_null(mkdtemp(folder));
    assert_int_equal(tokenizer_load(folder, &tokenizer, &why), STATUS_NOT_FOUND);
    assert_non_null(strstr(why.message, "has neither tokenizer.json nor vocab.json"));
    write_file(folder, "vocab.json", vocab.data, vocab.size);
    assert_int_equal(tokenizer_load(folder, &tokenizer, &why), STATUS_NOT_FOUND);
    assert_non_null(strstr(why.message, "merges.txt"));
    assert_null(tokenizer);
    write_file(folder, "merges.txt", merges.data, merges.size);
    tokenizer = load(folder);
    assert_golden_cases(tokenizer);
    tokenizer_destroy(tokenizer);
    /* tokenizer.json comes first, also when it is broken. */
    write_file(folder, "tokenizer.json", "{", 1);
    assert_int_equal(tokenizer_load(folder, &tokenizer, &why), STATUS_FORMAT);
    assert_non_null(strstr(why.message, folder));
    static const char *const names[] = {"vocab.json", "merges.txt", "tokenizer.json"};
    for (size_t i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        unlink(path);
    }
    rmdir(folder);
    buf_finish(&vocab);
    buf_finish(&merges);
}

static void long_text_is_cut_and_keeps_its_end(void **state)
{
    (void)state;
    static const char text[] = "unbelievably small cats, 12 dogs   ";
    struct tokenizer *tokenizer = load(GOLDEN);
    int32_t whole[CONTEXT], ids[CONTEXT];
    bool cut = true;
    size_t count = encode(tokenizer, text, CONTEXT, whole, &cut);
    assert_false(cut);
    for (size_t context = 2; context <= count + 1; context++) {
        ids[context] = -7;
        size_t fitting = context < count ? context : count;
        assert_int_equal(encode(tokenizer, text, context, ids, &cut), fitting);
        assert_int_equal(cut, context < count);
        assert_memory_equal(ids, whole, (fitting - 1) * sizeof *ids);
        assert_int_equal(ids[fitting - 1], tokenizer_end_of_text(tokenizer));
        assert_int_equal(ids[context], -7);
    }
    tokenizer_destroy(tokenizer);
}

static void refuses_with_outputs_untouched(void **state)
{
    (void)state;
    struct tokenizer *tokenizer = load(GOLDEN);
    struct fail why = {0};
    int32_t ids[4] = {-7, -7, -7, -7};
    size_t count = 99;
    bool cut = true;
    char *longest = malloc(TOKENIZER_MAX_TEXT + 1);
    memset(longest, ' ', TOKENIZER_MAX_TEXT + 1);
    assert_int_equal(tokenizer_encode(tokenizer, "a cat\xff", 6, 4, ids, &count, &cut, &why),
                     STATUS_FORMAT);
    assert_string_equal(why.message, "text is not valid UTF-8 at byte 5");
    assert_int_equal(tokenizer_encode(tokenizer, "a", 1, 1, ids, &count, &cut, &why),
                     STATUS_INVALID);
    assert_int_equal(
        tokenizer_encode(tokenizer, longest, TOKENIZER_MAX_TEXT + 1, 4, ids, &count, &cut, &why),
        STATUS_LIMIT);
    assert_string_equal(why.message, "text of 1048577 bytes: at most 1048576 are allowed");
    assert_int_equal(count, 99);
    assert_true(cut);
    assert_int_equal(ids[0], -7);
    assert_int_equal(
        tokenizer_encode(tokenizer, longest, TOKENIZER_MAX_TEXT, 4, ids, &count, &cut, &why),
        STATUS_OK);
    assert_int_equal(count, 2);
    assert_false(cut);
    free(longest);
    tokenizer_destroy(tokenizer);
}

static void long_words_are_quick(void **state)
{
    (void)state;
    enum { LENGTH = 100000 };
    struct tokenizer *tokenizer = load(GOLDEN);
    char *word = malloc(LENGTH + 1);
    int32_t ids[77];
    bool cut = false;
    for (size_t i = 0; i < LENGTH; i++)
        word[i] = "photograph"[i % 10];
    word[LENGTH] = '\0';
    clock_t start = clock();
    assert_int_equal(encode(tokenizer, word, 77, ids, &cut), 77);
    assert_true(clock() - start < 2 * CLOCKS_PER_SEC);
    assert_true(cut);
    free(word);
    tokenizer_destroy(tokenizer);
}

/* "a" is 97, "a</w>" 353. */
#define SPECIALS "\"<|startoftext|>\":514,\"<|endoftext|>\":515"
#define VOCAB    "{@,\"ab\":512,\"aba</w>\":513," SPECIALS "}"
#define SUFFIX   "\"end_of_word_suffix\":\"</w>\""
#define MODEL(vocab, merges, more)                                                                 \
    "{\"model\":{" SUFFIX ",\"vocab\":" vocab ",\"merges\":" merges more "}}"

static enum status parse(const char *json, struct tokenizer **out, struct fail *why)
{
    size_t size;
    char *text = symbols_expand(json, strlen(json), &size);
    enum status status = tokenizer_parse(text, size, out, why);
    free(text);
    return status;
}

static void assert_ids(const struct tokenizer *tokenizer, const char *text, const int32_t *expected,
                       size_t expected_count)
{
    int32_t ids[16];
    assert_int_equal(encode(tokenizer, text, 16, ids, NULL), expected_count);
    assert_memory_equal(ids, expected, expected_count * sizeof *ids);
}

static void merges_join_symbols(void **state)
{
    (void)state;
    struct tokenizer *tokenizer;
    assert_int_equal(parse(MODEL(VOCAB, "[\"a b\",\"ab a</w>\"]", ""), &tokenizer, NULL),
                     STATUS_OK);
    assert_int_equal(tokenizer_vocabulary(tokenizer), 516);
    assert_ids(tokenizer, "aba A", (int32_t[]){514, 513, 353, 515}, 4);
    assert_ids(tokenizer, "abxa b", (int32_t[]){514, 512, 120, 353, 354, 515}, 6);
    tokenizer_destroy(tokenizer);
}

/* An unknown symbol would be end of text in the midst of a text, and there the features are read.
 */
static void every_byte_needs_its_symbols(void **state)
{
    (void)state;
    static const struct {
        const char *token, *message;
    } cases[] = {
        {"a", "vocab.json: the token \"a\" of byte 0x61 is missing"},
        {"a</w>", "vocab.json: the token \"a</w>\" of byte 0x61 is missing"},
        {"\u0100", "vocab.json: the token \"\u0100\" of byte 0x00 is missing"},
        {"\u0143</w>", "vocab.json: the token \"\u0143</w>\" of byte 0xad is missing"},
        {"\u00ff", "vocab.json: the token \"\u00ff\" of byte 0xff is missing"},
    };
    size_t size;
    char *whole = symbols_expand(VOCAB, strlen(VOCAB), &size);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct tokenizer *tokenizer = NULL;
        struct fail why = {0};
        json_t *vocab = json_loadb(whole, size, 0, NULL);
        assert_int_equal(json_object_del(vocab, cases[i].token), 0);
        char *text = json_dumps(vocab, 0);
        assert_int_equal(tokenizer_parse_pair(text, strlen(text), "", 0, &tokenizer, &why),
                         STATUS_FORMAT);
        assert_string_equal(why.message, cases[i].message);
        assert_null(tokenizer);
        free(text);
        json_decref(vocab);
    }
    free(whole);
}

static void special_tokens_may_be_added_tokens(void **state)
{
    (void)state;
    static const char json[] =
        "{\"added_tokens\":[{\"id\":513,\"content\":\"<|startoftext|>\"},{\"id\":512,\"content\":"
        "\"<|endoftext|>\"},{\"id\":700,\"content\":\"a\"}],\"model\":{\"type\":\"BPE\"," SUFFIX
        ",\"vocab\":{@},\"merges\":[],\"unk_token\":null,\"dropout\":null}}";
    struct tokenizer *tokenizer;
    assert_int_equal(parse(json, &tokenizer, NULL), STATUS_OK);
    assert_int_equal(tokenizer_vocabulary(tokenizer), 514);
    assert_ids(tokenizer, "a", (int32_t[]){513, 353, 512}, 3);
    tokenizer_destroy(tokenizer);
}

static void broken_json_is_refused_by_name(void **state)
{
    (void)state;
    static const struct {
        const char *json, *message;
    } cases[] = {
        {"", "tokenizer.json: line"},
        {"[]", "tokenizer.json is not a JSON object"},
        {"{\"a\":1,\"a\":2}", "duplicate object key"},
        {"{}", "no object \"model\""},
        {"{\"model\":7}", "no object \"model\""},
        {"{\"model\":{\"type\":\"WordPiece\"}}", "model.type is not \"BPE\""},
        {"{\"model\":{\"type\":\"BPE\"}}", "model.end_of_word_suffix is not \"</w>\""},
        {MODEL("[]", "[]", ""), "no object \"model.vocab\""},
        {MODEL(VOCAB, "{}", ""), "no array \"model.merges\""},
        {MODEL(VOCAB, "[]", ",\"unk_token\":\"b\""), "model.unk_token is not"},
        {MODEL(VOCAB, "[]", ",\"continuing_subword_prefix\":\"##\""), "prefix is not empty"},
        {MODEL(VOCAB, "[]", ",\"dropout\":0.1"), "model.dropout is set"},
        {MODEL(VOCAB, "[]", ",\"byte_fallback\":true"), "model.byte_fallback is true"},
        {MODEL(VOCAB, "[]", ",\"ignore_merges\":true"), "model.ignore_merges is true"},
        {MODEL(VOCAB, "[\"a b\",\"a cd\"]", ""), "merge 2: token \"cd\" is not in the vocabulary"},
        {MODEL(VOCAB, "[[\"b\",\"a\"]]", ""), "merge 1: token \"ba\" is not in the vocabulary"},
        {MODEL(VOCAB, "[\"ab\"]", ""), "merge 1 is not two tokens with one space between"},
        {MODEL(VOCAB, "[\"a b c\"]", ""), "merge 1 is not two tokens"},
        {MODEL(VOCAB, "[\" b\"]", ""), "merge 1 is not two tokens"},
        {MODEL(VOCAB, "[\"a \"]", ""), "merge 1 is not two tokens"},
        {MODEL(VOCAB, "[[\"a\"]]", ""), "merge 1 is neither a string nor two strings"},
        {MODEL(VOCAB, "[[\"a\",1]]", ""), "merge 1 is neither a string nor two strings"},
        {MODEL(VOCAB, "[null]", ""), "merge 1 is neither a string nor two strings"},
        {MODEL("{\"a\":-1}", "[]", ""), "the id of token \"a\" is not a whole number"},
        {MODEL("{\"a\":16777216}", "[]", ""), "is not a whole number from 0 to 16777215"},
        {MODEL("{\"a\":1.5}", "[]", ""), "the id of token \"a\" is not a whole number"},
        {MODEL("{\"a\":\"1\"}", "[]", ""), "the id of token \"a\" is not a whole number"},
        {MODEL("{\"a\":3,\"b\":3}", "[]", ""), "id 3 of token \"b\" belongs to another token"},
        {MODEL("{\"a\":0,\"<|endoftext|>\":1}", "[]", ""), "\"<|startoftext|>\" is missing"},
        {MODEL("{\"a\":0,\"<|startoftext|>\":1}", "[]", ""), "\"<|endoftext|>\" is missing"},
        {"{\"added_tokens\":[{\"id\":9,\"content\":\"<|endoftext|>\"}],\"model\":{" SUFFIX
         ",\"vocab\":" VOCAB ",\"merges\":[]}}",
         "gives \"<|endoftext|>\" another id than the vocabulary's 515"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct tokenizer *tokenizer = NULL;
        struct fail why = {0};
        enum status status = parse(cases[i].json, &tokenizer, &why);
        assert_true(status == STATUS_FORMAT || status == STATUS_UNSUPPORTED);
        assert_null(tokenizer);
        assert_int_equal(why.code, status);
        if (!strstr(why.message, cases[i].message))
            fail_msg("\"%s\" does not say \"%s\"", why.message, cases[i].message);
    }
}

static void broken_merges_are_refused_by_line(void **state)
{
    (void)state;
    static const struct {
        const char *merges, *message; /* NULL: no failure */
    } cases[] = {
        {"", NULL},
        {"#version: 0.2\na b\nab a</w>\n", NULL},
        {"a b\r\nab a</w>", NULL},
        {"#version: 0.2\na b\n\nab xy\n", "merges.txt: line 4: token \"xy\" is not in the vocab"},
        {"a b\nab\n", "merges.txt: line 2 is not two tokens with one space between"},
        {"a  b\n", "merges.txt: line 1 is not two tokens"},
    };
    struct tokenizer *tokenizer = NULL;
    struct fail why = {0};
    size_t size;
    char *vocab = symbols_expand(VOCAB, strlen(VOCAB), &size);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        enum status status = tokenizer_parse_pair(vocab, size, cases[i].merges,
                                                  strlen(cases[i].merges), &tokenizer, &why);
        assert_int_equal(status, cases[i].message ? STATUS_FORMAT : STATUS_OK);
        if (cases[i].message && !strstr(why.message, cases[i].message))
            fail_msg("\"%s\" does not say \"%s\"", why.message, cases[i].message);
        if (!status)
            tokenizer_destroy(tokenizer);
    }
    assert_int_equal(tokenizer_parse_pair(vocab, size, "a b\0", 4, &tokenizer, &why),
                     STATUS_FORMAT);
    free(vocab);
    assert_string_equal(why.message, "merges.txt has a NUL byte");
    assert_int_equal(tokenizer_parse_pair("[1]", 3, "", 0, &tokenizer, &why), STATUS_FORMAT);
    assert_string_equal(why.message, "vocab.json is not a JSON object");
}

static void truncated_files_are_refused(void **state)
{
    (void)state;
    struct buf json = read_file(GOLDEN "/tokenizer.json");
    struct tokenizer *tokenizer = NULL;
    size_t end = json.size;
    while (json.data[end - 1] != '}')
        end--;
    for (size_t size = 0; size < end; size += 1 + size / 64) {
        struct fail why = {0};
        assert_int_equal(tokenizer_parse(json.data, size, &tokenizer, &why), STATUS_FORMAT);
        assert_non_null(strstr(why.message, "tokenizer.json: line"));
    }
    assert_int_equal(tokenizer_parse(json.data, end - 1, &tokenizer, NULL), STATUS_FORMAT);
    assert_null(tokenizer);
    buf_finish(&json);
}

static void files_over_the_limit_are_refused(void **state)
{
    (void)state;
    static const size_t limit = (size_t)16 << 20;
    char folder[] = "/tmp/test_tokenizer.XXXXXX", path[512];
    struct fail why = {0};
    struct tokenizer *tokenizer = NULL;
    assert_non_null(mkdtemp(folder));
    write_file(folder, "tokenizer.json", "", 0);
    snprintf(path, sizeof path, "%s/tokenizer.json", folder);
    assert_int_equal(truncate(path, (off_t)limit), 0);
    assert_int_equal(tokenizer_load(folder, &tokenizer, &why), STATUS_FORMAT);
    assert_int_equal(truncate(path, (off_t)limit + 1), 0);
    assert_int_equal(tokenizer_load(folder, &tokenizer, &why), STATUS_LIMIT);
    assert_non_null(strstr(why.message, "16777216"));
    assert_null(tokenizer);
    unlink(path);
    rmdir(folder);
}

static void deep_nesting_is_refused(void **state)
{
    (void)state;
    enum { DEPTH = 1 << 20 };
    struct tokenizer *tokenizer = NULL;
    char *json = malloc(DEPTH);
    memset(json, '[', DEPTH);
    assert_int_equal(tokenizer_parse(json, DEPTH, &tokenizer, NULL), STATUS_FORMAT);
    assert_null(tokenizer);
    free(json);
}

static void long_names_are_cut_between_characters(void **state)
{
    (void)state;
    char json[512];
    struct fail why = {0};
    struct tokenizer *tokenizer = NULL;
    int length = snprintf(json, sizeof json, MODEL("{\"a%s%s%s\":-1}", "[]", ""), "日本語日本語",
                          "日本語日本語", "日本語日本語");
    assert_int_equal(tokenizer_parse(json, (size_t)length, &tokenizer, &why), STATUS_FORMAT);
    assert_non_null(strstr(why.message, "\"a日本語日本語日本語日本語日本...\""));
}

static void clip_vocabulary_gives_clip_ids(void **state)
{
    (void)state;
    const char *folder = getenv("ATTRIPROMPT_CLIP_TOKENIZER");
    if (!folder) {
        print_message("skipped: ATTRIPROMPT_CLIP_TOKENIZER names no folder with CLIP's files\n");
        skip();
    }
    struct tokenizer *tokenizer = load(folder);
    assert_int_equal(tokenizer_vocabulary(tokenizer), 49408);
    assert_ids(tokenizer, "a photo of a", (int32_t[]){49406, 320, 1125, 539, 320, 49407}, 6);
    assert_ids(tokenizer, "X.", (int32_t[]){49406, 343, 269, 49407}, 4);
    assert_ids(tokenizer, "\u0130", (int32_t[]){49406, 328, 16384, 49407}, 4);
    tokenizer_destroy(tokenizer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ids_equal_the_reference),
        cmocka_unit_test(merges_may_be_arrays),
        cmocka_unit_test(loads_vocab_and_merges),
        cmocka_unit_test(long_text_is_cut_and_keeps_its_end),
        cmocka_unit_test(refuses_with_outputs_untouched),
        cmocka_unit_test(long_words_are_quick),
        cmocka_unit_test(merges_join_symbols),
        cmocka_unit_test(every_byte_needs_its_symbols),
        cmocka_unit_test(special_tokens_may_be_added_tokens),
        cmocka_unit_test(broken_json_is_refused_by_name),
        cmocka_unit_test(broken_merges_are_refused_by_line),
        cmocka_unit_test(truncated_files_are_refused),
        cmocka_unit_test(files_over_the_limit_are_refused),
        cmocka_unit_test(deep_nesting_is_refused),
        cmocka_unit_test(long_names_are_cut_between_characters),
        cmocka_unit_test(clip_vocabulary_gives_clip_ids),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
