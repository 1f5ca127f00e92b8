/* test_jwt.c - who is believed: threats J1 to J6 (docs/security.md), each with a
 * token that must be refused beside one that must not. */
#include "server/jwt.h"

#include "base/base64url.h"
#include "base/status.h"
#include "server/jwt_sign.h"
#include "token.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#define NOW INT64_C(1800000000)
#define USER "5f3a7a52-8c39-4f5e-9d4e-0c2f6f9b1a11"
#define HS_HEADER "{\"alg\":\"HS256\",\"typ\":\"JWT\"}"
#define ISSUER "https://login.example.org/auth/v1"
#define AUDIENCE "authenticated"
#define GOOD_CLAIMS "{\"role\":\"authenticated\",\"sub\":\"" USER "\",\"exp\":1800000100}"
#define PARTY_CLAIMS                                                                               \
    "{\"role\":\"authenticated\",\"sub\":\"" USER "\",\"exp\":1800000100,\"iss\":\"" ISSUER       \
    "\",\"aud\":[\"x\",\"" AUDIENCE "\"]}"

static struct token_key *hs_key;
static struct token_key *es_key;
static struct token_key *rs_key;
static struct jwt *own;   /* our secret alone */
static struct jwt *mixed; /* our secret, and a JWKS with "es-1" and "rs-1" */
static char error[256];

static struct jwt *make(const char *jwks, bool with_secret, const char *issuer, bool map_sub)
{
    struct jwt_config config = {.size = sizeof config, .issuer = issuer, .map_sub = map_sub};
    struct jwt *jwt = NULL;
    config.audience = issuer == NULL ? NULL : AUDIENCE;
    assert_int_equal(jwt_keys_new(&config.keys), BQ_OK);
    if (with_secret) {
        assert_int_equal(jwt_keys_add_secret(config.keys, slice_of(TOKEN_SECRET), error,
                                             sizeof error), BQ_OK);
    }
    if ((jwks != NULL && jwt_keys_add_jwks(config.keys, slice_of(jwks), error, sizeof error)) ||
        jwt_new(&config, &jwt, error, sizeof error) != BQ_OK) {
        jwt_keys_free(config.keys);
        return NULL;
    }
    return jwt;
}

static int set_up(void **state)
{
    (void)state;
    hs_key = token_key_new("HS256", TOKEN_SECRET);
    es_key = token_key_new("ES256", NULL);
    rs_key = token_key_new("RS256", NULL);
    char *es = token_jwk(es_key, "es-1");
    char *rs = token_jwk(rs_key, "rs-1");
    char jwks[4096];
    snprintf(jwks, sizeof jwks, "{\"keys\":[%s,%s]}", es, rs);
    own = make(NULL, true, NULL, false);
    mixed = make(jwks, true, ISSUER, false);
    free(es);
    free(rs);
    return own == NULL || mixed == NULL;
}

static int tear_down(void **state)
{
    (void)state;
    jwt_free(own);
    jwt_free(mixed);
    token_key_free(hs_key);
    token_key_free(es_key);
    token_key_free(rs_key);
    return 0;
}

static struct jwt_refusal refusal;
static struct jwt_identity identity;

static int verify(struct jwt *jwt, const char *token)
{
    memset(&refusal, 0, sizeof refusal);
    memset(&identity, 0, sizeof identity);
    return jwt_verify(jwt, slice_of(token), NOW, &identity, &refusal);
}

static int verify_signed(struct jwt *jwt, const struct token_key *key, const char *header,
                         const char *claims)
{
    char *token = token_sign(key, header, claims);
    int status = verify(jwt, token);
    free(token);
    return status;
}

static void accepts(const char *claims)
{
    assert_int_equal(verify_signed(own, hs_key, HS_HEADER, claims), BQ_OK);
}

static void refuses(const char *claims, const char *code, const char *message)
{
    assert_int_equal(verify_signed(own, hs_key, HS_HEADER, claims), BQ_AUTH);
    assert_string_equal(refusal.code, code);
    assert_string_equal(refusal.message, message);
}

