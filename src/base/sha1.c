/* sha1.c - see sha1.h. */
#include "base/sha1.h"

#define BLOCK_BYTES 64u

static uint32_t rotate(uint32_t x, unsigned n)
{
    return (x << n) | (x >> (32 - n));
}

/* The round's function and constant (section 4.1.1 and 4.2.1), added to the rest. */
static uint32_t mix(unsigned t, const uint32_t s[5])
{
    if (t < 20) {
        return ((s[1] & s[2]) | (~s[1] & s[3])) + UINT32_C(0x5a827999);
    }
    if (t < 40) {
        return (s[1] ^ s[2] ^ s[3]) + UINT32_C(0x6ed9eba1);
    }
    if (t < 60) {
        return ((s[1] & s[2]) | (s[1] & s[3]) | (s[2] & s[3])) + UINT32_C(0x8f1bbcdc);
    }
    return (s[1] ^ s[2] ^ s[3]) + UINT32_C(0xca62c1d6);
}

static void take_block(uint32_t state[5], const uint8_t *block)
{
    uint32_t w[80];
    uint32_t s[5];
    memcpy(s, state, sizeof s);
    for (unsigned t = 0; t < 16; t++) {
        const uint8_t *b = block + (size_t)4 * t;
        w[t] = (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
    }
    for (unsigned t = 16; t < 80; t++) {
        w[t] = rotate(w[t - 3] ^ w[t - 8] ^ w[t - 14] ^ w[t - 16], 1);
    }
    for (unsigned t = 0; t < 80; t++) {
        uint32_t next = rotate(s[0], 5) + mix(t, s) + s[4] + w[t];
        s[4] = s[3];
        s[3] = s[2];
        s[2] = rotate(s[1], 30);
        s[1] = s[0];
        s[0] = next;
    }
    for (unsigned i = 0; i < 5; i++) {
        state[i] += s[i];
    }
}

/* What is left, the bit 1, zeros, and the length in bits (section 5.1.1). */
static void take_tail(uint32_t state[5], struct slice bytes)
{
    uint8_t tail[2 * BLOCK_BYTES] = {0};
    size_t left = bytes.len % BLOCK_BYTES;
    size_t n = left + 9 <= BLOCK_BYTES ? BLOCK_BYTES : 2 * BLOCK_BYTES;
    uint64_t bits = (uint64_t)bytes.len * 8;
    if (left > 0) {
        memcpy(tail, bytes.ptr + bytes.len - left, left);
    }
    tail[left] = 0x80;
    for (unsigned i = 0; i < 8; i++) {
        tail[n - 1 - i] = (uint8_t)(bits >> (8 * i));
    }
    for (size_t at = 0; at < n; at += BLOCK_BYTES) {
        take_block(state, tail + at);
    }
}

void sha1(struct slice bytes, uint8_t out[SHA1_BYTES])
{
    uint32_t state[5] = {UINT32_C(0x67452301), UINT32_C(0xefcdab89), UINT32_C(0x98badcfe),
                         UINT32_C(0x10325476), UINT32_C(0xc3d2e1f0)};
    for (size_t at = 0; at + BLOCK_BYTES <= bytes.len; at += BLOCK_BYTES) {
        take_block(state, (const uint8_t *)bytes.ptr + at);
    }
    take_tail(state, bytes);
    for (unsigned i = 0; i < SHA1_BYTES; i++) {
        out[i] = (uint8_t)(state[i / 4] >> (24 - 8 * (i % 4)));
    }
}
