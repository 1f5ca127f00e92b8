/* auth.c - the endpoints of auth.h, each a function of its stage.
 *
 * Texts and codes are GoTrue's: clients search them. Whatever is wrong on our side is 503 and never
 * 4xx: clients throw a session away when a refresh is answered with any other refusal. */
#include "server/auth.h"

#include "base/mem.h"
#include "base/plant.h"
#include "base/status.h"
#include "base/utf8.h"
#include "server/auth_json.h"

#include <openssl/rand.h>
#include <stdio.h>
#include <string.h>

#define BODY_DEPTH 32u
#define PASSWORD_MIN 6u
#define PAGE_DEFAULT 50
#define PAGE_MAX 1000
#define US_PER_S INT64_C(1000000)

#define VERSION_JSON                                                                               \
    "{\"version\":\"v2.196.0\",\"name\":\"GoTrue\",\"description\":\"sign-in of BQID Sync\"}"

struct auth_endpoint {
    const char *method;
    const char *path; /* a '*' at its end: any one more part */
    bool open;        /* asks for no api key */
    bool bearer;      /* wants a user's token */
    bool service;     /* wants service_role */
    enum auth_step (*step)(struct auth_call *call);
};

/* ---- Refusals -------------------------------------------------------------------------------- */

static enum auth_step refuse(struct auth_call *call, unsigned http, const char *code,
                             const char *message)
{
    call->error = (struct auth_error){.http = http, .code = code, .message = message};
    return AUTH_ANSWER;
}

static enum auth_step refuse_late(struct auth_call *call, const char *code, const char *message)
{
    (void)refuse(call, 503, code, message);
    call->error.retry_after_s = 1;
    return AUTH_ANSWER;
}

static enum auth_step refuse_rate(struct auth_call *call, int64_t wait_us)
{
    (void)refuse(call, 429, "over_request_rate_limit", "Request rate limit reached");
    call->error.retry_after_s = (unsigned)((wait_us + US_PER_S - 1) / US_PER_S);
    return AUTH_ANSWER;
}

static enum auth_step refuse_credentials(struct auth_call *call)
{
    return refuse(call, 400, "invalid_credentials", "Invalid login credentials");
}

/* What an account's or session's row said. */
static enum auth_step refuse_outcome(struct auth_call *call, enum account_outcome outcome)
{
    switch (outcome) {
    case ACCOUNT_EXISTS:
        return refuse(call, 422, "user_already_exists", "User already registered");
    case ACCOUNT_UNKNOWN:
        return call->endpoint->service ? refuse(call, 404, "user_not_found", "User not found")
                                       : refuse(call, 403, "user_not_found",
                                                "User from sub claim in JWT does not exist");
    case ACCOUNT_NO_SESSION:
        return refuse(call, 403, "session_not_found",
                      "Session from session_id claim in JWT does not exist");
    case ACCOUNT_USED:
        return refuse(call, 400, "refresh_token_already_used",
                      "Invalid Refresh Token: Already Used");
    case ACCOUNT_IS_DISABLED:
        return refuse(call, 400, "user_banned", "User is banned");
    case ACCOUNT_CHANGED:
    case ACCOUNT_DONE:
        break;
    }
    return refuse_credentials(call);
}

/* ---- What came in ---------------------------------------------------------------------------- */

static struct slice text_of(const struct auth_call *call, const char *name)
{
    const struct json_value *value =
        json_is(&call->body, JSON_OBJECT) ? json_get(&call->body, name) : NULL;
    return json_is(value, JSON_STRING) ? json_text(value) : SLICE_NONE;
}

static const struct json_value *object_of(const struct auth_call *call, const char *name)
{
    const struct json_value *value =
        json_is(&call->body, JSON_OBJECT) ? json_get(&call->body, name) : NULL;
    return json_is(value, JSON_OBJECT) ? value : NULL;
}

