/* identity.h - who a token says that its bearer is.
 *
 * The signature is the server's to check: what is read here only chooses the rows of the file. Read
 * as strictly as the server does, so that the two never see two users in one token. */
#ifndef CLIENT_IDENTITY_H
#define CLIENT_IDENTITY_H

#include "base/arena.h"
#include "base/uuid.h"

#define IDENTITY_TOKEN_BYTES 8192u

/* BQ_OK; BQ_AUTH and a sentence in *out_why for what is not a JWT with a uuid in `sub`;
 * BQ_NOMEM. */
int identity_of_token(const char *token, struct uuid *out, const char **out_why);

#endif
