#include "api/cli/load_run.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "api/cli/load_schedule.h"
#include "engine/base/mem.h"
#include "server/clock.h"

enum {
    LOAD_RUN_EVENTS = 256,
    LOAD_RUN_TICK_US = 10000,
    LOAD_RUN_PROGRESS_US = 200000,
    LOAD_RUN_REOPEN_US = 100000,     /* from the begin of what failed */
    LOAD_RUN_MAX_NEVER_SENT = 100000 /* times that are counted one by one */
};

static volatile sig_atomic_t load_run_signal; /* that has come; 0: none */

struct load_run {
    const struct load_run_options *options;
    struct load_result *result;
    struct load_connection_shared shared;
    struct load_connection *connections;
    size_t in_state[LOAD_CONNECTION_STATES];
    size_t cursor; /* where to look for an idle connection first */
    struct load_schedule schedule;
    uint64_t next, first, last; /* index of a request: to send next; first to measure; past all */
    uint64_t next_tick_us, next_progress_us;
    uint64_t connected_us;    /* when there was a connection last */
    bool measures, has_ended; /* the start of the measured time has passed; sending has ended */
    uint64_t sent_before, received_before;
    double cpu_before_s;
};

static void load_run_on_signal(int number)
{
    load_run_signal = number;
}

static double load_run_cpu_s(void)
{
    struct timespec used;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    return (double)used.tv_sec + (double)used.tv_nsec / 1e9;
}

/* ---- Connections ---- */

/* After anything that may have changed the state of a connection. */
static void load_run_note_state(struct load_run *run, const struct load_connection *connection,
                                enum load_connection_state before)
{
    run->in_state[before]--;
    run->in_state[connection->state]++;
}

static void load_run_count(struct load_run *run, const struct load_connection *connection,
                           enum load_connection_state before, enum load_connection_outcome outcome,
                           uint64_t now_us)
{
    if (outcome == LOAD_CONNECTION_ANSWERED)
        load_result_add_answer(run->result, connection, now_us);
    else if (outcome != LOAD_CONNECTION_GOES_ON)
        load_result_add_failure(run->result, connection, outcome, before == LOAD_CONNECTION_BUSY,
                                now_us);
    if (before == LOAD_CONNECTION_OPENING && connection->state == LOAD_CONNECTION_IDLE)
        run->result->opened++;
    if (before == LOAD_CONNECTION_BUSY || connection->state == LOAD_CONNECTION_IDLE)
        run->connected_us = now_us;
    load_run_note_state(run, connection, before);
}

static void load_run_open(struct load_run *run, struct load_connection *connection, uint64_t now_us)
{
    enum load_connection_state before = connection->state;
    enum load_connection_outcome outcome =
        load_connection_open(connection, &run->shared, run->options->address, now_us);
    load_run_count(run, connection, before, outcome, now_us);
}

static void load_run_step(struct load_run *run, struct load_connection *connection, uint32_t events)
{
    enum load_connection_state before = connection->state;
    enum load_connection_outcome outcome = load_connection_step(connection, &run->shared, events);
    uint64_t now_us = clock_now_us();
    load_run_count(run, connection, before, outcome, now_us);
    if (outcome == LOAD_CONNECTION_ANSWERED && connection->state == LOAD_CONNECTION_CLOSED &&
        !run->has_ended)
        load_run_open(run, connection, now_us);
}

/* What time does to a connection. One that failed is opened again, but not at once, or a server
 * that turns everyone away would get nothing but connections. */
static void load_run_check(struct load_run *run, struct load_connection *connection,
                           uint64_t now_us)
{
    enum load_connection_state before = connection->state;
    uint64_t passed_us = now_us - connection->begun_us;
    bool waits = before == LOAD_CONNECTION_BUSY || before == LOAD_CONNECTION_OPENING;
    if (waits && passed_us >= run->options->timeout_us) {
        load_connection_close(connection);
        load_run_count(run, connection, before,
                       before == LOAD_CONNECTION_BUSY ? LOAD_CONNECTION_TIMED_OUT
                                                      : LOAD_CONNECTION_UNOPENED,
                       now_us);
    }
    if (connection->state == LOAD_CONNECTION_CLOSED && !run->has_ended &&
        passed_us >= LOAD_RUN_REOPEN_US)
        load_run_open(run, connection, now_us);
}

/* ---- Requests ---- */

static bool load_run_is_open_loop(const struct load_run *run)
{
    return run->options->per_second > 0;
}

/* When the next request is due; UINT64_MAX: there is none any more, or none before the measured
 * time has begun. */
static uint64_t load_run_next_due_us(const struct load_run *run, uint64_t now_us)
{
    if (run->has_ended || load_run_signal || run->next >= run->last ||
        (!run->measures && now_us >= run->result->start_us))
        return UINT64_MAX;
    if (load_run_is_open_loop(run))
        return load_schedule_due_us(&run->schedule, run->next);
    return now_us < run->result->end_us ? now_us : UINT64_MAX;
}

