/* signer.c - OpenSSL 3 behind signer.h. */
#include "server/signer.h"

#include "base/base64url.h"
#include "base/mem.h"
#include "base/status.h"
#include "server/file.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define HALF 32u /* r and s of a signature, x and y of a point (RFC 7518) */
#define MAC_BYTES 32u
#define PEM_MAX_BYTES 4096u
#define REFRESH_MAC_BYTES 16u
#define REFRESH_BYTES (16u + 8u + REFRESH_MAC_BYTES)
#define REFRESH_TEXT_MAX 64u

struct signer {
    EVP_PKEY *key; /* NULL: HS256 */
    char x[2 * HALF];
    char y[2 * HALF];
    char kid[2 * HALF];
    size_t secret_len;
    char secret[JWT_SECRET_MAX_BYTES];
    unsigned char refresh_key[MAC_BYTES];
};

/* ---- The key --------------------------------------------------------------------------------- */

/* Base64url of up to 32 bytes as a NUL-terminated text. */
static bool print_bytes(const unsigned char *bytes, size_t n, char out[2 * HALF])
{
    struct buf buf = BUF_INIT;
    base64url_print(&buf, (struct slice){(const char *)bytes, n});
    bool good = !buf.failed && buf.len < (size_t)2 * HALF;
    if (good) {
        memcpy(out, buf.ptr, buf.len + 1);
    }
    buf_release(&buf);
    return good;
}

static bool print_coordinate(const EVP_PKEY *key, const char *name, char out[2 * HALF])
{
    unsigned char bytes[HALF];
    BIGNUM *number = NULL;
    bool good = EVP_PKEY_get_bn_param(key, name, &number) == 1 &&
                BN_bn2binpad(number, bytes, HALF) == (int)HALF && print_bytes(bytes, HALF, out);
    BN_free(number);
    return good;
}

/* The kid is the key's thumbprint (RFC 7638). */
static bool describe(struct signer *signer)
{
    unsigned char digest[SHA256_DIGEST_LENGTH];
    char text[256];
    if (!print_coordinate(signer->key, OSSL_PKEY_PARAM_EC_PUB_X, signer->x) ||
        !print_coordinate(signer->key, OSSL_PKEY_PARAM_EC_PUB_Y, signer->y)) {
        return false;
    }
    int n =
        snprintf(text, sizeof text, "{\"crv\":\"P-256\",\"kty\":\"EC\",\"x\":\"%s\",\"y\":\"%s\"}",
                 signer->x, signer->y);
    SHA256((const unsigned char *)text, (size_t)n, digest);
    return print_bytes(digest, sizeof digest, signer->kid);
}

/* What signs refresh tokens: HMAC-SHA256 of a fixed text under the private number or secret. */
static bool derive(const void *secret, size_t n, unsigned char out[MAC_BYTES])
{
    static const unsigned char label[] = "bqsync refresh token 1";
    unsigned len = 0;
    return HMAC(EVP_sha256(), secret, (int)n, label, sizeof label - 1, out, &len) != NULL &&
           len == MAC_BYTES;
}

static bool derive_from_key(struct signer *signer)
{
    unsigned char bytes[HALF];
    BIGNUM *number = NULL;
    bool good = EVP_PKEY_get_bn_param(signer->key, OSSL_PKEY_PARAM_PRIV_KEY, &number) == 1 &&
                BN_bn2binpad(number, bytes, HALF) == (int)HALF &&
                derive(bytes, HALF, signer->refresh_key);
    OPENSSL_cleanse(bytes, sizeof bytes);
    BN_clear_free(number);
    return good;
}

/* Writes a new key; somebody else's file is never replaced. */
static int make_file(const char *path, char *error, size_t error_size)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0) {
        snprintf(error, error_size, "%s cannot be made: %s", path, strerror(errno));
        return errno == EEXIST ? BQ_OK : BQ_INVALID;
    }
    EVP_PKEY *key = EVP_EC_gen("P-256");
    FILE *stream = fdopen(fd, "w");
    bool good = key != NULL && stream != NULL &&
                PEM_write_PrivateKey(stream, key, NULL, NULL, 0, NULL, NULL) == 1 &&
                fflush(stream) == 0 && fsync(fd) == 0;
    if (stream == NULL) {
        close(fd);
    } else if (fclose(stream) != 0) {
        good = false;
    }
    EVP_PKEY_free(key);
    if (!good) {
        unlink(path);
        snprintf(error, error_size, "%s cannot be written: %s", path, strerror(errno));
    }
    return good ? BQ_OK : BQ_INVALID;
}

