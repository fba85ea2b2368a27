/*
 * All metrics of a running server: what is counted, and what caches, queue, pools and process look
 * like at the moment. Loop thread.
 */
#ifndef SERVER_METRICS_PAGE_H
#define SERVER_METRICS_PAGE_H

#include "engine/base/buf.h"

struct service;

/* Pools that are shown by name; of more, only their number tells. */
enum { METRICS_PAGE_MOST_POOLS = 32 };

/* In the format of exposition.h. STATUS_NO_MEMORY or, over the buffer's limit, STATUS_LIMIT. */
enum status metrics_page_write(const struct service *service, struct buf *out, struct fail *why);

#endif