/* One @ with something on each side and nothing odd anywhere; lower-cased into the arena. */
static bool read_email(struct auth_call *call, struct slice given)
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

static enum auth_step refuse_email(struct auth_call *call)
{
    return refuse(call, 400, "validation_failed",
                  "Unable to validate email address: invalid format");
}

/* Whether a password may become one; else the refusal is in the call. */
static bool check_password(struct auth_call *call, struct slice password)
{
    if (password.len > LIMIT_PASSWORD_BYTES) {
        (void)refuse(call, 400, "validation_failed",
                     "Password cannot be longer than 72 characters");
    } else if (password.len < PASSWORD_MIN) {
        (void)refuse(call, 422, "weak_password", "Password should be at least 6 characters.");
        call->error.weak = "length";
    }
    return call->error.http == 0;
}

/* A random uuid (RFC 9562, version 4). */
static bool make_id(struct uuid *out)
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

static struct account_call *prepare(struct auth_call *call, enum account_verb verb)
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

static const struct account_result *result_of(const struct auth_call *call)
{
    return &call->op->out.account;
}

static enum auth_step hash(struct auth_call *call, struct slice typed)
{
    call->password.password = typed;
    return AUTH_HASH;
}

/* A hash that was made, kept beyond the job. */
static struct slice hashed(struct auth_call *call)
{
    return call->password.hash[0] == '\0'
               ? SLICE_NONE
               : arena_copy(call->in.arena, slice_of(call->password.hash));
}

/* Takes from a bucket of the client's address; 0, or how long to wait. */
static int64_t take(struct auth_call *call, struct rate *rate)
{
    return rate == NULL ? 0 : rate_take_named(rate, call->in.address, call->in.now_us);
}

/* ---- Sign-up --------------------------------------------------------------------------------- */

static enum auth_step begin_sign_up(struct auth_call *call)
{
    struct slice email = text_of(call, "email");
    bool anonymous = email.len == 0 && text_of(call, "phone").len == 0;
    int64_t wait_us;
    if (!call->in.auth->allows_sign_up) {
        return refuse(call, 422, "signup_disabled", "Signups not allowed for this instance");
    }
    if (anonymous && text_of(call, "password").len > 0) {
        return refuse(call, 400, "validation_failed", "missing email or phone");
    }
    if (anonymous) {
        if (!call->in.auth->allows_anonymous) {
            return refuse(call, 422, "anonymous_provider_disabled",
                          "Anonymous sign-ins are disabled");
        }
        wait_us = take(call, call->in.auth->anonymous);
        return wait_us > 0 ? refuse_rate(call, wait_us) : auth_next(call, BQ_OK);
    }
    if (email.len == 0) {
        return refuse(call, 400, "phone_provider_disabled", "Phone signups are disabled");
    }
    if (!read_email(call, email)) {
        return refuse_email(call);
    }
    call->typed = text_of(call, "password");
    if (call->typed.len == 0) {
        return refuse(call, 400, "validation_failed", "Signup requires a valid password");
    }
    if (!check_password(call, call->typed)) {
        return AUTH_ANSWER;
    }
    wait_us = take(call, call->in.auth->tries);
    if (wait_us > 0) {
        return refuse_rate(call, wait_us);
    }
    call->password.make = true;
    return hash(call, call->typed);
}

static enum auth_step write_account(struct auth_call *call, enum account_verb verb,
                                    const struct json_value *metadata)
{
    struct account_call *account = prepare(call, verb);
    if (!make_id(&account->user) || !make_id(&account->session)) {
        return refuse_late(call, "unexpected_failure", "no random numbers");
    }
    call->op->user = account->user;
    account->email = call->email;
    account->metadata = metadata == NULL ? json_absent() : *metadata;
    if (account->email.ptr != NULL) {
        account->password = hashed(call);
        if (account->password.ptr == NULL) {
            return refuse_late(call, "unexpected_failure", "memory is exhausted");
        }
    }
    if (json_size(&account->metadata) > LIMIT_METADATA_BYTES) {
        return refuse(call, 400, "validation_failed", "user_metadata has at most 4096 bytes");
    }
    return AUTH_WRITE;
}

