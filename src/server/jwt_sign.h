/* jwt_sign.h - makes an HS256 token: `bqsync token`, the demo and the bench. The server never
 * signs. */
#ifndef SERVER_JWT_SIGN_H
#define SERVER_JWT_SIGN_H

#include "base/buf.h"
#include "server/jwt.h"

struct jwt_grant {
    enum role role;
    const struct uuid *user; /* NULL: no sub */
    int64_t now_s;
    int64_t ttl_s;
};

/* Appends the token. BQ_OK or BQ_NOMEM. */
int jwt_sign(struct slice secret, const struct jwt_grant *grant, struct buf *out);

/* Reads a secret file: its bytes without the line end behind them. BQ_OK, BQ_NOMEM, or BQ_INVALID
 * with a sentence that names the file. */
int jwt_secret_load(const char *path, struct buf *out, char *error, size_t error_size);

#endif
