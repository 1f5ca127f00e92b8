/* token.c - see token.h. Aborts where a test's own machinery fails. */
#include "token.h"

#include "base/base64url.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

struct token_key {
    char alg[8];
    char secret[2048];
    size_t secret_len;
    EVP_PKEY *pair;
};

static void must(int good)
{
    if (!good) {
        fprintf(stderr, "token.c: a step that cannot fail failed\n");
        abort();
    }
}

struct token_key *token_key_new(const char *alg, const char *secret)
{
    struct token_key *key = calloc(1, sizeof *key);
    must(key != NULL);
    snprintf(key->alg, sizeof key->alg, "%s", alg);
    if (secret != NULL) {
        snprintf(key->secret, sizeof key->secret, "%s", secret);
        key->secret_len = strlen(secret);
    } else if (strcmp(alg, "ES256") == 0) {
        key->pair = EVP_EC_gen("P-256");
        must(key->pair != NULL);
    } else {
        key->pair = EVP_RSA_gen(2048);
        must(key->pair != NULL);
    }
    return key;
}

void token_key_free(struct token_key *key)
{
    if (key != NULL) {
        EVP_PKEY_free(key->pair);
        free(key);
    }
}

static void add_number(struct buf *out, const struct token_key *key, const char *name,
                       const char *param, int width)
{
    BIGNUM *number = NULL;
    unsigned char bytes[512];
    must(EVP_PKEY_get_bn_param(key->pair, param, &number));
    int len = width > 0 ? width : BN_num_bytes(number);
    must(BN_bn2binpad(number, bytes, len) == len);
    BN_free(number);
    buf_add_format(out, ",\"%s\":\"", name);
    base64url_print(out, (struct slice){(const char *)bytes, (size_t)len});
    buf_add_char(out, '"');
}

char *token_jwk(const struct token_key *key, const char *kid)
{
    struct buf out = BUF_INIT;
    size_t len;
    if (strcmp(key->alg, "ES256") == 0) {
        buf_add_text(&out, "{\"kty\":\"EC\",\"crv\":\"P-256\",\"alg\":\"ES256\",\"use\":\"sig\"");
        add_number(&out, key, "x", OSSL_PKEY_PARAM_EC_PUB_X, 32);
        add_number(&out, key, "y", OSSL_PKEY_PARAM_EC_PUB_Y, 32);
    } else {
        buf_add_text(&out, "{\"kty\":\"RSA\",\"alg\":\"RS256\"");
        add_number(&out, key, "n", OSSL_PKEY_PARAM_RSA_N, 0);
        add_number(&out, key, "e", OSSL_PKEY_PARAM_RSA_E, 0);
    }
    if (kid != NULL) {
        buf_add_format(&out, ",\"kid\":\"%s\"", kid);
    }
    buf_add_char(&out, '}');
    return buf_take(&out, &len);
}

char *token_pem(const struct token_key *key)
{
    BIO *bio = BIO_new(BIO_s_mem());
    char *data;
    must(bio != NULL && PEM_write_bio_PUBKEY(bio, key->pair));
    long len = BIO_get_mem_data(bio, &data);
    char *copy = malloc((size_t)len + 1);
    must(copy != NULL && len > 0);
    memcpy(copy, data, (size_t)len);
    copy[len] = '\0';
    BIO_free(bio);
    return copy;
}

static size_t sign_es256(const unsigned char *der, size_t der_len, unsigned char *out)
{
    ECDSA_SIG *pair = d2i_ECDSA_SIG(NULL, &der, (long)der_len);
    must(pair != NULL);
    must(BN_bn2binpad(ECDSA_SIG_get0_r(pair), out, 32) == 32);
    must(BN_bn2binpad(ECDSA_SIG_get0_s(pair), out + 32, 32) == 32);
    ECDSA_SIG_free(pair);
    return 64;
}

static size_t sign_bytes(const struct token_key *key, struct slice text, unsigned char out[1024])
{
    if (key->pair == NULL) {
        unsigned len = 0;
        must(HMAC(EVP_sha256(), key->secret, (int)key->secret_len,
                  (const unsigned char *)text.ptr, text.len, out, &len) != NULL);
        return len;
    }
    unsigned char signature[1024];
    size_t len = sizeof signature;
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    must(EVP_DigestSignInit(context, NULL, EVP_sha256(), NULL, key->pair) == 1);
    must(EVP_DigestSign(context, signature, &len, (const unsigned char *)text.ptr, text.len) == 1);
    EVP_MD_CTX_free(context);
    if (strcmp(key->alg, "ES256") == 0) {
        return sign_es256(signature, len, out);
    }
    memcpy(out, signature, len);
    return len;
}

char *token_sign(const struct token_key *key, const char *header, const char *claims)
{
    struct buf out = BUF_INIT;
    unsigned char signature[1024];
    size_t len;
    base64url_print(&out, slice_of(header));
    buf_add_char(&out, '.');
    base64url_print(&out, slice_of(claims));
    size_t signature_len = sign_bytes(key, buf_slice(&out), signature);
    buf_add_char(&out, '.');
    base64url_print(&out, (struct slice){(const char *)signature, signature_len});
    return buf_take(&out, &len);
}

char *token_make(const char *role, const char *sub, int64_t exp_s)
{
    struct token_key *key = token_key_new("HS256", TOKEN_SECRET);
    char claims[512];
    int n = snprintf(claims, sizeof claims, "{\"role\":\"%s\",\"exp\":%lld", role,
                     (long long)exp_s);
    if (sub != NULL) {
        n += snprintf(claims + n, sizeof claims - (size_t)n, ",\"sub\":\"%s\"", sub);
    }
    snprintf(claims + n, sizeof claims - (size_t)n, "}");
    char *token = token_sign(key, "{\"alg\":\"HS256\",\"typ\":\"JWT\"}", claims);
    token_key_free(key);
    return token;
}

char *token_user(const char *sub)
{
    return token_make("authenticated", sub, (int64_t)time(NULL) + 3600);
}
