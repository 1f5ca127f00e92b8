/* sha1.h - SHA-1 (FIPS 180-4), for the one place that a standard demands it: the handshake of a
 * WebSocket (RFC 6455 section 4.2.2). Nothing secret and no promise rests on it. */
#ifndef BASE_SHA1_H
#define BASE_SHA1_H

#include "base/slice.h"

#include <stdint.h>

#define SHA1_BYTES 20u

void sha1(struct slice bytes, uint8_t out[SHA1_BYTES]);

#endif
