/* jwt_keys.h - the keys that a token may be signed with, each bound to one algorithm.
 *
 * A secret signs HS256; a key of a JWKS (RFC 7517) signs ES256 or RS256. The algorithm belongs
 * to the key: what a token's header says is only compared with it, so a public key is never used
 * as a secret and "none" is no algorithm. `kid` is an exact look-up; no address in a token is
 * looked at. Filled by one thread, read-only afterwards: any thread. */
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

/* A set with the same keys, to be filled further. BQ_OK, BQ_NOMEM. */
int jwt_keys_copy(const struct jwt_keys *keys, struct jwt_keys **out);

/* One more owner, who calls jwt_keys_free() as the others do: the last one frees. Any thread. */
struct jwt_keys *jwt_keys_share(struct jwt_keys *keys);

/* The bytes as they are. BQ_OK, BQ_INVALID with a sentence in error, BQ_NOMEM. */
int jwt_keys_add_secret(struct jwt_keys *keys, struct slice secret, char *error, size_t error_size);

/* All keys of {"keys": [...]}: EC P-256 and RSA of at least 2048 bits. Secret and private keys,
 * doubled kids and other types are refused: BQ_INVALID with a sentence, BQ_NOMEM. */
int jwt_keys_add_jwks(struct jwt_keys *keys, struct slice text, char *error, size_t error_size);

/* Those keys of a set that somebody else publishes which the function above would take. All others
 * (secrets, private keys, other types, kids that are there already, what is beyond
 * JWT_PUBLIC_KEYS) are passed over and counted. BQ_INVALID with a sentence where nothing is left
 * or the text is no set, BQ_NOMEM. */
int jwt_keys_add_published(struct jwt_keys *keys, struct slice text, unsigned *out_passed_over,
                           char *error, size_t error_size);

/* The ES256 key of our own accounts (server/signer.h): whose tokens it signs is not asked. Takes a
 * reference. BQ_OK, BQ_INVALID where there is no room. */
int jwt_keys_add_own(struct jwt_keys *keys, EVP_PKEY *key, struct slice kid);

/* How many keys of others verify signatures of this algorithm; secrets are our own. */
unsigned jwt_keys_count(const struct jwt_keys *keys, enum jwt_alg alg);

/* Whether a public key has this kid. */
bool jwt_keys_has_kid(const struct jwt_keys *keys, struct slice kid);

/* "HS256", "ES256", "RS256"; JWT_UNKNOWN for all others. */
enum jwt_alg jwt_alg_of(struct slice name);

/* Whether signature is one of signed_text by a key of alg. A kid (NULL ptr: none was named) picks
 * the public key exactly; secrets have no kid, and every one of them is tried. *out_own tells
 * whether the key is ours: a secret, or that of jwt_keys_add_own(). */
bool jwt_keys_verify(const struct jwt_keys *keys, enum jwt_alg alg, struct slice kid,
                     struct slice signed_text, struct slice signature, bool *out_own);

#endif
