/* auth_impl.h - what the files of auth.h share: the endpoints, each a function that is called again
 * at each stage of a call, and what they are made of. */
#ifndef SERVER_AUTH_IMPL_H
#define SERVER_AUTH_IMPL_H

#include "server/auth.h"

#define US_PER_S INT64_C(1000000)

struct auth_endpoint {
    const char *method;
    const char *path; /* a '*' at its end: any one more part */
    bool open;        /* asks for no api key */
    bool bearer;      /* wants a user's token */
    bool service;     /* wants service_role */
    enum auth_step (*step)(struct auth_call *call);
};

/* auth_user.c */
enum auth_step auth_sign_up(struct auth_call *call);
enum auth_step auth_token(struct auth_call *call);
enum auth_step auth_get_user(struct auth_call *call);
enum auth_step auth_put_user(struct auth_call *call);
enum auth_step auth_logout(struct auth_call *call);

/* auth_admin.c */
enum auth_step auth_list_users(struct auth_call *call);
enum auth_step auth_add_user(struct auth_call *call);
enum auth_step auth_show_user(struct auth_call *call);
enum auth_step auth_change_user(struct auth_call *call);
enum auth_step auth_delete_user(struct auth_call *call);

/* auth_call.c: refusals; each leaves its error in the call and is AUTH_ANSWER. code and message
 * live as long as the call. */
enum auth_step auth_refuse(struct auth_call *call, unsigned http, const char *code,
                           const char *message);
enum auth_step auth_refuse_late(struct auth_call *call, const char *code, const char *message);
enum auth_step auth_refuse_rate(struct auth_call *call, int64_t wait_us);
enum auth_step auth_refuse_credentials(struct auth_call *call);
enum auth_step auth_refuse_email(struct auth_call *call);
/* What an account's or session's row said. */
enum auth_step auth_refuse_outcome(struct auth_call *call, enum account_outcome outcome);
/* The end of most calls: the answer where the row said yes, else the refusal. */
enum auth_step auth_outcome(struct auth_call *call);

/* A member of the body; SLICE_NONE or NULL where it is missing or of another type. */
struct slice auth_text_of(const struct auth_call *call, const char *name);
const struct json_value *auth_object_of(const struct auth_call *call, const char *name);

/* One @ with something on each side and nothing odd anywhere; into call->email, in lower case. */
bool auth_read_email(struct auth_call *call, struct slice given);
/* Whether a password may become one; else the refusal is in the call. */
bool auth_check_password(struct auth_call *call, struct slice password);
/* email and password of the body, where they are there, as the new ones; else the refusal. */
bool auth_read_change(struct auth_call *call);

/* The call's op as this verb, for the bearer's user and session. */
struct account_call *auth_prepare(struct auth_call *call, enum account_verb verb);
/* A new account of call->email with the hash just made (without an email: anonymous). */
enum auth_step auth_write_account(struct auth_call *call, enum account_verb verb,
                                  const struct json_value *metadata);
/* The change itself; `metadata` is the member's name: a user's "data", an operator's
 * "user_metadata". */
enum auth_step auth_write_change(struct auth_call *call, const char *metadata);
const struct account_result *auth_result_of(const struct auth_call *call);

enum auth_step auth_hash(struct auth_call *call, struct slice typed);
/* A hash that was made, kept beyond the job. */
struct slice auth_hashed(struct auth_call *call);

/* A random uuid (RFC 9562, version 4). */
bool auth_make_id(struct uuid *out);
/* Takes from a bucket of the client's address; 0, or how long to wait. */
int64_t auth_take(struct auth_call *call, struct rate *rate);

#endif
