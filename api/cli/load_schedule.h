/* When requests of a fixed rate are due: evenly, from a start on. Any thread. */
#ifndef API_CLI_LOAD_SCHEDULE_H
#define API_CLI_LOAD_SCHEDULE_H

#include <stdint.h>

struct load_schedule {
    uint64_t start_us;
    double per_second; /* above 0 */
};

/* Request `index`, from 0 on. */
uint64_t load_schedule_due_us(const struct load_schedule *schedule, uint64_t index);

/* How many are due before a time: the index of the first that is not. */
uint64_t load_schedule_count_before(const struct load_schedule *schedule, uint64_t time_us);

#endif
