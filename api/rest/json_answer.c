#include "api/rest/json_answer.h"

#include <jansson.h>
#include <stdlib.h>

#include "engine/base/buf.h"
#include "server/job.h"
#include "server/registry.h"
#include "server/request.h"

enum { JSON_ANSWER_MAX_BYTES = 1 << 28 };

/* With a line break; releases the value, of which NULL fails. */
static enum status json_answer_write(json_t *value, struct buf *out, struct fail *why)
{
    char *text = value ? json_dumps(value, JSON_COMPACT | JSON_REAL_PRECISION(9)) : NULL;
    json_decref(value);
    enum status status = text ? buf_append_text(out, text, why)
                              : status_fail(why, STATUS_NO_MEMORY, "cannot write the answer");
    free(text);
    return status ? status : buf_append_text(out, "\n", why);
}

void json_answer_reply(struct request *request, json_t *value, const struct registry *registry,
                       const struct snapshot *snapshot)
{
    struct fail why;
    struct buf body;
    char etag[REGISTRY_ETAG_BYTES];
    buf_init(&body, JSON_ANSWER_MAX_BYTES);
    if (json_answer_write(value, &body, &why)) {
        request_reply_problem(request, 500, "internal", why.message);
    } else if (snapshot) {
        registry_write_etag(registry, snapshot, etag);
        request_reply_tagged(request, 200, etag, &body);
    } else {
        request_reply_json(request, 200, &body);
    }
    buf_finish(&body);
}

void json_answer_set(struct job *job, int status, json_t *value, const struct registry *registry,
                     const struct snapshot *snapshot)
{
    struct fail why;
    struct buf body;
    char etag[REGISTRY_ETAG_BYTES];
    buf_init(&body, JSON_ANSWER_MAX_BYTES);
    if (json_answer_write(value, &body, &why)) {
        reply_set_problem(&job->reply, 500, "internal", why.message, job->request_id);
    } else {
        reply_set_json(&job->reply, status, &body);
        if (snapshot) {
            registry_write_etag(registry, snapshot, etag);
            reply_set_etag(&job->reply, etag);
        }
    }
    buf_finish(&body);
}