static void refuses_header(const struct token_key *key, const char *header, const char *code,
                           const char *message)
{
    assert_int_equal(verify_signed(mixed, key, header, PARTY_CLAIMS), BQ_AUTH);
    assert_string_equal(refusal.code, code);
    assert_string_equal(refusal.message, message);
}

static void a_good_token_names_its_user(void **state)
{
    (void)state;
    accepts(GOOD_CLAIMS);
    assert_int_equal(identity.role, ROLE_AUTHENTICATED);
    assert_true(identity.has_user);
    assert_string_equal(identity.user.text, USER);
    accepts(GOOD_CLAIMS); /* from the cache */
    assert_string_equal(identity.user.text, USER);
}

static void anon_and_service_tokens_name_no_user(void **state)
{
    (void)state;
    accepts("{\"role\":\"anon\",\"exp\":1800000100,\"sub\":\"" USER "\"}");
    assert_int_equal(identity.role, ROLE_ANON);
    assert_false(identity.has_user);
    accepts("{\"role\":\"service_role\",\"exp\":1800000100}");
    assert_int_equal(identity.role, ROLE_SERVICE);
    assert_false(identity.has_user);
    accepts("{\"exp\":1800000100}"); /* no role is anon */
    assert_int_equal(identity.role, ROLE_ANON);
    refuses("{\"role\":\"postgres\",\"exp\":1800000100}", "22023",
            "role \"postgres\" does not exist");
    refuses("{\"role\":[\"anon\"],\"exp\":1800000100}", "PGRST303",
            "The JWT 'role' claim must be a string");
}

static void j1_a_forged_signature_is_refused(void **state)
{
    (void)state;
    struct token_key *other = token_key_new("HS256", TOKEN_OTHER_SECRET);
    assert_int_equal(verify_signed(own, other, HS_HEADER, GOOD_CLAIMS), BQ_AUTH);
    token_key_free(other);
    assert_string_equal(refusal.code, "PGRST301");
    assert_string_equal(refusal.message, "No suitable key or wrong key type");
    assert_string_equal(refusal.details, "None of the keys was able to decode the JWT");
    char *token = token_sign(hs_key, HS_HEADER, GOOD_CLAIMS);
    size_t len = strlen(token);
    token[len - 20] = token[len - 20] == 'A' ? 'B' : 'A';
    assert_int_equal(verify(own, token), BQ_AUTH);
    strrchr(token, '.')[1] = '\0';
    assert_int_equal(verify(own, token), BQ_AUTH);
    free(token);
}

static void j1_none_is_no_algorithm(void **state)
{
    (void)state;
    static const char *const headers[] = {
        "{\"alg\":\"none\"}",  "{\"alg\":\"None\"}",  "{\"alg\":\"NONE\"}", "{\"alg\":\"\"}",
        "{\"alg\":\"hs256\"}", "{\"alg\":\"HS512\"}", "{\"alg\":null}",     "{\"typ\":\"JWT\"}",
    };
    for (size_t i = 0; i < sizeof headers / sizeof headers[0]; i++) {
        refuses_header(hs_key, headers[i], "PGRST301", "Wrong or unsupported encoding algorithm");
        char *token = token_sign(hs_key, headers[i], GOOD_CLAIMS);
        strrchr(token, '.')[1] = '\0'; /* and without a signature */
        assert_int_equal(verify(own, token), BQ_AUTH);
        free(token);
    }
}

static void j1_a_public_key_is_no_secret(void **state)
{
    (void)state;
    const struct token_key *const keys[] = {es_key, rs_key};
    for (size_t i = 0; i < 2; i++) {
        char *pem = token_pem(keys[i]);
        char *jwk = token_jwk(keys[i], NULL);
        struct token_key *by_pem = token_key_new("HS256", pem);
        struct token_key *by_jwk = token_key_new("HS256", jwk);
        refuses_header(by_pem, HS_HEADER, "PGRST301", "No suitable key or wrong key type");
        refuses_header(by_jwk, HS_HEADER, "PGRST301", "No suitable key or wrong key type");
        refuses_header(by_pem, "{\"alg\":\"HS256\",\"kid\":\"es-1\"}", "PGRST301",
                       "No suitable key or wrong key type");
        token_key_free(by_pem);
        token_key_free(by_jwk);
        free(pem);
        free(jwk);
    }
    /* The other way round: what the header says does not choose the key's algorithm. */
    refuses_header(hs_key, "{\"alg\":\"RS256\",\"kid\":\"rs-1\"}", "PGRST301",
                   "No suitable key or wrong key type");
    refuses_header(es_key, "{\"alg\":\"RS256\",\"kid\":\"es-1\"}", "PGRST301",
                   "No suitable key or wrong key type");
    refuses_header(rs_key, "{\"alg\":\"ES256\",\"kid\":\"rs-1\"}", "PGRST301",
                   "No suitable key or wrong key type");
}

