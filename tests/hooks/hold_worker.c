/* Part of attriprompt-hooks only: a program whose workers can be made to hang. */
#include "server/test_hook.h"

#include <stdlib.h>
#include <unistd.h>

enum { TEST_HOOK_LOOK_US = 5000 };

/* Holds on while the file that the variable names is there. */
void test_hook_hold_worker(void)
{
    const char *path = getenv("ATTRIPROMPT_TEST_HOLD_FILE");
    while (path && !access(path, F_OK))
        usleep(TEST_HOOK_LOOK_US);
}
