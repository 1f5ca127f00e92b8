/* test_http_wire.c - what an unmodified client hears: statuses, the four keys, codes and texts,
 * headers, CORS (docs/protocol.md, section 9). Everything here happens before or beside the
 * store. */
#include "http_client.h"
#include "serve.h"
#include "token.h"
#include "want.h"

#include "base/status.h"
#include "json/json.h"
#include "server/rpc_table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#define A "5f3a7a52-8c39-4f5e-9d4e-0c2f6f9b1a11"
#define B "6f3a7a52-8c39-4f5e-9d4e-0c2f6f9b1a22"

static struct serve serve;
static char *user_a;
static char *service;
static char *anon;
static char *expired;

static int set_up(void **state)
{
    int64_t now = (int64_t)time(NULL);
    (void)state;
    user_a = token_user(A);
    service = token_make("service_role", NULL, now + 3600);
    anon = token_make("anon", NULL, now + 3600);
    expired = token_make("authenticated", A, now - 100);
    serve_init(&serve);
    return serve_start(&serve) != BQ_OK;
}

static int tear_down(void **state)
{
    (void)state;
    serve_release(&serve);
    free(user_a);
    free(service);
    free(anon);
    free(expired);
    return 0;
}

static void refuses(const struct http_request *request, struct want want)
{
    want_refused(serve.port, request, want);
}

static void refuses_rpc(const char *function, const char *token, const char *body, struct want want)
{
    char path[300];
    snprintf(path, sizeof path, "/rest/v1/rpc/%s", function);
    refuses(&(struct http_request){0, "POST", path, token, NULL, body}, want);
}

#define UPSERT(user, version)                                                                      \
    "{\"p_user_id\":\"" user "\",\"p_data_key\":\"k\",\"p_data\":{},"                             \
    "\"p_expected_version\":" version "}"
#define WITH_JSON " or with a single unnamed json/jsonb parameter"

static void tokens_are_refused_with_postgrest_codes(void **state)
{
    (void)state;
    static const char none[] = "None of the keys was able to decode the JWT";
    struct token_key *other = token_key_new("HS256", TOKEN_OTHER_SECRET);
    char *forged = token_sign(other, "{\"alg\":\"HS256\"}", "{\"exp\":4000000000}");
    char *unsigned_ = token_sign(other, "{\"alg\":\"none\"}", "{\"exp\":4000000000}");
    char *role = token_make("postgres", A, 4000000000);
    refuses_rpc("sync_policies", "abc", "{}",
                WANT(401, "PGRST301", "Expected 3 parts in JWT; got 1"));
    refuses_rpc("sync_policies", "", "{}",
                WANT(401, "PGRST301", "Empty JWT is sent in Authorization header"));
    refuses_rpc("sync_policies", "a.b.c", "{}", WANT(401, "PGRST301", "JWT couldn't be decoded",
                                                    "a part is not base64url"));
    refuses_rpc("sync_policies", forged, "{}",
                WANT(401, "PGRST301", "No suitable key or wrong key type", none));
    refuses_rpc("sync_policies", unsigned_, "{}",
                WANT(401, "PGRST301", "Wrong or unsupported encoding algorithm"));
    refuses_rpc("sync_policies", expired, "{}", WANT(401, "PGRST303", "JWT expired"));
    refuses_rpc("sync_policies", role, "{}",
                WANT(401, "22023", "role \"postgres\" does not exist"));
    refuses_rpc("sync_policies", "sb_publishable_other", "{}",
                WANT(401, "PGRST301", "Expected 3 parts in JWT; got 1"));
    struct http_answer answer;
    http_rpc(serve.port, "sync_policies", expired, "{}", &answer);
    assert_string_equal(http_field(&answer, "WWW-Authenticate"),
                        "Bearer error=\"invalid_token\", error_description=\"JWT expired\"");
    http_release(&answer);
    token_key_free(other);
    free(forged);
    free(unsigned_);
    free(role);
}

