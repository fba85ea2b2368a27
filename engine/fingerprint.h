/*
 * What tells one model's joint space from another's: SHA-256 over the F32 bytes of the text
 * projection [text width, joint] and then the visual projection [vision width, joint], row major,
 * little-endian. Prompt pools carry it, since a pool is of use with the weights it was trained on
 * only.
 */
#ifndef ENGINE_FINGERPRINT_H
#define ENGINE_FINGERPRINT_H

#include <stddef.h>

enum { FINGERPRINT_BYTES = 65 }; /* 64 hexadecimal digits and a NUL */

void fingerprint_compute(const float *text_projection, size_t text_floats,
                         const float *vision_projection, size_t vision_floats,
                         char out[FINGERPRINT_BYTES]);

#endif
