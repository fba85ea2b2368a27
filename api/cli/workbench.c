#include "api/cli/workbench.h"

#include "engine/base/log.h"

enum status workbench_open(struct workbench *bench, const struct arguments *arguments,
                           size_t max_images, struct fail *why)
{
    log_set_level(LOG_WARN);
    struct workbench opened = {.max_images = max_images,
                               .image_options = engine_image_default_options};
    opened.image_options.scaled_jpeg = arguments->scaled_jpeg;
    opened.threads = arguments->threads ? arguments->threads : engine_cores();
    const struct engine_options options = {.helpers = opened.threads - 1,
                                           .activation = arguments->activation,
                                           .composition_cache_bytes =
                                               ENGINE_DEFAULT_COMPOSITION_CACHE_BYTES};
    enum status status = engine_open(arguments->model_dir, &options, &opened.engine, why);
    if (status)
        return status;
    status = engine_session_create(opened.engine, max_images, &opened.session, why);
    if (status) {
        engine_close(opened.engine);
        return status;
    }
    *bench = opened;
    return STATUS_OK;
}

void workbench_close(struct workbench *bench)
{
    if (!bench)
        return;
    engine_session_destroy(bench->session);
    engine_close(bench->engine);
    *bench = (struct workbench){0};
}