static int read_file(struct signer *signer, const char *path, char *error, size_t error_size)
{
    struct stat info;
    struct buf text = BUF_INIT;
    int status = file_read(path, PEM_MAX_BYTES, &text, error, error_size);
    if (status == BQ_OK && stat(path, &info) == 0 && (info.st_mode & 077) != 0) {
        snprintf(error, error_size, "%s may be read by others than its owner; chmod 600 it", path);
        status = BQ_INVALID;
    }
    if (status == BQ_OK) {
        BIO *bio = BIO_new_mem_buf(text.ptr, (int)text.len);
        signer->key = bio == NULL ? NULL : PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL);
        BIO_free(bio);
        char group[32] = "";
        if (signer->key == NULL ||
            EVP_PKEY_get_utf8_string_param(signer->key, OSSL_PKEY_PARAM_GROUP_NAME, group,
                                           sizeof group, NULL) != 1 ||
            strcmp(group, "prime256v1") != 0 || !describe(signer) || !derive_from_key(signer)) {
            snprintf(error, error_size, "%s is no private key of P-256 in PEM", path);
            status = BQ_INVALID;
        }
        ERR_clear_error();
    }
    if (text.ptr != NULL) {
        OPENSSL_cleanse(text.ptr, text.size);
    }
    buf_release(&text);
    return status;
}

int signer_open(const char *path, struct signer **out, char *error, size_t error_size)
{
    struct signer *signer = mem_zalloc(1, sizeof *signer);
    if (signer == NULL) {
        return BQ_NOMEM;
    }
    int status = access(path, F_OK) == 0 ? BQ_OK : make_file(path, error, error_size);
    if (status == BQ_OK) {
        status = read_file(signer, path, error, error_size);
    }
    if (status != BQ_OK) {
        signer_free(signer);
        return status;
    }
    *out = signer;
    return BQ_OK;
}

int signer_open_secret(struct slice secret, struct signer **out)
{
    struct signer *signer = mem_zalloc(1, sizeof *signer);
    if (signer == NULL || secret.len > sizeof signer->secret ||
        !derive(secret.ptr, secret.len, signer->refresh_key)) {
        signer_free(signer);
        return BQ_NOMEM;
    }
    memcpy(signer->secret, secret.ptr, secret.len);
    signer->secret_len = secret.len;
    *out = signer;
    return BQ_OK;
}

void signer_free(struct signer *signer)
{
    if (signer != NULL) {
        EVP_PKEY_free(signer->key);
        OPENSSL_cleanse(signer, sizeof *signer);
        mem_free(signer);
    }
}

int signer_add_key(const struct signer *signer, struct jwt_keys *keys)
{
    return signer->key == NULL ? BQ_OK : jwt_keys_add_own(keys, signer->key, slice_of(signer->kid));
}

void signer_print_jwks(const struct signer *signer, struct buf *out)
{
    if (signer->key == NULL) {
        buf_add_text(out, "{\"keys\":[]}");
        return;
    }
    buf_add_format(out,
                   "{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"%s\",\"y\":\"%s\","
                   "\"kid\":\"%s\",\"alg\":\"ES256\",\"use\":\"sig\",\"key_ops\":[\"verify\"],"
                   "\"ext\":true}]}",
                   signer->x, signer->y, signer->kid);
}

/* ---- Access tokens --------------------------------------------------------------------------- */

/* The DER of OpenSSL becomes r and s side by side. */
static bool to_pair(const unsigned char *der, size_t len, unsigned char out[2 * HALF])
{
    const unsigned char *at = der;
    ECDSA_SIG *pair = d2i_ECDSA_SIG(NULL, &at, (long)len);
    bool good = pair != NULL && BN_bn2binpad(ECDSA_SIG_get0_r(pair), out, HALF) == (int)HALF &&
                BN_bn2binpad(ECDSA_SIG_get0_s(pair), out + HALF, HALF) == (int)HALF;
    ECDSA_SIG_free(pair);
    return good;
}

