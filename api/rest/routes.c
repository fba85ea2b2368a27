#include "api/rest/routes.h"

#include "api/rest/classify_job.h"
#include "api/rest/health.h"
#include "api/rest/label_set_job.h"
#include "api/rest/label_set_resource.h"
#include "api/rest/pool_job.h"
#include "api/rest/pool_resource.h"
#include "api/web/web_page.h"

static const struct router_route routes_table[] = {
    {"POST", "/v1/classify", classify_job_handle, .for_pictures = true},
    {"GET", "/v1/label-sets", label_set_resource_handle_list, .while_draining = false},
    {"GET", "/v1/label-sets/{name}", label_set_resource_handle_get, .while_draining = false},
    {"PUT", "/v1/label-sets/{name}", label_set_job_handle_put, .while_draining = false},
    {"PATCH", "/v1/label-sets/{name}", label_set_job_handle_patch, .while_draining = false},
    {"DELETE", "/v1/label-sets/{name}", label_set_job_handle_delete, .while_draining = false},
    {"GET", "/v1/pools", pool_resource_handle_list, .while_draining = false},
    {"GET", "/v1/pools/{name}", pool_resource_handle_get, .while_draining = false},
    {"PUT", "/v1/pools/{name}", pool_job_handle_put, .spooled = true},
    {"DELETE", "/v1/pools/{name}", pool_job_handle_delete, .while_draining = false},
    {"POST", "/v1/pools/{name}/load", pool_job_handle_load, .while_draining = false},
    {"POST", "/v1/pools/{name}/rollback", pool_job_handle_roll_back, .while_draining = false},
    {"GET", "/livez", health_handle_live, .while_draining = true},
    {"GET", "/health", health_handle_ready, .while_draining = true},
    {"GET", "/readyz", health_handle_ready, .while_draining = true},
    {"GET", "/version", health_handle_version, .while_draining = true},
    {"GET", "/metrics", health_handle_metrics, .while_draining = true},
    {"GET", "/openapi.json", web_page_handle_openapi, .while_draining = false},
    {"GET", "/", web_page_handle_index, .while_draining = false},
};

const struct router routes_all = {routes_table, sizeof routes_table / sizeof routes_table[0]};
