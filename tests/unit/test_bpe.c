#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "engine/bpe.h"

enum { IDS = 24, LONGEST = 300 };

static uint32_t random_state = 1;

static uint32_t random_below(uint32_t limit)
{
    random_state = random_state * 1664525u + 1013904223u;
    return (uint32_t)((uint64_t)random_state * limit >> 32);
}

/* The rule itself: the pair of lowest rank, the leftmost of equals, again and again. */
static size_t encode_slowly(const struct bpe_merge *merges, size_t merge_count, int32_t *ids,
                            size_t count)
{
    for (;;) {
        size_t best_rank = merge_count, best = 0;
        for (size_t i = 0; i + 1 < count; i++) {
            size_t rank = merge_count;
            for (size_t m = 0; m < merge_count; m++) {
                if (merges[m].left == ids[i] && merges[m].right == ids[i + 1])
                    rank = m;
            }
            if (rank < best_rank) {
                best_rank = rank;
                best = i;
            }
        }
        if (best_rank == merge_count)
            return count;
        ids[best] = merges[best_rank].result;
        memmove(ids + best + 1, ids + best + 2, (count - best - 2) * sizeof *ids);
        count--;
    }
}

static void init_with(struct bpe *bpe, const struct bpe_merge *merges, size_t count)
{
    int32_t inside[256], last[256];
    for (int i = 0; i < 256; i++) {
        inside[i] = i % 8;
        last[i] = 8 + i % 8;
    }
    assert_int_equal(bpe_init(bpe, inside, last, merges, count, IDS, NULL), STATUS_OK);
}

/* Tables with any ranks and results, also such as no training gives, and some pairs twice. */
static void ids_equal_the_plain_rule(void **state)
{
    (void)state;
    for (int round = 0; round < 400; round++) {
        struct bpe_merge merges[120];
        size_t count = random_below(121), length = 1 + random_below(LONGEST);
        for (size_t i = 0; i < count; i++)
            merges[i] = (struct bpe_merge){(int32_t)random_below(IDS), (int32_t)random_below(IDS),
                                           (int32_t)random_below(IDS)};
        struct bpe bpe;
        struct bpe_scratch scratch;
        char piece[LONGEST];
        int32_t expected[LONGEST], ids[LONGEST];
        init_with(&bpe, merges, count);
        for (size_t i = 0; i < length; i++) {
            piece[i] = (char)random_below(256);
            expected[i] = (i + 1 < length ? 0 : 8) + (unsigned char)piece[i] % 8;
        }
        size_t expected_count = encode_slowly(merges, count, expected, length);
        assert_int_equal(bpe_scratch_init(&scratch, length, NULL), STATUS_OK);
        assert_int_equal(bpe_encode(&bpe, &scratch, piece, length, ids, LONGEST), expected_count);
        assert_memory_equal(ids, expected, expected_count * sizeof *ids);
        bpe_scratch_finish(&scratch);
        bpe_finish(&bpe);
    }
}

static void writes_no_more_than_there_is_room(void **state)
{
    (void)state;
    struct bpe bpe;
    struct bpe_scratch scratch;
    int32_t ids[3] = {-7, -7, -7};
    init_with(&bpe, NULL, 0);
    assert_int_equal(bpe_scratch_init(&scratch, 5, NULL), STATUS_OK);
    assert_int_equal(bpe_encode(&bpe, &scratch, "\1\2\3\4\5", 5, ids, 2), 5);
    assert_int_equal(ids[0], 1);
    assert_int_equal(ids[1], 2);
    assert_int_equal(ids[2], -7);
    bpe_scratch_finish(&scratch);
    bpe_finish(&bpe);
}

static void long_pieces_are_quick(void **state)
{
    (void)state;
    enum { LENGTH = 1 << 20 };
    struct bpe_merge merges[] = {{0, 0, 1}, {1, 1, 2}, {2, 2, 3}, {3, 3, 4}, {4, 4, 5}, {5, 5, 6}};
    struct bpe bpe;
    struct bpe_scratch scratch;
    int32_t ids[2];
    char *piece = calloc(LENGTH, 1);
    init_with(&bpe, merges, sizeof merges / sizeof *merges);
    clock_t start = clock();
    assert_int_equal(bpe_scratch_init(&scratch, LENGTH, NULL), STATUS_OK);
    /* All but the last 64 bytes in groups of 64; those are 63 and the end of the word. */
    assert_int_equal(bpe_encode(&bpe, &scratch, piece, LENGTH, ids, 2), LENGTH / 64 - 1 + 6 + 1);
    assert_true(clock() - start < 10 * CLOCKS_PER_SEC);
    assert_int_equal(ids[0], 6);
    bpe_scratch_finish(&scratch);
    bpe_finish(&bpe);
    free(piece);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ids_equal_the_plain_rule),
        cmocka_unit_test(writes_no_more_than_there_is_room),
        cmocka_unit_test(long_pieces_are_quick),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
