/* jwt_cache.h - a bounded memory of tokens that were verified, so that a signature is checked once.
 *
 * Keyed by a 128-bit hash under a random key; a token that was not verified cannot hit. Two places
 * per hash, the elder is replaced. Keys do not change while a server runs, so nothing is ever
 * withdrawn; exp is the caller's to look at. Any thread: one lock per shard. */
#ifndef SERVER_JWT_CACHE_H
#define SERVER_JWT_CACHE_H

#include "base/hash.h"
#include "server/jwt.h"

struct jwt_cache;

int jwt_cache_new(struct jwt_cache **out);
void jwt_cache_free(struct jwt_cache *cache);

bool jwt_cache_find(struct jwt_cache *cache, struct hash128 key, struct jwt_identity *out);
void jwt_cache_add(struct jwt_cache *cache, struct hash128 key,
                   const struct jwt_identity *identity);

#endif
