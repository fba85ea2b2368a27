/* Encodes many texts for check_tokenizer.py: reads "<bytes>\n<text>\n" from standard input until
 * its end and prints the ids of each text on a line of its own. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/tokenizer.h"

static int fail_with(const struct fail *why)
{
    fprintf(stderr, "%s\n", why->message);
    return 1;
}

int main(int argc, char **argv)
{
    struct fail why = {0};
    struct tokenizer *tokenizer;
    if (argc != 3) {
        fprintf(stderr, "usage: %s MODEL_DIR CONTEXT <texts\n", argv[0]);
        return 2;
    }
    if (tokenizer_load(argv[1], &tokenizer, &why))
        return fail_with(&why);
    size_t context = strtoul(argv[2], NULL, 10), length, count;
    int32_t *ids = calloc(context, sizeof *ids);
    char *text = malloc(TOKENIZER_MAX_TEXT);
    int failed = !ids || !text;
    while (!failed && scanf("%zu%*c", &length) == 1) {
        failed = length > TOKENIZER_MAX_TEXT || fread(text, 1, length, stdin) != length ||
                 tokenizer_encode(tokenizer, text, length, context, ids, &count, NULL, &why);
        for (size_t i = 0; i < count && !failed; i++)
            printf("%" PRId32 "%c", ids[i], i + 1 < count ? ' ' : '\n');
    }
    free(text);
    free(ids);
    tokenizer_destroy(tokenizer);
    return failed ? fail_with(&why) : 0;
}
