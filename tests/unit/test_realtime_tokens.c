/* test_realtime_tokens.c - who hears what, and until when: tokens of joins and pushes, expiry, keys
 * at the handshake, and that nobody hears another user (docs/security.md, W1 to W3). */
#include "rt_app.h"
#include "serve.h"
#include "token.h"

#include "base/rng.h"
#include "base/status.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <cmocka.h>

#define TOPIC "realtime:x"
#define HEARS "postgres_changes"
#define KEY "sb_publishable_of_the_tests"
#define CHURNED 8u
#define ROUNDS 150u

struct fixture {
    struct serve serve;
    char *token_a;
    char *token_b;
    struct ws_client ws;
};

static int prepare(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    serve_init(&f->serve);
    f->serve.config.socket_refusal_ms = 0;
    f->serve.config.join_refusal_ms = 0;
    f->token_a = token_user(RT_USER_A);
    f->token_b = token_user(RT_USER_B);
    f->ws.fd = -1;
    *state = f;
    return 0;
}

static int setup(void **state)
{
    prepare(state);
    return serve_start(&((struct fixture *)*state)->serve) == BQ_OK ? 0 : -1;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    ws_release(&f->ws);
    serve_release(&f->serve);
    free(f->token_a);
    free(f->token_b);
    free(f);
    return 0;
}

static void contains(const char *text, const char *part)
{
    if (strstr(text, part) == NULL) {
        print_message("%s\nis not in\n%s\n", part, text);
    }
    assert_non_null(strstr(text, part));
}

static void writes(struct fixture *f, const char *user, const char *data)
{
    const char *token = strcmp(user, RT_USER_A) == 0 ? f->token_a : f->token_b;
    assert_true(rt_app_write(f->serve.port, user, token, "settings", data));
}

/* Joins TOPIC for all changes of documents, and reads the answer and what follows it. */
static void joins(struct fixture *f, const char *token)
{
    assert_true(ws_open(&f->ws, f->serve.port, RT_TARGET_V2, NULL));
    rt_app_join(&f->ws, "x",
                "{\"event\":\"*\",\"schema\":\"public\",\"table\":"
                "\"user_sync_data_v2\"}",
                token);
    assert_true(ws_hear(&f->ws, "Subscribed"));
}

static void pushes(struct fixture *f, const char *token)
{
    ws_say(&f->ws, "[\"1\",\"5\",\"" TOPIC "\",\"access_token\",{\"access_token\":\"%s\"}]", token);
}

static void says(struct fixture *f, const char *text)
{
    assert_true(ws_next(&f->ws));
    assert_string_equal(f->ws.text, text);
}

static int64_t now_s(void)
{
    return (int64_t)time(NULL);
}

/* ---- Joins ----------------------------------------------------------------------------------- */

static void refuses(struct fixture *f, const char *token, const char *reason)
{
    rt_app_join(&f->ws, "x", "", token);
    assert_true(ws_next(&f->ws));
    contains(f->ws.text, "[\"1\",\"1\",\"" TOPIC "\",\"phx_reply\",{\"status\":\"error\","
                         "\"response\":{\"reason\":\"");
    contains(f->ws.text, reason);
}

static void a_join_with_a_bad_token_is_refused_with_its_reason(void **state)
{
    struct fixture *f = *state;
    struct token_key *forger = token_key_new("HS256", TOKEN_OTHER_SECRET);
    struct token_key *signer = token_key_new("HS256", TOKEN_SECRET);
    const char *claims = "{\"role\":\"authenticated\",\"sub\":\"" RT_USER_A "\","
                         "\"exp\":99999999999}";
    char *forged = token_sign(forger, "{\"alg\":\"HS256\"}", claims);
    char *endless = token_sign(signer, "{\"alg\":\"HS256\"}",
                               "{\"role\":\"authenticated\",\"sub\":\"" RT_USER_A "\"}");
    char *old = token_make("authenticated", RT_USER_A, now_s() - 1000);
    char *just_over = token_make("authenticated", RT_USER_A, now_s() - 2);
    assert_true(ws_open(&f->ws, f->serve.port, RT_TARGET_V2, NULL));
    refuses(f, "a.b.c", "MalformedJWT: The token provided is not a valid JWT\"");
    refuses(f, "nonsense", "MalformedJWT: The token provided is not a valid JWT\"");
    refuses(f, forged, "JwtSignatureError: Failed to validate JWT signature\"");
    refuses(f, endless, "InvalidJWTToken: Fields `role` and `exp` are required in JWT\"");
    refuses(f, old, "InvalidJWTToken: Token has expired 100");
    refuses(f, just_over, "InvalidJWTToken: Token has expired ");
    free(forged);
    free(endless);
    free(old);
    free(just_over);
    token_key_free(forger);
    token_key_free(signer);
}