static enum auth_step sign_up(struct auth_call *call)
{
    switch (call->stage) {
    case 0:
        return begin_sign_up(call);
    case 1:
        return write_account(call, ACCOUNT_SIGN_UP, object_of(call, "data"));
    default:
        break;
    }
    return result_of(call)->outcome == ACCOUNT_DONE
               ? AUTH_ANSWER
               : refuse_outcome(call, result_of(call)->outcome);
}

/* ---- Tokens ---------------------------------------------------------------------------------- */

static enum auth_step password_grant(struct auth_call *call)
{
    struct account_call *account;
    int64_t wait_us;
    switch (call->stage) {
    case 0:
        call->typed = text_of(call, "password");
        if (text_of(call, "email").len == 0) {
            return refuse(call, 400, "validation_failed", "missing email or phone");
        }
        if (!read_email(call, text_of(call, "email")) || call->typed.len == 0 ||
            call->typed.len > LIMIT_PASSWORD_BYTES) {
            return refuse_credentials(call);
        }
        wait_us = take(call, call->in.auth->tries);
        if (wait_us > 0) {
            return refuse_rate(call, wait_us);
        }
        prepare(call, ACCOUNT_FIND)->email = call->email;
        return AUTH_READ;
    case 1:
        call->password.decoy = result_of(call)->outcome != ACCOUNT_DONE ||
                               result_of(call)->account.password.ptr == NULL;
        if (!call->password.decoy) {
            call->password.stored = result_of(call)->account.password;
            call->identity.user = result_of(call)->account.id;
        }
        return hash(call, call->typed);
    case 2:
        if (!call->password.matches) {
            return refuse_credentials(call);
        }
        account = prepare(call, ACCOUNT_SIGN_IN);
        account->password = call->password.stored;
        return make_id(&account->session)
                   ? AUTH_WRITE
                   : refuse_late(call, "unexpected_failure", "no random numbers");
    default:
        break;
    }
    return result_of(call)->outcome == ACCOUNT_DONE
               ? AUTH_ANSWER
               : refuse_outcome(call, result_of(call)->outcome);
}

static enum auth_step refresh_grant(struct auth_call *call)
{
    enum account_outcome outcome;
    struct account_call *account;
    switch (call->stage) {
    case 0:
        account = prepare(call, ACCOUNT_REFRESH);
        if (!signer_read_refresh(call->in.auth->signer, text_of(call, "refresh_token"),
                                 &account->session, &account->counter)) {
            return refuse(call, 400, "refresh_token_not_found",
                          "Invalid Refresh Token: Refresh Token Not Found");
        }
        return AUTH_WRITE;
    default:
        break;
    }
    outcome = result_of(call)->outcome;
    if (outcome == ACCOUNT_NO_SESSION) {
        return refuse(call, 400, "session_not_found",
                      "Invalid Refresh Token: No Valid Session Found");
    }
    if (outcome == ACCOUNT_IS_DISABLED) {
        return refuse(call, 400, "user_banned", "Invalid Refresh Token: User Banned");
    }
    return outcome == ACCOUNT_DONE ? AUTH_ANSWER : refuse_outcome(call, outcome);
}

static enum auth_step token(struct auth_call *call)
{
    struct slice grant = uri_find(call->in.uri, "grant_type");
    if (grant.ptr != NULL && slice_is(grant, "password")) {
        return password_grant(call);
    }
    if (grant.ptr != NULL && slice_is(grant, "refresh_token")) {
        return refresh_grant(call);
    }
    return refuse(call, 400, "invalid_credentials", "unsupported_grant_type");
}

/* ---- The user -------------------------------------------------------------------------------- */

