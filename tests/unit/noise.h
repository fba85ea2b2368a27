/* The made-up pictures of tests/golden/make_preprocess.py, and the checksum of its results. */
#ifndef TESTS_UNIT_NOISE_H
#define TESTS_UNIT_NOISE_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

/* [height, width, 3]; free(). By seed % 3: noise, smooth with steps, black and white. */
static inline uint8_t *noise_picture(uint32_t width, uint32_t height, uint32_t seed)
{
    uint32_t samples = width * height * 3;
    uint8_t *rgb = malloc(samples);
    for (uint32_t i = 0; rgb && i < samples; i++) {
        uint32_t hash = i * 2654435761u + seed * 40503u;
        hash ^= hash >> 15;
        hash *= 2246822519u;
        hash ^= hash >> 13;
        hash >>= 24;
        if (seed % 3 == 1)
            hash = i / 7 + (hash >> 4);
        if (seed % 3 == 2)
            hash = (hash >> 7) * 255;
        rgb[i] = (uint8_t)hash;
    }
    return rgb;
}

/* As zlib's crc32(0, bytes, size). */
static inline uint32_t noise_crc32(const uint8_t *bytes, size_t size)
{
    uint32_t crc = ~0u;
    for (size_t i = 0; i < size; i++) {
        crc ^= bytes[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
    }
    return ~crc;
}

/* Reads the end of a golden's line: the checksum, then perhaps the bytes in hexadecimal. Returns
 * how many of the size bytes differ from those written out, or 1 if only the checksum differs. */
static inline size_t noise_differences(FILE *golden, const uint8_t *bytes, size_t size)
{
    unsigned crc, expected;
    size_t different = 0;
    if (fscanf(golden, "%8x", &crc) != 1)
        return size;
    int next = fgetc(golden);
    for (size_t i = 0; next == ' ' && i < size; i++)
        different += fscanf(golden, "%2x", &expected) != 1 || expected != bytes[i];
    if (!different && noise_crc32(bytes, size) != crc)
        different = 1;
    return different;
}

#endif
