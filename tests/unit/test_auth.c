/* test_auth.c - sign-up, sign-in and sessions over HTTP, as clients see them
 * (docs/protocol.md, "Accounts"). */
#include "http_client.h"
#include "serve.h"
#include "token.h"

#include "base/status.h"
#include "json/json.h"
#include "server/password.h"
#include "server/signer.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#define EMAIL "a@example.com"
#define PASSWORD "correct horse"
#define CREDENTIALS "{\"email\":\"" EMAIL "\",\"password\":\"" PASSWORD "\"}"

static struct serve serve;
static struct arena arena;
static char *service;

static int set_up(void **state)
{
    (void)state;
    arena_init(&arena);
    service = token_make("service_role", NULL, (int64_t)time(NULL) + 3600);
    serve_init(&serve);
    serve.config.accounts = "on";
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    serve_release(&serve);
    arena_release(&arena);
    free(service);
    return 0;
}

static void begin(void)
{
    if (serve_start(&serve) != BQ_OK) {
        fail_msg("%s", serve.error);
    }
}

struct heard {
    int status;
    struct json_value body;
    char api_version[32];
    char cache[32];
};

#define VERSION_FIELD "X-Supabase-Api-Version: 2024-01-01\r\n"

static struct heard call_with(const char *fields, const char *method, const char *path,
                              const char *token, const char *body)
{
    struct http_answer answer;
    struct heard heard = {.body = json_absent()};
    const struct http_request request = {
        .port = serve.port,
        .method = method,
        .path = path,
        .token = token,
        .fields = fields,
        .body = body,
    };
    http_call(&request, &answer);
    heard.status = answer.status;
    const char *version = http_field(&answer, "X-Supabase-Api-Version");
    snprintf(heard.api_version, sizeof heard.api_version, "%s", version == NULL ? "" : version);
    const char *cache = http_field(&answer, "Cache-Control");
    snprintf(heard.cache, sizeof heard.cache, "%s", cache == NULL ? "" : cache);
    if (answer.body_len > 0) {
        struct slice text = arena_copy(&arena, (struct slice){answer.body, answer.body_len});
        assert_int_equal(json_parse(&arena, text, 16, &heard.body, NULL), BQ_OK);
    }
    http_release(&answer);
    return heard;
}

static struct heard call(const char *method, const char *path, const char *token, const char *body)
{
    return call_with(VERSION_FIELD, method, path, token, body);
}

/* A text at a path of one or two names; "" where there is none. */
static const char *at(const struct heard *heard, const char *name, const char *inner)
{
    const struct json_value *value =
        json_is(&heard->body, JSON_OBJECT) ? json_get(&heard->body, name) : NULL;
    if (inner != NULL) {
        value = json_is(value, JSON_OBJECT) ? json_get(value, inner) : NULL;
    }
    return json_is(value, JSON_STRING) ? arena_copy(&arena, json_text(value)).ptr : "";
}

static void expect_error(struct heard heard, int status, const char *code, const char *message)
{
    assert_string_equal(at(&heard, "code", NULL), code);
    assert_string_equal(at(&heard, "message", NULL), message);
    assert_int_equal(heard.status, status);
    assert_string_equal(heard.api_version, "2024-01-01");
}

static struct heard sign_up(void)
{
    struct heard heard = call("POST", "/auth/v1/signup", NULL, CREDENTIALS);
    assert_int_equal(heard.status, 200);
    return heard;
}

static struct heard refresh(const char *token)
{
    char body[256];
    snprintf(body, sizeof body, "{\"refresh_token\":\"%s\"}", token);
    return call("POST", "/auth/v1/token?grant_type=refresh_token", NULL, body);
}

