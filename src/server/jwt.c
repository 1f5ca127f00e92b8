/* jwt.c - the steps of RFC 7519 section 7.2, cheapest first; nothing of a token is believed
 * before its signature is. */
#include "server/jwt.h"

#include "base/base64url.h"
#include "base/mem.h"
#include "base/plant.h"
#include "base/status.h"
#include "json/json.h"
#include "server/jwt_cache.h"

#include <openssl/evp.h>
#include <pthread.h>
#include <stdio.h>

#define TOKEN_DEPTH 32u
#define TIME_MAX_S INT64_C(253402300799) /* the last second of the year 9999 */

/* The namespace of URLs of RFC 9562 section 6.6. */
static const unsigned char namespace_url[16] = {0x6b, 0xa7, 0xb8, 0x11, 0x9d, 0xad, 0x11, 0xd1,
                                                0x80, 0xb4, 0x00, 0xc0, 0x4f, 0xd4, 0x30, 0xc8};

struct jwt {
    struct jwt_keys *fixed; /* those of jwt_new() */
    pthread_mutex_t lock;   /* of keys, and of its generation in the cache */
    struct jwt_keys *keys;  /* fixed, or a copy with those that are published */
    struct jwt_cache *cache;
    void (*unknown_kid)(void *cls);
    void *cls;
    char *issuer;
    char *audience;
    bool map_sub;
    uint64_t cache_key[2];
    unsigned char issuer_namespace[16];
};

/* The three parts of a token, still encoded. */
struct parts {
    struct slice header;
    struct slice claims;
    struct slice signature;
    struct slice signed_text; /* header and claims with the dot between */
};

struct claims {
    const struct jwt_keys *keys; /* that the signature is checked with */
    const struct json_value *object;
    bool own;          /* signed with a key of ours */
    bool service_role; /* the key may name it */
    int64_t now_s;
};

const char *role_word(enum role role)
{
    switch (role) {
    case ROLE_ANON:
        return "anon";
    case ROLE_AUTHENTICATED:
        return "authenticated";
    case ROLE_SERVICE:
        break;
    }
    return "service_role";
}

/* UUIDv5 (RFC 9562 section 5.5): SHA-1 of namespace and name. */
static bool uuid_v5(const unsigned char namespace[16], struct slice name, unsigned char out[16])
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    bool good = context != NULL && EVP_DigestInit_ex(context, EVP_sha1(), NULL) == 1 &&
                EVP_DigestUpdate(context, namespace, 16) == 1 &&
                EVP_DigestUpdate(context, name.ptr, name.len) == 1 &&
                EVP_DigestFinal_ex(context, digest, NULL) == 1;
    EVP_MD_CTX_free(context);
    if (good) {
        memcpy(out, digest, 16);
        out[6] = (unsigned char)((out[6] & 0x0f) | 0x50);
        out[8] = (unsigned char)((out[8] & 0x3f) | 0x80);
    }
    return good;
}

static void uuid_print(const unsigned char bytes[16], struct uuid *out)
{
    static const char digits[] = "0123456789abcdef";
    size_t at = 0;
    for (size_t i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10) {
            out->text[at++] = '-';
        }
        out->text[at++] = digits[bytes[i] >> 4];
        out->text[at++] = digits[bytes[i] & 15];
    }
    out->text[at] = '\0';
}

/* What is wrong with a configuration; NULL: nothing. */
static const char *config_problem(const struct jwt_config *config)
{
    unsigned n_public =
        jwt_keys_count(config->keys, JWT_ES256) + jwt_keys_count(config->keys, JWT_RS256);
    if (n_public + jwt_keys_count(config->keys, JWT_HS256) == 0 && !config->has_own_key &&
        !config->has_url) {
        return "no key to check tokens with; give --jwt-secret-file, --jwks-file or --jwks-url";
    }
    if ((n_public > 0 || config->has_url) &&
        (config->issuer == NULL || config->audience == NULL)) {
        return "--jwks-file and --jwks-url need --jwt-issuer and --jwt-audience: without them any "
               "issuer with these keys could name any user";
    }
    if (config->map_sub && config->issuer == NULL) {
        return "--jwt-map-sub needs --jwt-issuer";
    }
    return NULL;
}

