/* The JSON that POST /v1/classify answers with. Any thread. */
#ifndef API_REST_CLASSIFY_ANSWER_H
#define API_REST_CLASSIFY_ANSWER_H

#include <stdbool.h>
#include <stddef.h>

#include "engine/engine.h"
#include "server/job.h"
#include "server/label_set.h"

struct classify_answer;

enum status classify_answer_create(struct classify_answer **out, struct fail *why);
void classify_answer_destroy(struct classify_answer *answer);

struct classify_result {
    const struct engine_labels *labels;
    const struct label_set *label_set;           /* whose classes are predicted; NULL: labels are */
    const struct engine_prediction *predictions; /* [count] */
    size_t count;
    double threshold;
    const struct engine_composition *explained; /* NULL: nothing is explained */
    const struct engine_info *info;             /* of the model */
};

/* One result a picture, in order. Predictions with a score under the threshold are left out; if
 * none is left the picture is "unknown". */
enum status classify_answer_add(struct classify_answer *answer,
                                const struct classify_result *result, struct fail *why);
/* A picture that failed by itself. */
enum status classify_answer_add_error(struct classify_answer *answer, int status, const char *code,
                                      const char *detail, struct fail *why);

struct classify_answer_head {
    const char *request_id;
    const char *model;
    const struct snapshot *label_set; /* NULL: none was used */
    const struct snapshot *pool;      /* NULL: none was used */
    const struct job_timings *timings;
    uint64_t total_us;
};

/* Writes the whole into *out (of buf_init). STATUS_LIMIT if it is larger than *out may be. */
enum status classify_answer_write(struct classify_answer *answer,
                                  const struct classify_answer_head *head, struct buf *out,
                                  struct fail *why);

#endif
