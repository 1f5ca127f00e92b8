/* jwt_keys.c - OpenSSL 3 behind jwt_keys.h. */
#include "server/jwt_keys.h"

#include "base/base64url.h"
#include "base/mem.h"
#include "base/status.h"
#include "json/json.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/param_build.h>
#include <stdatomic.h>
#include <stdio.h>

#define ES256_HALF 32u /* r and s of an ES256 signature (RFC 7518 section 3.4) */
#define HS256_BYTES 32u
#define JWKS_DEPTH 8u

struct secret {
    size_t len;
    char bytes[JWT_SECRET_MAX_BYTES];
};

struct public_key {
    enum jwt_alg alg;
    EVP_PKEY *key;
    bool own;
    size_t kid_len; /* 0: the JWKS gave it none */
    char kid[JWT_KID_BYTES];
};

struct jwt_keys {
    _Atomic unsigned n_owners;
    unsigned n_secrets;
    unsigned n_public;
    struct secret secrets[JWT_SECRETS];
    struct public_key public[JWT_PUBLIC_KEYS];
};

int jwt_keys_new(struct jwt_keys **out)
{
    struct jwt_keys *keys = mem_zalloc(1, sizeof *keys);
    if (keys == NULL) {
        return BQ_NOMEM;
    }
    atomic_init(&keys->n_owners, 1);
    *out = keys;
    return BQ_OK;
}

int jwt_keys_copy(const struct jwt_keys *keys, struct jwt_keys **out)
{
    struct jwt_keys *copy;
    int status = jwt_keys_new(&copy);
    if (status != BQ_OK) {
        return status;
    }
    memcpy(copy->secrets, keys->secrets, sizeof copy->secrets);
    copy->n_secrets = keys->n_secrets;
    for (unsigned i = 0; i < keys->n_public; i++) {
        if (EVP_PKEY_up_ref(keys->public[i].key) != 1) {
            jwt_keys_free(copy);
            return BQ_NOMEM;
        }
        copy->public[copy->n_public++] = keys->public[i];
    }
    *out = copy;
    return BQ_OK;
}

struct jwt_keys *jwt_keys_share(struct jwt_keys *keys)
{
    atomic_fetch_add(&keys->n_owners, 1);
    return keys;
}

void jwt_keys_free(struct jwt_keys *keys)
{
    if (keys == NULL || atomic_fetch_sub(&keys->n_owners, 1) > 1) {
        return;
    }
    for (unsigned i = 0; i < keys->n_public; i++) {
        EVP_PKEY_free(keys->public[i].key);
    }
    OPENSSL_cleanse(keys, sizeof *keys);
    mem_free(keys);
}

int jwt_keys_add_secret(struct jwt_keys *keys, struct slice secret, char *error, size_t error_size)
{
    if (secret.len < JWT_SECRET_MIN_BYTES || secret.len > JWT_SECRET_MAX_BYTES) {
        snprintf(error, error_size, "a token secret has %u to %u bytes; this one has %zu",
                 JWT_SECRET_MIN_BYTES, JWT_SECRET_MAX_BYTES, secret.len);
        return BQ_INVALID;
    }
    if (keys->n_secrets == JWT_SECRETS) {
        snprintf(error, error_size, "at most %u token secrets are alive at a time", JWT_SECRETS);
        return BQ_INVALID;
    }
    struct secret *to = &keys->secrets[keys->n_secrets++];
    memcpy(to->bytes, secret.ptr, secret.len);
    to->len = secret.len;
    return BQ_OK;
}

static bool string_is(const struct json_value *value, const char *text)
{
    return json_is(value, JSON_STRING) && slice_is(json_text(value), text);
}

/* A base64url member as bytes. */
static bool bytes_of(struct arena *arena, const struct json_value *jwk, const char *name,
                     struct slice *out)
{
    const struct json_value *value = json_get(jwk, name);
    return json_is(value, JSON_STRING) && base64url_read(arena, json_text(value), out) &&
           out->len > 0;
}