static void anon_is_401_and_another_user_403(void **state)
{
    (void)state;
    struct http_answer answer;
    const struct want of_anon = {401, "42501", "permission denied for function atomic_sync_upsert",
                                 NULL, NULL};
    refuses_rpc("atomic_sync_upsert", NULL, UPSERT(A, "0"), of_anon);
    refuses_rpc("atomic_sync_upsert", anon, UPSERT(A, "0"), of_anon);
    refuses_rpc("atomic_sync_upsert", user_a, UPSERT(B, "0"),
                WANT(403, "42501", "permission denied for function atomic_sync_upsert",
                     "the token is another user's"));
    refuses_rpc("get_user_sync_data", user_a, "{\"p_user_id\":null}",
                WANT(403, "42501", "permission denied for function get_user_sync_data",
                     "the token is another user's"));
    refuses_rpc("sync_policy_set", user_a, "{\"p_pattern\":\"x\",\"p_policy\":\"max\"}",
                WANT(403, "42501", "permission denied for function sync_policy_set"));
    refuses_rpc("sync_user_erase", user_a, "{\"p_user_id\":\"" A "\"}",
                WANT(403, "42501", "permission denied for function sync_user_erase"));
    refuses_rpc("get_user_sync_data", service, "{\"p_user_id\":null}",
                WANT(400, "22004", "p_user_id must name a user"));
    http_rpc(serve.port, "atomic_sync_upsert", NULL, UPSERT(A, "0"), &answer);
    assert_string_equal(http_field(&answer, "WWW-Authenticate"), "Bearer");
    http_release(&answer);
}

/* Whoever may not call a function is told so at the header: the body is not even read as JSON. */
static void a_body_is_not_read_for_who_may_not_call(void **state)
{
    static const char head[] = "POST /rest/v1/rpc/sync_exchange HTTP/1.1\r\nHost: x\r\n"
                               "Content-Type: application/json\r\nContent-Length: 4000000\r\n"
                               "Expect: 100-continue\r\n\r\n";
    struct http_answer answer;
    (void)state;
    refuses_rpc("sync_exchange", NULL, "{",
                WANT(401, "42501", "permission denied for function sync_exchange"));
    refuses_rpc("sync_exchange", anon, "{\"other\":1}",
                WANT(401, "42501", "permission denied for function sync_exchange"));
    refuses_rpc("sync_user_erase", user_a, "[",
                WANT(403, "42501", "permission denied for function sync_user_erase"));
    refuses_rpc("no_such_thing_here", anon, "{",
                (struct want){404, "PGRST202",
                              "Could not find the function public.no_such_thing_here without "
                              "parameters in the schema cache",
                              "Searched for the function public.no_such_thing_here without "
                              "parameters or with a single unnamed json/jsonb parameter, but no "
                              "matches were found in the schema cache.",
                              NULL});
    int fd = http_connect(serve.port);
    assert_true(http_write(fd, head, sizeof head - 1));
    http_read(fd, false, &answer);
    assert_int_equal(answer.status, 401);
    http_release(&answer);
    close(fd);
}

static void every_function_refuses_anon_and_other_users(void **state)
{
    (void)state;
    const struct rpc_function *function;
    for (unsigned i = 0; (function = rpc_at(i)) != NULL; i++) {
        struct buf body = BUF_INIT;
        buf_add_char(&body, '{');
        for (unsigned j = 0; j < function->n_params; j++) {
            const struct rpc_param *param = &function->params[j];
            buf_add_format(&body, "%s\"%s\":%s", j == 0 ? "" : ",", param->name,
                           param->type == RPC_UUID    ? "\"" B "\""
                           : param->type == RPC_TEXT  ? "\"d\""
                           : param->type == RPC_JSONB ? "[]"
                                                      : "0");
        }
        buf_add_char(&body, '}');
        struct http_answer answer;
        http_rpc(serve.port, function->name, NULL, body.ptr, &answer);
        assert_int_equal(answer.status, 401);
        http_release(&answer);
        http_rpc(serve.port, function->name, user_a, body.ptr, &answer);
        buf_release(&body);
        if (function->user != NULL || function->role == ROLE_SERVICE) {
            if (answer.status != 403) {
                fail_msg("%s: %d %s", function->name, answer.status, answer.body);
            }
        }
        http_release(&answer);
    }
}

