/* auth_json.h - accounts, sessions and errors as GoTrue prints them; private to auth.c. */
#ifndef SERVER_AUTH_JSON_H
#define SERVER_AUTH_JSON_H

#include "server/auth.h"

/* A user object. */
void auth_print_user(struct buf *out, const struct store_account *account);

/* A session: access token, refresh token, user. BQ_OK or BQ_NOMEM. */
int auth_print_session(const struct auth *auth, const struct account_result *result, int64_t now_s,
                       struct buf *out);

void auth_print_settings(const struct auth *auth, struct buf *out);

/* {"users":[...],"aud":"authenticated"} */
void auth_print_users(struct buf *out, const struct store_accounts *accounts);

/* The body of an error, in the form that the request's API version asks for; *out_new tells which
 * one it is. */
void auth_print_error(struct buf *out, const struct head *head, const struct auth_error *error,
                      bool *out_new);

#endif
