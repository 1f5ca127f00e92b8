/* backoff.h - how long to wait after the n-th failure in a row: 1, 2, 4 ... 300 s with jitter.
 *
 * Full jitter under a floor: somewhere between an eighth of the step and the whole of it, so that a
 * million clients that lost the same server do not come back in the same second. */
#ifndef CORE_BACKOFF_H
#define CORE_BACKOFF_H

#include "base/rng.h"

#include <stdint.h>

#define BACKOFF_FIRST_MS 1000
#define BACKOFF_LONGEST_MS 300000

/* From this failure on that reached a server, the app is told and the longest pause holds. */
#define BACKOFF_FAILURES 5u

/* failures: in a row, at least 1. */
int64_t backoff_ms(struct rng *rng, uint32_t failures);

#endif
