/* jwt_keys.h - the keys that a token may be signed with, each bound to one algorithm.
 *
 * A secret signs HS256; a key of a JWKS (RFC 7517) signs ES256 or RS256. The algorithm belongs
 * to the key: what a token's header says is only compared with it, so a public key is never used
 * as a secret and "none" is no algorithm. `kid` is an exact look-up; nothing is fetched because
 * of a token. Filled before the server starts, read-only afterwards: any thread. */
#ifndef SERVER_JWT_KEYS_H
#define SERVER_JWT_KEYS_H

#include "base/slice.h"

#include <openssl/types.h>
#include <stdbool.h>
#include <stddef.h>

#define JWT_SECRET_MIN_BYTES 32u /* RFC 7518 section 3.2 */
#define JWT_SECRET_MAX_BYTES 1024u
#define JWT_SECRETS 2u           /* the present and the previous one: rotation */
#define JWT_PUBLIC_KEYS 16u
#define JWT_KID_BYTES 128u
#define JWT_RSA_MIN_BITS 2048

enum jwt_alg { JWT_HS256, JWT_ES256, JWT_RS256, JWT_UNKNOWN };

struct jwt_keys;

int jwt_keys_new(struct jwt_keys **out);
void jwt_keys_free(struct jwt_keys *keys);

/* The bytes as they are. BQ_OK, BQ_INVALID with a sentence in error, BQ_NOMEM. */
int jwt_keys_add_secret(struct jwt_keys *keys, struct slice secret, char *error, size_t error_size);

/* All keys of {"keys": [...]}: EC P-256 and RSA of at least 2048 bits. Secret and private keys,
 * doubled kids and other types are refused: BQ_INVALID with a sentence, BQ_NOMEM. */
int jwt_keys_add_jwks(struct jwt_keys *keys, struct slice text, char *error, size_t error_size);

/* The ES256 key of our own accounts (server/signer.h): whose tokens it signs is not asked. Takes a
 * reference. BQ_OK, BQ_INVALID where there is no room. */
int jwt_keys_add_own(struct jwt_keys *keys, EVP_PKEY *key, struct slice kid);

/* How many keys of others verify signatures of this algorithm; secrets are our own. */
unsigned jwt_keys_count(const struct jwt_keys *keys, enum jwt_alg alg);

/* "HS256", "ES256", "RS256"; JWT_UNKNOWN for all others. */
enum jwt_alg jwt_alg_of(struct slice name);

/* Whether signature is one of signed_text by a key of alg. A kid (NULL ptr: none was named) picks
 * the public key exactly; secrets have no kid, and every one of them is tried. *out_own tells
 * whether the key is ours: a secret, or that of jwt_keys_add_own(). */
bool jwt_keys_verify(const struct jwt_keys *keys, enum jwt_alg alg, struct slice kid,
                     struct slice signed_text, struct slice signature, bool *out_own);

#endif