static void without_a_token_a_join_is_taken_and_hears_nothing(void **state)
{
    struct fixture *f = *state;
    joins(f, NULL);
    writes(f, RT_USER_A, "{\"a\":1}");
    assert_int_equal(rt_app_heard(&f->ws, HEARS), 0);
}

static void a_token_that_comes_later_is_heard_with_from_then_on(void **state)
{
    struct fixture *f = *state;
    joins(f, "sb_publishable_x");
    pushes(f, f->token_a);
    assert_true(ws_hear(&f->ws, "Subscribed to PostgreSQL"));
    writes(f, RT_USER_A, "{\"a\":1}");
    assert_true(ws_hear(&f->ws, HEARS));
}

static void a_private_channel_wants_a_user(void **state)
{
    struct fixture *f = *state;
    assert_true(ws_open(&f->ws, f->serve.port, RT_TARGET_V2, NULL));
    ws_say(&f->ws, "[\"1\",\"1\",\"" TOPIC "\",\"phx_join\",{\"config\":{\"private\":\"true\"}}]");
    assert_true(ws_next(&f->ws));
    contains(f->ws.text, "\"reason\":\"Unauthorized: You do not have permissions to read from this "
                         "Channel topic: x\"");
}

static void service_role_joins_and_hears_no_user(void **state)
{
    struct fixture *f = *state;
    char *service = token_make("service_role", NULL, now_s() + 100);
    joins(f, service);
    writes(f, RT_USER_A, "{\"a\":1}");
    assert_int_equal(rt_app_heard(&f->ws, HEARS), 0);
    free(service);
}

/* ---- Pushed tokens --------------------------------------------------------------------------- */

static void the_same_token_again_is_not_answered(void **state)
{
    struct fixture *f = *state;
    joins(f, f->token_a);
    pushes(f, f->token_a);
    ws_say(&f->ws, "[\"1\",\"5\",\"" TOPIC "\",\"access_token\",{\"access_token\":null}]");
    ws_say(&f->ws, "[\"1\",\"5\",\"" TOPIC "\",\"access_token\",{}]");
    assert_int_equal(rt_app_heard(&f->ws, ""), 0);
    writes(f, RT_USER_A, "{\"a\":1}");
    assert_true(ws_hear(&f->ws, HEARS));
}

static void a_new_token_of_the_same_user_is_taken(void **state)
{
    struct fixture *f = *state;
    char *fresh = token_make("authenticated", RT_USER_A, now_s() + 5000);
    joins(f, f->token_a);
    pushes(f, fresh);
    assert_true(ws_hear(&f->ws, "Subscribed to PostgreSQL"));
    writes(f, RT_USER_A, "{\"a\":1}");
    assert_true(ws_hear(&f->ws, HEARS));
    free(fresh);
}

static void another_users_token_ends_the_channel_so_that_it_joins_anew(void **state)
{
    struct fixture *f = *state;
    joins(f, f->token_a);
    pushes(f, f->token_b);
    says(f, "[\"1\",\"1\",\"" TOPIC "\",\"phx_error\",{}]");
    writes(f, RT_USER_A, "{\"a\":1}");
    writes(f, RT_USER_B, "{\"a\":1}");
    assert_int_equal(rt_app_heard(&f->ws, HEARS), 0);
}

