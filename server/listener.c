#include "server/listener.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int listener_bind(const struct addrinfo *address)
{
    int fd = socket(address->ai_family, address->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC,
                    address->ai_protocol);
    if (fd < 0)
        return -1;
    int yes = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(fd, address->ai_addr, address->ai_addrlen) || listen(fd, SOMAXCONN)) {
        int error = errno;
        close(fd);
        errno = error;
        return -1;
    }
    return fd;
}

static void listener_write_url(int fd, char *out_url, size_t capacity)
{
    struct sockaddr_storage address = {0};
    socklen_t size = sizeof address;
    char host[NI_MAXHOST] = "?", port[NI_MAXSERV] = "?";
    getsockname(fd, (struct sockaddr *)&address, &size);
    getnameinfo((struct sockaddr *)&address, size, host, sizeof host, port, sizeof port,
                NI_NUMERICHOST | NI_NUMERICSERV);
    snprintf(out_url, capacity, address.ss_family == AF_INET6 ? "http://[%s]:%s" : "http://%s:%s",
             host, port);
}

enum status listener_open(const char *host, unsigned port, int *out_fd, char *out_url,
                          size_t capacity, struct fail *why)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    struct addrinfo *addresses = NULL;
    char service[16];
    snprintf(service, sizeof service, "%u", port);
    int error = getaddrinfo(host, service, &hints, &addresses);
    if (error)
        return status_fail(why, STATUS_IO, "cannot listen on %s: %s", host, gai_strerror(error));
    int fd = -1;
    for (const struct addrinfo *address = addresses; address && fd < 0; address = address->ai_next)
        fd = listener_bind(address);
    int bind_error = errno;
    freeaddrinfo(addresses);
    if (fd < 0)
        return status_fail(why, STATUS_IO, "cannot listen on %s port %u: %s", host, port,
                           strerror(bind_error));
    listener_write_url(fd, out_url, capacity);
    *out_fd = fd;
    return STATUS_OK;
}
