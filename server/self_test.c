#include "server/self_test.h"

#include <stdlib.h>

#include "engine/base/mem.h"

static enum status self_test_classify(struct engine *engine, struct engine_session *session,
                                      struct engine_pool *pool, const struct engine_labels *labels,
                                      struct fail *why)
{
    const struct engine_info *info = engine_info(engine);
    struct engine_composition *composition = NULL;
    float *pixels = mem_zeroed(3 * info->image_size * info->image_size, sizeof *pixels);
    float *feature = mem_zeroed(info->joint_width, sizeof *feature);
    float *cosines = mem_zeroed(engine_labels_count(labels), sizeof *cosines);
    enum status status = pixels && feature && cosines
                             ? STATUS_OK
                             : status_fail(why, STATUS_NO_MEMORY, "no memory for a self-test");
    if (!status && pool)
        status = engine_composition_create(pool, &composition, why);
    if (!status)
        status = engine_compose_images(session, pixels, 1, &composition, feature, why);
    const struct engine_composition *const compositions[] = {composition};
    const struct engine_scoring scoring = {
        .labels = labels, .count = 1, .image_features = feature, .compositions = compositions};
    if (!status)
        status = engine_score(session, &scoring, cosines, why);
    engine_composition_destroy(composition);
    free(pixels);
    free(feature);
    free(cosines);
    return status;
}

enum status self_test_run(struct engine *engine, struct engine_session *session,
                          struct engine_pool *pool, const struct engine_labels *labels,
                          struct fail *why)
{
    const char *name = "a";
    const char *sentence = pool ? engine_pool_info(pool)->sentence : engine_default_sentence;
    struct engine_labels *own = NULL;
    enum status status = STATUS_OK;
    if (!labels)
        status = engine_labels_compile(session, &name, 1, &sentence, 1, &own, why);
    if (!status && own && pool)
        status = engine_labels_check_pool(own, pool, why);
    if (!status)
        status = self_test_classify(engine, session, pool, labels ? labels : own, why);
    engine_labels_release(own);
    return status;
}
