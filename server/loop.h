/*
 * The loop thread's heart: one libuv loop that drives the HTTP side by its poll descriptor, timers
 * and wake-ups from the workers, and turns signals into a clean end.
 *
 * The first SIGTERM or SIGINT says that the server is not ready any more; after the drain delay, in
 * which whoever sends requests may find another server, it drains: no new connections, what is in
 * flight is finished, at the drain time-out what is left is answered 503. A second signal ends the
 * process at once, status 1. SIGHUP looks through the pool folder.
 */
#ifndef SERVER_LOOP_H
#define SERVER_LOOP_H

#include "server/http.h"

struct loop;

struct loop_options {
    uint64_t drain_delay_ms, drain_timeout_ms;
    void (*end_at_once)(void); /* called on the second signal; does not return */
};

enum status loop_create(const struct loop_options *options, struct loop **out, struct fail *why);
void loop_destroy(struct loop *loop);

/* Makes loop_run look at http again. Any thread; for struct completions, hence the void. */
void loop_wake(void *loop);

/* From here on signals are taken, and answered once the loop runs. */
enum status loop_attach(struct loop *loop, struct http *http, struct fail *why);

/* Serves until told to stop. On return no job is under way. */
void loop_run(struct loop *loop);

#endif
