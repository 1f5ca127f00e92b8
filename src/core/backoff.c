/* backoff.c - see backoff.h. */
#include "core/backoff.h"

#include "base/plant.h"

int64_t backoff_ms(struct rng *rng, uint32_t failures)
{
    int64_t step = BACKOFF_LONGEST_MS;
    if (failures < 10) {
        step = (int64_t)BACKOFF_FIRST_MS << (failures == 0 ? 0 : failures - 1);
    }
    if (step > BACKOFF_LONGEST_MS) {
        step = BACKOFF_LONGEST_MS;
    }
    int64_t least = PLANTED(PAUSES_IN_STEP) ? step : step / 8;
    return least + (int64_t)rng_below(rng, (uint64_t)(step - least) + 1);
}
