/* Every resource of the service, one row each. */
#ifndef API_REST_ROUTES_H
#define API_REST_ROUTES_H

#include "server/router.h"

extern const struct router routes_all;

#endif