static struct load_connection *load_run_next_idle(struct load_run *run)
{
    struct load_connection *connection;
    do {
        connection = &run->connections[run->cursor];
        run->cursor = (run->cursor + 1) % run->options->connections;
    } while (connection->state != LOAD_CONNECTION_IDLE);
    return connection;
}

/* Sends what is due, as long as there are connections for it. */
static void load_run_dispatch(struct load_run *run, uint64_t now_us)
{
    while (run->in_state[LOAD_CONNECTION_IDLE]) {
        uint64_t due_us = load_run_next_due_us(run, now_us);
        if (due_us > now_us)
            return;
        struct load_connection *connection = load_run_next_idle(run);
        load_connection_begin(connection, &run->shared,
                              load_plan_request_at(run->options->plan, run->next), due_us, now_us);
        load_run_note_state(run, connection, LOAD_CONNECTION_IDLE);
        if (due_us >= run->result->start_us) {
            run->result->begun++;
            run->result->late += now_us - due_us > LOAD_RESULT_LATE_US;
        }
        run->next++;
        now_us = clock_now_us();
    }
}

/* With a rate, what waits since the warm-up is not sent any more: it would stand before all that is
 * to be measured. Without one, the measured requests are known only now. */
static void load_run_begin_measuring(struct load_run *run)
{
    run->measures = true;
    run->sent_before = run->shared.sent_bytes;
    run->received_before = run->shared.received_bytes;
    run->cpu_before_s = load_run_cpu_s();
    if (load_run_is_open_loop(run)) {
        run->next = run->first;
        return;
    }
    run->first = run->next;
    run->last = run->options->requests ? run->next + run->options->requests : UINT64_MAX;
}

static void load_run_end_measuring(struct load_run *run, uint64_t now_us)
{
    struct load_result *result = run->result;
    if (now_us < result->end_us)
        result->end_us = now_us;
    run->has_ended = true;
    if (!run->measures)
        return;
    result->sent_bytes = run->shared.sent_bytes - run->sent_before;
    result->received_bytes = run->shared.received_bytes - run->received_before;
    result->cpu_s = load_run_cpu_s() - run->cpu_before_s;
}

/* With a number of requests, the measured time is over when the last of them has ended. */
static bool load_run_is_at_end(const struct load_run *run, uint64_t now_us)
{
    if (load_run_signal || run->result->given_up || now_us >= run->result->end_us)
        return true;
    return run->options->requests && run->next >= run->last && !run->in_state[LOAD_CONNECTION_BUSY];
}

/* ---- The loop ---- */

static void load_run_tick(struct load_run *run, uint64_t now_us)
{
    const struct load_run_options *options = run->options;
    run->next_tick_us = now_us + LOAD_RUN_TICK_US;
    for (size_t i = 0; i < options->connections; i++)
        load_run_check(run, &run->connections[i], now_us);
    if (!run->in_state[LOAD_CONNECTION_BUSY] && !run->in_state[LOAD_CONNECTION_IDLE] &&
        now_us - run->connected_us > options->timeout_us)
        run->result->given_up = true;
    if (now_us >= run->next_progress_us) {
        run->next_progress_us = now_us + LOAD_RUN_PROGRESS_US;
        options->progress(options->context, run->result, now_us);
    }
}

/* epoll_wait counts in milliseconds, and a request may be due before one has passed. */
static int load_run_wait(const struct load_run *run, uint64_t until_us, struct epoll_event *events)
{
    uint64_t now_us = clock_now_us();
    uint64_t left_us = until_us > now_us ? until_us - now_us : 0;
    if (left_us && left_us < 1000) {
        const struct timespec left = {.tv_nsec = (long)left_us * 1000};
        struct pollfd waited = {.fd = run->shared.epoll, .events = POLLIN};
        ppoll(&waited, 1, &left, NULL);
        left_us = 0;
    }
    return epoll_wait(run->shared.epoll, events, LOAD_RUN_EVENTS, (int)(left_us / 1000));
}

static uint64_t load_run_wakes_us(const struct load_run *run, uint64_t now_us)
{
    uint64_t due_us =
        run->in_state[LOAD_CONNECTION_IDLE] ? load_run_next_due_us(run, now_us) : UINT64_MAX;
    uint64_t turn_us = run->measures ? run->result->end_us : run->result->start_us;
    uint64_t wakes_us = due_us < turn_us ? due_us : turn_us;
    return !run->has_ended && wakes_us < run->next_tick_us ? wakes_us : run->next_tick_us;
}