static void a_sign_up_gives_a_session_that_syncs(void **state)
{
    (void)state;
    begin();
    struct heard session = sign_up();
    assert_string_equal(at(&session, "token_type", NULL), "bearer");
    assert_string_equal(at(&session, "user", "email"), EMAIL);
    assert_string_equal(at(&session, "user", "aud"), "authenticated");
    assert_string_equal(session.cache, "no-store");
    int64_t expires = 0;
    assert_true(json_to_int(json_get(&session.body, "expires_in"), &expires) && expires == 3600);
    struct heard put =
        call("POST", "/rest/v1/rpc/atomic_sync_upsert", at(&session, "access_token", NULL),
             "{\"p_user_id\":\"00000000-0000-4000-8000-000000000000\","
             "\"p_data_key\":\"a\",\"p_data\":{},\"p_expected_version\":0}");
    assert_int_equal(put.status, 403);
    char body[256];
    snprintf(body, sizeof body,
             "{\"p_user_id\":\"%s\",\"p_data_key\":\"a\",\"p_data\":{},\"p_expected_version\":0}",
             at(&session, "user", "id"));
    put = call("POST", "/rest/v1/rpc/atomic_sync_upsert", at(&session, "access_token", NULL), body);
    assert_int_equal(put.status, 200);
}

static void the_password_signs_in_and_no_other_text_does(void **state)
{
    static const char path[] = "/auth/v1/token?grant_type=password";
    (void)state;
    begin();
    struct heard first = sign_up();
    struct heard again =
        call("POST", path, NULL, "{\"email\":\"A@Example.com\",\"password\":\"" PASSWORD "\"}");
    assert_int_equal(again.status, 200);
    assert_string_equal(at(&again, "user", "id"), at(&first, "user", "id"));
    static const char *const wrong[] = {
        "{\"email\":\"" EMAIL "\",\"password\":\"Correct horse\"}",
        "{\"email\":\"" EMAIL "\",\"password\":\"\"}",
        "{\"email\":\"" EMAIL "\"}",
        "{\"email\":\"b@example.com\",\"password\":\"" PASSWORD "\"}",
        "{\"email\":\"no email\",\"password\":\"" PASSWORD "\"}",
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        expect_error(call("POST", path, NULL, wrong[i]), 400, "invalid_credentials",
                     "Invalid login credentials");
    }
    expect_error(call("POST", path, NULL, "{\"password\":\"x\"}"), 400, "validation_failed",
                 "missing email or phone");
    expect_error(call("POST", "/auth/v1/token?grant_type=pkce", NULL, "{}"), 400,
                 "invalid_credentials", "unsupported_grant_type");
}

static void what_cannot_be_an_account_is_refused(void **state)
{
    (void)state;
    begin();
    sign_up();
    expect_error(call("POST", "/auth/v1/signup", NULL, CREDENTIALS), 422, "user_already_exists",
                 "User already registered");
    expect_error(call("POST", "/auth/v1/signup", NULL,
                      "{\"email\":\"b@example.com\",\"password\":\"short\"}"),
                 422, "weak_password", "Password should be at least 6 characters.");
    expect_error(call("POST", "/auth/v1/signup", NULL, "{\"email\":\"b@example.com\"}"), 400,
                 "validation_failed", "Signup requires a valid password");
    expect_error(
        call("POST", "/auth/v1/signup", NULL, "{\"email\":\"b\",\"password\":\"" PASSWORD "\"}"),
        400, "validation_failed", "Unable to validate email address: invalid format");
    expect_error(
        call("POST", "/auth/v1/signup", NULL,
             "{\"email\":\"b@example.com\",\"password\":"
             "\"1234567890123456789012345678901234567890123456789012345678901234567890123\"}"),
        400, "validation_failed", "Password cannot be longer than 72 characters");
    expect_error(call("POST", "/auth/v1/signup", NULL, "{}"), 422, "anonymous_provider_disabled",
                 "Anonymous sign-ins are disabled");
    struct heard bad = call("POST", "/auth/v1/signup", NULL, "{\"email\":");
    assert_int_equal(bad.status, 400);
    assert_string_equal(at(&bad, "code", NULL), "bad_json");
}