static void j2_a_kid_is_an_exact_look_up(void **state)
{
    (void)state;
    assert_int_equal(verify_signed(mixed, es_key, "{\"alg\":\"ES256\",\"kid\":\"es-1\"}",
                                   PARTY_CLAIMS), BQ_OK);
    assert_int_equal(verify_signed(mixed, rs_key, "{\"alg\":\"RS256\",\"kid\":\"rs-1\"}",
                                   PARTY_CLAIMS), BQ_OK);
    assert_int_equal(verify_signed(mixed, es_key, "{\"alg\":\"ES256\"}", PARTY_CLAIMS), BQ_OK);
    static const char *const wrong[] = {"rs-1", "es-2", "", "es-1 ", "ES-1", "es-", "../es-1"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        char header[96];
        snprintf(header, sizeof header, "{\"alg\":\"ES256\",\"kid\":\"%s\"}", wrong[i]);
        refuses_header(es_key, header, "PGRST301", "No suitable key or wrong key type");
    }
    refuses_header(es_key, "{\"alg\":\"ES256\",\"kid\":1}", "PGRST301", "JWT couldn't be decoded");
}

static void j2_a_key_in_the_token_is_not_looked_at(void **state)
{
    (void)state;
    struct token_key *mine = token_key_new("ES256", NULL);
    char *jwk = token_jwk(mine, "es-1");
    char header[1024];
    snprintf(header, sizeof header,
             "{\"alg\":\"ES256\",\"kid\":\"es-1\",\"jwk\":%s,\"jku\":\"http://127.0.0.1:1/\"}",
             jwk);
    refuses_header(mine, header, "PGRST301", "No suitable key or wrong key type");
    assert_int_equal(verify_signed(mixed, es_key, header, PARTY_CLAIMS), BQ_OK);
    refuses_header(es_key, "{\"alg\":\"ES256\",\"kid\":\"es-1\",\"crit\":[\"exp\"]}", "PGRST301",
                   "JWT couldn't be decoded");
    refuses_header(es_key, "{\"alg\":\"ES256\",\"kid\":\"es-1\",\"zip\":\"DEF\"}", "PGRST301",
                   "JWT couldn't be decoded");
    free(jwk);
    token_key_free(mine);
}

static void j3_exp_is_demanded_and_an_integer_in_range(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "\"1800000100\"", "1800000100.5",         "18e8", "null", "true", "-1", "0",
        "253402300800",   "99999999999999999999", "[1]",  "{}",   "1e300",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char claims[128];
        snprintf(claims, sizeof claims, "{\"role\":\"anon\",\"exp\":%s}", bad[i]);
        refuses(claims, "PGRST303", "The JWT 'exp' claim must be a number");
    }
    refuses("{\"role\":\"anon\"}", "PGRST303", "The JWT 'exp' claim must be a number");
    accepts("{\"role\":\"anon\",\"exp\":253402300799}");
}

static void j3_the_leeway_is_thirty_seconds(void **state)
{
    (void)state;
    accepts("{\"exp\":1799999970}");
    refuses("{\"exp\":1799999969}", "PGRST303", "JWT expired");
    accepts("{\"exp\":1800000100,\"nbf\":1800000030,\"iat\":1800000030}");
    refuses("{\"exp\":1800000100,\"nbf\":1800000031}", "PGRST303", "JWT not yet valid");
    refuses("{\"exp\":1800000100,\"iat\":1800000031}", "PGRST303", "JWT issued at future");
    refuses("{\"exp\":1800000100,\"nbf\":\"1\"}", "PGRST303",
            "The JWT 'nbf' claim must be a number");
    refuses("{\"exp\":1800000100,\"iat\":1.5}", "PGRST303", "The JWT 'iat' claim must be a number");
}