int jwt_new(const struct jwt_config *config, struct jwt **out, char *error, size_t error_size)
{
    const char *problem = config_problem(config);
    if (problem != NULL) {
        snprintf(error, error_size, "%s", problem);
        return BQ_INVALID;
    }
    struct jwt *jwt = mem_zalloc(1, sizeof *jwt);
    if (jwt == NULL) {
        return BQ_NOMEM;
    }
    pthread_mutex_init(&jwt->lock, NULL);
    jwt->map_sub = config->map_sub;
    jwt->unknown_kid = config->unknown_kid;
    jwt->cls = config->cls;
    memcpy(jwt->cache_key, config->cache_key, sizeof jwt->cache_key);
    struct slice issuer = slice_of(config->issuer == NULL ? "" : config->issuer);
    struct slice audience = slice_of(config->audience == NULL ? "" : config->audience);
    jwt->issuer = mem_dup(issuer.ptr, issuer.len);
    jwt->audience = mem_dup(audience.ptr, audience.len);
    if (jwt->issuer == NULL || jwt->audience == NULL || jwt_cache_new(&jwt->cache) != BQ_OK ||
        !uuid_v5(namespace_url, issuer, jwt->issuer_namespace)) {
        jwt_free(jwt);
        return BQ_NOMEM;
    }
    jwt->fixed = config->keys;
    jwt->keys = jwt_keys_share(config->keys);
    *out = jwt;
    return BQ_OK;
}

void jwt_free(struct jwt *jwt)
{
    if (jwt == NULL) {
        return;
    }
    jwt_keys_free(jwt->keys);
    jwt_keys_free(jwt->fixed);
    pthread_mutex_destroy(&jwt->lock);
    jwt_cache_free(jwt->cache);
    mem_free(jwt->issuer);
    mem_free(jwt->audience);
    mem_free(jwt);
}

int jwt_set_published(struct jwt *jwt, struct slice jwks, struct jwt_published *out, char *error,
                      size_t error_size)
{
    struct jwt_keys *keys;
    struct jwt_published published;
    int status = jwt_keys_copy(jwt->fixed, &keys);
    if (status != BQ_OK) {
        return status;
    }
    status = jwt_keys_add_published(keys, jwks, &published.n_passed_over, error, error_size);
    if (status != BQ_OK) {
        jwt_keys_free(keys);
        return status;
    }
    published.n_keys = jwt_keys_count(keys, JWT_ES256) + jwt_keys_count(keys, JWT_RS256);
    pthread_mutex_lock(&jwt->lock);
    struct jwt_keys *before = jwt->keys;
    jwt->keys = keys;
    jwt_cache_forget(jwt->cache);
    pthread_mutex_unlock(&jwt->lock);
    jwt_keys_free(before);
    *out = published;
    return BQ_OK;
}

/* The present keys, to be freed, and the generation of what they verify. */
static struct jwt_keys *take_keys(struct jwt *jwt, uint64_t *out_generation)
{
    pthread_mutex_lock(&jwt->lock);
    struct jwt_keys *keys = jwt_keys_share(jwt->keys);
    *out_generation = jwt_cache_generation(jwt->cache);
    pthread_mutex_unlock(&jwt->lock);
    return keys;
}

static int refuse(struct jwt_refusal *refusal, const char *code, const char *message,
                  const char *details)
{
    refusal->code = code;
    snprintf(refusal->message, sizeof refusal->message, "%s", message);
    refusal->details = details;
    refusal->exp_s = 0;
    return BQ_AUTH;
}

static int refuse_undecodable(struct jwt_refusal *refusal, const char *details)
{
    return refuse(refusal, "PGRST301", "JWT couldn't be decoded", details);
}

/* Splits at the dots. */
static int split(struct slice token, struct parts *out, struct jwt_refusal *refusal)
{
    const char *dots[2] = {NULL, NULL};
    unsigned n_dots = 0;
    for (size_t i = 0; i < token.len; i++) {
        if (token.ptr[i] == '.') {
            if (n_dots < 2) {
                dots[n_dots] = token.ptr + i;
            }
            n_dots++;
        }
    }
    if (n_dots != 2) {
        char text[64];
        snprintf(text, sizeof text, "Expected 3 parts in JWT; got %u", n_dots + 1);
        return refuse(refusal, "PGRST301", text, NULL);
    }
    const char *end = token.ptr + token.len;
    out->header = (struct slice){token.ptr, (size_t)(dots[0] - token.ptr)};
    out->claims = (struct slice){dots[0] + 1, (size_t)(dots[1] - dots[0] - 1)};
    out->signature = (struct slice){dots[1] + 1, (size_t)(end - dots[1] - 1)};
    out->signed_text = (struct slice){token.ptr, (size_t)(dots[1] - token.ptr)};
    return BQ_OK;
}