/* The key that params describe, or NULL. */
static EVP_PKEY *key_from(const char *type, OSSL_PARAM *params)
{
    EVP_PKEY *key = NULL;
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);
    if (context == NULL || params == NULL || EVP_PKEY_fromdata_init(context) <= 0 ||
        EVP_PKEY_fromdata(context, &key, EVP_PKEY_PUBLIC_KEY, params) <= 0) {
        key = NULL;
    }
    EVP_PKEY_CTX_free(context);
    return key;
}

static EVP_PKEY *ec_key(struct arena *arena, const struct json_value *jwk)
{
    struct slice x;
    struct slice y;
    if (!string_is(json_get(jwk, "crv"), "P-256") || !bytes_of(arena, jwk, "x", &x) ||
        !bytes_of(arena, jwk, "y", &y) || x.len != ES256_HALF || y.len != ES256_HALF) {
        return NULL;
    }
    unsigned char point[1 + 2 * ES256_HALF];
    point[0] = POINT_CONVERSION_UNCOMPRESSED;
    memcpy(point + 1, x.ptr, ES256_HALF);
    memcpy(point + 1 + ES256_HALF, y.ptr, ES256_HALF);
    char group[] = "P-256";
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, group, 0),
        OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, point, sizeof point),
        OSSL_PARAM_construct_end(),
    };
    return key_from("EC", params);
}

static EVP_PKEY *rsa_key_of(BIGNUM *n, BIGNUM *e)
{
    EVP_PKEY *key = NULL;
    OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
    if (n != NULL && e != NULL && build != NULL && BN_num_bits(n) >= JWT_RSA_MIN_BITS &&
        OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_N, n) &&
        OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_E, e)) {
        OSSL_PARAM *params = OSSL_PARAM_BLD_to_param(build);
        key = key_from("RSA", params);
        OSSL_PARAM_free(params);
    }
    OSSL_PARAM_BLD_free(build);
    return key;
}

static EVP_PKEY *rsa_key(struct arena *arena, const struct json_value *jwk)
{
    struct slice n;
    struct slice e;
    if (!bytes_of(arena, jwk, "n", &n) || !bytes_of(arena, jwk, "e", &e) || n.len > 1024 ||
        e.len > 8) {
        return NULL;
    }
    BIGNUM *n_number = BN_bin2bn((const unsigned char *)n.ptr, (int)n.len, NULL);
    BIGNUM *e_number = BN_bin2bn((const unsigned char *)e.ptr, (int)e.len, NULL);
    EVP_PKEY *key = rsa_key_of(n_number, e_number);
    BN_free(n_number);
    BN_free(e_number);
    return key;
}

bool jwt_keys_has_kid(const struct jwt_keys *keys, struct slice kid)
{
    for (unsigned i = 0; i < keys->n_public; i++) {
        const struct public_key *key = &keys->public[i];
        if (kid.len > 0 && slice_equal(kid, (struct slice){key->kid, key->kid_len})) {
            return true;
        }
    }
    return false;
}

/* What is wrong with a JWK before its numbers are looked at; NULL: nothing. */
static const char *jwk_problem(const struct jwt_keys *keys, const struct json_value *jwk)
{
    const struct json_value *kid = json_get(jwk, "kid");
    const struct json_value *use = json_get(jwk, "use");
    if (!json_is(jwk, JSON_OBJECT)) {
        return "is no object";
    }
    if (string_is(json_get(jwk, "kty"), "oct") || json_get(jwk, "k") != NULL) {
        return "is a secret; a secret belongs into --jwt-secret-file";
    }
    if (json_get(jwk, "d") != NULL) {
        return "is a private key; only public keys belong here";
    }
    if (use != NULL && !string_is(use, "sig")) {
        return "is not for signatures";
    }
    if (kid != NULL && (!json_is(kid, JSON_STRING) || kid->len == 0 || kid->len > JWT_KID_BYTES)) {
        return "has a kid that is no text of 1 to 128 bytes";
    }
    if (kid != NULL && jwt_keys_has_kid(keys, json_text(kid))) {
        return "has the kid of another key";
    }
    return keys->n_public == JWT_PUBLIC_KEYS ? "is one too many" : NULL;
}