static void j3_a_remembered_token_still_expires(void **state)
{
    (void)state;
    char *token = token_sign(hs_key, HS_HEADER, "{\"role\":\"anon\",\"exp\":1800000001}");
    assert_int_equal(verify(own, token), BQ_OK);
    assert_int_equal(jwt_verify(own, slice_of(token), NOW + 31, &identity, &refusal), BQ_OK);
    assert_int_equal(jwt_verify(own, slice_of(token), NOW + 32, &identity, &refusal), BQ_AUTH);
    assert_string_equal(refusal.message, "JWT expired");
    free(token);
}

static void j4_sub_is_one_uuid(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "[\"" USER "\"]", "null", "7", "{}", "\"\"", "true",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char claims[192];
        snprintf(claims, sizeof claims,
                 "{\"role\":\"authenticated\",\"exp\":1800000100,\"sub\":%s}",
                 bad[i]);
        refuses(claims, "PGRST303", "The JWT 'sub' claim must be a string");
    }
    refuses("{\"role\":\"authenticated\",\"exp\":1800000100}", "PGRST303",
            "The JWT 'sub' claim must be a string");
    refuses("{\"role\":\"authenticated\",\"exp\":1800000100,\"sub\":\"bob\"}", "PGRST303",
            "The JWT 'sub' claim must be a uuid");
    refuses("{\"role\":\"authenticated\",\"exp\":1800000100,\"sub\":\"" USER "\\n\"}", "PGRST303",
            "The JWT 'sub' claim must be a uuid");
    refuses("{\"role\":\"authenticated\",\"exp\":1800000100,\"sub\":\"" USER "\\u0000x\"}",
            "PGRST301", "JWT couldn't be decoded");
    accepts("{\"role\":\"authenticated\",\"exp\":1800000100,"
            "\"sub\":\"5F3A7A52-8C39-4F5E-9D4E-0C2F6F9B1A11\"}");
    assert_string_equal(identity.user.text, USER);
}

static void j4_a_claim_named_twice_is_refused(void **state)
{
    (void)state;
    refuses("{\"exp\":1800000100,\"sub\":\"" USER
            "\",\"role\":\"anon\",\"role\":\"authenticated\"}",
            "PGRST301", "JWT couldn't be decoded");
    refuses("{\"exp\":1800000100,\"role\":\"anon\",\"r\\u006fle\":\"service_role\"}", "PGRST301",
            "JWT couldn't be decoded");
    refuses_header(hs_key, "{\"alg\":\"HS256\",\"alg\":\"HS256\"}", "PGRST301",
                   "JWT couldn't be decoded");
}

static void j4_base64url_is_strict(void **state)
{
    (void)state;
    char *token = token_sign(hs_key, HS_HEADER, GOOD_CLAIMS);
    char loose[1024];
    static const char *const tails[] = {"=", "==", " ", "\n", "+", "/", "A", "%3d", "."};
    for (size_t i = 0; i < sizeof tails / sizeof tails[0]; i++) {
        snprintf(loose, sizeof loose, "%s%s", token, tails[i]);
        assert_int_equal(verify(own, loose), BQ_AUTH);
    }
    /* 32 bytes are 43 letters with two bits over: the last letter has four spellings, one is
     * right. */
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    size_t len = strlen(token);
    size_t last = (size_t)(strchr(alphabet, token[len - 1]) - alphabet);
    for (size_t i = 1; i < 4; i++) {
        token[len - 1] = alphabet[last + i];
        assert_int_equal(verify(own, token), BQ_AUTH);
    }
    token[len - 1] = alphabet[last];
    assert_int_equal(verify(own, token), BQ_OK);
    free(token);
}

