/* The socket that connections come in by. */
#ifndef SERVER_LISTENER_H
#define SERVER_LISTENER_H

#include <stddef.h>

#include "engine/base/status.h"

/* host: an address or a name; port 0: any free one. out_url [capacity] gets "http://127.0.0.1:8080"
 * with the real port. The caller closes *out_fd. */
enum status listener_open(const char *host, unsigned port, int *out_fd, char *out_url,
                          size_t capacity, struct fail *why);

#endif
