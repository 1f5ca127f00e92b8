/* auth.c - the table of endpoints, and the steps of a call.
 *
 * Texts and codes are GoTrue's: clients search them. Whatever is wrong on our side is 503 and never
 * 4xx: clients throw a session away when a refresh is answered with any other refusal. */
#include "server/auth.h"

#include "base/mem.h"
#include "base/plant.h"
#include "base/status.h"
#include "server/auth_impl.h"
#include "server/auth_json.h"

#include <stdio.h>
#include <string.h>

#define BODY_DEPTH 32u

#define VERSION_JSON                                                                               \
    "{\"version\":\"v2.196.0\",\"name\":\"GoTrue\",\"description\":\"sign-in of BQID Sync\"}"

static enum auth_step nothing(struct auth_call *call)
{
    (void)call;
    return AUTH_ANSWER;
}

/* ---- The table ------------------------------------------------------------------------------- */

static const struct auth_endpoint endpoints[] = {
    {"POST", "signup", false, false, false, auth_sign_up},
    {"POST", "token", false, false, false, auth_token},
    {"GET", "user", false, true, false, auth_get_user},
    {"PUT", "user", false, true, false, auth_put_user},
    {"POST", "logout", false, true, false, auth_logout},
    {"GET", "settings", false, false, false, nothing},
    {"GET", "health", false, false, false, nothing},
    {"GET", ".well-known/jwks.json", true, false, false, nothing},
    {"GET", "admin/users", false, false, true, auth_list_users},
    {"POST", "admin/users", false, false, true, auth_add_user},
    {"GET", "admin/users/*", false, false, true, auth_show_user},
    {"PUT", "admin/users/*", false, false, true, auth_change_user},
    {"DELETE", "admin/users/*", false, false, true, auth_delete_user},
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
        (void)auth_refuse_late(call, "unexpected_failure", "memory is exhausted");
    } else {
        snprintf(text, 160, "Could not parse request body as JSON: %s",
                 status == BQ_OK ? "it is no object" : where.what);
        (void)auth_refuse(call, 400, "bad_json", text);
    }
    return false;
}

/* Who calls, where the endpoint asks. */
static bool check_caller(struct auth_call *call)
{
    const struct auth_request *in = &call->in;
    struct jwt_refusal refusal;
    if (call->endpoint->service && in->key_role != ROLE_SERVICE && !PLANTED(OPERATOR_UNCHECKED)) {
        (void)auth_refuse(call, 403, "not_admin", "User not allowed");
        return false;
    }
    if (!call->endpoint->bearer) {
        return true;
    }
    if (in->bearer.ptr == NULL) {
        (void)auth_refuse(call, 401, "no_authorization",
                          "This endpoint requires a valid Bearer token");
        return false;
    }
    int status =
        jwt_verify(in->auth->jwt, in->bearer, in->now_us / US_PER_S, &call->identity, &refusal);
    if (status == BQ_OK && call->identity.has_user) {
        return true;
    }
    if (status != BQ_OK && status != BQ_AUTH) {
        (void)auth_refuse_late(call, "unexpected_failure", "memory is exhausted");
        return false;
    }
    bool expired = status == BQ_AUTH && strcmp(refusal.message, "JWT expired") == 0;
    (void)auth_refuse(call, 403, "bad_jwt",
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
        return auth_refuse(call, 404, "not_found", "404 page not found");
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
        return auth_refuse_late(call, "request_timeout", status_text(status));
    }
    if (status != BQ_OK) {
        return auth_refuse_late(call, "unexpected_failure",
                           "Unexpected failure, please check server logs for more information");
    }
    if (op->kind == OP_ACCOUNT && op->status == BQ_TOO_LARGE) {
        return auth_refuse(call, 400, "validation_failed", "user_metadata has at most 4096 bytes");
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
    if (step == auth_sign_up || step == auth_token) {
        return auth_print_session(auth, auth_result_of(call), call->in.now_us / US_PER_S,
                                  &reply->body);
    }
    if (step == auth_logout) {
        reply->http = 204;
        reply->content_type = NULL;
    } else if (step == auth_list_users) {
        auth_print_users(&reply->body, &auth_result_of(call)->list);
    } else if (step == auth_delete_user) {
        buf_add_text(&reply->body, "{}");
    } else if (step != nothing) {
        auth_print_user(&reply->body, &auth_result_of(call)->account);
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
            (void)auth_refuse_late(call, "unexpected_failure", "memory is exhausted");
        }
    }
    if (call->error.http != 0) {
        auth_answer_error(call->in.head, &call->error, reply);
    }
}
