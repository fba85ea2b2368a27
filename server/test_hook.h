/* Where a test build can be told to go wrong. In any other build there is nothing of it. */
#ifndef SERVER_TEST_HOOK_H
#define SERVER_TEST_HOOK_H

#ifdef ATTRIPROMPT_TEST_HOOKS
/* Called by a worker that has taken up work; may not return for a long time. */
void test_hook_hold_worker(void);
#else
static inline void test_hook_hold_worker(void)
{
}
#endif

#endif