/* Adds one JWK; NULL or what is wrong with it. */
static const char *add_jwk(struct jwt_keys *keys, struct arena *arena, const struct json_value *jwk)
{
    const char *problem = jwk_problem(keys, jwk);
    if (problem != NULL) {
        return problem;
    }
    bool ec = string_is(json_get(jwk, "kty"), "EC");
    const struct json_value *alg = json_get(jwk, "alg");
    if (alg != NULL && !string_is(alg, ec ? "ES256" : "RS256")) {
        return "has an alg that is neither ES256 of P-256 nor RS256 of RSA";
    }
    if (!ec && !string_is(json_get(jwk, "kty"), "RSA")) {
        return "has a kty that is neither EC nor RSA";
    }
    EVP_PKEY *key = ec ? ec_key(arena, jwk) : rsa_key(arena, jwk);
    if (key == NULL) {
        ERR_clear_error();
        return ec ? "is not a point of P-256" : "is not an RSA key of at least 2048 bits";
    }
    struct public_key *to = &keys->public[keys->n_public++];
    const struct json_value *kid = json_get(jwk, "kid");
    to->alg = ec ? JWT_ES256 : JWT_RS256;
    to->key = key;
    to->kid_len = kid == NULL ? 0 : kid->len;
    memcpy(to->kid, kid == NULL ? "" : kid->ptr, to->kid_len);
    return NULL;
}

/* The list of a set; the sentence is in error where there is none. */
static int read_set(struct arena *arena, struct slice text, const struct json_value **out,
                    char *error, size_t error_size)
{
    struct json_value set;
    struct json_error where;
    int status = json_parse(arena, text, JWKS_DEPTH, &set, &where);
    if (status != BQ_OK) {
        snprintf(error, error_size, "line %u: %s", where.line, where.what);
        return status == BQ_NOMEM ? BQ_NOMEM : BQ_INVALID;
    }
    const struct json_value *list = json_get(&set, "keys");
    if (!json_is(list, JSON_ARRAY) || list->count == 0) {
        snprintf(error, error_size, "there is no list \"keys\" with a key in it");
        return BQ_INVALID;
    }
    *out = list;
    return BQ_OK;
}

int jwt_keys_add_jwks(struct jwt_keys *keys, struct slice text, char *error, size_t error_size)
{
    struct arena arena;
    const struct json_value *list;
    arena_init(&arena);
    int status = read_set(&arena, text, &list, error, error_size);
    for (uint32_t i = 0; status == BQ_OK && i < list->count; i++) {
        const char *problem = add_jwk(keys, &arena, &list->items[i]);
        if (problem != NULL) {
            snprintf(error, error_size, "key %u %s", (unsigned)i + 1, problem);
            status = BQ_INVALID;
        }
    }
    arena_release(&arena);
    return status;
}

int jwt_keys_add_published(struct jwt_keys *keys, struct slice text, unsigned *out_passed_over,
                           char *error, size_t error_size)
{
    struct arena arena;
    const struct json_value *list;
    const char *first_problem = NULL;
    unsigned n_passed_over = 0;
    arena_init(&arena);
    int status = read_set(&arena, text, &list, error, error_size);
    for (uint32_t i = 0; status == BQ_OK && i < list->count; i++) {
        const char *problem = add_jwk(keys, &arena, &list->items[i]);
        n_passed_over += problem != NULL;
        first_problem = first_problem == NULL ? problem : first_problem;
    }
    if (status == BQ_OK && n_passed_over == list->count) {
        snprintf(error, error_size, "none of the keys can be used; the first one %s",
                 first_problem);
        status = BQ_INVALID;
    }
    arena_release(&arena);
    if (status == BQ_OK) {
        *out_passed_over = n_passed_over;
    }
    return status;
}

int jwt_keys_add_own(struct jwt_keys *keys, EVP_PKEY *key, struct slice kid)
{
    if (keys->n_public == JWT_PUBLIC_KEYS || kid.len == 0 || kid.len > JWT_KID_BYTES ||
        jwt_keys_has_kid(keys, kid) || EVP_PKEY_up_ref(key) != 1) {
        return BQ_INVALID;
    }
    struct public_key *to = &keys->public[keys->n_public++];
    *to = (struct public_key){.alg = JWT_ES256, .key = key, .own = true, .kid_len = kid.len};
    memcpy(to->kid, kid.ptr, kid.len);
    return BQ_OK;
}

