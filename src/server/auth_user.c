/* auth_user.c - the endpoints of a user: sign-up, tokens, the account itself. */
#include "server/auth_impl.h"

#include "base/status.h"

/* ---- Sign-up --------------------------------------------------------------------------------- */

static enum auth_step begin_sign_up(struct auth_call *call)
{
    struct slice email = auth_text_of(call, "email");
    bool anonymous = email.len == 0 && auth_text_of(call, "phone").len == 0;
    int64_t wait_us;
    if (!call->in.auth->allows_sign_up) {
        return auth_refuse(call, 422, "signup_disabled", "Signups not allowed for this instance");
    }
    if (anonymous && auth_text_of(call, "password").len > 0) {
        return auth_refuse(call, 400, "validation_failed", "missing email or phone");
    }
    if (anonymous) {
        if (!call->in.auth->allows_anonymous) {
            return auth_refuse(call, 422, "anonymous_provider_disabled",
                               "Anonymous sign-ins are disabled");
        }
        wait_us = auth_take(call, call->in.auth->anonymous);
        return wait_us > 0 ? auth_refuse_rate(call, wait_us) : auth_next(call, BQ_OK);
    }
    if (email.len == 0) {
        return auth_refuse(call, 400, "phone_provider_disabled", "Phone signups are disabled");
    }
    if (!auth_read_email(call, email)) {
        return auth_refuse_email(call);
    }
    call->typed = auth_text_of(call, "password");
    if (call->typed.len == 0) {
        return auth_refuse(call, 400, "validation_failed", "Signup requires a valid password");
    }
    if (!auth_check_password(call, call->typed)) {
        return AUTH_ANSWER;
    }
    wait_us = auth_take(call, call->in.auth->tries);
    if (wait_us > 0) {
        return auth_refuse_rate(call, wait_us);
    }
    call->password.make = true;
    return auth_hash(call, call->typed);
}

enum auth_step auth_sign_up(struct auth_call *call)
{
    switch (call->stage) {
    case 0:
        return begin_sign_up(call);
    case 1:
        return auth_write_account(call, ACCOUNT_SIGN_UP, auth_object_of(call, "data"));
    default:
        break;
    }
    return auth_outcome(call);
}

/* ---- Tokens ---------------------------------------------------------------------------------- */

static enum auth_step password_grant(struct auth_call *call)
{
    struct account_call *account;
    int64_t wait_us;
    switch (call->stage) {
    case 0:
        call->typed = auth_text_of(call, "password");
        if (auth_text_of(call, "email").len == 0) {
            return auth_refuse(call, 400, "validation_failed", "missing email or phone");
        }
        if (!auth_read_email(call, auth_text_of(call, "email")) || call->typed.len == 0 ||
            call->typed.len > LIMIT_PASSWORD_BYTES) {
            return auth_refuse_credentials(call);
        }
        wait_us = auth_take(call, call->in.auth->tries);
        if (wait_us > 0) {
            return auth_refuse_rate(call, wait_us);
        }
        auth_prepare(call, ACCOUNT_FIND)->email = call->email;
        return AUTH_READ;
    case 1:
        call->password.decoy = auth_result_of(call)->outcome != ACCOUNT_DONE ||
                               auth_result_of(call)->account.password.ptr == NULL;
        if (!call->password.decoy) {
            call->password.stored = auth_result_of(call)->account.password;
            call->identity.user = auth_result_of(call)->account.id;
        }
        return auth_hash(call, call->typed);
    case 2:
        if (!call->password.matches) {
            return auth_refuse_credentials(call);
        }
        account = auth_prepare(call, ACCOUNT_SIGN_IN);
        account->password = call->password.stored;
        return auth_make_id(&account->session)
                   ? AUTH_WRITE
                   : auth_refuse_late(call, "unexpected_failure", "no random numbers");
    default:
        break;
    }
    return auth_outcome(call);
}

