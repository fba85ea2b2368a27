/* The clock of requests: monotonic, with no fixed start. Any thread. */
#ifndef SERVER_CLOCK_H
#define SERVER_CLOCK_H

#include <stdint.h>

uint64_t clock_now_us(void);

#endif
