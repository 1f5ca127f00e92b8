/* jwt_cache.h - a bounded memory of tokens that were verified, so that a signature is checked once.
 *
 * Keyed by a 128-bit hash under a random key; a token that was not verified cannot hit. Two places
 * per hash, the elder is replaced. Where the keys change everything is forgotten at once: an entry
 * counts in the generation alone that it was made in. exp is the caller's to look at. Any thread:
 * one lock per shard. */
#ifndef SERVER_JWT_CACHE_H
#define SERVER_JWT_CACHE_H

#include "base/hash.h"
#include "server/jwt.h"

struct jwt_cache;

int jwt_cache_new(struct jwt_cache **out);
void jwt_cache_free(struct jwt_cache *cache);

bool jwt_cache_find(struct jwt_cache *cache, struct hash128 key, struct jwt_identity *out);

/* generation is what jwt_cache_generation() said when the keys were taken that verified it. */
void jwt_cache_add(struct jwt_cache *cache, struct hash128 key, uint64_t generation,
                   const struct jwt_identity *identity);

uint64_t jwt_cache_generation(const struct jwt_cache *cache);
void jwt_cache_forget(struct jwt_cache *cache);

#endif
