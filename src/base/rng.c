/* rng.c - see rng.h. */
#include "base/rng.h"

#include <stddef.h>

static uint64_t splitmix64(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

void rng_init(struct rng *rng, uint64_t seed)
{
    for (int i = 0; i < 4; i++) {
        rng->state[i] = splitmix64(&seed);
    }
}

static uint64_t rotate(uint64_t x, int bits)
{
    return (x << bits) | (x >> (64 - bits));
}

uint64_t rng_next(struct rng *rng)
{
    uint64_t *s = rng->state;
    uint64_t result = rotate(s[1] * 5, 7) * 9;
    uint64_t t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate(s[3], 45);
    return result;
}

uint64_t rng_below(struct rng *rng, uint64_t bound)
{
    uint64_t limit = UINT64_MAX - UINT64_MAX % bound;
    uint64_t value;
    do {
        value = rng_next(rng);
    } while (value >= limit);
    return value % bound;
}

void rng_hex(struct rng *rng, unsigned n_bytes, char *out)
{
    static const char digits[] = "0123456789abcdef";
    uint64_t bits = 0;
    for (unsigned i = 0; i < n_bytes * 2; i++) {
        if (i % 16 == 0) {
            bits = rng_next(rng);
        }
        out[i] = digits[bits & 15];
        bits >>= 4;
    }
    out[(size_t)n_bytes * 2] = '\0';
}