static void closed_sign_ups_are_refused(void **state)
{
    (void)state;
    serve.config.accounts_sign_up = false;
    begin();
    expect_error(call("POST", "/auth/v1/signup", NULL, CREDENTIALS), 422, "signup_disabled",
                 "Signups not allowed for this instance");
}

static void an_anonymous_account_has_no_email(void **state)
{
    (void)state;
    serve.config.accounts_anonymous = true;
    begin();
    struct heard session = call("POST", "/auth/v1/signup", NULL, "{\"data\":{}}");
    assert_int_equal(session.status, 200);
    const struct json_value *user = json_get(&session.body, "user");
    assert_true(json_is(json_get(user, "is_anonymous"), JSON_TRUE));
    assert_string_equal(at(&session, "user", "email"), "");
    struct heard changed =
        call("PUT", "/auth/v1/user", at(&session, "access_token", NULL), CREDENTIALS);
    assert_int_equal(changed.status, 200);
    assert_string_equal(at(&changed, "email", NULL), EMAIL);
    assert_true(json_is(json_get(&changed.body, "is_anonymous"), JSON_FALSE));
}

static void anonymous_accounts_are_bounded_per_address(void **state)
{
    (void)state;
    serve.config.accounts_anonymous = true;
    begin();
    int n_made = 0;
    struct heard heard;
    while ((heard = call("POST", "/auth/v1/signup", NULL, "{}")).status == 200 && n_made < 100) {
        n_made++;
    }
    assert_int_equal(n_made, 30);
    expect_error(heard, 429, "over_request_rate_limit", "Request rate limit reached");
}

/* The status of an anonymous sign-up; `fields` with the number in it. */
static int signs_up_from(const char *fields, int number)
{
    char text[200];
    snprintf(text, sizeof text, fields, number);
    return call_with(text, "POST", "/auth/v1/signup", NULL, "{}").status;
}

static void an_address_of_ipv4_is_the_same_inside_of_ipv6(void **state)
{
    (void)state;
    serve.config.accounts_anonymous = true;
    serve.config.trusted_proxy = "127.0.0.1";
    begin();
    for (int i = 0; i < 40; i++) {
        assert_int_equal(signs_up_from("X-Forwarded-For: ::ffff:203.0.113.%d\r\n", i), 200);
    }
    for (int i = 1; i < 30; i++) {
        assert_int_equal(signs_up_from("X-Forwarded-For: ::ffff:203.0.113.%d\r\n", 7), 200);
    }
    assert_int_equal(signs_up_from("X-Forwarded-For: 203.0.113.%d\r\n", 7), 429);
    for (int i = 0; i < 30; i++) { /* of IPv6 a household counts */
        assert_int_equal(signs_up_from("X-Forwarded-For: 2001:db8:0:1::%d\r\n", i), 200);
    }
    assert_int_equal(signs_up_from("X-Forwarded-For: 2001:db8:0:1::%d\r\n", 99), 429);
}

/* Some proxies add a line of their own behind the client's. */
static void the_proxys_own_line_says_who_the_client_is(void **state)
{
    (void)state;
    serve.config.accounts_anonymous = true;
    serve.config.trusted_proxy = "127.0.0.1";
    begin();
    for (int i = 0; i <= 30; i++) {
        assert_int_equal(signs_up_from("X-Forwarded-For: 198.51.100.%d\r\n"
                                       "X-Forwarded-For: 192.0.2.1, 203.0.113.9\r\n",
                                       i),
                         i < 30 ? 200 : 429);
    }
}

static void refresh_tokens_rotate(void **state)
{
    (void)state;
    begin();
    struct heard first = sign_up();
    struct heard second = refresh(at(&first, "refresh_token", NULL));
    assert_int_equal(second.status, 200);
    assert_string_not_equal(at(&second, "refresh_token", NULL), at(&first, "refresh_token", NULL));
    struct heard again = refresh(at(&first, "refresh_token", NULL));
    assert_string_equal(at(&again, "refresh_token", NULL), at(&second, "refresh_token", NULL));
    expect_error(refresh("nonsense"), 400, "refresh_token_not_found",
                 "Invalid Refresh Token: Refresh Token Not Found");
    char forged[128];
    snprintf(forged, sizeof forged, "%s", at(&first, "refresh_token", NULL));
    forged[20] = forged[20] == 'A' ? 'B' : 'A';
    expect_error(refresh(forged), 400, "refresh_token_not_found",
                 "Invalid Refresh Token: Refresh Token Not Found");
}

