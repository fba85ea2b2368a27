#include "engine/cores.h"

#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum { CORES_PATH_SIZE = 4096, CORES_MOST = 1 << 16 };

/* The kernel refuses a set smaller than its own, whose size it does not tell. */
static size_t cores_in_affinity(void)
{
    for (int most = CPU_SETSIZE; most <= CORES_MOST; most *= 2) {
        cpu_set_t *set = CPU_ALLOC(most);
        size_t size = CPU_ALLOC_SIZE(most);
        int count = set && !sched_getaffinity(0, size, set) ? CPU_COUNT_S(size, set) : 0;
        CPU_FREE(set);
        if (count > 0)
            return (size_t)count;
    }
    return 1;
}

static bool cores_read_line(const char *path, char *line, int size)
{
    FILE *file = fopen(path, "r");
    if (!file)
        return false;
    bool got = fgets(line, size, file) != NULL;
    fclose(file);
    return got;
}

size_t cores_of_quota(const char *cpu_max)
{
    long long quota, period;
    if (sscanf(cpu_max, "%lld %lld", &quota, &period) != 2 || quota <= 0 || period <= 0)
        return 0;
    long long cores = quota / period + (quota % period != 0);
    return cores > 0 ? (size_t)cores : 1;
}

/* The group of this process below the mount point, from the "0::/path" line of cgroup v2. */
static void cores_own_group(char *path, size_t size)
{
    char line[CORES_PATH_SIZE];
    path[0] = '\0';
    FILE *file = fopen("/proc/self/cgroup", "r");
    while (file && fgets(line, sizeof line, file))
        if (strncmp(line, "0::", 3) == 0) {
            line[strcspn(line, "\n")] = '\0';
            snprintf(path, size, "%s", line + 3);
        }
    if (file)
        fclose(file);
}

/* A quota on any group above limits this one too. */
static size_t cores_in_cgroup_v2(void)
{
    char group[CORES_PATH_SIZE], path[CORES_PATH_SIZE + 64], line[128];
    size_t least = 0;
    cores_own_group(group, sizeof group);
    for (;;) {
        snprintf(path, sizeof path, "/sys/fs/cgroup%s/cpu.max", group);
        size_t cores = cores_read_line(path, line, sizeof line) ? cores_of_quota(line) : 0;
        if (cores && (!least || cores < least))
            least = cores;
        char *slash = strrchr(group, '/');
        if (!slash)
            return least;
        *slash = '\0';
    }
}

static size_t cores_in_cgroup_v1(void)
{
    char quota[64], period[64], both[160];
    if (!cores_read_line("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", quota, sizeof quota) ||
        !cores_read_line("/sys/fs/cgroup/cpu/cpu.cfs_period_us", period, sizeof period))
        return 0;
    snprintf(both, sizeof both, "%s %s", quota, period);
    return cores_of_quota(both);
}

size_t cores_available(void)
{
    size_t cores = cores_in_affinity();
    size_t quotas[] = {cores_in_cgroup_v2(), cores_in_cgroup_v1()};
    for (size_t i = 0; i < 2; i++)
        if (quotas[i] && quotas[i] < cores)
            cores = quotas[i];
    return cores;
}
