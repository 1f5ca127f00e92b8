/* jwt_cache.c - sets of two entries; the second of a set is the elder. */
#include "server/jwt_cache.h"

#include "base/mem.h"
#include "base/status.h"

#include <pthread.h>
#include <stdatomic.h>

#define WAYS 2u
#define SETS (JWT_CACHE_ENTRIES / WAYS)
#define SHARDS 16u

struct entry {
    struct hash128 key;
    uint64_t generation;
    struct jwt_identity identity; /* exp_s 0: the place is free */
};

struct jwt_cache {
    _Atomic uint64_t generation;
    pthread_mutex_t locks[SHARDS];
    struct entry sets[SETS][WAYS];
};

int jwt_cache_new(struct jwt_cache **out)
{
    struct jwt_cache *cache = mem_zalloc(1, sizeof *cache);
    if (cache == NULL) {
        return BQ_NOMEM;
    }
    for (unsigned i = 0; i < SHARDS; i++) {
        pthread_mutex_init(&cache->locks[i], NULL);
    }
    *out = cache;
    return BQ_OK;
}

void jwt_cache_free(struct jwt_cache *cache)
{
    if (cache == NULL) {
        return;
    }
    for (unsigned i = 0; i < SHARDS; i++) {
        pthread_mutex_destroy(&cache->locks[i]);
    }
    mem_free(cache);
}

static bool same(struct hash128 a, struct hash128 b)
{
    return a.low == b.low && a.high == b.high;
}

bool jwt_cache_find(struct jwt_cache *cache, struct hash128 key, struct jwt_identity *out)
{
    bool found = false;
    uint64_t generation = jwt_cache_generation(cache);
    pthread_mutex_t *lock = &cache->locks[key.low % SHARDS];
    struct entry *set = cache->sets[key.low % SETS];
    pthread_mutex_lock(lock);
    for (unsigned i = 0; i < WAYS && !found; i++) {
        found = set[i].identity.exp_s != 0 && set[i].generation == generation &&
                same(set[i].key, key);
        if (found) {
            *out = set[i].identity;
        }
    }
    pthread_mutex_unlock(lock);
    return found;
}

void jwt_cache_add(struct jwt_cache *cache, struct hash128 key, uint64_t generation,
                   const struct jwt_identity *identity)
{
    pthread_mutex_t *lock = &cache->locks[key.low % SHARDS];
    struct entry *set = cache->sets[key.low % SETS];
    pthread_mutex_lock(lock);
    if (!same(set[0].key, key)) {
        set[1] = set[0];
    }
    set[0] = (struct entry){key, generation, *identity};
    pthread_mutex_unlock(lock);
}

uint64_t jwt_cache_generation(const struct jwt_cache *cache)
{
    return atomic_load(&cache->generation);
}

void jwt_cache_forget(struct jwt_cache *cache)
{
    atomic_fetch_add(&cache->generation, 1);
}
