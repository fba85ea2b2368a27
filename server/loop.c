#include "server/loop.h"

#include <signal.h>
#include <stdlib.h>
#include <uv.h>

#include "engine/base/log.h"
#include "engine/base/mem.h"
#include "server/clock.h"

enum { LOOP_LAST_WORDS_MS = 1000 }; /* for answers still on their way out after the time-out */

enum loop_phase { LOOP_SERVING, LOOP_LEAVING, LOOP_DRAINING, LOOP_ABORTING };

struct loop {
    uv_loop_t uv;
    uv_async_t wake;
    uv_signal_t terminate, interrupt, hang_up;
    uv_poll_t poll;
    uv_timer_t timer;       /* of http */
    uv_timer_t phase_timer; /* ends the draining and the aborting */
    struct http *http;
    struct loop_options options;
    enum loop_phase phase;
    bool phase_is_over;
};

static void loop_on_timer(uv_timer_t *timer);
static void loop_on_phase_timer(uv_timer_t *timer);

static void loop_enter(struct loop *loop, enum loop_phase phase, uint64_t timeout_ms)
{
    loop->phase = phase;
    loop->phase_is_over = false;
    uv_timer_start(&loop->phase_timer, loop_on_phase_timer, timeout_ms, 0);
}

static void loop_drain(struct loop *loop)
{
    log_line(LOG_INFO, "finishing what is in flight");
    http_drain(loop->http);
    loop_enter(loop, LOOP_DRAINING, loop->options.drain_timeout_ms);
}

static void loop_advance(struct loop *loop)
{
    if (loop->phase == LOOP_LEAVING && loop->phase_is_over)
        loop_drain(loop);
    if (loop->phase == LOOP_SERVING || loop->phase == LOOP_LEAVING)
        return;
    bool requests = http_has_requests(loop->http);
    if (loop->phase == LOOP_DRAINING && loop->phase_is_over && requests) {
        log_line(LOG_WARN, "drain time-out: answering 503 to what is still in flight");
        http_abort(loop->http);
        loop_enter(loop, LOOP_ABORTING, LOOP_LAST_WORDS_MS);
        loop_wake(loop);
        return;
    }
    if ((!requests || (loop->phase == LOOP_ABORTING && loop->phase_is_over)) &&
        !http_has_jobs(loop->http))
        uv_stop(&loop->uv);
}

static void loop_pump(struct loop *loop)
{
    http_run(loop->http, clock_now_us());
    uint64_t now_us = clock_now_us();
    uint64_t next_us = http_next_run_us(loop->http, now_us);
    if (next_us == UINT64_MAX) {
        uv_timer_stop(&loop->timer);
    } else {
        uint64_t wait_us = next_us > now_us ? next_us - now_us : 0;
        uv_update_time(&loop->uv);
        uv_timer_start(&loop->timer, loop_on_timer, (wait_us + 999) / 1000, 0);
    }
    loop_advance(loop);
}

static void loop_on_timer(uv_timer_t *timer)
{
    loop_pump(timer->data);
}

static void loop_on_phase_timer(uv_timer_t *timer)
{
    struct loop *loop = timer->data;
    loop->phase_is_over = true;
    loop_pump(loop);
}

static void loop_on_poll(uv_poll_t *poll, int status, int events)
{
    (void)status;
    (void)events;
    loop_pump(poll->data);
}

static void loop_on_wake(uv_async_t *wake)
{
    struct loop *loop = wake->data;
    if (loop->http)
        loop_pump(loop);
}

static void loop_on_signal(uv_signal_t *signal, int number)
{
    struct loop *loop = signal->data;
    if (loop->phase != LOOP_SERVING) {
        log_line(LOG_WARN, "signal %d again: ending at once", number);
        http_flush_log(loop->http);
        loop->options.end_at_once();
    }
    log_line(LOG_INFO, "signal %d: not ready any more", number);
    http_leave(loop->http);
    if (loop->options.drain_delay_ms)
        loop_enter(loop, LOOP_LEAVING, loop->options.drain_delay_ms);
    else
        loop_drain(loop);
    loop_pump(loop);
}

static void loop_on_hang_up(uv_signal_t *signal, int number)
{
    struct loop *loop = signal->data;
    log_line(LOG_INFO, "signal %d: looking through the pool folder", number);
    http_scan_pools(loop->http);
    loop_pump(loop);
}

enum status loop_create(const struct loop_options *options, struct loop **out, struct fail *why)
{
    struct loop *loop = mem_zeroed(1, sizeof *loop);
    if (!loop)
        return status_fail(why, STATUS_NO_MEMORY, "no memory for the loop");
    int error = uv_loop_init(&loop->uv);
    if (error) {
        free(loop);
        return status_fail(why, STATUS_IO, "cannot start the loop: %s", uv_strerror(error));
    }
    error = uv_async_init(&loop->uv, &loop->wake, loop_on_wake);
    if (error) {
        uv_loop_close(&loop->uv);
        free(loop);
        return status_fail(why, STATUS_IO, "cannot start the loop: %s", uv_strerror(error));
    }
    loop->wake.data = loop;
    loop->options = *options;
    *out = loop;
    return STATUS_OK;
}

static void loop_close_handle(uv_handle_t *handle, void *argument)
{
    (void)argument;
    if (!uv_is_closing(handle))
        uv_close(handle, NULL);
}

void loop_destroy(struct loop *loop)
{
    if (!loop)
        return;
    uv_walk(&loop->uv, loop_close_handle, NULL);
    uv_run(&loop->uv, UV_RUN_DEFAULT);
    uv_loop_close(&loop->uv);
    free(loop);
}

void loop_wake(void *loop)
{
    uv_async_send(&((struct loop *)loop)->wake);
}

static int loop_start(struct loop *loop)
{
    uv_timer_init(&loop->uv, &loop->timer);
    uv_timer_init(&loop->uv, &loop->phase_timer);
    uv_signal_init(&loop->uv, &loop->terminate);
    uv_signal_init(&loop->uv, &loop->interrupt);
    uv_signal_init(&loop->uv, &loop->hang_up);
    loop->timer.data = loop->phase_timer.data = loop;
    loop->terminate.data = loop->interrupt.data = loop->hang_up.data = loop->poll.data = loop;
    int error = uv_poll_init(&loop->uv, &loop->poll, http_poll_fd(loop->http));
    if (!error)
        error = uv_poll_start(&loop->poll, UV_READABLE, loop_on_poll);
    if (!error)
        error = uv_signal_start(&loop->terminate, loop_on_signal, SIGTERM);
    if (!error)
        error = uv_signal_start(&loop->interrupt, loop_on_signal, SIGINT);
    if (!error)
        error = uv_signal_start(&loop->hang_up, loop_on_hang_up, SIGHUP);
    return error;
}

enum status loop_attach(struct loop *loop, struct http *http, struct fail *why)
{
    loop->http = http;
    int error = loop_start(loop);
    return error ? status_fail(why, STATUS_IO, "cannot start the loop: %s", uv_strerror(error))
                 : STATUS_OK;
}

void loop_run(struct loop *loop)
{
    loop_pump(loop);
    uv_run(&loop->uv, UV_RUN_DEFAULT);
    uv_poll_stop(&loop->poll);
    loop->http = NULL;
}