static void a_token_has_three_parts(void **state)
{
    (void)state;
    assert_int_equal(verify(own, ""), BQ_AUTH);
    assert_string_equal(refusal.message, "Empty JWT is sent in Authorization header");
    assert_int_equal(verify(own, "abc"), BQ_AUTH);
    assert_string_equal(refusal.message, "Expected 3 parts in JWT; got 1");
    assert_int_equal(verify(own, "a.b.c.d.e"), BQ_AUTH);
    assert_string_equal(refusal.message, "Expected 3 parts in JWT; got 5");
    assert_int_equal(verify(own, ".."), BQ_AUTH);
    assert_string_equal(refusal.message, "JWT couldn't be decoded");
}

static void j4_nothing_over_8_kib_is_looked_at(void **state)
{
    (void)state;
    static char claims[8192];
    /* Header 36 + dot + claims + dot + 43: the longest that fits, then one more group. */
    int n = snprintf(claims, sizeof claims, "{\"role\":\"anon\",\"exp\":1800000100,\"x\":\"");
    size_t want = (8192 - 36 - 2 - 43) / 4 * 3;
    memset(claims + n, 'x', want - (size_t)n - 2);
    memcpy(claims + want - 2, "\"}", 3);
    char *token = token_sign(hs_key, HS_HEADER, claims);
    assert_true(strlen(token) <= JWT_MAX_BYTES && strlen(token) > JWT_MAX_BYTES - 4);
    assert_int_equal(verify(own, token), BQ_OK);
    free(token);
    memcpy(claims + want - 2, "xxx\"}", 6);
    token = token_sign(hs_key, HS_HEADER, claims);
    assert_true(strlen(token) > JWT_MAX_BYTES);
    assert_int_equal(verify(own, token), BQ_AUTH);
    assert_string_equal(refusal.details, "a token has at most 8192 bytes");
    free(token);
}

static void j5_both_secrets_of_a_rotation_are_alive(void **state)
{
    (void)state;
    struct jwt_config config = {.size = sizeof config};
    struct jwt *jwt;
    assert_int_equal(jwt_keys_new(&config.keys), BQ_OK);
    jwt_keys_add_secret(config.keys, slice_of(TOKEN_SECRET), error, sizeof error);
    jwt_keys_add_secret(config.keys, slice_of(TOKEN_OTHER_SECRET), error, sizeof error);
    assert_int_equal(jwt_keys_add_secret(config.keys, slice_of(TOKEN_SECRET), error, sizeof error),
                     BQ_INVALID);
    assert_int_equal(jwt_new(&config, &jwt, error, sizeof error), BQ_OK);
    struct token_key *other = token_key_new("HS256", TOKEN_OTHER_SECRET);
    struct token_key *third = token_key_new("HS256", TOKEN_SECRET "!");
    assert_int_equal(verify_signed(jwt, other, HS_HEADER, GOOD_CLAIMS), BQ_OK);
    assert_int_equal(verify_signed(jwt, hs_key, HS_HEADER, GOOD_CLAIMS), BQ_OK);
    assert_int_equal(verify_signed(jwt, third, HS_HEADER, GOOD_CLAIMS), BQ_AUTH);
    token_key_free(other);
    token_key_free(third);
    jwt_free(jwt);
}