static void a_key_in_place_of_the_token_ends_the_hearing(void **state)
{
    struct fixture *f = *state;
    char *anon = token_make("anon", NULL, now_s() + 5000);
    const char *const keys[] = {"sb_publishable_x", anon};
    joins(f, f->token_a);
    for (unsigned i = 0; i < 2; i++) {
        pushes(f, keys[i]);
        /* A heartbeat's answer: what was pushed before it is taken. */
        assert_int_equal(rt_app_heard(&f->ws, "\"data\":{\"schema\""), 0);
        writes(f, RT_USER_A, i == 0 ? "{\"a\":1}" : "{\"a\":2}");
        assert_int_equal(rt_app_heard(&f->ws, "\"data\":{\"schema\""), 0);
        pushes(f, f->token_a);
        assert_int_equal(rt_app_heard(&f->ws, "\"data\":{\"schema\""), 0);
        writes(f, RT_USER_A, i == 0 ? "{\"a\":3}" : "{\"a\":4}");
        assert_int_equal(rt_app_heard(&f->ws, "\"data\":{\"schema\""), 1);
    }
    /* Nobody else may come in where it was. */
    pushes(f, "sb_publishable_x");
    pushes(f, f->token_b);
    assert_true(ws_hear(&f->ws, "phx_error"));
    free(anon);
}

static void a_bad_token_closes_the_channel(void **state)
{
    struct fixture *f = *state;
    joins(f, f->token_a);
    pushes(f, "a.b.c");
    says(f, "[\"1\",null,\"" TOPIC "\",\"system\",{\"message\":\"The token provided is not a valid "
            "JWT\",\"status\":\"error\",\"extension\":\"system\",\"channel\":\"x\"}]");
    says(f, "[\"1\",\"1\",\"" TOPIC "\",\"phx_close\",{}]");
    writes(f, RT_USER_A, "{\"a\":1}");
    assert_int_equal(rt_app_heard(&f->ws, HEARS), 0);
}

static void a_token_that_ends_closes_its_channel_and_leaves_the_others(void **state)
{
    struct fixture *f = *state;
    char *brief = token_make("authenticated", RT_USER_A, now_s() + 2);
    joins(f, brief);
    ws_say(&f->ws,
           "[\"2\",\"2\",\"realtime:y\",\"phx_join\",{\"config\":{\"postgres_changes\":[%s]},"
           "\"access_token\":\"%s\"}]",
           rt_app_binding(RT_USER_A), f->token_a);
    assert_true(ws_hear(&f->ws, "Subscribed"));
    assert_true(ws_hear(&f->ws, "\"" TOPIC "\",\"system\",{\"message\":\"Token has expired "));
    contains(f->ws.text, "seconds ago\",\"status\":\"error\",\"extension\":\"system\"");
    says(f, "[\"1\",\"1\",\"" TOPIC "\",\"phx_close\",{}]");
    writes(f, RT_USER_A, "{\"a\":1}");
    assert_true(ws_next(&f->ws));
    contains(f->ws.text, "\"realtime:y\",\"postgres_changes\"");
    assert_int_equal(rt_app_heard(&f->ws, HEARS), 0);
    free(brief);
}

/* ---- The handshake --------------------------------------------------------------------------- */

static int setup_key(void **state)
{
    prepare(state);
    struct fixture *f = *state;
    f->serve.config.publishable_key = KEY;
    return serve_start(&f->serve) == BQ_OK ? 0 : -1;
}

static void refused(struct fixture *f, const char *query, const char *text)
{
    char target[9000];
    char body[256];
    snprintf(target, sizeof target, "/realtime/v1/websocket?vsn=2.0.0%s", query);
    snprintf(body, sizeof body, "{\"error\":\"%s\"}", text);
    assert_false(ws_open(&f->ws, f->serve.port, target, NULL));
    assert_int_equal(f->ws.status, 401);
    contains(f->ws.header, "Content-Type: application/json");
    assert_string_equal(f->ws.body, body);
    ws_release(&f->ws);
}

static void refused_token(struct fixture *f, char *token, const char *text)
{
    char query[9000];
    snprintf(query, sizeof query, "&apikey=%s", token);
    refused(f, query, text);
    free(token);
}

