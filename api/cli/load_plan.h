/*
 * The requests of a load, each made in whole before the first is sent: a GET, or POSTs that carry
 * pictures in the bodies asked for. They take turns in a fixed order, so that two runs send the
 * same. Any thread once made.
 */
#ifndef API_CLI_LOAD_PLAN_H
#define API_CLI_LOAD_PLAN_H

#include <stddef.h>
#include <stdint.h>

#include "api/cli/url.h"
#include "engine/base/status.h"

enum load_plan_body { LOAD_PLAN_RAW, LOAD_PLAN_MULTIPART, LOAD_PLAN_JSON, LOAD_PLAN_BODY_COUNT };

enum {
    LOAD_PLAN_MAX_PICTURE_BYTES = 64 << 20,
    LOAD_PLAN_MAX_BYTES = 1 << 30, /* of all files together, and of all requests */
    LOAD_PLAN_MAX_PICTURES = 64    /* in one request */
};

extern const char *const load_plan_body_names[LOAD_PLAN_BODY_COUNT];

struct load_plan_input {
    const struct url *url;
    const char *const *headers; /* "Name: value", after load_plan_check_header */
    size_t header_count;
    const char *const *images; /* files; none: GET */
    size_t image_count;
    const enum load_plan_body *bodies; /* at least one if there are pictures */
    size_t body_count;
    size_t pictures; /* in each request */
};

struct load_plan_request {
    char *bytes;
    size_t size;
};

struct load_plan {
    struct load_plan_request *requests;
    size_t count;
    size_t pictures; /* in each request; 0: GET */
};

/* A header of the user's: STATUS_INVALID if it is malformed or one that is set here. */
enum status load_plan_check_header(const char *header, struct fail *why);

/* Reads the pictures. With several bodies, the first picture goes out in each of them, then the
 * second, and so on. *out is to be finished whatever this comes to. */
enum status load_plan_make(const struct load_plan_input *input, struct load_plan *out,
                           struct fail *why);
void load_plan_finish(struct load_plan *plan);

/* The request that is sent as number `index`. */
const struct load_plan_request *load_plan_request_at(const struct load_plan *plan, uint64_t index);

#endif
