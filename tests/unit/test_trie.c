#include "tests/unit/unit.h"

#include "engine/trie.h"

enum { START = 1000, END = 1001, TEXTS = 300, MOST = 12 };

/* The path to the end of a text, read backwards, must be the text. */
static void check_text(const struct trie *trie, size_t text, const int32_t *ids, size_t count)
{
    assert_true(trie->leaf_of_text[text] < trie->leaves);
    uint32_t node = (uint32_t)(trie->nodes - trie->leaves + trie->leaf_of_text[text]);
    assert_int_equal(trie->depths[node] + 2, count);
    assert_true(count - 1 <= trie->longest);
    for (size_t at = count; --at > 0; node = trie->parents[node]) {
        assert_true(node < trie->nodes);
        assert_int_equal(trie->tokens[node], ids[at]);
        assert_int_equal(trie->depths[node], at - 1);
        if (at == 1)
            assert_true(trie->parents[node] == TRIE_ROOT);
        else
            assert_true(trie->parents[node] < node);
    }
}

static void test_shares_beginnings(void **state)
{
    (void)state;
    struct fail why;
    struct trie *trie;
    const int32_t ids[] = {START, 5, 6,   7,     END, START, 5, 6,   8,     END, START,
                           5,     6, END, START, 5,   6,     7, END, START, 9,   END};
    const size_t starts[] = {0, 5, 10, 14, 19, 22};
    unit_assert_ok(trie_create(ids, starts, 5, &trie, &why), why);
    assert_int_equal(trie->nodes, 9); /* 5, 6, 7, 8, 9 and four ends */
    assert_int_equal(trie->leaves, 4);
    assert_int_equal(trie->longest, 4);
    assert_int_equal(trie->leaf_of_text[0], trie->leaf_of_text[3]);
    for (size_t text = 0; text < 5; text++)
        check_text(trie, text, ids + starts[text], starts[text + 1] - starts[text]);
    trie_destroy(trie);
    trie_destroy(NULL);
}

/* Where one text goes on after what ends another, the end is no node of the other's path. */
static void test_an_end_has_no_children(void **state)
{
    (void)state;
    struct fail why;
    struct trie *trie;
    const int32_t ids[] = {START, 5, 6, START, 5, 6, 7, START, 5};
    const size_t starts[] = {0, 3, 7, 9};
    unit_assert_ok(trie_create(ids, starts, 3, &trie, &why), why);
    assert_int_equal(trie->leaves, 3);
    assert_int_equal(trie->nodes, 5);
    for (size_t text = 0; text < 3; text++)
        check_text(trie, text, ids + starts[text], starts[text + 1] - starts[text]);
    trie_destroy(trie);
}

static void test_random_texts(void **state)
{
    (void)state;
    struct fail why;
    struct trie *trie;
    static int32_t ids[TEXTS * MOST];
    size_t starts[TEXTS + 1] = {0}, beginnings = 0;
    uint32_t seed = 4;
    for (size_t text = 0; text < TEXTS; text++) {
        size_t count = 3 + unit_random(&seed) % (MOST - 3), first = starts[text];
        ids[first] = START;
        for (size_t i = 1; i + 1 < count; i++)
            ids[first + i] = (int32_t)(unit_random(&seed) % 3);
        ids[first + count - 1] = END;
        starts[text + 1] = first + count;
    }
    for (size_t text = 0; text < TEXTS; text++) /* how many different beginnings there are */
        for (size_t length = 2; length <= starts[text + 1] - starts[text]; length++) {
            bool known = false;
            for (size_t other = 0; other < text && !known; other++)
                known = starts[other + 1] - starts[other] >= length &&
                        !memcmp(ids + starts[other], ids + starts[text], length * sizeof *ids);
            beginnings += !known;
        }
    unit_assert_ok(trie_create(ids, starts, TEXTS, &trie, &why), why);
    assert_int_equal(trie->nodes, beginnings);
    for (size_t text = 0; text < TEXTS; text++)
        check_text(trie, text, ids + starts[text], starts[text + 1] - starts[text]);
    trie_destroy(trie);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shares_beginnings),
        cmocka_unit_test(test_an_end_has_no_children),
        cmocka_unit_test(test_random_texts),
    };
    return cmocka_run_group_tests_name("trie", tests, NULL, NULL);
}
