/* The first byte chooses: the rest is config.json of a model, with or without an activation that
 * the caller has chosen, or its preprocessor_config.json. The loaders want the name of a file: it
 * is one in memory, with a link to it in a folder. */
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine/clip_config.h"
#include "engine/clip_model.h"
#include "engine/preprocess.h"

enum { IMAGE_SIZE = 224, MOST = 1 << 30 };

static char folder[] = "/tmp/fuzz_clip_config_XXXXXX";
static int file;
static char path[sizeof folder + sizeof "/preprocessor_config.json"];

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *count, char ***arguments);

static void require(bool condition)
{
    if (!condition)
        abort();
}

static void clean_up(void)
{
    unlink(path);
    rmdir(folder);
}

int LLVMFuzzerInitialize(int *count, char ***arguments)
{
    (void)count;
    (void)arguments;
    require(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/preprocessor_config.json", folder);
    file = memfd_create("fuzz_clip_config", 0);
    char target[32];
    snprintf(target, sizeof target, "/proc/self/fd/%d", file);
    require(file >= 0 && !symlink(target, path));
    return atexit(clean_up);
}

static void write_file(const uint8_t *bytes, size_t size)
{
    require(!ftruncate(file, 0) && pwrite(file, bytes, size, 0) == (ssize_t)size);
}

static void check_number(const struct clip_config_number *number)
{
    require(number->value <= MOST && (number->value == 0) == (number->key == NULL));
}

static void check_tower(const struct clip_config_tower *tower)
{
    check_number(&tower->width);
    check_number(&tower->heads);
    check_number(&tower->head_width);
    check_number(&tower->blocks);
    check_number(&tower->mlp_width);
}

/* What is read is within its bounds; what fails names the file and leaves the result alone. */
static void fuzz_config(int activation)
{
    struct clip_config config, untouched;
    struct fail why;
    memset(&config, 0x5a, sizeof config);
    memcpy(&untouched, &config, sizeof config);
    if (clip_config_load(path, activation, &config, &why)) {
        require(strstr(why.message, path) && !memcmp(&config, &untouched, sizeof config));
        return;
    }
    check_number(&config.image_size);
    check_number(&config.patch_size);
    check_number(&config.joint_width);
    check_number(&config.context);
    check_number(&config.vocabulary);
    check_tower(&config.vision);
    check_tower(&config.text);
    require(config.activation >= -1 && config.activation <= CLIP_MODEL_GELU);
    require(activation < 0 || config.activation == activation);
    require(config.layer_norm_epsilon >= 0 && config.layer_norm_epsilon <= 1);
}

static void fuzz_preprocess(void)
{
    struct preprocess way, untouched;
    struct fail why;
    memset(&way, 0x5a, sizeof way);
    memcpy(&untouched, &way, sizeof way);
    if (preprocess_load(folder, IMAGE_SIZE, &way, &why)) {
        require(strstr(why.message, path) && !memcmp(&way, &untouched, sizeof way));
        return;
    }
    require(way.crop_size == IMAGE_SIZE && way.shortest_edge >= IMAGE_SIZE);
    for (size_t channel = 0; channel < 3; channel++)
        require(isfinite(way.mean[channel]) && way.deviation[channel] > 0 &&
                isfinite(way.deviation[channel]));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (*path == '\0')
        LLVMFuzzerInitialize(NULL, NULL); /* when files are replayed */
    if (size == 0)
        return 0;
    write_file(data + 1, size - 1);
    switch (data[0] % 3) {
    case 0:
        fuzz_config(-1);
        break;
    case 1:
        fuzz_config(CLIP_MODEL_GELU);
        break;
    default:
        fuzz_preprocess();
    }
    return 0;
}
