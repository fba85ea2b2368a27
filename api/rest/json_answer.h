/* JSON as the body of an answer. Any thread. */
#ifndef API_REST_JSON_ANSWER_H
#define API_REST_JSON_ANSWER_H

struct job;
struct json_t;
struct registry;
struct request;
struct snapshot;

/* Answers with value (NULL is answered 500) and the ETag of the snapshot; both NULL for none. On
 * the loop thread: */
void json_answer_reply(struct request *request, struct json_t *value,
                       const struct registry *registry, const struct snapshot *snapshot);
/* On a worker: */
void json_answer_set(struct job *job, int status, struct json_t *value,
                     const struct registry *registry, const struct snapshot *snapshot);

#endif
