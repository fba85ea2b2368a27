/* How many cores this process may use. Any thread. */
#ifndef ENGINE_CORES_H
#define ENGINE_CORES_H

#include <stddef.h>

/* The smaller of the CPU affinity and the cgroup quota (v2 or v1, rounded up), at least 1. */
size_t cores_available(void);

/* "200000 100000" (cpu.max of cgroup v2: quota and period in microseconds) -> 2; 0 for "max ..." or
 * anything else. */
size_t cores_of_quota(const char *cpu_max);

#endif