static void a_handshake_wants_a_good_key(void **state)
{
    struct fixture *f = *state;
    struct token_key *signer = token_key_new("HS256", TOKEN_SECRET);
    struct token_key *forger = token_key_new("HS256", TOKEN_OTHER_SECRET);
    refused(f, "", "API key is missing");
    refused(f, "&apikey=", "API key is missing");
    refused(f, "&apikey=wrong", "The token provided is not a valid JWT");
    refused(f, "&apikey=sb_publishable_wrong", "The token provided is not a valid JWT");
    refused_token(f, token_make("anon", NULL, now_s() - 5), "Token has expired");
    refused_token(f, token_make("anon", NULL, now_s() - 500), "Token has expired");
    refused_token(f, token_make("authenticated", RT_USER_A, now_s() + 500),
                  "The token provided is not a valid JWT");
    refused_token(f, token_sign(signer, "{\"alg\":\"HS256\"}", "{\"role\":\"anon\"}"),
                  "Fields `role` and `exp` are required in JWT");
    refused_token(
        f, token_sign(forger, "{\"alg\":\"HS256\"}", "{\"role\":\"anon\",\"exp\":99999999999}"),
        "Failed to validate JWT signature");
    token_key_free(signer);
    token_key_free(forger);
    assert_true(ws_open(&f->ws, f->serve.port, "/realtime/v1/websocket?apikey=" KEY, NULL));
    ws_release(&f->ws);
    assert_true(ws_open(&f->ws, f->serve.port, "/realtime/v1/websocket", "X-Api-Key: " KEY "\r\n"));
    ws_release(&f->ws);
    char *anon = token_make("anon", NULL, now_s() + 500);
    char target[1000];
    snprintf(target, sizeof target, "/realtime/v1/websocket?apikey=%s", anon);
    assert_true(ws_open(&f->ws, f->serve.port, target, NULL));
    free(anon);
}

static int setup_late(void **state)
{
    prepare(state);
    struct fixture *f = *state;
    f->serve.config.publishable_key = KEY;
    f->serve.config.socket_refusal_ms = 700;
    f->serve.config.join_refusal_ms = 700;
    return serve_start(&f->serve) == BQ_OK ? 0 : -1;
}

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void refusals_come_late_and_nobody_else_waits(void **state)
{
    struct fixture *f = *state;
    struct ws_client other;
    double start = seconds();
    assert_true(
        ws_open(&other, f->serve.port, "/realtime/v1/websocket?apikey=" KEY "&vsn=2.0.0", NULL));
    rt_app_join(&other, "x", "", "a.b.c");
    assert_int_equal(rt_app_heard(&other, "phx_reply"), 0); /* answered while that waits */
    assert_true(seconds() - start < 0.6);
    refused(f, "", "API key is missing");
    assert_true(seconds() - start >= 0.7);
    assert_true(ws_hear(&other, "MalformedJWT"));
    assert_true(seconds() - start >= 0.7);
    ws_release(&other);
}

static int setup_strict(void **state)
{
    prepare(state);
    struct fixture *f = *state;
    f->serve.config.socket_token_ms = 300;
    return serve_start(&f->serve) == BQ_OK ? 0 : -1;
}

static void who_shows_no_token_is_disconnected(void **state)
{
    struct fixture *f = *state;
    struct ws_client silent;
    struct ws_client anonymous;
    struct ws_client trusted;
    assert_true(ws_open(&silent, f->serve.port, RT_TARGET_V2, NULL));
    assert_true(ws_open(&anonymous, f->serve.port, RT_TARGET_V2, NULL));
    rt_app_join(&anonymous, "x", rt_app_binding(RT_USER_A), NULL);
    assert_true(rt_app_open(&trusted, f->serve.port, RT_USER_A, f->token_a));
    assert_int_equal(ws_ends(&silent), 1008);
    assert_int_equal(ws_ends(&anonymous), 1008);
    assert_int_equal(rt_app_heard(&trusted, ""), 0);
    ws_release(&silent);
    ws_release(&anonymous);
    ws_release(&trusted);
}