static void a_user_sees_and_changes_its_account(void **state)
{
    (void)state;
    begin();
    struct heard session = sign_up();
    const char *token = at(&session, "access_token", NULL);
    struct heard user = call("GET", "/auth/v1/user", token, NULL);
    assert_int_equal(user.status, 200);
    assert_string_equal(at(&user, "id", NULL), at(&session, "user", "id"));
    user = call("PUT", "/auth/v1/user", token, "{\"data\":{\"name\":\"A\"}}");
    assert_string_equal(at(&user, "user_metadata", "name"), "A");
    expect_error(call("PUT", "/auth/v1/user", token, "{\"password\":\"" PASSWORD "\"}"), 422,
                 "same_password", "New password should be different from the old password.");
    assert_int_equal(
        call("PUT", "/auth/v1/user", token, "{\"password\":\"battery staple\"}").status, 200);
    expect_error(call("POST", "/auth/v1/token?grant_type=password", NULL, CREDENTIALS), 400,
                 "invalid_credentials", "Invalid login credentials");
    assert_int_equal(call("POST", "/auth/v1/token?grant_type=password", NULL,
                          "{\"email\":\"" EMAIL "\",\"password\":\"battery staple\"}")
                         .status,
                     200);
}

/* An app that gives an anonymous user an email tells the two apart. */
static void an_email_of_another_account_is_not_taken(void **state)
{
    (void)state;
    serve.config.accounts_anonymous = true;
    begin();
    sign_up();
    struct heard session = call("POST", "/auth/v1/signup", NULL, "{}");
    expect_error(call("PUT", "/auth/v1/user", at(&session, "access_token", NULL), CREDENTIALS), 422,
                 "email_exists", "A user with this email address has already been registered");
    expect_error(call("POST", "/auth/v1/admin/users", service, CREDENTIALS), 422, "email_exists",
                 "A user with this email address has already been registered");
    struct heard user = call("GET", "/auth/v1/user", at(&session, "access_token", NULL), NULL);
    assert_string_equal(at(&user, "email", NULL), "");
}

static void a_session_that_signed_out_is_gone(void **state)
{
    (void)state;
    begin();
    struct heard session = sign_up();
    const char *token = at(&session, "access_token", NULL);
    assert_int_equal(call("POST", "/auth/v1/logout?scope=local", token, NULL).status, 204);
    expect_error(call("GET", "/auth/v1/user", token, NULL), 403, "session_not_found",
                 "Session from session_id claim in JWT does not exist");
    expect_error(refresh(at(&session, "refresh_token", NULL)), 400, "session_not_found",
                 "Invalid Refresh Token: No Valid Session Found");
}

static void who_has_no_token_or_a_bad_one_is_told_so(void **state)
{
    (void)state;
    begin();
    expect_error(call("GET", "/auth/v1/user", NULL, NULL), 401, "no_authorization",
                 "This endpoint requires a valid Bearer token");
    char *expired = token_make("authenticated", "5f3a7a52-8c39-4f5e-9d4e-0c2f6f9b1a11",
                               (int64_t)time(NULL) - 100);
    expect_error(call("GET", "/auth/v1/user", expired, NULL), 403, "bad_jwt",
                 "invalid JWT: unable to parse or verify signature, token has invalid claims: "
                 "token is expired");
    free(expired);
    expect_error(call("GET", "/auth/v1/user", "a.b.c", NULL), 403, "bad_jwt",
                 "invalid JWT: unable to parse or verify signature");
}

