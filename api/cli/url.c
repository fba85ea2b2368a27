#include "api/cli/url.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define URL_DIGITS  "0123456789"
#define URL_LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define URL_NAME    URL_LETTERS URL_DIGITS ".-_"
#define URL_IPV6    URL_NAME ":%"

enum { URL_DEFAULT_PORT = 80, URL_MAX_PORT = 65535, URL_PORT_DIGITS = 5 };

static const char url_scheme[] = "http://";

static enum status url_check_scheme(const char *text, struct fail *why)
{
    if (strncasecmp(text, "https://", 8) == 0)
        return status_fail(why, STATUS_UNSUPPORTED,
                           "'%s': https is not spoken here; give the http:// address of the server",
                           text);
    if (strncasecmp(text, url_scheme, strlen(url_scheme)) != 0)
        return status_fail(why, STATUS_INVALID, "'%s' does not begin with http://", text);
    return STATUS_OK;
}

/* The host at the beginning of an authority; *out_rest is what follows it. */
static bool url_take_host(const char *authority, struct url *url, const char **out_rest)
{
    bool bracket = *authority == '[';
    const char *host = authority + bracket;
    size_t length = strspn(host, bracket ? URL_IPV6 : URL_NAME);
    if (!length || length > URL_MAX_HOST || (bracket && host[length] != ']'))
        return false;
    memcpy(url->host, host, length);
    url->host[length] = '\0';
    *out_rest = host + length + bracket;
    return true;
}

/* "" or ":8080" */
static bool url_take_port(const char *text, struct url *url)
{
    url->port = URL_DEFAULT_PORT;
    if (!*text)
        return true;
    size_t digits = strspn(text + 1, URL_DIGITS);
    if (*text != ':' || !digits || digits > URL_PORT_DIGITS || text[1 + digits])
        return false;
    long port = strtol(text + 1, NULL, 10);
    url->port = (uint16_t)port;
    return port > 0 && port <= URL_MAX_PORT;
}

/* From the first / or ? on, in which only visible ASCII may stand. */
static enum status url_take_target(const char *text, struct url *url, struct fail *why)
{
    size_t length = strcspn(text, "#");
    bool slash = *text == '/';
    if (length + !slash > URL_MAX_TARGET)
        return status_fail(why, STATUS_INVALID, "the path and query have more than %d bytes",
                           URL_MAX_TARGET);
    for (size_t i = 0; i < length; i++)
        if (text[i] <= ' ' || text[i] > '~')
            return status_fail(why, STATUS_INVALID,
                               "byte %zu of the path and query has to be percent-encoded", i + 1);
    url->target[0] = '/';
    memcpy(url->target + !slash, text, length);
    url->target[length + !slash] = '\0';
    return STATUS_OK;
}

enum status url_parse(const char *text, struct url *out, struct fail *why)
{
    struct url url;
    enum status status = url_check_scheme(text, why);
    if (status)
        return status;
    const char *authority = text + strlen(url_scheme), *rest;
    size_t length = strcspn(authority, "/?#");
    if (memchr(authority, '@', length))
        return status_fail(why, STATUS_INVALID, "'%s': names and passwords are not sent", text);
    if (length > URL_MAX_AUTHORITY)
        return status_fail(why, STATUS_INVALID, "the host has more than %d bytes", URL_MAX_HOST);
    memcpy(url.authority, authority, length);
    url.authority[length] = '\0';
    if (!url_take_host(url.authority, &url, &rest))
        return status_fail(why, STATUS_INVALID, "'%s' has no valid host", text);
    if (!url_take_port(rest, &url))
        return status_fail(why, STATUS_INVALID, "'%s': the port is a number from 1 to %d", text,
                           URL_MAX_PORT);
    status = url_take_target(authority + length, &url, why);
    if (!status)
        *out = url;
    return status;
}
