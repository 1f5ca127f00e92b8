/* gateway.c - see gateway.h. Keys are compared in constant time. */
#include "server/gateway.h"

#include "base/status.h"

#include <openssl/crypto.h>

static bool key_is(struct slice key, struct slice ours)
{
    return ours.ptr != NULL && key.len == ours.len &&
           CRYPTO_memcmp(key.ptr, ours.ptr, ours.len) == 0;
}

static bool is_opaque(struct slice key)
{
    return key.len >= 3 && memcmp(key.ptr, "sb_", 3) == 0;
}

/* Three parts: something that wants to be a JWT. */
static bool looks_like_jwt(struct slice key)
{
    unsigned n_dots = 0;
    for (size_t i = 0; i < key.len; i++) {
        n_dots += key.ptr[i] == '.';
    }
    return n_dots == 2;
}

/* What stands behind "Bearer "; absent for no header and for other schemes. */
static struct slice bearer_of(struct slice authorization)
{
    static const char scheme[] = "bearer";
    size_t n = sizeof scheme - 1;
    if (authorization.len < n ||
        !head_token_is((struct slice){authorization.ptr, n}, scheme) ||
        (authorization.len > n && authorization.ptr[n] != ' ')) {
        return SLICE_NONE;
    }
    struct slice bearer = {authorization.ptr + n, authorization.len - n};
    while (bearer.len > 0 && bearer.ptr[0] == ' ') {
        bearer.ptr++;
        bearer.len--;
    }
    return bearer;
}

static bool refuse_key(struct problem *problem, const char *message, const char *hint)
{
    *problem = problem_of(401, NULL, message);
    problem->hint = hint;
    problem->gateway = true;
    return false;
}

static bool verify(const struct gateway *gateway, struct arena *arena, struct slice token,
                   int64_t now_s, struct jwt_identity *out, struct problem *problem)
{
    struct jwt_refusal refusal;
    int status = jwt_verify(gateway->jwt, token, now_s, out, &refusal);
    if (status == BQ_OK) {
        return true;
    }
    if (status != BQ_AUTH) {
        *problem = problem_of_status(arena, status, "");
        return false;
    }
    *problem = problem_detailed(401, refusal.code, problem_format(arena, "%s", refusal.message),
                                refusal.details);
    problem->challenge = CHALLENGE_INVALID_TOKEN;
    if (strncmp(refusal.code, "PGRST", 5) != 0) {
        problem->challenge = CHALLENGE_NONE;
    }
    return false;
}

/* The secret key has no business in a page: whoever reads its source would have it. */
static bool is_browser(const struct head *head)
{
    static const char sign[] = "Mozilla/";
    return head->user_agent.len >= sizeof sign - 1 &&
           memcmp(head->user_agent.ptr, sign, sizeof sign - 1) == 0;
}

static bool refuse_browser(struct problem *problem)
{
    return refuse_key(problem, "Forbidden use of secret API key in browser",
                      "Secret API keys can only be used in a protected environment and should "
                      "never be used in a browser. Delete this secret API key immediately if "
                      "exposed.");
}

/* The role that a configured key stands for. */
static bool identify_key(const struct gateway *gateway, struct arena *arena,
                         const struct head *head, struct slice apikey, int64_t now_s,
                         struct jwt_identity *out, struct problem *problem)
{
    if (apikey.ptr == NULL || apikey.len == 0) {
        return refuse_key(problem, "No API key found in request",
                          "No `apikey` request header or url param was found.");
    }
    *out = (struct jwt_identity){.role = ROLE_ANON};
    if (key_is(apikey, gateway->publishable_key)) {
        return true;
    }
    if (key_is(apikey, gateway->secret_key)) {
        out->role = ROLE_SERVICE;
        return !is_browser(head) || refuse_browser(problem);
    }
    if (!is_opaque(apikey) && verify(gateway, arena, apikey, now_s, out, problem) &&
        out->role != ROLE_AUTHENTICATED) {
        return true;
    }
    return refuse_key(problem, "Invalid API key",
                      "Double check your Supabase `anon` or `service_role` API key.");
}