static void errors_have_the_old_form_where_no_version_is_asked_for(void **state)
{
    struct http_answer answer;
    (void)state;
    begin();
    const struct http_request request = {
        .port = serve.port, .method = "GET", .path = "/auth/v1/user"};
    http_call(&request, &answer);
    assert_int_equal(answer.status, 401);
    assert_null(http_field(&answer, "X-Supabase-Api-Version"));
    assert_string_equal(answer.body, "{\"code\":401,\"error_code\":\"no_authorization\","
                                     "\"msg\":\"This endpoint requires a valid Bearer token\"}");
    http_release(&answer);
}

static void only_service_role_administers_accounts(void **state)
{
    (void)state;
    begin();
    struct heard session = sign_up();
    char path[128];
    snprintf(path, sizeof path, "/auth/v1/admin/users/%s", at(&session, "user", "id"));
    expect_error(call("GET", "/auth/v1/admin/users", at(&session, "access_token", NULL), NULL), 403,
                 "not_admin", "User not allowed");
    expect_error(call("DELETE", path, NULL, NULL), 403, "not_admin", "User not allowed");
    struct heard list = call("GET", "/auth/v1/admin/users", service, NULL);
    assert_int_equal(list.status, 200);
    assert_int_equal(json_get(&list.body, "users")->count, 1);
    struct heard added = call("POST", "/auth/v1/admin/users", service,
                              "{\"email\":\"b@example.com\",\"password\":\"battery staple\"}");
    assert_int_equal(added.status, 200);
    list = call("GET", "/auth/v1/admin/users?page=2&per_page=1", service, NULL);
    assert_int_equal(json_get(&list.body, "users")->count, 1);
    list = call("GET", "/auth/v1/admin/users?page=3&per_page=1", service, NULL);
    assert_int_equal(json_get(&list.body, "users")->count, 0);
    assert_int_equal(call("PUT", path, service, "{\"ban_duration\":\"876000h\"}").status, 200);
    expect_error(call("POST", "/auth/v1/token?grant_type=password", NULL, CREDENTIALS), 400,
                 "user_banned", "User is banned");
    assert_int_equal(
        call("PUT", path, service, "{\"ban_duration\":\"none\",\"password\":\"third one\"}").status,
        200);
    assert_int_equal(call("POST", "/auth/v1/token?grant_type=password", NULL,
                          "{\"email\":\"" EMAIL "\",\"password\":\"third one\"}")
                         .status,
                     200);
    assert_int_equal(call("DELETE", path, service, NULL).status, 200);
    expect_error(call("GET", path, service, NULL), 404, "user_not_found", "User not found");
}

static void accounts_outlive_a_restart_and_so_do_their_tokens(void **state)
{
    (void)state;
    begin();
    struct heard session = sign_up();
    assert_true(serve_stop(&serve));
    begin();
    assert_int_equal(call("GET", "/auth/v1/user", at(&session, "access_token", NULL), NULL).status,
                     200);
    assert_int_equal(refresh(at(&session, "refresh_token", NULL)).status, 200);
}

static void hs256_by_choice_publishes_no_key(void **state)
{
    (void)state;
    serve.config.accounts_algorithm = "HS256";
    begin();
    struct heard session = sign_up();
    assert_int_equal(call("GET", "/auth/v1/user", at(&session, "access_token", NULL), NULL).status,
                     200);
    struct heard keys = call("GET", "/auth/v1/.well-known/jwks.json", NULL, NULL);
    assert_int_equal(json_get(&keys.body, "keys")->count, 0);
}