static enum auth_step refresh_grant(struct auth_call *call)
{
    enum account_outcome outcome;
    struct account_call *account;
    switch (call->stage) {
    case 0:
        account = auth_prepare(call, ACCOUNT_REFRESH);
        if (!signer_read_refresh(call->in.auth->signer, auth_text_of(call, "refresh_token"),
                                 &account->session, &account->counter)) {
            return auth_refuse(call, 400, "refresh_token_not_found",
                               "Invalid Refresh Token: Refresh Token Not Found");
        }
        return AUTH_WRITE;
    default:
        break;
    }
    outcome = auth_result_of(call)->outcome;
    if (outcome == ACCOUNT_NO_SESSION) {
        return auth_refuse(call, 400, "session_not_found",
                           "Invalid Refresh Token: No Valid Session Found");
    }
    if (outcome == ACCOUNT_IS_DISABLED) {
        return auth_refuse(call, 400, "user_banned", "Invalid Refresh Token: User Banned");
    }
    return outcome == ACCOUNT_DONE ? AUTH_ANSWER : auth_refuse_outcome(call, outcome);
}

enum auth_step auth_token(struct auth_call *call)
{
    struct slice grant = uri_find(call->in.uri, "grant_type");
    if (grant.ptr != NULL && slice_is(grant, "password")) {
        return password_grant(call);
    }
    if (grant.ptr != NULL && slice_is(grant, "refresh_token")) {
        return refresh_grant(call);
    }
    return auth_refuse(call, 400, "invalid_credentials", "unsupported_grant_type");
}

/* ---- The user -------------------------------------------------------------------------------- */

enum auth_step auth_get_user(struct auth_call *call)
{
    if (call->stage == 0) {
        auth_prepare(call, ACCOUNT_GET);
        return AUTH_READ;
    }
    return auth_outcome(call);
}

enum auth_step auth_put_user(struct auth_call *call)
{
    int64_t wait_us;
    switch (call->stage) {
    case 0:
        if (!auth_read_change(call)) {
            return AUTH_ANSWER;
        }
        auth_prepare(call, ACCOUNT_GET);
        return AUTH_READ;
    case 1:
        if (auth_result_of(call)->outcome != ACCOUNT_DONE) {
            return auth_refuse_outcome(call, auth_result_of(call)->outcome);
        }
        if (call->typed.ptr == NULL) {
            return auth_next(call, BQ_OK);
        }
        wait_us = auth_take(call, call->in.auth->tries);
        if (wait_us > 0) {
            return auth_refuse_rate(call, wait_us);
        }
        call->password.stored = auth_result_of(call)->account.password;
        call->password.make = true;
        return auth_hash(call, call->typed);
    case 2:
        if (call->typed.ptr != NULL && call->password.matches) {
            return auth_refuse(call, 422, "same_password",
                               "New password should be different from the old password.");
        }
        return auth_write_change(call, "data");
    default:
        break;
    }
    return auth_outcome(call);
}

enum auth_step auth_logout(struct auth_call *call)
{
    struct slice scope = uri_find(call->in.uri, "scope");
    struct account_call *account;
    if (call->stage > 0) {
        return AUTH_ANSWER;
    }
    account = auth_prepare(call, ACCOUNT_SIGN_OUT);
    if (scope.ptr == NULL || scope.len == 0 || slice_is(scope, "global")) {
        account->scope = ACCOUNT_SCOPE_GLOBAL;
    } else if (slice_is(scope, "local")) {
        account->scope = ACCOUNT_SCOPE_LOCAL;
    } else if (slice_is(scope, "others")) {
        account->scope = ACCOUNT_SCOPE_OTHERS;
    } else {
        return auth_refuse(call, 400, "validation_failed", "Unsupported logout scope");
    }
    if (account->scope != ACCOUNT_SCOPE_GLOBAL && !account->with_session) {
        return auth_refuse(call, 403, "session_not_found",
                           "Session from session_id claim in JWT does not exist");
    }
    return AUTH_WRITE;
}