unsigned jwt_keys_count(const struct jwt_keys *keys, enum jwt_alg alg)
{
    unsigned n = alg == JWT_HS256 ? keys->n_secrets : 0;
    for (unsigned i = 0; i < keys->n_public; i++) {
        n += keys->public[i].alg == alg && !keys->public[i].own;
    }
    return n;
}

enum jwt_alg jwt_alg_of(struct slice name)
{
    return slice_is(name, "HS256")   ? JWT_HS256
           : slice_is(name, "ES256") ? JWT_ES256
           : slice_is(name, "RS256") ? JWT_RS256
                                     : JWT_UNKNOWN;
}

/* All secrets are tried and compared in constant time: which of them fits does not show. */
static bool verify_secrets(const struct jwt_keys *keys, struct slice text, struct slice signature)
{
    bool good = false;
    if (signature.len != HS256_BYTES) {
        return false;
    }
    for (unsigned i = 0; i < keys->n_secrets; i++) {
        unsigned char mac[EVP_MAX_MD_SIZE];
        unsigned mac_len = 0;
        const struct secret *secret = &keys->secrets[i];
        if (HMAC(EVP_sha256(), secret->bytes, (int)secret->len, (const unsigned char *)text.ptr,
                 text.len, mac, &mac_len) != NULL &&
            mac_len == HS256_BYTES && CRYPTO_memcmp(mac, signature.ptr, HS256_BYTES) == 0) {
            good = true;
        }
    }
    return good;
}

static bool verify_public(EVP_PKEY *key, struct slice text, const unsigned char *signature,
                          size_t signature_len)
{
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    bool good = context != NULL &&
                EVP_DigestVerifyInit(context, NULL, EVP_sha256(), NULL, key) == 1 &&
                EVP_DigestVerify(context, signature, signature_len,
                                 (const unsigned char *)text.ptr, text.len) == 1;
    EVP_MD_CTX_free(context);
    ERR_clear_error();
    return good;
}

/* r and s side by side become the DER that OpenSSL wants. */
static bool verify_es256(EVP_PKEY *key, struct slice text, struct slice signature)
{
    unsigned char der[2 * ES256_HALF + 16];
    unsigned char *end = der;
    if (signature.len != (size_t)2 * ES256_HALF) {
        return false;
    }
    const unsigned char *bytes = (const unsigned char *)signature.ptr;
    BIGNUM *r = BN_bin2bn(bytes, ES256_HALF, NULL);
    BIGNUM *s = BN_bin2bn(bytes + ES256_HALF, ES256_HALF, NULL);
    ECDSA_SIG *pair = ECDSA_SIG_new();
    if (r == NULL || s == NULL || pair == NULL || ECDSA_SIG_set0(pair, r, s) != 1) {
        BN_free(r);
        BN_free(s);
        ECDSA_SIG_free(pair);
        return false;
    }
    int len = i2d_ECDSA_SIG(pair, &end);
    ECDSA_SIG_free(pair);
    return len > 0 && verify_public(key, text, der, (size_t)len);
}

bool jwt_keys_verify(const struct jwt_keys *keys, enum jwt_alg alg, struct slice kid,
                     struct slice signed_text, struct slice signature, bool *out_own)
{
    *out_own = alg == JWT_HS256;
    if (alg == JWT_HS256) {
        return verify_secrets(keys, signed_text, signature);
    }
    for (unsigned i = 0; i < keys->n_public; i++) {
        const struct public_key *key = &keys->public[i];
        if (key->alg != alg ||
            (kid.ptr != NULL && !slice_equal(kid, (struct slice){key->kid, key->kid_len}))) {
            continue;
        }
        if (alg == JWT_ES256 ? verify_es256(key->key, signed_text, signature)
                             : verify_public(key->key, signed_text,
                                             (const unsigned char *)signature.ptr, signature.len)) {
            *out_own = key->own;
            return true;
        }
    }
    return false;
}
