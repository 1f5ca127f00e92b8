/* signer.h - signs the tokens of our own accounts: ES256 with a key of our own, or HS256 with the
 * server's secret (RFC 7515, RFC 7518).
 *
 * The ES256 key is made at the first start, in a file beside the store that only its owner may
 * read; its public half is what /auth/v1/.well-known/jwks.json shows. Refresh tokens are signed
 * with a key that is derived from the same file. Read-only after it was opened: any thread. */
#ifndef SERVER_SIGNER_H
#define SERVER_SIGNER_H

#include "base/buf.h"
#include "base/uuid.h"
#include "server/jwt_keys.h"

#include <stdint.h>

struct signer;

/* ES256: reads the key of the file, or makes both. BQ_OK, BQ_NOMEM, or BQ_INVALID with a
 * sentence. */
int signer_open(const char *path, struct signer **out, char *error, size_t error_size);

/* HS256 with these bytes, which are copied. BQ_OK, BQ_NOMEM. */
int signer_open_secret(struct slice secret, struct signer **out);
void signer_free(struct signer *signer);

/* Lets keys verify what it signs; a secret is expected there already. As jwt_keys_add_own(). */
int signer_add_key(const struct signer *signer, struct jwt_keys *keys);

/* Appends a token of these claims, a JSON object. BQ_OK or BQ_NOMEM. */
int signer_sign(const struct signer *signer, struct slice claims, struct buf *out);

/* Appends {"keys":[...]}: the public half, or none. */
void signer_print_jwks(const struct signer *signer, struct buf *out);

/* A refresh token: a session and a number, signed. print appends it; BQ_OK or BQ_NOMEM. */
int signer_print_refresh(const struct signer *signer, const struct uuid *session, int64_t counter,
                         struct buf *out);

/* False for any text that is none of ours. */
bool signer_read_refresh(const struct signer *signer, struct slice token, struct uuid *out_session,
                         int64_t *out_counter);

#endif