static enum auth_step get_user(struct auth_call *call)
{
    if (call->stage == 0) {
        prepare(call, ACCOUNT_GET);
        return AUTH_READ;
    }
    return result_of(call)->outcome == ACCOUNT_DONE
               ? AUTH_ANSWER
               : refuse_outcome(call, result_of(call)->outcome);
}

/* The change itself, in the forms of a user (data) and of an operator (user_metadata). */
static enum auth_step write_change(struct auth_call *call, const char *metadata)
{
    const struct json_value *data = object_of(call, metadata);
    struct account_call *account = prepare(call, ACCOUNT_UPDATE);
    account->email = call->email;
    account->metadata = data == NULL ? json_absent() : *data;
    if (call->typed.ptr != NULL) {
        account->password = hashed(call);
        if (account->password.ptr == NULL) {
            return refuse_late(call, "unexpected_failure", "memory is exhausted");
        }
    }
    return AUTH_WRITE;
}

static bool read_change(struct auth_call *call)
{
    struct slice email = text_of(call, "email");
    struct slice password = text_of(call, "password");
    if (email.len > 0 && !read_email(call, email)) {
        (void)refuse_email(call);
    } else if (password.ptr != NULL) {
        call->typed = password;
        (void)check_password(call, password);
    }
    return call->error.http == 0;
}

static enum auth_step put_user(struct auth_call *call)
{
    int64_t wait_us;
    switch (call->stage) {
    case 0:
        if (!read_change(call)) {
            return AUTH_ANSWER;
        }
        prepare(call, ACCOUNT_GET);
        return AUTH_READ;
    case 1:
        if (result_of(call)->outcome != ACCOUNT_DONE) {
            return refuse_outcome(call, result_of(call)->outcome);
        }
        if (call->typed.ptr == NULL) {
            return auth_next(call, BQ_OK);
        }
        wait_us = take(call, call->in.auth->tries);
        if (wait_us > 0) {
            return refuse_rate(call, wait_us);
        }
        call->password.stored = result_of(call)->account.password;
        call->password.make = true;
        return hash(call, call->typed);
    case 2:
        if (call->typed.ptr != NULL && call->password.matches) {
            return refuse(call, 422, "same_password",
                          "New password should be different from the old password.");
        }
        return write_change(call, "data");
    default:
        break;
    }
    return result_of(call)->outcome == ACCOUNT_DONE
               ? AUTH_ANSWER
               : refuse_outcome(call, result_of(call)->outcome);
}

static enum auth_step logout(struct auth_call *call)
{
    struct slice scope = uri_find(call->in.uri, "scope");
    struct account_call *account;
    if (call->stage > 0) {
        return AUTH_ANSWER;
    }
    account = prepare(call, ACCOUNT_SIGN_OUT);
    if (scope.ptr == NULL || scope.len == 0 || slice_is(scope, "global")) {
        account->scope = ACCOUNT_SCOPE_GLOBAL;
    } else if (slice_is(scope, "local")) {
        account->scope = ACCOUNT_SCOPE_LOCAL;
    } else if (slice_is(scope, "others")) {
        account->scope = ACCOUNT_SCOPE_OTHERS;
    } else {
        return refuse(call, 400, "validation_failed", "Unsupported logout scope");
    }
    if (account->scope != ACCOUNT_SCOPE_GLOBAL && !account->with_session) {
        return refuse(call, 403, "session_not_found",
                      "Session from session_id claim in JWT does not exist");
    }
    return AUTH_WRITE;
}

static enum auth_step nothing(struct auth_call *call)
{
    (void)call;
    return AUTH_ANSWER;
}

/* ---- Operators (service_role) ---------------------------------------------------------------- */

