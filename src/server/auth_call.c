/* auth_call.c - refusals, and what the endpoints take from a call and its rows: see auth_impl.h. */
#include "server/auth_impl.h"

#include "base/utf8.h"

#include <openssl/rand.h>
#include <stdio.h>
#include <string.h>

#define PASSWORD_MIN 6u

/* ---- Refusals -------------------------------------------------------------------------------- */

enum auth_step auth_refuse(struct auth_call *call, unsigned http, const char *code,
                           const char *message)
{
    call->error = (struct auth_error){.http = http, .code = code, .message = message};
    return AUTH_ANSWER;
}

enum auth_step auth_refuse_late(struct auth_call *call, const char *code, const char *message)
{
    (void)auth_refuse(call, 503, code, message);
    call->error.retry_after_s = 1;
    return AUTH_ANSWER;
}

enum auth_step auth_refuse_rate(struct auth_call *call, int64_t wait_us)
{
    (void)auth_refuse(call, 429, "over_request_rate_limit", "Request rate limit reached");
    call->error.retry_after_s = (unsigned)((wait_us + US_PER_S - 1) / US_PER_S);
    return AUTH_ANSWER;
}

enum auth_step auth_refuse_credentials(struct auth_call *call)
{
    return auth_refuse(call, 400, "invalid_credentials", "Invalid login credentials");
}

enum auth_step auth_refuse_outcome(struct auth_call *call, enum account_outcome outcome)
{
    switch (outcome) {
    case ACCOUNT_EXISTS:
        return call->endpoint->step == auth_sign_up
                   ? auth_refuse(call, 422, "user_already_exists", "User already registered")
                   : auth_refuse(call, 422, "email_exists",
                                 "A user with this email address has already been registered");
    case ACCOUNT_UNKNOWN:
        return call->endpoint->service ? auth_refuse(call, 404, "user_not_found", "User not found")
                                       : auth_refuse(call, 403, "user_not_found",
                                                     "User from sub claim in JWT does not exist");
    case ACCOUNT_NO_SESSION:
        return auth_refuse(call, 403, "session_not_found",
                           "Session from session_id claim in JWT does not exist");
    case ACCOUNT_USED:
        return auth_refuse(call, 400, "refresh_token_already_used",
                           "Invalid Refresh Token: Already Used");
    case ACCOUNT_IS_DISABLED:
        return auth_refuse(call, 400, "user_banned", "User is banned");
    case ACCOUNT_CHANGED:
    case ACCOUNT_DONE:
        break;
    }
    return auth_refuse_credentials(call);
}

enum auth_step auth_outcome(struct auth_call *call)
{
    enum account_outcome outcome = auth_result_of(call)->outcome;
    return outcome == ACCOUNT_DONE ? AUTH_ANSWER : auth_refuse_outcome(call, outcome);
}

/* ---- What came in ---------------------------------------------------------------------------- */

struct slice auth_text_of(const struct auth_call *call, const char *name)
{
    const struct json_value *value =
        json_is(&call->body, JSON_OBJECT) ? json_get(&call->body, name) : NULL;
    return json_is(value, JSON_STRING) ? json_text(value) : SLICE_NONE;
}

const struct json_value *auth_object_of(const struct auth_call *call, const char *name)
{
    const struct json_value *value =
        json_is(&call->body, JSON_OBJECT) ? json_get(&call->body, name) : NULL;
    return json_is(value, JSON_OBJECT) ? value : NULL;
}

bool auth_read_email(struct auth_call *call, struct slice given)
{
    char *lower = arena_alloc(call->in.arena, given.len + 1);
    size_t n_at = 0;
    if (lower == NULL || given.len < 3 || given.len > LIMIT_EMAIL_BYTES || given.ptr[0] == '@' ||
        given.ptr[given.len - 1] == '@' || !utf8_is_plain(given)) {
        return false;
    }
    for (size_t i = 0; i < given.len; i++) {
        char c = given.ptr[i];
        if (c == ' ' || c == '"' || c == '<' || c == '>' || c == ',') {
            return false;
        }
        n_at += c == '@';
        lower[i] = c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
    }
    lower[given.len] = '\0';
    call->email = (struct slice){lower, given.len};
    return n_at == 1;
}

