#include "api/rest/routes.h"

#include "api/rest/classify_job.h"
#include "api/rest/health.h"

static const struct router_route routes_table[] = {
    {"POST", "/v1/classify", classify_job_handle, .while_draining = false},
    {"GET", "/livez", health_handle_live, .while_draining = true},
    {"GET", "/readyz", health_handle_ready, .while_draining = true},
    {"GET", "/version", health_handle_version, .while_draining = true},
};

const struct router routes_all = {routes_table, sizeof routes_table / sizeof routes_table[0]};
