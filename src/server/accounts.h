/* accounts.h - the parts of a server that keep accounts: key, password threads, limits.
 *
 * Accounts may be off, where tokens come from elsewhere (docs/protocol.md, "Accounts"). */
#ifndef SERVER_ACCOUNTS_H
#define SERVER_ACCOUNTS_H

#include "server/auth.h"
#include "server/config.h"

struct accounts;

/* Before the keys that verify tokens are closed: adds its own to keys. secret is that of HS256
 * tokens (SLICE_NONE: none). *out is NULL where accounts are off. BQ_OK, BQ_NOMEM, or BQ_INVALID
 * with a sentence. */
int accounts_open(const struct server_config *config, struct slice secret, struct jwt_keys *keys,
                  struct accounts **out, char *error, size_t error_size);
void accounts_close(struct accounts *accounts);

/* Starts the threads. jwt is borrowed. BQ_OK, BQ_NOMEM. */
int accounts_start(struct accounts *accounts, struct jwt *jwt);

/* Answers what waits for a password; later ones hear that the server stops. */
void accounts_stop(struct accounts *accounts);

/* What requests need; NULL for no accounts. */
struct auth *accounts_auth(struct accounts *accounts);

#endif