/* ---- Isolation ------------------------------------------------------------------------------- */

static void nobody_hears_another_user_while_sockets_come_and_go(void **state)
{
    struct fixture *f = *state;
    struct ws_client sockets[CHURNED];
    bool of_a[CHURNED];
    struct rng rng;
    uint64_t seed = (uint64_t)now_s();
    unsigned n_heard = 0;
    print_message("seed %llu\n", (unsigned long long)seed);
    rng_init(&rng, seed);
    for (unsigned i = 0; i < CHURNED; i++) {
        of_a[i] = i % 2 == 0;
        assert_true(rt_app_open(&sockets[i], f->serve.port, of_a[i] ? RT_USER_A : RT_USER_B,
                                of_a[i] ? f->token_a : f->token_b));
    }
    for (unsigned round = 0; round < ROUNDS; round++) {
        char data[64];
        unsigned i = (unsigned)rng_below(&rng, CHURNED);
        ws_release(&sockets[i]);
        of_a[i] = rng_below(&rng, 2) == 0;
        /* All listen to everything that they may, under one topic: only the token tells them
         * apart. */
        assert_true(ws_open(&sockets[i], f->serve.port, RT_TARGET_V2, NULL));
        rt_app_join(&sockets[i], "same", "{\"event\":\"*\",\"schema\":\"public\"}",
                    of_a[i] ? f->token_a : f->token_b);
        assert_true(ws_hear(&sockets[i], "Subscribed"));
        snprintf(data, sizeof data, "{\"canary\":\"canary-a-%u\"}", round);
        writes(f, RT_USER_A, data);
        snprintf(data, sizeof data, "{\"canary\":\"canary-b-%u\"}", round);
        writes(f, RT_USER_B, data);
        ws_say(&sockets[i],
               "[\"1\",\"7\",\"realtime:same\",\"broadcast\",{\"type\":\"broadcast\","
               "\"event\":\"e\",\"payload\":{\"canary\":\"canary-%s-cast\"}}]",
               of_a[i] ? "a" : "b");
        for (unsigned k = 0; k < CHURNED; k++) {
            ws_say(&sockets[k], "[null,\"end%u\",\"phoenix\",\"heartbeat\",{}]", round);
            snprintf(data, sizeof data, "\"end%u\"", round);
            while (ws_next(&sockets[k]) && strstr(sockets[k].text, data) == NULL) {
                assert_null(strstr(sockets[k].text, of_a[k] ? "canary-b" : "canary-a"));
                assert_null(strstr(sockets[k].text, of_a[k] ? RT_USER_B : RT_USER_A));
                n_heard += strstr(sockets[k].text, of_a[k] ? "canary-a" : "canary-b") != NULL;
            }
            assert_int_equal(sockets[k].opcode, 1);
        }
    }
    assert_true(n_heard > ROUNDS * CHURNED);
    for (unsigned i = 0; i < CHURNED; i++) {
        ws_release(&sockets[i]);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_join_with_a_bad_token_is_refused_with_its_reason),
        TEST(without_a_token_a_join_is_taken_and_hears_nothing),
        TEST(a_token_that_comes_later_is_heard_with_from_then_on),
        TEST(a_private_channel_wants_a_user),
        TEST(service_role_joins_and_hears_no_user),
        TEST(the_same_token_again_is_not_answered),
        TEST(a_new_token_of_the_same_user_is_taken),
        TEST(another_users_token_ends_the_channel_so_that_it_joins_anew),
        TEST(a_key_in_place_of_the_token_ends_the_hearing),
        TEST(a_bad_token_closes_the_channel),
        TEST(a_token_that_ends_closes_its_channel_and_leaves_the_others),
        TEST(nobody_hears_another_user_while_sockets_come_and_go),
        cmocka_unit_test_setup_teardown(a_handshake_wants_a_good_key, setup_key, teardown),
        cmocka_unit_test_setup_teardown(refusals_come_late_and_nobody_else_waits, setup_late,
                                        teardown),
        cmocka_unit_test_setup_teardown(who_shows_no_token_is_disconnected, setup_strict, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