/* Base64url and JSON: an object, or a refusal. */
static int read_object(struct arena *arena, struct slice part, struct json_value *out,
                       struct jwt_refusal *refusal)
{
    struct slice text;
    if (!base64url_read(arena, part, &text)) {
        return arena_failed(arena) ? BQ_NOMEM
                                   : refuse_undecodable(refusal, "a part is not base64url");
    }
    int status = json_parse(arena, text, TOKEN_DEPTH, out, NULL);
    if (status == BQ_NOMEM) {
        return BQ_NOMEM;
    }
    if (status != BQ_OK || !json_is(out, JSON_OBJECT)) {
        return refuse_undecodable(refusal, "a part is not a JSON object, or names a member twice");
    }
    return BQ_OK;
}

/* Whether a published key could have this kid and none has it. */
static bool names_unknown_key(const struct jwt_keys *keys, enum jwt_alg alg, struct slice kid)
{
    return alg != JWT_HS256 && kid.len > 0 && kid.len <= JWT_KID_BYTES &&
           !jwt_keys_has_kid(keys, kid);
}

/* Header and signature. */
static int check_signature(const struct jwt *jwt, struct arena *arena, const struct parts *parts,
                           struct claims *out, struct jwt_refusal *refusal)
{
    struct json_value header;
    struct slice signature;
    struct slice kid_text = SLICE_NONE;
    int status = read_object(arena, parts->header, &header, refusal);
    if (status != BQ_OK) {
        return status;
    }
    const struct json_value *alg = json_get(&header, "alg");
    const struct json_value *kid = json_get(&header, "kid");
    enum jwt_alg named = json_is(alg, JSON_STRING) ? jwt_alg_of(json_text(alg)) : JWT_UNKNOWN;
    if (named == JWT_UNKNOWN) {
        return refuse(refusal, "PGRST301", "Wrong or unsupported encoding algorithm", NULL);
    }
    if (json_get(&header, "crit") != NULL || json_get(&header, "zip") != NULL) {
        return refuse_undecodable(refusal, "crit and zip are not accepted");
    }
    if (kid != NULL && !json_is(kid, JSON_STRING)) {
        return refuse_undecodable(refusal, "kid is not a string");
    }
    if (kid != NULL) {
        kid_text = json_text(kid);
    }
    if (!base64url_read(arena, parts->signature, &signature)) {
        return arena_failed(arena) ? BQ_NOMEM
                                   : refuse_undecodable(refusal, "the signature is not base64url");
    }
    bool good =
        jwt_keys_verify(out->keys, named, kid_text, parts->signed_text, signature, &out->own);
    if (PLANTED(SIGNATURE_UNCHECKED)) {
        good = out->own = true;
    }
    if (!good) {
        if (jwt->unknown_kid != NULL && names_unknown_key(out->keys, named, kid_text)) {
            jwt->unknown_kid(jwt->cls);
        }
        return refuse(refusal, "PGRST301", "No suitable key or wrong key type",
                      "None of the keys was able to decode the JWT");
    }
    out->service_role = named == JWT_HS256;
    return BQ_OK;
}

/* An optional time claim; *out_present tells whether it is there. */
static int read_time(const struct claims *claims, const char *name, bool *out_present, int64_t *out,
                     struct jwt_refusal *refusal)
{
    const struct json_value *value = json_get(claims->object, name);
    int64_t time_s;
    *out_present = value != NULL;
    if (value == NULL) {
        return BQ_OK;
    }
    if (!json_to_int(value, &time_s) || time_s < 0 || time_s > TIME_MAX_S) {
        char text[96];
        snprintf(text, sizeof text, "The JWT '%s' claim must be a number", name);
        return refuse(refusal, "PGRST303", text, "an integer of seconds since 1970");
    }
    *out = time_s;
    return BQ_OK;
}