bool gateway_identify(const struct gateway *gateway, struct arena *arena, const struct head *head,
                      const struct uri *uri, int64_t now_s, struct jwt_identity *out,
                      struct problem *problem)
{
    bool demanded = gateway->publishable_key.ptr != NULL || gateway->secret_key.ptr != NULL;
    struct slice apikey = head->apikey.ptr != NULL ? head->apikey : uri_find(uri, "apikey");
    struct slice bearer = bearer_of(head->authorization);
    struct jwt_identity of_key = {.role = ROLE_ANON};
    if (demanded && !identify_key(gateway, arena, head, apikey, now_s, &of_key, problem)) {
        return false;
    }
    bool is_key = bearer.ptr == NULL || (apikey.ptr != NULL && slice_equal(bearer, apikey));
    if (is_key && (demanded || is_opaque(apikey) || !looks_like_jwt(apikey))) {
        /* Without configured keys an opaque one is anybody's: anon. */
        *out = of_key;
        return bearer.ptr == NULL || bearer.len > 0 ||
               verify(gateway, arena, bearer, now_s, out, problem);
    }
    return verify(gateway, arena, is_key ? apikey : bearer, now_s, out, problem);
}


/* Whether a text is a token of service_role; anything else is nobody in particular. */
static bool is_service(const struct gateway *gateway, struct slice token, int64_t now_s)
{
    struct jwt_identity identity;
    struct jwt_refusal refusal;
    return token.ptr != NULL && looks_like_jwt(token) &&
           jwt_verify(gateway->jwt, token, now_s, &identity, &refusal) == BQ_OK &&
           identity.role == ROLE_SERVICE;
}

bool gateway_admit(const struct gateway *gateway, struct arena *arena, const struct head *head,
                   const struct uri *uri, int64_t now_s, enum role *out_role,
                   struct slice *out_bearer, struct problem *problem)
{
    bool demanded = gateway->publishable_key.ptr != NULL || gateway->secret_key.ptr != NULL;
    struct slice apikey = head->apikey.ptr != NULL ? head->apikey : uri_find(uri, "apikey");
    struct slice bearer = bearer_of(head->authorization);
    struct jwt_identity of_key = {.role = ROLE_ANON};
    if (demanded && !identify_key(gateway, arena, head, apikey, now_s, &of_key, problem)) {
        return false;
    }
    bool is_key = bearer.ptr == NULL || is_opaque(bearer) ||
                  (apikey.ptr != NULL && slice_equal(bearer, apikey));
    *out_bearer = is_key ? SLICE_NONE : bearer;
    *out_role = of_key.role;
    if (is_service(gateway, is_key ? apikey : bearer, now_s)) {
        *out_role = ROLE_SERVICE;
    }
    return true;
}

bool gateway_demands_key(const struct gateway *gateway)
{
    return gateway->publishable_key.ptr != NULL || gateway->secret_key.ptr != NULL;
}

enum gateway_key gateway_key(const struct gateway *gateway, struct slice apikey,
                             enum role *out_role)
{
    *out_role = ROLE_ANON;
    if (apikey.len == 0) {
        return gateway_demands_key(gateway) ? GATEWAY_KEY_NONE : GATEWAY_KEY_OURS;
    }
    if (key_is(apikey, gateway->publishable_key)) {
        return GATEWAY_KEY_OURS;
    }
    if (key_is(apikey, gateway->secret_key)) {
        *out_role = ROLE_SERVICE;
        return GATEWAY_KEY_OURS;
    }
    if (!is_opaque(apikey) && looks_like_jwt(apikey)) {
        return GATEWAY_KEY_JWT;
    }
    return gateway_demands_key(gateway) ? GATEWAY_KEY_UNKNOWN : GATEWAY_KEY_OURS;
}