static bool sign_es256(const struct signer *signer, struct slice text, unsigned char out[2 * HALF])
{
    unsigned char der[2 * HALF + 16];
    size_t len = sizeof der;
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    bool good =
        context != NULL &&
        EVP_DigestSignInit(context, NULL, EVP_sha256(), NULL, signer->key) == 1 &&
        EVP_DigestSign(context, der, &len, (const unsigned char *)text.ptr, text.len) == 1 &&
        to_pair(der, len, out);
    EVP_MD_CTX_free(context);
    ERR_clear_error();
    return good;
}

static bool sign_hs256(const struct signer *signer, struct slice text, unsigned char out[MAC_BYTES])
{
    unsigned len = 0;
    return HMAC(EVP_sha256(), signer->secret, (int)signer->secret_len,
                (const unsigned char *)text.ptr, text.len, out, &len) != NULL &&
           len == MAC_BYTES;
}

int signer_sign(const struct signer *signer, struct slice claims, struct buf *out)
{
    char header[160];
    unsigned char signature[2 * HALF];
    size_t start = out->len;
    bool es256 = signer->key != NULL;
    int n = es256 ? snprintf(header, sizeof header,
                             "{\"alg\":\"ES256\",\"kid\":\"%s\",\"typ\":\"JWT\"}", signer->kid)
                  : snprintf(header, sizeof header, "{\"alg\":\"HS256\",\"typ\":\"JWT\"}");
    base64url_print(out, (struct slice){header, (size_t)n});
    buf_add_char(out, '.');
    base64url_print(out, claims);
    struct slice text = {out->ptr + start, out->len - start};
    if (out->failed ||
        !(es256 ? sign_es256(signer, text, signature) : sign_hs256(signer, text, signature))) {
        return BQ_NOMEM;
    }
    buf_add_char(out, '.');
    base64url_print(out, (struct slice){(const char *)signature, es256 ? 2 * HALF : MAC_BYTES});
    return out->failed ? BQ_NOMEM : BQ_OK;
}

/* ---- Refresh tokens -------------------------------------------------------------------------- */

/* Session (16 bytes), number (8), the first half of an HMAC-SHA256 over both. */

static int nibble(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static void pack_uuid(const struct uuid *id, unsigned char out[16])
{
    size_t at = 0;
    for (size_t i = 0; i < UUID_TEXT; i++) {
        int digit = nibble(id->text[i]);
        if (digit >= 0) {
            out[at / 2] = (unsigned char)(at % 2 == 0 ? digit << 4 : out[at / 2] | digit);
            at++;
        }
    }
}

static void unpack_uuid(const unsigned char bytes[16], struct uuid *out)
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

static bool mac_refresh(const struct signer *signer, const unsigned char bytes[24],
                        unsigned char out[MAC_BYTES])
{
    unsigned len = 0;
    return HMAC(EVP_sha256(), signer->refresh_key, MAC_BYTES, bytes, 24, out, &len) != NULL;
}

int signer_print_refresh(const struct signer *signer, const struct uuid *session, int64_t counter,
                         struct buf *out)
{
    unsigned char bytes[24 + MAC_BYTES];
    pack_uuid(session, bytes);
    for (size_t i = 0; i < 8; i++) {
        bytes[16 + i] = (unsigned char)((uint64_t)counter >> (56 - 8 * i));
    }
    if (!mac_refresh(signer, bytes, bytes + 24)) {
        return BQ_NOMEM;
    }
    base64url_print(out, (struct slice){(const char *)bytes, REFRESH_BYTES});
    return out->failed ? BQ_NOMEM : BQ_OK;
}

bool signer_read_refresh(const struct signer *signer, struct slice token, struct uuid *out_session,
                         int64_t *out_counter)
{
    unsigned char mac[MAC_BYTES];
    struct arena arena;
    struct slice bytes;
    bool good = false;
    arena_init(&arena);
    if (token.len <= REFRESH_TEXT_MAX && base64url_read(&arena, token, &bytes) &&
        bytes.len == REFRESH_BYTES) {
        const unsigned char *packed = (const unsigned char *)bytes.ptr;
        uint64_t counter = 0;
        for (size_t i = 0; i < 8; i++) {
            counter = counter << 8 | packed[16 + i];
        }
        good = mac_refresh(signer, packed, mac) &&
               CRYPTO_memcmp(mac, packed + 24, REFRESH_MAC_BYTES) == 0 && counter < INT64_MAX;
        unpack_uuid(packed, out_session);
        *out_counter = (int64_t)counter;
    }
    arena_release(&arena);
    return good;
}
