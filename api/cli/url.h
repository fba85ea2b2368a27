/* http:// addresses, as the commands that talk to a server take them. Any thread. */
#ifndef API_CLI_URL_H
#define API_CLI_URL_H

#include <stdint.h>

#include "engine/base/status.h"

enum { URL_MAX_HOST = 255, URL_MAX_AUTHORITY = URL_MAX_HOST + 8, URL_MAX_TARGET = 8191 };

struct url {
    char host[URL_MAX_HOST + 1];           /* a name or an address, which has no brackets here */
    uint16_t port;                         /* 80 where none is given */
    char authority[URL_MAX_AUTHORITY + 1]; /* for the Host header */
    char target[URL_MAX_TARGET + 1];       /* path and query, "/" at least */
};

/* STATUS_UNSUPPORTED for https, STATUS_INVALID for all else that is wrong. A fragment is dropped.
 */
enum status url_parse(const char *text, struct url *out, struct fail *why);

#endif