static void a_function_is_found_by_its_exact_parameters(void **state)
{
    (void)state;
    refuses_rpc("nope", user_a, "{}",
                WANT(404, "PGRST202",
                     "Could not find the function public.nope without parameters in the schema "
                     "cache",
                     "Searched for the function public.nope without parameters" WITH_JSON
                     ", but no matches were found in the schema cache."));
    refuses_rpc("nope", user_a, "{\"p_b\":1,\"p_a\":2}",
                WANT(404, "PGRST202",
                     "Could not find the function public.nope(p_a, p_b) in the schema cache",
                     "Searched for the function public.nope with parameters p_a, p_b" WITH_JSON
                     ", but no matches were found in the schema cache."));
    refuses_rpc("get_user_sync_data", user_a, "{}",
                WANT(404, "PGRST202",
                     "Could not find the function public.get_user_sync_data without parameters in "
                     "the schema cache",
                     "Searched for the function public.get_user_sync_data without parameters"
                     WITH_JSON ", but no matches were found in the schema cache."));
    refuses_rpc("get_user_sync_data", user_a, "{\"p_user_id\":\"" A "\",\"p_more\":1}",
                WANT(404, "PGRST202",
                     "Could not find the function public.get_user_sync_data(p_more, p_user_id) in "
                     "the schema cache",
                     "Searched for the function public.get_user_sync_data with parameters p_more, "
                     "p_user_id" WITH_JSON ", but no matches were found in the schema cache.",
                     "Perhaps you meant to call the function "
                     "public.get_user_sync_data(p_user_id)"));
    refuses_rpc("get_user_sync_dat", user_a, "{\"x\":1}",
                WANT(404, "PGRST202",
                     "Could not find the function public.get_user_sync_dat(x) in the schema cache",
                     "Searched for the function public.get_user_sync_dat with parameter x" WITH_JSON
                     ", but no matches were found in the schema cache.",
                     "Perhaps you meant to call the function public.get_user_sync_data"));
    refuses(&(struct http_request){0, "GET", "/rest/v1/rpc/nope?a=1&b=2", user_a, NULL, NULL},
            WANT(404, "PGRST202",
                 "Could not find the function public.nope(a, b) in the schema cache",
                 "Searched for the function public.nope with parameters a, b, but no matches were "
                 "found in the schema cache."));
}

static void a_hundred_thousand_parameters_are_answered_at_once(void **state)
{
    (void)state;
    struct buf body = BUF_INIT;
    struct http_answer answer;
    buf_add_char(&body, '{');
    for (int i = 99999; i >= 0; i--) {
        buf_add_format(&body, "\"p%05d\":0%s", i, i == 0 ? "}" : ",");
    }
    http_rpc(serve.port, "get_user_sync_data", user_a, body.ptr, &answer);
    assert_int_equal(answer.status, 404);
    assert_true(answer.body_len < 4096);
    http_release(&answer);
    buf_release(&body);
}

static void bodies_that_are_no_arguments_get_pgrst102(void **state)
{
    (void)state;
    static const char *const bodies[] = {
        "{", "[]", "[{\"p_user_id\":\"" A "\"}]", "7", "\"x\"", "{} {}", "{\"a\":1,\"a\":2}",
        "{\"a\":\"\\u0000\"}", "{\"a\":\"\\ud800\"}", "{\"a\":1e999}", "{\"a\":\"\xff\"}",
        "{'a':1}",
        "\xef\xbb\xbf{}", "{\"a\":01}", "nul",
    };
    for (size_t i = 0; i < sizeof bodies / sizeof bodies[0]; i++) {
        struct http_answer answer;
        http_rpc(serve.port, "get_user_sync_data", user_a, bodies[i], &answer);
        if (answer.status != 400 ||
            strstr(answer.body, "{\"code\":\"PGRST102\",\"details\":\"") == NULL ||
            strstr(answer.body, "\"hint\":null,\"message\":\"Empty or invalid json\"}") == NULL) {
            fail_msg("%s: %d %s", bodies[i], answer.status, answer.body);
        }
        http_release(&answer);
    }
    static const char *const empty[] = {"", "null", " ", "{}"};
    for (size_t i = 0; i < sizeof empty / sizeof empty[0]; i++) {
        struct http_answer answer;
        http_rpc(serve.port, "sync_policies", user_a, empty[i], &answer);
        assert_int_equal(answer.status, 200);
        http_release(&answer);
    }
    static char deep[20000];
    memset(deep, '[', sizeof deep - 1);
    struct http_answer answer;
    http_rpc(serve.port, "get_user_sync_data", user_a, deep, &answer);
    assert_int_equal(answer.status, 400);
    http_release(&answer);
}

