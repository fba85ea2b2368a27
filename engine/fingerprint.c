#include "engine/fingerprint.h"

#include "engine/base/digest.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "floats are hashed as they lie");
_Static_assert((int)FINGERPRINT_BYTES == (int)DIGEST_TEXT_BYTES, "a fingerprint is a digest");

void fingerprint_compute(const float *text_projection, size_t text_floats,
                         const float *vision_projection, size_t vision_floats,
                         char out[FINGERPRINT_BYTES])
{
    struct digest digest;
    digest_init(&digest);
    digest_append(&digest, text_projection, text_floats * sizeof(float));
    digest_append(&digest, vision_projection, vision_floats * sizeof(float));
    digest_write(&digest, out);
}