static int check_expired(int64_t exp_s, int64_t now_s, struct jwt_refusal *refusal)
{
    if (now_s > exp_s + JWT_LEEWAY_S && !PLANTED(EXPIRY_UNCHECKED)) {
        (void)refuse(refusal, "PGRST303", "JWT expired", NULL);
        refusal->exp_s = exp_s;
        return BQ_AUTH;
    }
    return BQ_OK;
}

static int check_times(const struct claims *claims, int64_t *out_exp_s, struct jwt_refusal *refusal)
{
    bool has_exp;
    bool has_nbf;
    bool has_iat;
    int64_t exp_s = 0;
    int64_t nbf_s = 0;
    int64_t iat_s = 0;
    int status = read_time(claims, "exp", &has_exp, &exp_s, refusal);
    if (status == BQ_OK) {
        status = read_time(claims, "nbf", &has_nbf, &nbf_s, refusal);
    }
    if (status == BQ_OK) {
        status = read_time(claims, "iat", &has_iat, &iat_s, refusal);
    }
    if (status != BQ_OK) {
        return status;
    }
    if (!has_exp || exp_s == 0) {
        return refuse(refusal, "PGRST303", "The JWT 'exp' claim must be a number",
                      "a token without an end is not accepted");
    }
    if (has_nbf && nbf_s > claims->now_s + JWT_LEEWAY_S) {
        return refuse(refusal, "PGRST303", "JWT not yet valid", NULL);
    }
    if (has_iat && iat_s > claims->now_s + JWT_LEEWAY_S) {
        return refuse(refusal, "PGRST303", "JWT issued at future", NULL);
    }
    *out_exp_s = exp_s;
    return check_expired(exp_s, claims->now_s, refusal);
}

/* Whether aud (a text or a list of texts) names ours. */
static bool audience_matches(const struct json_value *aud, struct slice ours)
{
    if (json_is(aud, JSON_STRING)) {
        return slice_equal(json_text(aud), ours);
    }
    for (uint32_t i = 0; json_is(aud, JSON_ARRAY) && i < aud->count; i++) {
        if (json_is(&aud->items[i], JSON_STRING) && slice_equal(json_text(&aud->items[i]), ours)) {
            return true;
        }
    }
    return false;
}

/* Issuer and audience: demanded of somebody else's keys; of our own secret's tokens (keys of an app
 * have no audience) only where they name one. */
static int check_parties(const struct jwt *jwt, const struct claims *claims,
                         struct jwt_refusal *refusal)
{
    const struct json_value *iss = json_get(claims->object, "iss");
    const struct json_value *aud = json_get(claims->object, "aud");
    if (!claims->own && !(json_is(iss, JSON_STRING) && slice_is(json_text(iss), jwt->issuer))) {
        return refuse(refusal, "PGRST303", "JWT not from the configured issuer", NULL);
    }
    bool must_match = !claims->own || (jwt->audience[0] != '\0' && aud != NULL);
    if (must_match && !PLANTED(AUDIENCE_UNCHECKED) &&
        !audience_matches(aud, slice_of(jwt->audience))) {
        return refuse(refusal, "PGRST303", "JWT not in audience", NULL);
    }
    return BQ_OK;
}

static int read_role(const struct claims *claims, enum role *out, struct jwt_refusal *refusal)
{
    const struct json_value *value = json_get(claims->object, "role");
    struct slice word = SLICE("anon");
    if (value != NULL && !json_is(value, JSON_STRING)) {
        return refuse(refusal, "PGRST303", "The JWT 'role' claim must be a string", NULL);
    }
    if (value != NULL) {
        word = json_text(value);
    }
    for (enum role role = ROLE_ANON; role <= ROLE_SERVICE; role++) {
        if (slice_is(word, role_word(role))) {
            if (role == ROLE_SERVICE && !claims->service_role) {
                return refuse(refusal, "PGRST301", "No suitable key or wrong key type",
                              "service_role is accepted under the server's own secret only");
            }
            *out = role;
            return BQ_OK;
        }
    }
    char text[128];
    size_t shown = word.len > 64 ? 64 : word.len;
    while (shown < word.len && ((unsigned char)word.ptr[shown] & 0xc0) == 0x80) {
        shown--; /* not in the middle of a character */
    }
    snprintf(text, sizeof text, "role \"%.*s\" does not exist", (int)shown, word.ptr);
    return refuse(refusal, "22023", text, NULL);
}

