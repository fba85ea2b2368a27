/* Base64 (RFC 4648, the standard alphabet) -> bytes. */
#ifndef API_REST_BASE64_H
#define API_REST_BASE64_H

#include <stddef.h>
#include <stdint.h>

#include "engine/base/status.h"

/* Line breaks are skipped; the padding may be left out. STATUS_FORMAT names the position of the
 * first wrong character. free(*out_bytes). */
enum status base64_decode(const char *text, size_t length, uint8_t **out_bytes, size_t *out_size,
                          struct fail *why);

#endif