static void the_public_key_is_published_and_the_private_one_is_the_owners(void **state)
{
    char path[300];
    struct stat info;
    (void)state;
    begin();
    struct heard keys = call("GET", "/auth/v1/.well-known/jwks.json", NULL, NULL);
    assert_int_equal(keys.status, 200);
    const struct json_value *list = json_get(&keys.body, "keys");
    assert_int_equal(list->count, 1);
    assert_true(json_is(json_get(&list->items[0], "kid"), JSON_STRING));
    assert_null(json_get(&list->items[0], "d"));
    snprintf(path, sizeof path, "%.200s.key", serve.store + sizeof "sqlite:" - 1);
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0600);
    assert_true(serve_stop(&serve));
    assert_int_equal(chmod(path, 0644), 0);
    assert_int_equal(serve_start(&serve), BQ_INVALID);
    assert_non_null(strstr(serve.error, "chmod 600"));
}

static void accounts_are_off_where_tokens_come_from_elsewhere(void **state)
{
    (void)state;
    serve.config.accounts = "auto";
    begin();
    expect_error(call("POST", "/auth/v1/signup", NULL, CREDENTIALS), 404, "not_found",
                 "this server keeps no accounts");
}

static void settings_and_health_are_there(void **state)
{
    (void)state;
    begin();
    struct heard settings = call("GET", "/auth/v1/settings", NULL, NULL);
    assert_int_equal(settings.status, 200);
    const struct json_value *external = json_get(&settings.body, "external");
    assert_true(json_is(json_get(external, "email"), JSON_TRUE));
    assert_true(json_is(json_get(external, "google"), JSON_FALSE));
    struct heard health = call("GET", "/auth/v1/health", NULL, NULL);
    assert_string_equal(at(&health, "name", NULL), "GoTrue");
    assert_int_equal(call("POST", "/auth/v1/otp", NULL, "{}").status, 404);
}

static void a_hash_matches_its_password_alone(void **state)
{
    struct password_job job = {.password = SLICE(PASSWORD), .make = true};
    char first[PASSWORD_TEXT];
    (void)state;
    password_run(&job);
    snprintf(first, sizeof first, "%s", job.hash);
    password_run(&job);
    assert_string_not_equal(first, job.hash); /* another salt */
    job.make = false;
    job.stored = slice_of(first);
    password_run(&job);
    assert_true(job.matches);
    job.password = SLICE("incorrect horse");
    password_run(&job);
    assert_false(job.matches);
    static const char *const odd[] = {"",
                                      "x",
                                      "$scrypt$",
                                      "$scrypt$ln=99,r=8,p=1$AAAA$AAAA",
                                      "$scrypt$ln=15,r=8,p=1$AAAA$AAAA",
                                      "$scrypt$ln=1x,r=8,p=1$AAAA$AAAA",
                                      "$2a$10$abcdefghijklmnopqrstuv"};
    for (size_t i = 0; i < sizeof odd / sizeof odd[0]; i++) {
        job.stored = slice_of(odd[i]);
        password_run(&job);
        assert_false(job.matches);
    }
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_sign_up_gives_a_session_that_syncs),
        TEST(the_password_signs_in_and_no_other_text_does),
        TEST(what_cannot_be_an_account_is_refused),
        TEST(closed_sign_ups_are_refused),
        TEST(an_anonymous_account_has_no_email),
        TEST(anonymous_accounts_are_bounded_per_address),
        TEST(an_address_of_ipv4_is_the_same_inside_of_ipv6),
        TEST(the_proxys_own_line_says_who_the_client_is),
        TEST(refresh_tokens_rotate),
        TEST(a_user_sees_and_changes_its_account),
        TEST(an_email_of_another_account_is_not_taken),
        TEST(a_session_that_signed_out_is_gone),
        TEST(who_has_no_token_or_a_bad_one_is_told_so),
        TEST(errors_have_the_old_form_where_no_version_is_asked_for),
        TEST(only_service_role_administers_accounts),
        TEST(accounts_outlive_a_restart_and_so_do_their_tokens),
        TEST(hs256_by_choice_publishes_no_key),
        TEST(the_public_key_is_published_and_the_private_one_is_the_owners),
        TEST(accounts_are_off_where_tokens_come_from_elsewhere),
        TEST(settings_and_health_are_there),
        cmocka_unit_test(a_hash_matches_its_password_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
