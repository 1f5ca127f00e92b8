/* hash.c - SipHash-2-4-128, after the paper's section 2.1 and the 128-bit variant of its
 * authors. */
#include "base/hash.h"

struct sip {
    uint64_t v0, v1, v2, v3;
};

static uint64_t rotate(uint64_t x, int bits)
{
    return (x << bits) | (x >> (64 - bits));
}

static void rounds(struct sip *s, int n)
{
    for (int i = 0; i < n; i++) {
        s->v0 += s->v1;
        s->v1 = rotate(s->v1, 13) ^ s->v0;
        s->v0 = rotate(s->v0, 32);
        s->v2 += s->v3;
        s->v3 = rotate(s->v3, 16) ^ s->v2;
        s->v0 += s->v3;
        s->v3 = rotate(s->v3, 21) ^ s->v0;
        s->v2 += s->v1;
        s->v1 = rotate(s->v1, 17) ^ s->v2;
        s->v2 = rotate(s->v2, 32);
    }
}

/* Up to 8 bytes, little-endian whatever the machine is. */
static uint64_t word(const char *ptr, size_t len)
{
    uint64_t w = 0;
    for (size_t i = 0; i < len; i++) {
        w |= (uint64_t)(unsigned char)ptr[i] << (8 * i);
    }
    return w;
}

struct hash128 hash_text(struct slice text, uint64_t key0, uint64_t key1)
{
    struct sip s = {0x736f6d6570736575u ^ key0, 0x646f72616e646f6du ^ key1 ^ 0xee,
                    0x6c7967656e657261u ^ key0, 0x7465646279746573u ^ key1};
    size_t whole = text.len - text.len % 8;
    for (size_t at = 0; at < whole; at += 8) {
        uint64_t m = word(text.ptr + at, 8);
        s.v3 ^= m;
        rounds(&s, 2);
        s.v0 ^= m;
    }
    uint64_t last = (uint64_t)text.len << 56;
    if (text.len > whole) {
        last |= word(text.ptr + whole, text.len - whole);
    }
    s.v3 ^= last;
    rounds(&s, 2);
    s.v0 ^= last;
    s.v2 ^= 0xee;
    rounds(&s, 4);
    struct hash128 out = {s.v0 ^ s.v1 ^ s.v2 ^ s.v3, 0};
    s.v1 ^= 0xdd;
    rounds(&s, 4);
    out.high = s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
    return out;
}
