/* jwt_sign.c - see jwt_sign.h. */
#include "server/jwt_sign.h"

#include "base/base64url.h"
#include "base/status.h"
#include "server/file.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>

static void print_claims(const struct jwt_grant *grant, struct buf *out)
{
    buf_add_text(out, "{\"role\":\"");
    buf_add_text(out, role_word(grant->role));
    buf_add_text(out, "\",\"iss\":\"bqsync\",\"iat\":");
    buf_add_int(out, grant->now_s);
    buf_add_text(out, ",\"exp\":");
    buf_add_int(out, grant->now_s + grant->ttl_s);
    if (grant->user != NULL) {
        buf_add_text(out, ",\"aud\":\"authenticated\",\"sub\":\"");
        buf_add_slice(out, uuid_slice(grant->user));
        buf_add_char(out, '"');
    }
    buf_add_char(out, '}');
}

int jwt_sign(struct slice secret, const struct jwt_grant *grant, struct buf *out)
{
    struct buf claims = BUF_INIT;
    unsigned char mac[EVP_MAX_MD_SIZE];
    unsigned mac_len = 0;
    size_t start = out->len;
    print_claims(grant, &claims);
    base64url_print(out, SLICE("{\"alg\":\"HS256\",\"typ\":\"JWT\"}"));
    buf_add_char(out, '.');
    base64url_print(out, buf_slice(&claims));
    bool good = !claims.failed && !out->failed &&
                HMAC(EVP_sha256(), secret.ptr, (int)secret.len,
                     (const unsigned char *)out->ptr + start, out->len - start, mac,
                     &mac_len) != NULL;
    buf_release(&claims);
    if (!good) {
        return BQ_NOMEM;
    }
    buf_add_char(out, '.');
    base64url_print(out, (struct slice){(const char *)mac, mac_len});
    return out->failed ? BQ_NOMEM : BQ_OK;
}

int jwt_secret_load(const char *path, struct buf *out, char *error, size_t error_size)
{
    int status = file_read(path, JWT_SECRET_MAX_BYTES + 2, out, error, error_size);
    if (status != BQ_OK) {
        return status;
    }
    while (out->len > 0 && (out->ptr[out->len - 1] == '\n' || out->ptr[out->len - 1] == '\r')) {
        out->ptr[--out->len] = '\0';
    }
    if (out->len < JWT_SECRET_MIN_BYTES || out->len > JWT_SECRET_MAX_BYTES) {
        snprintf(error, error_size, "%s: a secret has %u to %u bytes; this one has %zu", path,
                 JWT_SECRET_MIN_BYTES, JWT_SECRET_MAX_BYTES, out->len);
        return BQ_INVALID;
    }
    return BQ_OK;
}
