#include "server/self_test.h"

#include <stdlib.h>

#include "engine/base/mem.h"

/* PNG: one grey pixel. */
static const uint8_t self_test_picture[] = {
    0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a, 0x00, 0x00, 0x00, 0x0d, 0x49, 0x48,
    0x44, 0x52, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x01, 0x08, 0x00, 0x00, 0x00,
    0x00, 0x3a, 0x7e, 0x9b, 0x55, 0x00, 0x00, 0x00, 0x0a, 0x49, 0x44, 0x41, 0x54, 0x78,
    0xda, 0x63, 0x68, 0x00, 0x00, 0x00, 0x82, 0x00, 0x81, 0xda, 0x45, 0x08, 0x3b, 0x00,
    0x00, 0x00, 0x00, 0x49, 0x45, 0x4e, 0x44, 0xae, 0x42, 0x60, 0x82};

static enum status self_test_classify(struct engine *engine, struct engine_session *session,
                                      struct engine_pool *pool, const struct engine_labels *labels,
                                      struct fail *why)
{
    const struct engine_info *info = engine_info(engine);
    struct engine_composition *composition = NULL;
    float *pixels = mem_aligned(3 * info->image_size * info->image_size, sizeof *pixels);
    float *feature = mem_zeroed(info->joint_width, sizeof *feature);
    float *cosines = mem_zeroed(engine_labels_count(labels), sizeof *cosines);
    enum status status = pixels && feature && cosines
                             ? STATUS_OK
                             : status_fail(why, STATUS_NO_MEMORY, "no memory for a self-test");
    if (!status)
        status = engine_decode(engine, self_test_picture, sizeof self_test_picture,
                               &engine_image_default_options, pixels, NULL, why);
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