/* The uuid at the end of the path. */
static bool named_user(struct auth_call *call)
{
    const char *slash = memrchr(call->in.path.ptr, '/', call->in.path.len);
    size_t skip = slash == NULL ? 0 : (size_t)(slash + 1 - call->in.path.ptr);
    struct slice id = {call->in.path.ptr + skip, call->in.path.len - skip};
    if (uuid_parse(id, &call->identity.user)) {
        return true;
    }
    (void)refuse(call, 404, "validation_failed", "user_id must be an UUID");
    return false;
}

static int64_t number_of(const struct auth_call *call, const char *name, int64_t otherwise)
{
    struct slice text = uri_find(call->in.uri, name);
    int64_t n = 0;
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] < '0' || text.ptr[i] > '9' || n > INT32_MAX / 10) {
            return otherwise;
        }
        n = n * 10 + (text.ptr[i] - '0');
    }
    return text.len == 0 ? otherwise : n;
}

/* Pages are by id; a page before is counted through. */
static enum auth_step list_users(struct auth_call *call)
{
    int64_t per_page = number_of(call, "per_page", PAGE_DEFAULT);
    int64_t page = number_of(call, "page", 1);
    per_page = per_page < 1 ? PAGE_DEFAULT : per_page > PAGE_MAX ? PAGE_MAX : per_page;
    page = page < 1 ? 1 : page;
    if (call->stage > 0 && (call->stage == page || result_of(call)->list.n < per_page)) {
        if (call->stage < page) {
            call->op->out.account.list.n = 0;
        }
        return AUTH_ANSWER;
    }
    struct uuid last = {""};
    if (call->stage > 0) {
        last = result_of(call)->list.items[result_of(call)->list.n - 1].id;
    }
    struct account_call *account = prepare(call, ACCOUNT_LIST);
    account->with_after = call->stage > 0;
    account->after = last;
    account->max = (uint32_t)per_page;
    return AUTH_READ;
}

static enum auth_step add_user(struct auth_call *call)
{
    switch (call->stage) {
    case 0:
        if (!read_email(call, text_of(call, "email"))) {
            return refuse_email(call);
        }
        call->typed = text_of(call, "password");
        if (!check_password(call, call->typed)) {
            return AUTH_ANSWER;
        }
        call->password.make = true;
        return hash(call, call->typed);
    case 1:
        return write_account(call, ACCOUNT_ADD, object_of(call, "user_metadata"));
    default:
        break;
    }
    return result_of(call)->outcome == ACCOUNT_DONE
               ? AUTH_ANSWER
               : refuse_outcome(call, result_of(call)->outcome);
}

static enum auth_step show_user(struct auth_call *call)
{
    if (call->stage == 0 && !named_user(call)) {
        return AUTH_ANSWER;
    }
    return get_user(call);
}

/* A ban_duration other than "none" bans for good: there is no clock to lift it. */
static enum auth_step change_user(struct auth_call *call)
{
    struct slice ban = text_of(call, "ban_duration");
    struct account_call *account;
    switch (call->stage) {
    case 0:
        if (!named_user(call) || !read_change(call)) {
            return AUTH_ANSWER;
        }
        call->password.make = true;
        return call->typed.ptr == NULL ? auth_next(call, BQ_OK) : hash(call, call->typed);
    case 1:
        return write_change(call, "user_metadata");
    case 2:
        if (result_of(call)->outcome != ACCOUNT_DONE || ban.ptr == NULL) {
            break;
        }
        account = prepare(call, ACCOUNT_DISABLE);
        account->disabled = !slice_is(ban, "none");
        return AUTH_WRITE;
    default:
        break;
    }
    return result_of(call)->outcome == ACCOUNT_DONE
               ? AUTH_ANSWER
               : refuse_outcome(call, result_of(call)->outcome);
}

static enum auth_step delete_user(struct auth_call *call)
{
    if (call->stage > 0) {
        return result_of(call)->outcome == ACCOUNT_DONE
                   ? AUTH_ANSWER
                   : refuse_outcome(call, result_of(call)->outcome);
    }
    if (!named_user(call)) {
        return AUTH_ANSWER;
    }
    prepare(call, ACCOUNT_DELETE);
    return AUTH_WRITE;
}

