/* The inside of struct http, for http*.c and request.c only. Loop thread. */
#ifndef SERVER_HTTP_INTERNAL_H
#define SERVER_HTTP_INTERNAL_H

#include "server/http.h"
#include "server/http_connections.h"
#include "server/request_internal.h"

struct MHD_Daemon;

struct http {
    struct service *service;
    struct router router;
    struct completions *completions;
    struct MHD_Daemon *daemon;
    struct http_connections connections;
    struct request *requests;
    /* Of an answer of the library's own, until it is clear whether to a request that we know; else
     * 0. */
    int library_status;
    uint64_t next_deadline_us; /* no deadline is earlier */
    uint64_t next_probe_us;    /* of clients whose work is under way */
    uint64_t next_flush_us;    /* of the access log */
    uint64_t id_seed;
    size_t buffered_bytes; /* of all bodies and answers on their way, wherever they are */
    size_t jobs;           /* handed to the workers and not back yet */
    size_t uploads;        /* requests whose body is or was a file */
    struct job *scan;      /* of the pool folder, under way */
    bool scan_at_once;     /* the next one */
    uint64_t next_scan_us;
};

/* Lets the deadline be kept. */
void http_note_deadline(struct http *http, uint64_t deadline_us);

/* A job that is back, or never went: settles the account and destroys it. */
void http_destroy_job(struct http *http, struct job *job);

#endif
