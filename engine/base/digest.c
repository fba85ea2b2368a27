#include "engine/base/digest.h"

#include <nettle/sha2.h>
#include <stdio.h>
#include <string.h>

_Static_assert(sizeof(struct sha256_ctx) <= sizeof(struct digest), "room for the library's state");

void digest_init(struct digest *digest)
{
    struct sha256_ctx context;
    sha256_init(&context);
    memcpy(digest->state, &context, sizeof context);
}

void digest_append(struct digest *digest, const void *bytes, size_t size)
{
    struct sha256_ctx context;
    memcpy(&context, digest->state, sizeof context);
    sha256_update(&context, size, bytes);
    memcpy(digest->state, &context, sizeof context);
}

void digest_write(struct digest *digest, char out[DIGEST_TEXT_BYTES])
{
    struct sha256_ctx context;
    uint8_t sum[SHA256_DIGEST_SIZE];
    memcpy(&context, digest->state, sizeof context);
    sha256_digest(&context, sizeof sum, sum);
    for (size_t i = 0; i < sizeof sum; i++)
        snprintf(out + 2 * i, 3, "%02x", sum[i]);
}
