/*
 * The compute team: threads that share one piece of heavy work.
 *
 * A thread that has work calls parallel_for, which splits it into chunks and runs them itself;
 * every thread of the team that is idle at that moment takes chunks too. Several threads may have
 * regions open at once. What a chunk computes never depends on who runs it, so results are the
 * same for any number of threads.
 */
#ifndef ENGINE_PARALLEL_H
#define ENGINE_PARALLEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/status.h"

struct parallel_team;

/* helpers: how many threads to start that do nothing but help. 0 is allowed: then only threads
 * inside parallel_serve help. */
enum status parallel_create(size_t helpers, struct parallel_team **out, struct fail *why);

/* Stops and joins the helpers. No region may be open and no thread inside parallel_serve. */
void parallel_destroy(struct parallel_team *team);

/* Runs chunk(argument, i) for every i in 0..chunks-1, in any order, on this thread and idle ones;
 * returns when all have finished. Any thread; may not be called from inside a chunk. */
void parallel_for(struct parallel_team *team, size_t chunks, void (*chunk)(void *, size_t),
                  void *argument);

/* Lends the calling thread to the team until done(argument) is true, or CLOCK_MONOTONIC has come to
 * wake_us microseconds (UINT64_MAX: never). done runs under the team's lock: it must be short and
 * take no other lock that is held around parallel_notify. */
void parallel_serve(struct parallel_team *team, bool (*done)(void *), void *argument,
                    uint64_t wake_us);

/* Call after changing what a done() looks at. Any thread. */
void parallel_notify(struct parallel_team *team);

#endif
