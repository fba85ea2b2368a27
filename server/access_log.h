/*
 * A line for each request that is over, on a file descriptor: JSON for machines, text for people.
 * Lines are collected and written together, so that a request costs no system call.
 *
 * What is lost: when the process is killed, the lines of the last ACCESS_LOG_DELAY_US, at most
 * ACCESS_LOG_BYTES of them. A reader that does not read is not waited for: once so many bytes have
 * come together, new lines are dropped and counted.
 *
 * Loop thread.
 */
#ifndef SERVER_ACCESS_LOG_H
#define SERVER_ACCESS_LOG_H

#include <stdint.h>

#include "engine/base/log.h"
#include "server/job.h"

enum { ACCESS_LOG_DELAY_US = 100000, ACCESS_LOG_BYTES = 128 * 1024 };

struct access_log;

/* The descriptor must outlive it and stays open. */
enum status access_log_create(int fd, enum log_format format, struct access_log **out,
                              struct fail *why);
/* Writes what is left, as far as that can be done at once. NULL is allowed. */
void access_log_destroy(struct access_log *log);

/* Texts are NUL-terminated, and cut if they are longer than any should be. */
struct access_log_entry {
    const char *request_id, *method, *path;
    const char *route;    /* the template; NULL: no route took it */
    const char *trace_id; /* "": none */
    int status;
    uint64_t bytes_in, bytes_out; /* of the bodies */
    uint64_t duration_us;
    const struct job_timings *timings; /* all 0: no job */
    const struct job_used *used;
};

void access_log_add(struct access_log *log, const struct access_log_entry *entry, uint64_t now_us);

/* Writes what has waited long enough. Returns when to call again; UINT64_MAX: when there is more.
 */
uint64_t access_log_run(struct access_log *log, uint64_t now_us);
/* Writes all, as far as that can be done at once. */
void access_log_flush(struct access_log *log);

uint64_t access_log_dropped(const struct access_log *log);

#endif
