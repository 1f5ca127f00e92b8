/* hash.h - SipHash-2-4 with 128 bits of output (Aumasson and Bernstein): fingerprints of documents.
 *
 * Used to recognise an exact repeat of what an old client sent. Keyed, so that nobody can prepare
 * two documents of one fingerprint without the key. */
#ifndef BASE_HASH_H
#define BASE_HASH_H

#include "base/slice.h"

#include <stdint.h>

struct hash128 {
    uint64_t low;
    uint64_t high;
};

struct hash128 hash_text(struct slice text, uint64_t key0, uint64_t key1);

#endif
