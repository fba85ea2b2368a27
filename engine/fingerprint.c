#include "engine/fingerprint.h"

#include <nettle/sha2.h>
#include <stdint.h>
#include <stdio.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "floats are hashed as they lie");

void fingerprint_compute(const float *text_projection, size_t text_floats,
                         const float *vision_projection, size_t vision_floats,
                         char out[FINGERPRINT_BYTES])
{
    struct sha256_ctx state;
    uint8_t digest[SHA256_DIGEST_SIZE];
    sha256_init(&state);
    sha256_update(&state, text_floats * sizeof(float), (const uint8_t *)text_projection);
    sha256_update(&state, vision_floats * sizeof(float), (const uint8_t *)vision_projection);
    sha256_digest(&state, sizeof digest, digest);
    for (size_t i = 0; i < sizeof digest; i++)
        snprintf(out + 2 * i, 3, "%02x", digest[i]);
}
