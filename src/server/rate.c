/* rate.c - the generic cell rate algorithm (ITU-T I.371): a user's state is one time, at which its
 * bucket will be full again.
 *
 * Users are found by a keyed hash: the low bits name a set of RATE_WAYS places, the high word is
 * compared. Sets share locks. */
#include "server/rate.h"

#include "base/hash.h"
#include "base/mem.h"
#include "base/status.h"

#include <pthread.h>

#define RATE_WAYS 4u
#define RATE_SETS (RATE_USERS / RATE_WAYS)
#define RATE_LOCKS 64u
#define US_PER_S INT64_C(1000000)

struct place {
    uint64_t user; /* of the hash */
    int64_t full_at_us; /* 0: nobody */
};

struct rate {
    pthread_mutex_t locks[RATE_LOCKS];
    int64_t token_us; /* until the next token */
    int64_t burst_us; /* what a full bucket holds, in that time */
    uint64_t key[2];
    struct place sets[RATE_SETS][RATE_WAYS];
};

static int make(int64_t token_us, int64_t burst_us, const uint64_t key[2], struct rate **out)
{
    struct rate *rate = mem_zalloc(1, sizeof *rate);
    if (rate == NULL) {
        return BQ_NOMEM;
    }
    for (unsigned i = 0; i < RATE_LOCKS; i++) {
        pthread_mutex_init(&rate->locks[i], NULL);
    }
    rate->token_us = token_us;
    rate->burst_us = burst_us;
    rate->key[0] = key[0];
    rate->key[1] = key[1];
    *out = rate;
    return BQ_OK;
}

int rate_new(int64_t per_second, const uint64_t key[2], struct rate **out)
{
    return make(per_second < US_PER_S ? US_PER_S / per_second : 1, RATE_BURST_S * US_PER_S, key,
                out);
}

int rate_new_slow(int64_t n, int64_t period_us, const uint64_t key[2], struct rate **out)
{
    return make(period_us / n, period_us, key, out);
}

void rate_free(struct rate *rate)
{
    if (rate == NULL) {
        return;
    }
    for (unsigned i = 0; i < RATE_LOCKS; i++) {
        pthread_mutex_destroy(&rate->locks[i]);
    }
    mem_free(rate);
}

/* The user's place, or that of who was quiet longest. */
static struct place *find(struct place *set, uint64_t user)
{
    struct place *quietest = &set[0];
    for (unsigned i = 0; i < RATE_WAYS; i++) {
        if (set[i].full_at_us != 0 && set[i].user == user) {
            return &set[i];
        }
        if (set[i].full_at_us < quietest->full_at_us) {
            quietest = &set[i];
        }
    }
    *quietest = (struct place){user, 0};
    return quietest;
}

int64_t rate_take(struct rate *rate, const struct uuid *user, int64_t now_us)
{
    return rate_take_named(rate, uuid_slice(user), now_us);
}

int64_t rate_take_named(struct rate *rate, struct slice name, int64_t now_us)
{
    struct hash128 hash = hash_text(name, rate->key[0], rate->key[1]);
    unsigned set = (unsigned)(hash.low % RATE_SETS);
    pthread_mutex_t *lock = &rate->locks[set % RATE_LOCKS];
    pthread_mutex_lock(lock);
    struct place *place = find(rate->sets[set], hash.high);
    int64_t from_us = place->full_at_us > now_us ? place->full_at_us : now_us;
    int64_t wait_us = from_us + rate->token_us - now_us - rate->burst_us;
    if (wait_us <= 0) {
        place->full_at_us = from_us + rate->token_us;
        wait_us = 0;
    }
    pthread_mutex_unlock(lock);
    return wait_us;
}