static void values_are_converted_as_postgresql_does(void **state)
{
    (void)state;
    static const struct {
        const char *version;
        const char *code;
        const char *message;
    } bad[] = {
        {"1.5", "22P02", "invalid input syntax for type integer: \"1.5\""},
        {"\"abc\"", "22P02", "invalid input syntax for type integer: \"abc\""},
        {"\"\"", "22P02", "invalid input syntax for type integer: \"\""},
        {"1e3", "22P02", "invalid input syntax for type integer: \"1e3\""},
        {"true", "22P02", "invalid input syntax for type integer: \"true\""},
        {"{}", "22P02", "invalid input syntax for type integer: \"{}\""},
        {"[1]", "22P02", "invalid input syntax for type integer: \"[1]\""},
        {"2147483648", "22003", "value \"2147483648\" is out of range for type integer"},
        {"-2147483649", "22003", "value \"-2147483649\" is out of range for type integer"},
        {"\"99999999999999999999999\"", "22003",
         "value \"99999999999999999999999\" is out of range for type integer"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char body[512];
        snprintf(body, sizeof body,
                 "{\"p_user_id\":\"" A "\",\"p_data_key\":\"k\",\"p_data\":{},"
                 "\"p_expected_version\":%s}", bad[i].version);
        refuses_rpc("atomic_sync_upsert", user_a, body,
                    WANT(400, bad[i].code, bad[i].message));
    }
    refuses_rpc("get_user_sync_data", user_a, "{\"p_user_id\":\"abc\"}",
                WANT(400, "22P02", "invalid input syntax for type uuid: \"abc\""));
    refuses_rpc("get_user_sync_data", user_a, "{\"p_user_id\":5}",
                WANT(400, "22P02", "invalid input syntax for type uuid: \"5\""));
    refuses(&(struct http_request){0, "GET",
                                   "/rest/v1/rpc/sync_exchange?p_device_id=d&p_epoch=&p_edits=%5B"
                                   "&p_cursor=0", user_a, NULL, NULL},
            WANT(400, "22P02", "invalid input syntax for type json"));
    refuses(&(struct http_request){0, "GET",
                                   "/rest/v1/rpc/sync_exchange?p_device_id=d&p_epoch=&p_edits=%5B"
                                   "%5D&p_cursor=9223372036854775808", user_a, NULL, NULL},
            WANT(400, "22003", "value \"9223372036854775808\" is out of range for type bigint"));
    struct http_answer answer;
    http_rpc(serve.port, "get_user_sync_data", user_a,
             "{\"p_user_id\":\"5F3A7A52-8C39-4F5E-9D4E-0C2F6F9B1A11\"}", &answer);
    assert_int_equal(answer.status, 200); /* a uuid has no case */
    http_release(&answer);
    http_rpc(serve.port, "atomic_sync_upsert", user_a, UPSERT(A, "\" 3 \""), &answer);
    assert_int_equal(answer.status, 200);
    http_release(&answer);
}

static void methods_and_paths_are_refused_as_postgrest_does(void **state)
{
    (void)state;
    static const struct {
        const char *method;
        const char *path;
        struct want want;
    } cases[] = {
        {"PUT", "/rest/v1/rpc/sync_policies",
         {405, "PGRST101", "Cannot use the PUT method on RPC", NULL, NULL}},
        {"PATCH", "/rest/v1/rpc/sync_policies",
         {405, "PGRST101", "Cannot use the PATCH method on RPC", NULL, NULL}},
        {"DELETE", "/rest/v1/rpc/sync_policies",
         {405, "PGRST101", "Cannot use the DELETE method on RPC", NULL, NULL}},
        {"TRACE", "/rest/v1/rpc/sync_policies",
         {405, "PGRST117", "Unsupported HTTP method: TRACE", NULL, NULL}},
        {"BREW", "/healthz", {405, "PGRST117", "Unsupported HTTP method: BREW", NULL, NULL}},
        {"POST", "/healthz", {405, "PGRST117", "Unsupported HTTP method: POST", NULL, NULL}},
        {"GET", "/rest/v1/questions?select=id&limit=1",
         {404, "PGRST205", "Could not find the table 'public.questions' in the schema cache", NULL,
          NULL}},
        {"PUT", "/rest/v1/user_sync_data",
         {405, "PGRST117", "Unsupported HTTP method: PUT", NULL, NULL}},
        {"GET", "/rest/v1/a/b",
         {404, "PGRST125", "Invalid path specified in request URL", NULL, NULL}},
        {"GET", "/rest/v1/rpc/",
         {404, "PGRST125", "Invalid path specified in request URL", NULL, NULL}},
        {"GET", "/rest/v1/",
         {404, "PGRST125", "Invalid path specified in request URL", NULL, NULL}},
        {"GET", "/realtime/v2/websocket",
         {404, "PGRST125", "Invalid path specified in request URL", NULL, NULL}},
        {"GET", "/rest/v1/rpc/delete_user_sync_data?p_user_id=" A,
         {405, "25006", "cannot execute DELETE in a read-only transaction", NULL, NULL}},
        {"GET", "/rest/v1/rpc/update_sync_metadata?p_user_id=" A "&p_device_id=d&p_version=1",
         {405, "25006", "cannot execute INSERT in a read-only transaction", NULL, NULL}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        refuses(&(struct http_request){0, cases[i].method, cases[i].path, user_a, NULL, NULL},
                cases[i].want);
    }
}

static void headers_are_negotiated_as_postgrest_does(void **state)
{
    (void)state;
    static const char path[] = "/rest/v1/rpc/sync_policies";
    refuses(&(struct http_request){0, "POST", path, user_a, "Content-Type: application/xml\r\n",
                                   "<a/>"},
            WANT(400, "PGRST102", "Content-Type not acceptable: application/xml"));
    refuses(&(struct http_request){0, "POST", path, user_a, "Accept: text/foo\r\n", "{}"},
            WANT(406, "PGRST107", "None of these media types are available: text/foo"));
    refuses(&(struct http_request){0, "POST", path, user_a, "Content-Profile: secret\r\n", "{}"},
            WANT(406, "PGRST106", "Invalid schema: secret", NULL,
                 "Only the following schemas are exposed: public"));
    refuses(&(struct http_request){0, "GET", path, user_a, "Accept-Profile: secret\r\n", NULL},
            WANT(406, "PGRST106", "Invalid schema: secret", NULL,
                 "Only the following schemas are exposed: public"));
    refuses(&(struct http_request){0, "POST", "/rest/v1/rpc/sync_policies?id=eq.1", user_a, NULL,
                                   "{}"},
            WANT(400, "PGRST100", "\"failed to parse filter (id)\" (line 1, column 1)",
                 "results of functions are not filtered here"));
    static const char *const fine[] = {
        "Accept: */*\r\n", "Accept: application/json\r\n", "Accept: text/html, */*;q=0.1\r\n",
        "Accept: Application/JSON;charset=utf-8\r\n", "Content-Type: application/json\r\n",
        "Content-Type: Application/Json; charset=UTF-8\r\n", "Prefer: return=minimal\r\n",
        "Content-Profile: public\r\nAccept-Profile: public\r\n",
        "X-Client-Info: a\r\nrange: 0-1\r\n",
    };
    for (size_t i = 0; i < sizeof fine / sizeof fine[0]; i++) {
        struct http_answer answer;
        http_call(&(struct http_request){serve.port, "POST", path, user_a, fine[i], "{}"}, &answer);
        assert_int_equal(answer.status, 200);
        http_release(&answer);
    }
}

static void one_object_is_given_where_one_row_is_there(void **state)
{
    (void)state;
    static const char accept[] = "Accept: application/vnd.pgrst.object+json\r\n";
    static const char path[] = "/rest/v1/rpc/get_user_sync_data";
    char *user = token_user(B);
    struct http_answer answer;
    struct http_request request = {serve.port, "POST", path, user, accept,
                                   "{\"p_user_id\":\"" B "\"}"};
    refuses(&request, WANT(406, "PGRST116", "Cannot coerce the result to a single JSON object",
                           "The result contains 0 rows"));
    http_rpc(serve.port, "atomic_sync_upsert", user, UPSERT(B, "0"), &answer);
    assert_int_equal(answer.status, 200);
    http_release(&answer);
    http_call(&request, &answer);
    assert_int_equal(answer.status, 200);
    assert_string_equal(http_field(&answer, "Content-Type"),
                        "application/vnd.pgrst.object+json; charset=utf-8");
    assert_int_equal(strncmp(answer.body, "{\"data_key\":\"k\",", 16), 0);
    assert_int_equal(answer.body[answer.body_len - 1], '}');
    http_release(&answer);
    free(user);
}

static void success_has_postgrest_headers(void **state)
{
    (void)state;
    static const char profile[] = "Content-Profile: public\r\n";
    char *user = token_user("7f3a7a52-8c39-4f5e-9d4e-0c2f6f9b1a33");
    struct http_answer answer;
    struct http_request request = {serve.port, "POST", "/rest/v1/rpc/sync_policies", user, profile,
                                   "{}"};
    http_call(&request, &answer);
    assert_int_equal(answer.status, 200);
    assert_string_equal(http_field(&answer, "Content-Type"), "application/json; charset=utf-8");
    assert_string_equal(http_field(&answer, "Content-Range"), "0-0/*");
    assert_string_equal(http_field(&answer, "Content-Profile"), "public");
    assert_null(http_field(&answer, "Access-Control-Allow-Origin"));
    http_release(&answer);
    request.path = "/rest/v1/rpc/get_user_sync_data";
    request.body = "{\"p_user_id\":\"7f3a7a52-8c39-4f5e-9d4e-0c2f6f9b1a33\"}";
    http_call(&request, &answer);
    assert_string_equal(answer.body, "[]");
    assert_string_equal(http_field(&answer, "Content-Range"), "*/*");
    http_release(&answer);
    request.path = "/rest/v1/rpc/delete_user_sync_data";
    http_call(&request, &answer);
    assert_int_equal(answer.status, 204);
    assert_string_equal(http_field(&answer, "Content-Range"), "0-0/*");
    assert_null(http_field(&answer, "Content-Type"));
    assert_null(http_field(&answer, "Content-Profile"));
    assert_int_equal(answer.body_len, 0);
    http_release(&answer);
    free(user);
}

static void reads_work_by_get_and_head(void **state)
{
    (void)state;
    struct http_answer answer;
    struct http_request request = {serve.port, "GET",
                                   "/rest/v1/rpc/get_user_sync_data?p_user_id=" A "&select=*",
                                   user_a, "Accept-Profile: public\r\n", NULL};
    http_call(&request, &answer);
    assert_int_equal(answer.status, 200);
    assert_int_equal(answer.body[0], '[');
    size_t len = answer.body_len;
    http_release(&answer);
    request.method = "HEAD";
    http_call(&request, &answer);
    assert_int_equal(answer.status, 200);
    assert_int_equal(answer.body_len, 0);
    assert_int_equal(strtoul(http_field(&answer, "Content-Length"), NULL, 10), len);
    http_release(&answer);
    request.method = "GET";
    request.path = "/rest/v1/rpc/sync_exchange?p_device_id=d&p_epoch=&p_edits=%5B%5D&p_cursor=0";
    http_call(&request, &answer);
    assert_int_equal(answer.status, 200);
    assert_non_null(strstr(answer.body, "\"status\":\"epoch\""));
    http_release(&answer);
}

static void preflights_need_no_key_and_errors_have_cors(void **state)
{
    (void)state;
    struct http_answer answer;
    const struct http_request preflight = {
        serve.port, "OPTIONS", "/rest/v1/rpc/atomic_sync_upsert", NULL,
        "Origin: http://app.example\r\nAccess-Control-Request-Method: POST\r\n"
        "Access-Control-Request-Headers: apikey,authorization,x-new-thing\r\n", NULL};
    http_call(&preflight, &answer);
    assert_int_equal(answer.status, 204);
    assert_string_equal(http_field(&answer, "Access-Control-Allow-Origin"), "*");
    assert_non_null(strstr(http_field(&answer, "Access-Control-Allow-Methods"), "POST"));
    assert_non_null(strstr(http_field(&answer, "Access-Control-Allow-Headers"), "x-new-thing"));
    assert_non_null(strstr(http_field(&answer, "Access-Control-Allow-Headers"), "Prefer"));
    assert_string_equal(http_field(&answer, "Access-Control-Max-Age"), "86400");
    http_release(&answer);
    static const struct {
        const char *method, *path, *fields, *body;
        int status;
    } bad[] = {
        {"POST", "/rest/v1/rpc/sync_policies", "Origin: http://a\r\n", "{}", 401},
        {"GET", "/nowhere", "Origin: http://a\r\n", NULL, 404},
        {"GET", "/%", "Origin: http://a\r\n", NULL, 400},
        {"PUT", "/rest/v1/rpc/x", "Origin: http://a\r\n", "{}", 405},
        {"GET", "/healthz", "Origin: http://a\r\nTransfer-Encoding: chunked\r\n", NULL, 411},
        {"GET", "/healthz", "Origin: http://a\r\nHost: y\r\n", NULL, 400},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        http_call(&(struct http_request){serve.port, bad[i].method, bad[i].path, NULL,
                                         bad[i].fields, bad[i].body}, &answer);
        assert_int_equal(answer.status, bad[i].status);
        if (bad[i].status != 400) { /* what is ambiguous is not read to its end */
            assert_string_equal(http_field(&answer, "Access-Control-Allow-Origin"), "*");
            assert_non_null(strstr(http_field(&answer, "Access-Control-Expose-Headers"),
                                   "X-Supabase-Api-Version"));
        }
        http_release(&answer);
    }
}

static void configured_keys_are_demanded(void **state)
{
    (void)state;
    struct serve keyed;
    struct http_answer answer;
    char path[200];
    serve_init(&keyed);
    keyed.config.publishable_key = "sb_publishable_abcdefghijklmnopqrstuv";
    scratch_path(&keyed.scratch, "key", path, sizeof path);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs("sb_secret_abcdefghijklmnopqrstuvwxyz0123456789\n", file);
    fclose(file);
    keyed.config.secret_key_file = path;
    assert_int_equal(serve_start(&keyed), BQ_OK);
    char of_anon[2048];
    char of_user[2048];
    char of_forged[2048];
    snprintf(of_anon, sizeof of_anon, "apikey: %s\r\n", anon);
    snprintf(of_user, sizeof of_user, "apikey: %s\r\n", user_a);
    snprintf(of_forged, sizeof of_forged, "apikey: %sx\r\n", anon);
    const char *publishable = "apikey: sb_publishable_abcdefghijklmnopqrstuv\r\n";
    const char *secret = "apikey: sb_secret_abcdefghijklmnopqrstuvwxyz0123456789\r\n";
    const struct {
        const char *token, *fields;
        int status;
        const char *body;
    } cases[] = {
        {user_a, NULL, 401,
         "{\"message\":\"No API key found in request\",\"hint\":\"No `apikey` request header or "
         "url param was found.\"}"},
        {user_a, "apikey: sb_publishable_wrong\r\n", 401,
         "{\"message\":\"Invalid API key\",\"hint\":\"Double check your Supabase `anon` or "
         "`service_role` API key.\"}"},
        {user_a, "apikey: abc\r\n", 401, NULL},
        {user_a, of_user, 401, NULL},
        {user_a, of_forged, 401, NULL},
        {user_a, publishable, 200, NULL},
        {user_a, secret, 200, NULL},
        {user_a, of_anon, 200, NULL},
        {"sb_publishable_abcdefghijklmnopqrstuv", publishable, 401, NULL}, /* anon: 42501 */
        {anon, of_anon, 401, NULL},
        {NULL, publishable, 401, NULL},
        {"sb_secret_abcdefghijklmnopqrstuvwxyz0123456789", secret, 200, NULL},
        {NULL, secret, 200, NULL},
        {"sb_secret_abcdefghijklmnopqrstuvwxyz0123456789", publishable, 401, NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        http_call(&(struct http_request){keyed.port, "POST", "/rest/v1/rpc/sync_policies",
                                         cases[i].token, cases[i].fields, "{}"}, &answer);
        if (answer.status != cases[i].status ||
            (cases[i].body != NULL && strcmp(answer.body, cases[i].body) != 0)) {
            fail_msg("case %zu: %d %s", i, answer.status, answer.body);
        }
        http_release(&answer);
    }
    http_call(&(struct http_request){keyed.port, "GET",
                                     "/rest/v1/rpc/sync_policies?apikey="
                                     "sb_publishable_abcdefghijklmnopqrstuv", user_a, NULL, NULL},
              &answer);
    assert_int_equal(answer.status, 200);
    http_release(&answer);
    http_call(&(struct http_request){keyed.port, "GET", "/healthz", NULL, NULL, NULL}, &answer);
    assert_int_equal(answer.status, 200);
    http_release(&answer);
    serve_release(&keyed);
}

static void without_keys_any_is_accepted(void **state)
{
    (void)state;
    static const char *const keys[] = {
        NULL, "apikey: anything\r\n", "apikey: sb_publishable_x\r\n", "apikey:\r\n",
        "apikey: eyJhbGciOiJIUzI1NiJ9.e30.x\r\n",
    };
    struct http_answer answer;
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        http_call(&(struct http_request){serve.port, "POST", "/rest/v1/rpc/sync_policies", user_a,
                                         keys[i], "{}"}, &answer);
        assert_int_equal(answer.status, 200);
        http_release(&answer);
    }
    /* Nobody signed in: the key stands in both places, and is anon. */
    http_call(&(struct http_request){serve.port, "POST", "/rest/v1/rpc/sync_policies",
                                     "sb_publishable_x", "apikey: sb_publishable_x\r\n", "{}"},
              &answer);
    assert_int_equal(answer.status, 401);
    assert_non_null(strstr(answer.body, "\"42501\""));
    http_release(&answer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tokens_are_refused_with_postgrest_codes),
        cmocka_unit_test(anon_is_401_and_another_user_403),
        cmocka_unit_test(a_body_is_not_read_for_who_may_not_call),
        cmocka_unit_test(every_function_refuses_anon_and_other_users),
        cmocka_unit_test(a_function_is_found_by_its_exact_parameters),
        cmocka_unit_test(a_hundred_thousand_parameters_are_answered_at_once),
        cmocka_unit_test(bodies_that_are_no_arguments_get_pgrst102),
        cmocka_unit_test(values_are_converted_as_postgresql_does),
        cmocka_unit_test(methods_and_paths_are_refused_as_postgrest_does),
        cmocka_unit_test(headers_are_negotiated_as_postgrest_does),
        cmocka_unit_test(one_object_is_given_where_one_row_is_there),
        cmocka_unit_test(success_has_postgrest_headers),
        cmocka_unit_test(reads_work_by_get_and_head),
        cmocka_unit_test(preflights_need_no_key_and_errors_have_cors),
        cmocka_unit_test(configured_keys_are_demanded),
        cmocka_unit_test(without_keys_any_is_accepted),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