static int read_user(const struct jwt *jwt, const struct claims *claims, struct uuid *out,
                     struct jwt_refusal *refusal)
{
    const struct json_value *sub = json_get(claims->object, "sub");
    if (!json_is(sub, JSON_STRING) || sub->len == 0) {
        return refuse(refusal, "PGRST303", "The JWT 'sub' claim must be a string", NULL);
    }
    if (uuid_parse(json_text(sub), out)) {
        return BQ_OK;
    }
    if (!jwt->map_sub) {
        return refuse(refusal, "PGRST303", "The JWT 'sub' claim must be a uuid", NULL);
    }
    unsigned char bytes[16];
    if (!uuid_v5(jwt->issuer_namespace, json_text(sub), bytes)) {
        return BQ_NOMEM;
    }
    uuid_print(bytes, out);
    return BQ_OK;
}

static int read_identity(const struct jwt *jwt, const struct claims *claims,
                         struct jwt_identity *out, struct jwt_refusal *refusal)
{
    struct jwt_identity identity = {.role = ROLE_ANON};
    int status = check_times(claims, &identity.exp_s, refusal);
    if (status == BQ_OK) {
        status = check_parties(jwt, claims, refusal);
    }
    if (status == BQ_OK) {
        status = read_role(claims, &identity.role, refusal);
    }
    if (status == BQ_OK && identity.role == ROLE_AUTHENTICATED) {
        identity.has_user = true;
        status = read_user(jwt, claims, &identity.user, refusal);
    }
    if (status == BQ_OK && identity.has_user) {
        const struct json_value *session = json_get(claims->object, "session_id");
        identity.is_anonymous = json_is(json_get(claims->object, "is_anonymous"), JSON_TRUE);
        identity.has_session = json_is(session, JSON_STRING) &&
                               uuid_parse(json_text(session), &identity.session);
    }
    if (status == BQ_OK) {
        *out = identity;
    }
    return status;
}

/* A token that is not remembered; claims has the keys and the time. */
static int verify_new(const struct jwt *jwt, struct slice token, struct claims claims,
                      struct jwt_identity *out, struct jwt_refusal *refusal)
{
    struct arena arena;
    struct parts parts;
    struct json_value object;
    claims.object = &object;
    arena_init(&arena);
    int status = split(token, &parts, refusal);
    if (status == BQ_OK) {
        status = check_signature(jwt, &arena, &parts, &claims, refusal);
    }
    if (status == BQ_OK) {
        status = read_object(&arena, parts.claims, &object, refusal);
    }
    if (status == BQ_OK) {
        status = read_identity(jwt, &claims, out, refusal);
    }
    arena_release(&arena);
    return status;
}

int jwt_verify(struct jwt *jwt, struct slice token, int64_t now_s, struct jwt_identity *out,
               struct jwt_refusal *refusal)
{
    if (token.len == 0) {
        return refuse(refusal, "PGRST301", "Empty JWT is sent in Authorization header", NULL);
    }
    if (token.len > JWT_MAX_BYTES) {
        return refuse_undecodable(refusal, "a token has at most 8192 bytes");
    }
    struct slice kept = token;
    if (PLANTED(SIGNATURE_UNREMEMBERED)) {
        const char *dot = memrchr(token.ptr, '.', token.len);
        kept.len = dot == NULL ? token.len : (size_t)(dot - token.ptr);
    }
    struct hash128 key = hash_text(kept, jwt->cache_key[0], jwt->cache_key[1]);
    struct jwt_identity identity;
    if (jwt_cache_find(jwt->cache, key, &identity)) {
        int expired = check_expired(identity.exp_s, now_s, refusal);
        if (expired == BQ_OK) {
            *out = identity;
        }
        return expired;
    }
    uint64_t generation;
    struct jwt_keys *keys = take_keys(jwt, &generation);
    struct claims claims = {.keys = keys, .now_s = now_s};
    int status = verify_new(jwt, token, claims, &identity, refusal);
    jwt_keys_free(keys);
    if (status == BQ_OK) {
        jwt_cache_add(jwt->cache, key, generation, &identity);
        *out = identity;
    }
    return status;
}