static void j6_a_jwks_names_users_of_its_issuer_and_audience_only(void **state)
{
    (void)state;
    static const char *const bad[][2] = {
        {"\"iss\":\"https://evil.example\",\"aud\":\"authenticated\"",
         "JWT not from the configured issuer"},
        {"\"aud\":\"authenticated\"", "JWT not from the configured issuer"},
        {"\"iss\":[\"" ISSUER "\"],\"aud\":\"authenticated\"",
         "JWT not from the configured issuer"},
        {"\"iss\":\"" ISSUER "\",\"aud\":\"other\"", "JWT not in audience"},
        {"\"iss\":\"" ISSUER "\",\"aud\":[\"other\",7]", "JWT not in audience"},
        {"\"iss\":\"" ISSUER "\"", "JWT not in audience"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char claims[384];
        snprintf(claims, sizeof claims,
                 "{\"role\":\"authenticated\",\"sub\":\"" USER "\",\"exp\":1800000100,%s}",
                 bad[i][0]);
        assert_int_equal(verify_signed(mixed, es_key, "{\"alg\":\"ES256\",\"kid\":\"es-1\"}",
                                       claims), BQ_AUTH);
        assert_string_equal(refusal.code, "PGRST303");
        assert_string_equal(refusal.message, bad[i][1]);
    }
    /* Our own keys of an app carry no audience; a wrong one is refused all the same. */
    assert_int_equal(verify_signed(mixed, hs_key, HS_HEADER, GOOD_CLAIMS), BQ_OK);
    assert_int_equal(verify_signed(mixed, hs_key, HS_HEADER, "{\"exp\":1800000100,\"aud\":\"x\"}"),
                     BQ_AUTH);
}

static void j6_a_jwks_never_makes_a_service_role(void **state)
{
    (void)state;
    const char *claims = "{\"role\":\"service_role\",\"exp\":1800000100,\"iss\":\"" ISSUER
                         "\",\"aud\":\"" AUDIENCE "\"}";
    assert_int_equal(verify_signed(mixed, es_key, "{\"alg\":\"ES256\",\"kid\":\"es-1\"}", claims),
                     BQ_AUTH);
    assert_string_equal(refusal.code, "PGRST301");
    assert_int_equal(verify_signed(mixed, hs_key, HS_HEADER, claims), BQ_OK);
    assert_int_equal(identity.role, ROLE_SERVICE);
}

static void j6_a_jwks_without_issuer_or_any_key_does_not_start(void **state)
{
    (void)state;
    char *jwk = token_jwk(es_key, "es-1");
    char jwks[1024];
    snprintf(jwks, sizeof jwks, "{\"keys\":[%s]}", jwk);
    assert_null(make(jwks, true, NULL, false));
    assert_non_null(strstr(error, "--jwt-issuer"));
    assert_null(make(NULL, false, NULL, false));
    assert_non_null(strstr(error, "--jwt-secret-file"));
    assert_null(make(NULL, true, NULL, true));
    assert_non_null(strstr(error, "--jwt-map-sub"));
    free(jwk);
}

static void refuses_jwks(const char *jwks, const char *sentence)
{
    assert_null(make(jwks, true, ISSUER, false));
    if (strstr(error, sentence) == NULL) {
        fail_msg("\"%s\" lacks \"%s\"", error, sentence);
    }
}

static void a_jwks_holds_public_keys_that_we_can_use(void **state)
{
    (void)state;
    char *jwk = token_jwk(es_key, "es-1");
    char jwks[2048];
    refuses_jwks("{", "line 1");
    refuses_jwks("{\"keys\":[]}", "\"keys\"");
    refuses_jwks("{\"keys\":[7]}", "key 1 is no object");
    refuses_jwks("{\"keys\":[{\"kty\":\"oct\",\"k\":\"AAAA\"}]}", "is a secret");
    refuses_jwks("{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\",\"d\":\"AA\"}]}", "private");
    refuses_jwks("{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"AA\"}]}", "kty");
    refuses_jwks("{\"keys\":[{\"kty\":\"RSA\",\"n\":\"AQAB\",\"e\":\"AQAB\"}]}", "2048");
    refuses_jwks("{\"keys\":[{\"kty\":\"RSA\",\"use\":\"enc\"}]}", "not for signatures");
    refuses_jwks("{\"keys\":[{\"kty\":\"EC\",\"alg\":\"HS256\"}]}", "alg");
    snprintf(jwks, sizeof jwks, "{\"keys\":[%s,%s]}", jwk, jwk);
    refuses_jwks(jwks, "key 2 has the kid of another key");
    /* A point that is not on the curve. */
    char *x = strstr(jwk, "\"x\":\"") + 5;
    x[3] = x[3] == 'A' ? 'B' : 'A';
    snprintf(jwks, sizeof jwks, "{\"keys\":[%s]}", jwk);
    refuses_jwks(jwks, "point");
    free(jwk);
}

static void a_sub_is_mapped_where_the_operator_says_so(void **state)
{
    (void)state;
    struct jwt *jwt = make(NULL, true, "https://example.com/", true);
    assert_non_null(jwt);
    /* Reference: python3 -c 'from uuid import *;
     * print(uuid5(uuid5(NAMESPACE_URL, "https://example.com/"), "auth0|bob"))' */
    assert_int_equal(verify_signed(jwt, hs_key, HS_HEADER,
                                   "{\"role\":\"authenticated\",\"exp\":1800000100,"
                                   "\"sub\":\"auth0|bob\"}"), BQ_OK);
    assert_string_equal(identity.user.text, "6f406c0b-4f6a-5384-a3dd-decd6e82b50c");
    assert_int_equal(verify_signed(jwt, hs_key, HS_HEADER, GOOD_CLAIMS), BQ_OK);
    assert_string_equal(identity.user.text, USER);
    jwt_free(jwt);
}

static void what_we_sign_we_believe(void **state)
{
    (void)state;
    struct uuid user;
    struct buf token = BUF_INIT;
    assert_true(uuid_parse(SLICE(USER), &user));
    struct jwt_grant grant = {ROLE_AUTHENTICATED, &user, NOW, 60};
    assert_int_equal(jwt_sign(SLICE(TOKEN_SECRET), &grant, &token), BQ_OK);
    assert_int_equal(verify(own, token.ptr), BQ_OK);
    assert_string_equal(identity.user.text, USER);
    assert_int_equal(identity.exp_s, NOW + 60);
    assert_int_equal(verify(mixed, token.ptr), BQ_OK);
    buf_release(&token);
}

static void a_short_secret_is_refused(void **state)
{
    (void)state;
    struct jwt_keys *keys;
    assert_int_equal(jwt_keys_new(&keys), BQ_OK);
    assert_int_equal(jwt_keys_add_secret(keys, SLICE("secret"), error, sizeof error), BQ_INVALID);
    assert_non_null(strstr(error, "32"));
    jwt_keys_free(keys);
}

static void base64url_goes_there_and_back(void **state)
{
    (void)state;
    struct arena arena;
    unsigned char bytes[70];
    arena_init(&arena);
    for (size_t i = 0; i < sizeof bytes; i++) {
        bytes[i] = (unsigned char)(i * 37 + 251);
    }
    for (size_t len = 0; len <= sizeof bytes; len++) {
        struct buf text = BUF_INIT;
        struct slice back;
        struct slice in = {(const char *)bytes, len};
        base64url_print(&text, in);
        assert_true(base64url_read(&arena, buf_slice(&text), &back));
        assert_true(slice_equal(in, back));
        buf_release(&text);
    }
    arena_release(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_good_token_names_its_user),
        cmocka_unit_test(anon_and_service_tokens_name_no_user),
        cmocka_unit_test(j1_a_forged_signature_is_refused),
        cmocka_unit_test(j1_none_is_no_algorithm),
        cmocka_unit_test(j1_a_public_key_is_no_secret),
        cmocka_unit_test(j2_a_kid_is_an_exact_look_up),
        cmocka_unit_test(j2_a_key_in_the_token_is_not_looked_at),
        cmocka_unit_test(j3_exp_is_demanded_and_an_integer_in_range),
        cmocka_unit_test(j3_the_leeway_is_thirty_seconds),
        cmocka_unit_test(j3_a_remembered_token_still_expires),
        cmocka_unit_test(j4_sub_is_one_uuid),
        cmocka_unit_test(j4_a_claim_named_twice_is_refused),
        cmocka_unit_test(j4_base64url_is_strict),
        cmocka_unit_test(a_token_has_three_parts),
        cmocka_unit_test(j4_nothing_over_8_kib_is_looked_at),
        cmocka_unit_test(j5_both_secrets_of_a_rotation_are_alive),
        cmocka_unit_test(j6_a_jwks_names_users_of_its_issuer_and_audience_only),
        cmocka_unit_test(j6_a_jwks_never_makes_a_service_role),
        cmocka_unit_test(j6_a_jwks_without_issuer_or_any_key_does_not_start),
        cmocka_unit_test(a_jwks_holds_public_keys_that_we_can_use),
        cmocka_unit_test(a_sub_is_mapped_where_the_operator_says_so),
        cmocka_unit_test(what_we_sign_we_believe),
        cmocka_unit_test(a_short_secret_is_refused),
        cmocka_unit_test(base64url_goes_there_and_back),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
