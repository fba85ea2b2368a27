/*
 * From a host's name to a connection, within a time. Deadlines are those of clock_now_us. One
 * thread at a time.
 */
#ifndef API_CLI_ADDRESS_H
#define API_CLI_ADDRESS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "api/cli/url.h"
#include "engine/base/status.h"

enum { ADDRESS_MAX = 16, ADDRESS_MAX_TEXT = 96 };

struct address {
    struct sockaddr_storage any;
    socklen_t size;
};

struct address_list {
    struct address items[ADDRESS_MAX]; /* in the order in which they are to be tried */
    size_t count;                      /* 1 at least */
};

/* STATUS_NOT_FOUND if the host has no address, STATUS_CANCELLED if none was found in time. */
enum status address_resolve(const struct url *url, uint64_t deadline_us, struct address_list *out,
                            struct fail *why);

/* Connects to the first address that can be connected to; each gets its share of the time.
 * *out_fd is a non-blocking socket, *out_index which address it is. STATUS_CANCELLED if time ran
 * out, STATUS_IO for other failures; the message is that of the last address. */
enum status address_connect(const struct address_list *list, uint64_t deadline_us, int *out_fd,
                            size_t *out_index, struct fail *why);

/* A non-blocking socket that has begun to connect; -1, with errno, if it cannot. */
int address_begin_connect(const struct address *address);

/* What has become of a connection that was begun: 0, or the errno. */
int address_connect_error(int fd);

/* "127.0.0.1 port 80" */
void address_describe(const struct address *address, char out[ADDRESS_MAX_TEXT]);

/* Waits for events of poll(); STATUS_CANCELLED at the deadline. */
enum status address_wait(int fd, short events, uint64_t deadline_us, struct fail *why);

#endif