/* ---- The table ------------------------------------------------------------------------------- */

static const struct auth_endpoint endpoints[] = {
    {"POST", "signup", false, false, false, sign_up},
    {"POST", "token", false, false, false, token},
    {"GET", "user", false, true, false, get_user},
    {"PUT", "user", false, true, false, put_user},
    {"POST", "logout", false, true, false, logout},
    {"GET", "settings", false, false, false, nothing},
    {"GET", "health", false, false, false, nothing},
    {"GET", ".well-known/jwks.json", true, false, false, nothing},
    {"GET", "admin/users", false, false, true, list_users},
    {"POST", "admin/users", false, false, true, add_user},
    {"GET", "admin/users/*", false, false, true, show_user},
    {"PUT", "admin/users/*", false, false, true, change_user},
    {"DELETE", "admin/users/*", false, false, true, delete_user},
};

#define N_ENDPOINTS (sizeof endpoints / sizeof endpoints[0])

static bool path_fits(const char *pattern, struct slice path)
{
    size_t n = strlen(pattern);
    if (pattern[n - 1] != '*') {
        return slice_is(path, pattern);
    }
    return path.len > n - 1 && memcmp(path.ptr, pattern, n - 1) == 0 &&
           memchr(path.ptr + n - 1, '/', path.len - n + 1) == NULL;
}

static const struct auth_endpoint *endpoint_of(const char *method, struct slice path)
{
    for (size_t i = 0; i < N_ENDPOINTS; i++) {
        bool same = strcmp(endpoints[i].method, method) == 0 ||
                    (strcmp(method, "HEAD") == 0 && strcmp(endpoints[i].method, "GET") == 0);
        if (same && path_fits(endpoints[i].path, path)) {
            return &endpoints[i];
        }
    }
    return NULL;
}

bool auth_path_known(const char *method, struct slice path, bool *out_open)
{
    const struct auth_endpoint *endpoint = endpoint_of(method, path);
    *out_open = endpoint != NULL && endpoint->open;
    return endpoint != NULL;
}

/* ---- A call ---------------------------------------------------------------------------------- */

static bool read_body(struct auth_call *call)
{
    struct json_error where;
    call->body = json_absent();
    if (call->in.body.len == 0) {
        return true;
    }
    int status = json_parse(call->in.arena, call->in.body, BODY_DEPTH, &call->body, &where);
    if (status == BQ_OK && (json_is(&call->body, JSON_OBJECT) || json_is(&call->body, JSON_NULL))) {
        return true;
    }
    char *text = arena_alloc(call->in.arena, 160);
    if (text == NULL || status == BQ_NOMEM) {
        (void)refuse_late(call, "unexpected_failure", "memory is exhausted");
    } else {
        snprintf(text, 160, "Could not parse request body as JSON: %s",
                 status == BQ_OK ? "it is no object" : where.what);
        (void)refuse(call, 400, "bad_json", text);
    }
    return false;
}

/* Who calls, where the endpoint asks. */
static bool check_caller(struct auth_call *call)
{
    const struct auth_request *in = &call->in;
    struct jwt_refusal refusal;
    if (call->endpoint->service && in->key_role != ROLE_SERVICE && !PLANTED(OPERATOR_UNCHECKED)) {
        (void)refuse(call, 403, "not_admin", "User not allowed");
        return false;
    }
    if (!call->endpoint->bearer) {
        return true;
    }
    if (in->bearer.ptr == NULL) {
        (void)refuse(call, 401, "no_authorization", "This endpoint requires a valid Bearer token");
        return false;
    }
    int status =
        jwt_verify(in->auth->jwt, in->bearer, in->now_us / US_PER_S, &call->identity, &refusal);
    if (status == BQ_OK && call->identity.has_user) {
        return true;
    }
    if (status != BQ_OK && status != BQ_AUTH) {
        (void)refuse_late(call, "unexpected_failure", "memory is exhausted");
        return false;
    }
    bool expired = status == BQ_AUTH && strcmp(refusal.message, "JWT expired") == 0;
    (void)refuse(call, 403, "bad_jwt",
                 status == BQ_OK ? "invalid claim: missing sub claim"
                 : expired       ? "invalid JWT: unable to parse or verify signature, token has "
                                   "invalid claims: token is expired"
                                 : "invalid JWT: unable to parse or verify signature");
    return false;
}

