/*
 * Whether a worker hangs: pure policy, no clock of its own. A worker shows a sign of life when it
 * takes up work and at every step of it. One that owes a sign for half of the limit makes the
 * server unready, so that work goes elsewhere; after the whole limit the process counts as dead,
 * since nothing else ends such a worker.
 */
#ifndef SERVER_STALL_H
#define SERVER_STALL_H

#include <stddef.h>
#include <stdint.h>

enum stall_verdict { STALL_NONE, STALL_UNREADY, STALL_DEAD };

struct stall_report {
    enum stall_verdict verdict;
    size_t worker;      /* the one that has been silent longest, if the verdict is not none */
    uint64_t silent_us; /* for how long */
};

/* signs_us [count]: the last sign of each worker, by the clock of now_us; 0: it has no work. A sign
 * may be younger than now_us. limit_us: 2 or more. */
struct stall_report stall_judge(const uint64_t *signs_us, size_t count, uint64_t now_us,
                                uint64_t limit_us);

#endif
