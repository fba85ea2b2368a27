#include "api/cli/address.h"

#include <errno.h>
#include <limits.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/mem.h"
#include "server/clock.h"

/* ---- Names ----
 *
 * A resolver cannot be told to give up, so a name is looked up by a thread of its own, which is
 * left behind if it takes too long. Whoever is last puts the lookup away. */

struct address_lookup {
    pthread_mutex_t mutex;
    pthread_cond_t ended;
    bool done, left; /* under the mutex, like what follows */
    int error;       /* of getaddrinfo */
    struct addrinfo *found;
    char host[URL_MAX_HOST + 1];
    char port[8];
};

static int address_look_up(const char *host, const char *port, int flags, struct addrinfo **out)
{
    const struct addrinfo hints = {.ai_flags = flags | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM};
    return getaddrinfo(host, port, &hints, out);
}

static void address_lookup_destroy(struct address_lookup *lookup)
{
    if (lookup->found)
        freeaddrinfo(lookup->found);
    pthread_cond_destroy(&lookup->ended);
    pthread_mutex_destroy(&lookup->mutex);
    free(lookup);
}

static void *address_lookup_run(void *argument)
{
    struct address_lookup *lookup = argument;
    struct addrinfo *found = NULL;
    int error = address_look_up(lookup->host, lookup->port, 0, &found);
    pthread_mutex_lock(&lookup->mutex);
    bool left = lookup->left;
    lookup->done = true;
    lookup->error = error;
    lookup->found = error ? NULL : found;
    pthread_cond_signal(&lookup->ended);
    pthread_mutex_unlock(&lookup->mutex);
    if (left)
        address_lookup_destroy(lookup);
    return NULL;
}

static struct address_lookup *address_lookup_create(const char *host, const char *port)
{
    struct address_lookup *lookup = mem_zeroed(1, sizeof *lookup);
    if (!lookup)
        return NULL;
    snprintf(lookup->host, sizeof lookup->host, "%s", host);
    snprintf(lookup->port, sizeof lookup->port, "%s", port);
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&lookup->ended, &attributes);
    pthread_condattr_destroy(&attributes);
    pthread_mutex_init(&lookup->mutex, NULL);
    return lookup;
}

static bool address_lookup_start(struct address_lookup *lookup)
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, address_lookup_run, lookup))
        return false;
    pthread_detach(thread);
    return true;
}

static bool address_lookup_wait(struct address_lookup *lookup, uint64_t deadline_us)
{
    const struct timespec until = {.tv_sec = (time_t)(deadline_us / 1000000),
                                   .tv_nsec = (long)(deadline_us % 1000000) * 1000};
    pthread_mutex_lock(&lookup->mutex);
    int waited = 0;
    while (!lookup->done && !waited)
        waited = pthread_cond_timedwait(&lookup->ended, &lookup->mutex, &until);
    bool done = lookup->done;
    lookup->left = !done;
    pthread_mutex_unlock(&lookup->mutex);
    return done;
}

static void address_list_fill(const struct addrinfo *found, struct address_list *out)
{
    out->count = 0;
    for (; found && out->count < ADDRESS_MAX; found = found->ai_next) {
        struct address *address = &out->items[out->count++];
        address->size = found->ai_addrlen;
        memcpy(&address->any, found->ai_addr, found->ai_addrlen);
    }
}

static enum status address_resolve_name(const char *host, const char *port, uint64_t deadline_us,
                                        struct address_list *out, struct fail *why)
{
    struct address_lookup *lookup = address_lookup_create(host, port);
    if (!lookup || !address_lookup_start(lookup)) {
        if (lookup)
            address_lookup_destroy(lookup);
        return status_fail(why, STATUS_NO_MEMORY, "no memory to look up %s", host);
    }
    if (!address_lookup_wait(lookup, deadline_us))
        return status_fail(why, STATUS_CANCELLED, "%s: the name could not be looked up in time",
                           host);
    enum status status = STATUS_OK;
    if (lookup->error)
        status = status_fail(why, STATUS_NOT_FOUND, "%s: %s", host, gai_strerror(lookup->error));
    else
        address_list_fill(lookup->found, out);
    address_lookup_destroy(lookup);
    return status;
}