enum auth_step auth_refuse_email(struct auth_call *call)
{
    return auth_refuse(call, 400, "validation_failed",
                       "Unable to validate email address: invalid format");
}

bool auth_check_password(struct auth_call *call, struct slice password)
{
    if (password.len > LIMIT_PASSWORD_BYTES) {
        (void)auth_refuse(call, 400, "validation_failed",
                          "Password cannot be longer than 72 characters");
    } else if (password.len < PASSWORD_MIN) {
        (void)auth_refuse(call, 422, "weak_password", "Password should be at least 6 characters.");
        call->error.weak = "length";
    }
    return call->error.http == 0;
}

bool auth_make_id(struct uuid *out)
{
    unsigned char b[16];
    if (RAND_bytes(b, sizeof b) != 1) {
        return false;
    }
    b[6] = (unsigned char)((b[6] & 0x0f) | 0x40);
    b[8] = (unsigned char)((b[8] & 0x3f) | 0x80);
    snprintf(out->text, sizeof out->text,
             "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0], b[1],
             b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13], b[14],
             b[15]);
    return true;
}

struct account_call *auth_prepare(struct auth_call *call, enum account_verb verb)
{
    struct op *op = call->op;
    memset(op, 0, sizeof *op);
    op->kind = OP_ACCOUNT;
    op->arena = call->in.arena;
    op->in.account.verb = verb;
    op->user = call->identity.user;
    op->in.account.user = call->identity.user;
    op->in.account.session = call->identity.session;
    op->in.account.with_session = call->identity.has_session;
    return &op->in.account;
}

const struct account_result *auth_result_of(const struct auth_call *call)
{
    return &call->op->out.account;
}

enum auth_step auth_hash(struct auth_call *call, struct slice typed)
{
    call->password.password = typed;
    return AUTH_HASH;
}

struct slice auth_hashed(struct auth_call *call)
{
    return call->password.hash[0] == '\0'
               ? SLICE_NONE
               : arena_copy(call->in.arena, slice_of(call->password.hash));
}

int64_t auth_take(struct auth_call *call, struct rate *rate)
{
    return rate == NULL ? 0 : rate_take_named(rate, call->in.address, call->in.now_us);
}

/* ---- What is written ------------------------------------------------------------------------- */

bool auth_read_change(struct auth_call *call)
{
    struct slice email = auth_text_of(call, "email");
    struct slice password = auth_text_of(call, "password");
    if (email.len > 0 && !auth_read_email(call, email)) {
        (void)auth_refuse_email(call);
    } else if (password.ptr != NULL) {
        call->typed = password;
        (void)auth_check_password(call, password);
    }
    return call->error.http == 0;
}

enum auth_step auth_write_account(struct auth_call *call, enum account_verb verb,
                                  const struct json_value *metadata)
{
    struct account_call *account = auth_prepare(call, verb);
    if (!auth_make_id(&account->user) || !auth_make_id(&account->session)) {
        return auth_refuse_late(call, "unexpected_failure", "no random numbers");
    }
    call->op->user = account->user;
    account->email = call->email;
    account->metadata = metadata == NULL ? json_absent() : *metadata;
    if (account->email.ptr != NULL) {
        account->password = auth_hashed(call);
        if (account->password.ptr == NULL) {
            return auth_refuse_late(call, "unexpected_failure", "memory is exhausted");
        }
    }
    if (json_size(&account->metadata) > LIMIT_METADATA_BYTES) {
        return auth_refuse(call, 400, "validation_failed", "user_metadata has at most 4096 bytes");
    }
    return AUTH_WRITE;
}

enum auth_step auth_write_change(struct auth_call *call, const char *metadata)
{
    const struct json_value *data = auth_object_of(call, metadata);
    struct account_call *account = auth_prepare(call, ACCOUNT_UPDATE);
    account->email = call->email;
    account->metadata = data == NULL ? json_absent() : *data;
    if (call->typed.ptr != NULL) {
        account->password = auth_hashed(call);
        if (account->password.ptr == NULL) {
            return auth_refuse_late(call, "unexpected_failure", "memory is exhausted");
        }
    }
    return AUTH_WRITE;
}