static enum status load_run_loop(struct load_run *run, struct fail *why)
{
    struct epoll_event events[LOAD_RUN_EVENTS];
    while (!run->has_ended || (run->in_state[LOAD_CONNECTION_BUSY] && !load_run_signal)) {
        uint64_t now_us = clock_now_us();
        if (!run->measures && now_us >= run->result->start_us)
            load_run_begin_measuring(run);
        if (now_us >= run->next_tick_us)
            load_run_tick(run, now_us);
        load_run_dispatch(run, now_us);
        if (!run->has_ended && load_run_is_at_end(run, now_us))
            load_run_end_measuring(run, now_us);
        int count = load_run_wait(run, load_run_wakes_us(run, now_us), events);
        if (count < 0 && errno != EINTR)
            return status_fail(why, STATUS_IO, "epoll_wait: %s", strerror(errno));
        for (int i = 0; i < count; i++)
            load_run_step(run, &run->connections[events[i].data.u32], events[i].events);
    }
    return STATUS_OK;
}

/* ---- Beginning and end ---- */

static void load_run_set_times(struct load_run *run, uint64_t now_us)
{
    const struct load_run_options *options = run->options;
    struct load_result *result = run->result;
    result->start_us = now_us + options->warmup_us;
    result->end_us = options->requests ? UINT64_MAX : result->start_us + options->duration_us;
    run->next_progress_us = now_us + LOAD_RUN_PROGRESS_US;
    run->connected_us = now_us;
    run->schedule = (struct load_schedule){now_us, options->per_second};
    run->last = UINT64_MAX;
    if (!load_run_is_open_loop(run))
        return;
    run->first = load_schedule_count_before(&run->schedule, result->start_us);
    run->last = options->requests ? run->first + options->requests
                                  : load_schedule_count_before(&run->schedule, result->end_us);
}

/* Those that were due and got no connection: they waited up to the end at least. A great many are
 * counted in steps of several. */
static void load_run_count_never_sent(struct load_run *run)
{
    struct load_result *result = run->result;
    uint64_t due = load_schedule_count_before(&run->schedule, result->end_us);
    uint64_t end = due < run->last ? due : run->last;
    uint64_t from = run->measures ? run->next : run->first;
    result->due = end > run->first ? end - run->first : 0;
    if (end <= from)
        return;
    result->never_sent = end - from;
    uint64_t step = (end - from) / LOAD_RUN_MAX_NEVER_SENT + 1;
    for (uint64_t i = from; i < end; i += step)
        latency_histogram_add(&result->all_from_due,
                              result->end_us - load_schedule_due_us(&run->schedule, i),
                              end - i < step ? end - i : step);
}

static void load_run_finish_counts(struct load_run *run)
{
    struct load_result *result = run->result;
    result->signal_number = load_run_signal;
    for (size_t i = 0; i < run->options->connections; i++) {
        const struct load_connection *connection = &run->connections[i];
        if (connection->state != LOAD_CONNECTION_BUSY || connection->due_us < result->start_us)
            continue;
        result->unfinished++;
        latency_histogram_add(&result->all_from_due, clock_now_us() - connection->due_us, 1);
    }
    result->due = result->begun;
    if (load_run_is_open_loop(run))
        load_run_count_never_sent(run);
}

static enum status load_run_connections(struct load_run *run, struct fail *why)
{
    const size_t count = run->options->connections;
    run->connections = mem_zeroed(count, sizeof *run->connections);
    if (!run->connections)
        return status_fail(why, STATUS_NO_MEMORY, "no memory for %zu connections", count);
    uint64_t now_us = clock_now_us();
    load_run_set_times(run, now_us);
    run->in_state[LOAD_CONNECTION_CLOSED] = count;
    for (size_t i = 0; i < count; i++) {
        load_connection_init(&run->connections[i], (uint32_t)i);
        load_run_open(run, &run->connections[i], now_us);
    }
    enum status status = load_run_loop(run, why);
    if (!run->has_ended)
        load_run_end_measuring(run, clock_now_us());
    load_run_finish_counts(run);
    for (size_t i = 0; i < count; i++)
        load_connection_finish(&run->connections[i]);
    free(run->connections);
    return status;
}

enum status load_run_execute(const struct load_run_options *options, struct load_result *out,
                             struct fail *why)
{
    struct sigaction action = {.sa_handler = load_run_on_signal, .sa_flags = (int)SA_RESETHAND};
    struct sigaction old_interrupt, old_terminate;
    struct load_run *run = mem_zeroed(1, sizeof *run);
    memset(out, 0, sizeof *out);
    if (!run)
        return status_fail(why, STATUS_NO_MEMORY, "no memory for a load");
    run->options = options;
    run->result = out;
    run->shared.epoll = epoll_create1(EPOLL_CLOEXEC);
    if (run->shared.epoll < 0) {
        free(run);
        return status_fail(why, STATUS_IO, "epoll_create1: %s", strerror(errno));
    }
    load_run_signal = 0;
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, &old_interrupt);
    sigaction(SIGTERM, &action, &old_terminate);
    enum status status = load_run_connections(run, why);
    sigaction(SIGINT, &old_interrupt, NULL);
    sigaction(SIGTERM, &old_terminate, NULL);
    close(run->shared.epoll);
    free(run);
    return status;
}