enum status address_resolve(const struct url *url, uint64_t deadline_us, struct address_list *out,
                            struct fail *why)
{
    char port[8];
    snprintf(port, sizeof port, "%u", (unsigned)url->port);
    struct addrinfo *found;
    if (address_look_up(url->host, port, AI_NUMERICHOST, &found))
        return address_resolve_name(url->host, port, deadline_us, out, why);
    address_list_fill(found, out);
    freeaddrinfo(found);
    return STATUS_OK;
}

void address_describe(const struct address *address, char out[ADDRESS_MAX_TEXT])
{
    char host[ADDRESS_MAX_TEXT - 16], port[8];
    if (getnameinfo((const struct sockaddr *)&address->any, address->size, host, sizeof host, port,
                    sizeof port, NI_NUMERICHOST | NI_NUMERICSERV))
        snprintf(out, ADDRESS_MAX_TEXT, "unknown address");
    else
        snprintf(out, ADDRESS_MAX_TEXT, "%s port %s", host, port);
}

/* ---- Connections ---- */

enum status address_wait(int fd, short events, uint64_t deadline_us, struct fail *why)
{
    for (;;) {
        uint64_t now_us = clock_now_us();
        uint64_t left_ms = now_us < deadline_us ? (deadline_us - now_us + 999) / 1000 : 0;
        struct pollfd waited = {.fd = fd, .events = events};
        int ready = poll(&waited, 1, left_ms < INT_MAX ? (int)left_ms : INT_MAX);
        if (ready > 0)
            return STATUS_OK;
        if (ready < 0 && errno != EINTR)
            return status_fail(why, STATUS_IO, "poll: %s", strerror(errno));
        if (ready == 0 && clock_now_us() >= deadline_us)
            return status_fail(why, STATUS_CANCELLED, "time-out");
    }
}

int address_begin_connect(const struct address *address)
{
    const int one = 1;
    int fd = socket(address->any.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(fd, (const struct sockaddr *)&address->any, address->size) == 0 ||
        errno == EINPROGRESS)
        return fd;
    int reason = errno;
    close(fd);
    errno = reason;
    return -1;
}

int address_connect_error(int fd)
{
    int error = 0;
    socklen_t size = sizeof error;
    return getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) ? errno : error;
}

static enum status address_connect_one(const struct address *address, uint64_t deadline_us,
                                       int *out_fd, struct fail *why)
{
    char name[ADDRESS_MAX_TEXT];
    address_describe(address, name);
    int fd = address_begin_connect(address);
    if (fd < 0)
        return status_fail(why, STATUS_IO, "%s: %s", name, strerror(errno));
    enum status status = address_wait(fd, POLLOUT, deadline_us, why);
    int error = status ? 0 : address_connect_error(fd);
    if (error)
        status = status_fail(why, STATUS_IO, "%s: %s", name, strerror(error));
    else if (status == STATUS_CANCELLED)
        status_fail(why, status, "%s: no connection in time", name);
    if (status)
        close(fd);
    else
        *out_fd = fd;
    return status;
}

enum status address_connect(const struct address_list *list, uint64_t deadline_us, int *out_fd,
                            size_t *out_index, struct fail *why)
{
    enum status status = STATUS_INTERNAL;
    for (size_t i = 0; i < list->count && status; i++) {
        uint64_t now_us = clock_now_us();
        uint64_t left_us = now_us < deadline_us ? deadline_us - now_us : 0;
        status =
            address_connect_one(&list->items[i], now_us + left_us / (list->count - i), out_fd, why);
        if (!status)
            *out_index = i;
    }
    return status;
}
