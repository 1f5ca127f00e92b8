/* rate.h - how many requests a user may make: a bucket of tokens per user (docs/security.md, D3).
 *
 * Of fixed size: RATE_USERS users are told apart. Where more are busy at once, the one that was
 * quiet longest is forgotten, and begins with a full bucket when it comes back: the limit errs on
 * the side of the users. Any thread; the time is given. */
#ifndef SERVER_RATE_H
#define SERVER_RATE_H

#include "base/uuid.h"

#include <stdint.h>

#define RATE_USERS 16384u
#define RATE_BURST_S 4 /* a full bucket holds the tokens of so many seconds */

struct rate;

/* per_second is 1 or more; key is random, so that nobody can choose users that share a place. BQ_OK
 * or BQ_NOMEM. */
int rate_new(int64_t per_second, const uint64_t key[2], struct rate **out);
/* A slower one: n at once, and n more over each period. */
int rate_new_slow(int64_t n, int64_t period_us, const uint64_t key[2], struct rate **out);
void rate_free(struct rate *rate);

/* Takes a token of the user: 0, or how many microseconds it takes until there is one. now_us never
 * goes back by much. */
int64_t rate_take(struct rate *rate, const struct uuid *user, int64_t now_us);

/* The same for whoever has a name: an address. */
int64_t rate_take_named(struct rate *rate, struct slice name, int64_t now_us);

#endif