enum auth_step auth_begin(struct auth_call *call, const struct auth_request *in, struct op *op)
{
    *call = (struct auth_call){.password = {.done = call->password.done}, .owner = call->owner};
    call->in = *in;
    call->op = op;
    call->endpoint = endpoint_of(in->method, in->path);
    if (call->endpoint == NULL) {
        return refuse(call, 404, "not_found", "404 page not found");
    }
    if (!check_caller(call) || !read_body(call)) {
        return AUTH_ANSWER;
    }
    return call->endpoint->step(call);
}

enum auth_step auth_next(struct auth_call *call, int status)
{
    const struct op *op = call->op;
    call->stage++;
    if (status == BQ_BUSY || status == BQ_CLOSED || status == BQ_NOMEM || status == BQ_IO) {
        return refuse_late(call, "request_timeout", status_text(status));
    }
    if (status != BQ_OK) {
        return refuse_late(call, "unexpected_failure",
                           "Unexpected failure, please check server logs for more information");
    }
    if (op->kind == OP_ACCOUNT && op->status == BQ_TOO_LARGE) {
        return refuse(call, 400, "validation_failed", "user_metadata has at most 4096 bytes");
    }
    return call->endpoint->step(call);
}

/* ---- Answers --------------------------------------------------------------------------------- */

void auth_answer_error(const struct head *head, const struct auth_error *error, struct reply *reply)
{
    bool is_new;
    buf_clear(&reply->body);
    auth_print_error(&reply->body, head, error, &is_new);
    reply->http = error->http;
    reply->content_type = REPLY_JSON;
    reply->api_version = is_new ? "2024-01-01" : NULL;
    reply->error_code = error->code;
    reply->retry_after_s = error->retry_after_s;
}

static int print(struct auth_call *call, struct reply *reply)
{
    enum auth_step (*step)(struct auth_call * call) = call->endpoint->step;
    const struct auth *auth = call->in.auth;
    if (step == sign_up || step == token) {
        return auth_print_session(auth, result_of(call), call->in.now_us / US_PER_S, &reply->body);
    }
    if (step == logout) {
        reply->http = 204;
        reply->content_type = NULL;
    } else if (step == list_users) {
        auth_print_users(&reply->body, &result_of(call)->list);
    } else if (step == delete_user) {
        buf_add_text(&reply->body, "{}");
    } else if (step != nothing) {
        auth_print_user(&reply->body, &result_of(call)->account);
    } else if (slice_is(call->in.path, "settings")) {
        auth_print_settings(auth, &reply->body);
    } else if (slice_is(call->in.path, "health")) {
        buf_add_text(&reply->body, VERSION_JSON);
    } else {
        signer_print_jwks(auth->signer, &reply->body);
        reply->cache = "public, max-age=600";
    }
    return reply->body.failed ? BQ_NOMEM : BQ_OK;
}

void auth_answer(struct auth_call *call, struct reply *reply)
{
    if (call->error.http == 0) {
        reply->http = 200;
        reply->content_type = REPLY_JSON;
        reply->cache = "no-store";
        if (print(call, reply) != BQ_OK) {
            (void)refuse_late(call, "unexpected_failure", "memory is exhausted");
        }
    }
    if (call->error.http != 0) {
        auth_answer_error(call->in.head, &call->error, reply);
    }
}
