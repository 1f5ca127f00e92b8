/* rng.h - xoshiro256** of Blackman and Vigna: a generator that is given, never fetched.
 *
 * For jitter, ids and tests. The seed comes from outside: the operating system's random bytes in a
 * running program, a printed number in a test. Not for secrets. */
#ifndef BASE_RNG_H
#define BASE_RNG_H

#include <stdint.h>

struct rng {
    uint64_t state[4];
};

/* Any seed is good: it is spread over the state by splitmix64. */
void rng_init(struct rng *rng, uint64_t seed);

uint64_t rng_next(struct rng *rng);

/* A number in [0, bound); bound > 0. */
uint64_t rng_below(struct rng *rng, uint64_t bound);

/* n_bytes random bytes in lower-case hex and a NUL: out has room for 2 * n_bytes + 1. */
void rng_hex(struct rng *rng, unsigned n_bytes, char *out);

#endif
