/* jwt.h - who a token says the caller is (RFC 7519, RFC 8725; docs/protocol.md, "Tokens").
 *
 * A token is compact, at most JWT_MAX_BYTES, signed with one of our keys (jwt_keys.h), strict
 * base64url and strict JSON (duplicate members are refused), and has an integer exp. crit and zip
 * in its header are refused; jku, x5u, x5c and jwk are not looked at. service_role is believed only
 * under our own secret. A user is named by `sub`, and only with the role authenticated: a uuid,
 * lower-cased, or, where the operator says so, any text mapped to UUIDv5(UUIDv5(URL, issuer), sub).
 *
 * Verified tokens are remembered (bounded, by a keyed hash), their exp is looked at every time, and
 * all of them are forgotten when the published keys change.
 * Refusals carry the code and text that a PostgREST client expects. Any thread. */
#ifndef SERVER_JWT_H
#define SERVER_JWT_H

#include "base/uuid.h"
#include "server/jwt_keys.h"

#include <stdint.h>

#define JWT_MAX_BYTES 8192u
#define JWT_LEEWAY_S 30
#define JWT_CACHE_ENTRIES 8192u

enum role { ROLE_ANON, ROLE_AUTHENTICATED, ROLE_SERVICE };

struct jwt_identity {
    enum role role;
    bool has_user; /* true for ROLE_AUTHENTICATED, false for all others */
    struct uuid user;
    bool is_anonymous; /* an account of ours without an email: a smaller quota */
    bool has_session;  /* our own tokens name one */
    struct uuid session;
    int64_t exp_s;
};

struct jwt_refusal {
    const char *code; /* "PGRST301", "PGRST303", "22023" */
    char message[160];
    const char *details; /* NULL: none */
    int64_t exp_s;       /* of a token that is over ("JWT expired"), else 0 */
};

struct jwt_config {
    size_t size;            /* sizeof(struct jwt_config) */
    struct jwt_keys *keys;  /* taken by jwt_new() when it succeeds */
    const char *issuer;     /* NULL: none; demanded of tokens of a JWKS */
    const char *audience;   /* NULL: none; demanded of tokens of a JWKS, of others where they have
                               one */
    bool map_sub;           /* map a sub that is no uuid */
    bool has_own_key;       /* one of keys is that of our own accounts */
    bool has_url;           /* more keys come by jwt_set_published() */
    /* Called where a token names a public key that is not there, NULL: nobody. It must not wait.
     * Any thread. */
    void (*unknown_kid)(void *cls);
    void *cls;
    uint64_t cache_key[2];  /* random */
};

struct jwt;

/* BQ_OK, BQ_NOMEM, or BQ_INVALID with a sentence: no key at all, a JWKS without issuer and
 * audience, mapping without an issuer. */
int jwt_new(const struct jwt_config *config, struct jwt **out, char *error, size_t error_size);
void jwt_free(struct jwt *jwt);

/* What a set that somebody publishes led to. */
struct jwt_published {
    unsigned n_keys;        /* public keys of others that verify now, a file's included */
    unsigned n_passed_over; /* as jwt_keys_add_published() */
};

/* Puts the keys of this JWKS in the place of those of the last call; the ones that jwt_new() got
 * stay. What was verified before is forgotten. On failure (as jwt_keys_add_published()) nothing
 * changes. One thread at a time, beside any number that verify. */
int jwt_set_published(struct jwt *jwt, struct slice jwks, struct jwt_published *out, char *error,
                      size_t error_size);

/* BQ_OK with *out; BQ_AUTH with *refusal; BQ_NOMEM. token is what stands behind "Bearer ". */
int jwt_verify(struct jwt *jwt, struct slice token, int64_t now_s, struct jwt_identity *out,
               struct jwt_refusal *refusal);

/* "anon", "authenticated", "service_role". */
const char *role_word(enum role role);

#endif
