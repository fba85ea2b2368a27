#include "api/cli/load_schedule.h"

uint64_t load_schedule_due_us(const struct load_schedule *schedule, uint64_t index)
{
    return schedule->start_us + (uint64_t)((double)index * 1e6 / schedule->per_second);
}

uint64_t load_schedule_count_before(const struct load_schedule *schedule, uint64_t time_us)
{
    if (time_us <= schedule->start_us)
        return 0;
    uint64_t count =
        (uint64_t)((double)(time_us - schedule->start_us) * schedule->per_second / 1e6);
    while (count && load_schedule_due_us(schedule, count - 1) >= time_us)
        count--;
    while (load_schedule_due_us(schedule, count) < time_us)
        count++;
    return count;
}
