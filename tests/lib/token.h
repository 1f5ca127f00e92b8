/* token.h - makes tokens, good and bad, independently of src/server: any header, any claims. */
#ifndef TESTS_TOKEN_H
#define TESTS_TOKEN_H

#include <stddef.h>
#include <stdint.h>

#define TOKEN_SECRET "a secret of the tests with more than 32 bytes"
#define TOKEN_OTHER_SECRET "another secret of the tests, just as long as that"

struct token_key;

/* alg: "HS256" (with a secret), "ES256", "RS256" (a new key pair; secret NULL). */
struct token_key *token_key_new(const char *alg, const char *secret);
void token_key_free(struct token_key *key);

/* The public key as a JWK with this kid (NULL: without); free() it. */
char *token_jwk(const struct token_key *key, const char *kid);

/* The public key as PEM: what an attacker would use as an HS256 secret; free() it. */
char *token_pem(const struct token_key *key);

/* Both texts are taken as they are, base64url-encoded and signed; free() the token. */
char *token_sign(const struct token_key *key, const char *header, const char *claims);

/* HS256 under TOKEN_SECRET: {"role": role, "sub": sub, "exp": exp_s}; sub may be NULL; free()
 * it. */
char *token_make(const char *role, const char *sub, int64_t exp_s);

/* An authenticated user's token, valid for an hour from now; free() it. */
char *token_user(const char *sub);

#endif
