/* SHA-256 over bytes that come piece by piece. One thread at a time. */
#ifndef ENGINE_BASE_DIGEST_H
#define ENGINE_BASE_DIGEST_H

#include <stddef.h>
#include <stdint.h>

enum { DIGEST_TEXT_BYTES = 65 }; /* 64 hexadecimal digits and a NUL */

struct digest {
    uint64_t state[16]; /* of the library, which this header does not show */
};

void digest_init(struct digest *digest);
void digest_append(struct digest *digest, const void *bytes, size_t size);
/* The sum of all so far, in lower case. Call it once. */
void digest_write(struct digest *digest, char out[DIGEST_TEXT_BYTES]);

#endif
