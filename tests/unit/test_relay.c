/* test_relay.c - realtime topics of the upstream: what goes there and comes back, and that neither
 * side can speak where it has no say (docs/protocol.md, "The rest of the URL"). */
#include "rt_upstream.h"

#include "base/status.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <poll.h>
#include <cmocka.h>

static int prepare(void **state)
{
    *state = rt_upstream_new();
    return 0;
}

/* The next text that the client hears is this one. */
static void hears(struct ws_client *ws, const char *text)
{
    assert_true(ws_next(ws));
    assert_int_equal(ws->opcode, 1);
    assert_string_equal(ws->text, text);
}

/* The next text that goes to the upstream is this one. */
static void goes_up(struct rt_upstream *f, const char *text)
{
    assert_int_equal(rt_upstream_take(f), 1);
    assert_string_equal(f->taken.ptr, text);
}

static void contains(const char *text, const char *part)
{
    if (strstr(text, part) == NULL) {
        print_message("%s\nis not in\n%s\n", part, text);
    }
    assert_non_null(strstr(text, part));
}

/* ---- Both ways ------------------------------------------------------------------------------- */

static void what_is_said_to_and_by_the_upstream_keeps_its_bytes(void **state)
{
    static const char join[] =
        "[ \"7\", \"7\" ,\"realtime:r\\u00f6om\",\"phx_join\", {\"config\":{\"postgres_changes\":["
        RT_QUESTIONS "]},\"access_token\":\"whoever\",\"n\":1.50} ]";
    static const char leave[] = "[\"7\",\"9\",\"realtime:r\xc3\xb6om\",\"phx_leave\",{\"x\" : 1}]";
    static const char reply[] = "[\"7\" , \"7\",\"realtime:r\xc3\xb6om\",\"phx_reply\","
                                "{\"status\":\"ok\",\"response\":{}}]";
    static const char event[] =
        "[null,null,\"realtime:r\\u00f6om\",\"postgres_changes\", {\"n\":"
        "12345678901234567890123456789012345678901234567890,\"n\":\"]}\\\"\"}]";
    static const char token[] =
        "[\"7\",\"8\",\"realtime:r\xc3\xb6om\",\"access_token\",{\"access_token\":\"newer\"}]";
    struct rt_upstream *f = *state;
    assert_true(ws_say(&f->ws, "%s", join));
    goes_up(f, join);
    contains(ws_stub_request(f->stub),
             "GET /realtime/v1/websocket?vsn=2.0.0&apikey=key HTTP/1.1\r\n");
    contains(ws_stub_request(f->stub), "\r\nVia: 1.1 bqsync\r\nX-Forwarded-For: 127.0.0.1\r\n");
    rt_upstream_say(f, reply);
    hears(&f->ws, reply);
    rt_upstream_say(f, event);
    hears(&f->ws, event);
    assert_int_equal(rt_app_heard(&f->ws, ""), 0); /* the heartbeat is answered here */
    assert_true(ws_say(&f->ws, "%s", token));
    goes_up(f, token);
    assert_true(ws_say(&f->ws, "%s", leave));
    assert_true(ws_hear(&f->ws, "phx_close"));
    assert_true(rt_upstream_becomes(f, false));
}

static void binary_frames_go_both_ways(void **state)
{
    static const char up[] = "\x03\x01\x01\x0d\x01\x00\x01" "12" "realtime:room" "e" "{}";
    static const char down[] = "\x04\x0d\x01\x00\x00" "realtime:room" "e" "\x00\xff";
    struct rt_upstream *f = *state;
    struct buf frame = BUF_INIT;
    assert_true(rt_upstream_join(f, &f->ws, "room", "1"));
    assert_true(ws_send(&f->ws, 0x82, up, sizeof up - 1));
    assert_int_equal(rt_upstream_take(f), 2);
    assert_int_equal(f->taken.len, sizeof up - 1);
    assert_memory_equal(f->taken.ptr, up, sizeof up - 1);
    ws_stub_frame(&frame, 0x82, (struct slice){down, sizeof down - 1}, false);
    ws_stub_send(f->stub, buf_slice(&frame));
    ws_stub_pump(f->stub);
    assert_true(ws_next(&f->ws));
    assert_int_equal(f->ws.opcode, 2);
    assert_int_equal(f->ws.text_len, sizeof down - 1);
    assert_memory_equal(f->ws.text, down, sizeof down - 1);
    buf_release(&frame);
}

static void the_older_form_goes_as_it_is(void **state)
{
    static const char join[] =
        "{\"topic\":\"realtime:room\",\"event\":\"phx_join\",\"payload\":{\"config\":{"
        "\"postgres_changes\":[" RT_QUESTIONS "]}},\"ref\":\"1\",\"join_ref\":\"1\"}";
    static const char reply[] = "{\"ref\":\"1\",\"payload\":{\"status\":\"ok\",\"response\":{}},"
                                "\"topic\":\"realtime:room\",\"event\":\"phx_reply\"}";
    struct rt_upstream *f = *state;
    assert_true(ws_open(&f->second, f->serve.port, RT_TARGET_V1, NULL));
    assert_true(ws_say(&f->second, "%s", join));
    goes_up(f, join);
    contains(ws_stub_request(f->stub), "?vsn=1.0.0&");
    rt_upstream_say(f, reply);
    hears(&f->second, reply);
}

static void what_is_said_before_it_is_open_waits_in_order(void **state)
{
    struct rt_upstream *f = *state;
    for (unsigned i = 0; i < 50; i++) {
        ws_say(&f->ws,
               "[\"%u\",\"%u\",\"realtime:room%u\",\"phx_join\",{\"config\":{"
               "\"postgres_changes\":[" RT_QUESTIONS "]}}]",
               i, i, i);
        ws_say(&f->ws, "[\"%u\",\"x\",\"realtime:room%u\",\"e\",{}]", i, i);
    }
    assert_int_equal(rt_app_heard(&f->ws, ""), 0);
    assert_int_equal(ws_stub_n_connections(f->stub), 0);
    for (unsigned i = 0; i < 50; i++) {
        char text[100];
        assert_int_equal(rt_upstream_take(f), 1);
        contains(f->taken.ptr, "phx_join");
        snprintf(text, sizeof text, "[\"%u\",\"x\",\"realtime:room%u\",\"e\",{}]", i, i);
        goes_up(f, text);
    }
    assert_int_equal(ws_stub_n_connections(f->stub), 1);
}

/* ---- Ours and theirs ------------------------------------------------------------------------- */

static void hears_a_change(struct rt_upstream *f, const char *key)
{
    assert_true(rt_app_write(f->serve.port, RT_USER_A, f->token, key, "{}"));
    assert_true(ws_hear(&f->ws, key));
    contains(f->ws.text, "user_sync_data_v2");
}

static void subscribes_to_ours(struct rt_upstream *f)
{
    rt_app_join(&f->ws, "ours", rt_app_binding(RT_USER_A), f->token);
    assert_true(ws_hear(&f->ws, "\"Subscribed to PostgreSQL\""));
}

static void ours_go_on_when_the_upstream_goes_and_comes_back(void **state)
{
    struct rt_upstream *f = *state;
    subscribes_to_ours(f);
    assert_true(rt_upstream_join(f, &f->ws, "theirs", "5"));
    hears_a_change(f, "one");
    ws_say(&f->ws, "[\"1\",\"2\",\"realtime:ours\",\"broadcast\",{\"mine\":1}]");
    ws_say(&f->ws, "[\"5\",\"6\",\"realtime:theirs\",\"e\",{}]");
    goes_up(f, "[\"5\",\"6\",\"realtime:theirs\",\"e\",{}]"); /* and nothing before it */
    ws_stub_drop(f->stub);
    hears(&f->ws, "[\"5\",\"5\",\"realtime:theirs\",\"phx_error\",{}]");
    hears_a_change(f, "two");
    assert_true(rt_upstream_join(f, &f->ws, "theirs", "6"));
    hears_a_change(f, "three");
    assert_int_equal(ws_stub_n_connections(f->stub), 2);
}

static void what_it_says_of_other_topics_is_dropped(void **state)
{
    static const char *const lies[] = {
        "[\"1\",\"1\",\"realtime:ours\",\"phx_close\",{}]",
        "[\"1\",\"1\",\"realtime:ours\",\"phx_error\",{}]",
        "[null,null,\"realtime:ours\",\"postgres_changes\",{\"ids\":[1],\"data\":{\"lie\":1}}]",
        "[null,null,\"re\\u0061ltime:ours\",\"postgres_changes\",{\"lie\":1}]",
        "[null,\"x\",\"phoenix\",\"phx_reply\",{\"status\":\"ok\",\"response\":{\"lie\":1}}]",
        "[null,null,\"realtime:nobodys\",\"postgres_changes\",{\"lie\":1}]",
        "[null,null,\"realtime:theirs\",\"e\",{\"lie\":1}],[]",
        "[null,null,\"realtime:theirs\",\"e\",{\"lie\":1}",
        "[null,null,\"realtime:theirs\",\"e\",{\"lie\":1},1]",
        "{\"topic\":\"realtime:theirs\",\"event\":\"e\",\"ref\":null,\"payload\":{\"lie\":1}}",
        "lie",
    };
    static const char binary[] = "\x04\x0d\x01\x00\x01" "realtime:ours" "e" "lie";
    struct rt_upstream *f = *state;
    struct buf frame = BUF_INIT;
    subscribes_to_ours(f);
    assert_true(rt_upstream_join(f, &f->ws, "theirs", "5"));
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        ws_stub_send_text(f->stub, lies[i]);
    }
    ws_stub_frame(&frame, 0x82, (struct slice){binary, sizeof binary - 1}, false);
    ws_stub_send(f->stub, buf_slice(&frame));
    rt_upstream_say(f, "[null,null,\"realtime:theirs\",\"e\",{\"true\":1}]");
    hears(&f->ws, "[null,null,\"realtime:theirs\",\"e\",{\"true\":1}]");
    hears_a_change(f, "one");
    buf_release(&frame);
}

static void in_the_older_form_a_doubled_name_is_dropped(void **state)
{
    struct rt_upstream *f = *state;
    assert_true(ws_open(&f->second, f->serve.port, RT_TARGET_V1, NULL));
    ws_say(&f->second, "{\"topic\":\"realtime:theirs\",\"event\":\"phx_join\",\"ref\":\"1\","
                       "\"payload\":{\"config\":{\"postgres_changes\":[" RT_QUESTIONS "]}}}");
    assert_int_equal(rt_upstream_take(f), 1);
    ws_stub_send_text(f->stub, "{\"topic\":\"realtime:theirs\",\"event\":\"e\",\"ref\":null,"
                               "\"payload\":{},\"topi\\u0063\":\"realtime:ours\"}");
    static const char good[] =
        "{\"topic\":\"realtime:theirs\",\"event\":\"e\",\"ref\":null,\"payload\":[]}";
    rt_upstream_say(f, good);
    hears(&f->second, good);
}

/* Stays here: told by a system message that nothing of the kind is to be had. */
static void stays_here(struct rt_upstream *f, const char *changes)
{
    rt_app_join(&f->ws, "room", changes, f->token);
    if (!ws_hear(&f->ws, "\"system\"")) {
        fail_msg("%s went to the upstream", changes);
    }
    assert_true(rt_app_heard(&f->ws, "") == 0);
    ws_stub_pump(f->stub);
    assert_int_equal(ws_stub_n_connections(f->stub), 0);
}

static void names_of_ours_stay_here_in_every_spelling(void **state)
{
    static const char *const bindings[] = {
        "{\"event\":\"*\",\"schema\":\"public\",\"table\":\"user_sync_data_v2\"}",
        "{\"event\":\"*\",\"schema\":\"public\",\"table\":\"user_sync_queue\"}",
        "{\"event\":\"*\",\"schema\":\"public\",\"table\":\"USER_sync_anything\"}",
        "{\"event\":\"*\",\"schema\":\"private\",\"table\":\"user_sync_data_v2\"}",
        "{\"event\":\"*\",\"schema\":\"public\",\"table\":\"user_devices\"}",
        "{\"event\":\"*\",\"schema\":\"public\",\"table\":\"user\\\\_sync\\\\_data_v2\"}",
        "{\"event\":\"*\",\"schema\":\"public\",\"table\":\"u%\"}",
        "{\"event\":\"*\",\"schema\":\"public\",\"table\":\"_____sync_data_v_\"}",
        "{\"event\":\"*\",\"schema\":\"public\",\"table\":\"_________________\"}",
        "{\"event\":\"*\",\"schema\":\"public\"}",
        "{\"event\":\"*\",\"schema\":\"publi_\"}",
        "{\"event\":\"*\",\"schema\":\"%\"}",
        "{\"event\":\"*\",\"schema\":\"*\",\"table\":\"*\"}",
        "{\"event\":\"*\",\"table\":\"*\"}",
        "{\"event\":\"*\"}",
        RT_QUESTIONS ",{\"event\":\"*\",\"schema\":\"public\",\"table\":\"user_sync_data_v2\"}",
        RT_QUESTIONS ",{\"event\":\"*\",\"schema\":\"public\"}",
    };
    struct rt_upstream *f = *state;
    for (size_t i = 0; i < sizeof bindings / sizeof bindings[0]; i++) {
        stays_here(f, bindings[i]);
        ws_say(&f->ws, "[\"1\",\"2\",\"realtime:room\",\"phx_leave\",{}]");
        assert_true(ws_hear(&f->ws, "phx_close"));
    }
    /* Broadcasts alone are between the devices of one user. */
    rt_app_join(&f->ws, "room", "", f->token);
    assert_true(ws_hear(&f->ws, "phx_reply"));
    ws_stub_pump(f->stub);
    assert_int_equal(ws_stub_n_connections(f->stub), 0);
}

static void names_of_theirs_go_there(void **state)
{
    static const char *const bindings[] = {
        RT_QUESTIONS,
        "{\"event\":\"INSERT\",\"schema\":\"*\",\"table\":\"messages\",\"filter\":\"a=eq.1\"}",
        "{\"event\":\"*\",\"table\":\"user_profiles\"}",
        "{\"event\":\"*\",\"schema\":\"chat\"}",
        "{\"event\":\"*\",\"schema\":\"chat\",\"table\":\"*\"}",
        ("null,{\"event\":\"*\",\"schema\":\"public\",\"table\":\"a\"}," RT_QUESTIONS),
    };
    struct rt_upstream *f = *state;
    for (size_t i = 0; i < sizeof bindings / sizeof bindings[0]; i++) {
        rt_app_join(&f->ws, "room", bindings[i], f->token);
        assert_int_equal(rt_upstream_take(f), 1);
        contains(f->taken.ptr, bindings[i]);
    }
}

/* ---- Beginning and end ----------------------------------------------------------------------- */

static void two_topics_share_a_socket_and_the_last_one_closes_it(void **state)
{
    static const char leave[] = "[\"1\",\"9\",\"realtime:a\",\"phx_leave\",{}]";
    struct rt_upstream *f = *state;
    assert_true(rt_upstream_join(f, &f->ws, "a", "1"));
    assert_true(rt_upstream_join(f, &f->ws, "b", "2"));
    ws_say(&f->ws, "%s", leave);
    hears(&f->ws, "[\"1\",\"9\",\"realtime:a\",\"phx_reply\",{\"status\":\"ok\",\"response\":{}}]");
    hears(&f->ws, "[\"1\",\"1\",\"realtime:a\",\"phx_close\",{}]");
    goes_up(f, leave);
    /* Its own answer comes too late for anybody. */
    rt_upstream_say(f, "[\"1\",\"1\",\"realtime:a\",\"phx_close\",{}]");
    rt_upstream_say(f, "[null,null,\"realtime:b\",\"e\",{}]");
    hears(&f->ws, "[null,null,\"realtime:b\",\"e\",{}]");
    ws_say(&f->ws, "[\"2\",\"9\",\"realtime:b\",\"phx_leave\",{}]");
    assert_true(ws_hear(&f->ws, "phx_close"));
    assert_true(rt_upstream_becomes(f, false));
    assert_int_equal(server_realtime(f->serve.server).n_channels, 0);
    assert_true(rt_upstream_join(f, &f->ws, "a", "3"));
    assert_int_equal(ws_stub_n_connections(f->stub), 2);
    ws_release(&f->ws);
    assert_true(rt_upstream_becomes(f, false));
}

static void a_topic_that_is_joined_again_outlives_the_end_of_the_first_join(void **state)
{
    struct rt_upstream *f = *state;
    assert_true(rt_upstream_join(f, &f->ws, "room", "1"));
    assert_true(rt_upstream_join(f, &f->ws, "room", "2"));
    rt_upstream_say(f, "[\"1\",\"1\",\"realtime:room\",\"phx_close\",{}]");
    rt_upstream_say(f, "[null,null,\"realtime:room\",\"e\",{}]");
    hears(&f->ws, "[null,null,\"realtime:room\",\"e\",{}]");
    assert_int_equal(server_realtime(f->serve.server).n_channels, 1);
    /* When it becomes one of ours, the upstream hears that it is left. */
    assert_true(rt_upstream_join(f, &f->ws, "other", "3"));
    rt_app_join(&f->ws, "room", rt_app_binding(RT_USER_A), f->token);
    assert_true(ws_hear(&f->ws, "\"Subscribed to PostgreSQL\""));
    goes_up(f, "[\"2\",\"leave\",\"realtime:room\",\"phx_leave\",{}]");
    rt_upstream_say(f, "[null,null,\"realtime:room\",\"e\",{}]");
    hears_a_change(f, "one");
}

static void what_the_upstream_ends_is_over(void **state)
{
    static const char *const ends[] = {
        ("[\"3\",\"3\",\"realtime:room\",\"phx_reply\",{\"status\":\"error\",\"response\":"
         "{\"reason\":\"Unauthorized: no\"}}]"),
        "[\"3\",\"3\",\"realtime:room\",\"phx_close\",{}]",
        "[\"3\",\"3\",\"realtime:room\",\"phx_error\",{\"reason\":\"channel_crash\"}]",
    };
    struct rt_upstream *f = *state;
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        assert_true(rt_upstream_join(f, &f->ws, "room", "3"));
        rt_upstream_say(f, ends[i]);
        hears(&f->ws, ends[i]);
        assert_true(rt_upstream_becomes(f, false));
        ws_say(&f->ws, "[\"3\",\"4\",\"realtime:room\",\"e\",{}]");
        assert_true(ws_hear(&f->ws, "unmatched topic"));
    }
}

/* Whether something comes to the client, within a moment. */
static bool is_told(const struct ws_client *ws)
{
    struct pollfd fd = {.fd = ws->fd, .events = POLLIN};
    return ws->len > 0 || poll(&fd, 1, 20) > 0;
}

static void who_meets_no_upstream_is_told_so_that_it_joins_again(void **state)
{
    static const char *const answers[] = {
        "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 Ok\r\nContent-Length: 0\r\n\r\n",
        "",
    };
    struct rt_upstream *f = *state;
    subscribes_to_ours(f);
    for (size_t i = 0; i <= sizeof answers / sizeof answers[0]; i++) {
        if (i < sizeof answers / sizeof answers[0]) {
            ws_stub_answer(f->stub, answers[i]);
        } else {
            ws_stub_free(f->stub); /* nobody listens */
        }
        ws_say(&f->ws, "[\"5\",\"5\",\"realtime:theirs\",\"phx_join\",{\"config\":{"
                       "\"postgres_changes\":[" RT_QUESTIONS "]}}]");
        for (unsigned n = 0; n < 1000 && i < sizeof answers / sizeof answers[0] && !is_told(&f->ws);
             n++) {
            ws_stub_pump(f->stub);
        }
        hears(&f->ws, "[\"5\",\"5\",\"realtime:theirs\",\"phx_reply\",{\"status\":\"error\","
                      "\"response\":{\"reason\":\"UnableToConnectToProject: The upstream cannot be "
                      "reached\"}}]");
        hears(&f->ws, "[\"5\",\"5\",\"realtime:theirs\",\"phx_error\",{}]");
    }
    f->stub = ws_stub_new();
    hears_a_change(f, "one");
}

static void more_sockets_than_may_be_are_refused(void **state)
{
    struct rt_upstream *f = *state;
    f->serve.config.upstream_sockets = 1;
    assert_int_equal(serve_start(&f->serve), BQ_OK);
    assert_true(ws_open(&f->ws, f->serve.port, RT_TARGET_V2, NULL));
    assert_true(ws_open(&f->second, f->serve.port, RT_TARGET_V2, NULL));
    assert_true(rt_upstream_join(f, &f->ws, "room", "1"));
    rt_app_join(&f->second, "room", RT_QUESTIONS, f->token);
    hears(&f->second, "[\"1\",\"1\",\"realtime:room\",\"phx_reply\",{\"status\":\"error\","
                      "\"response\":{\"reason\":\"ConnectionRateLimitReached: Too many connections "
                      "to the upstream\"}}]");
    hears(&f->second, "[\"1\",\"1\",\"realtime:room\",\"phx_error\",{}]");
    assert_int_equal(server_realtime(f->serve.server).n_relays, 1);
    ws_release(&f->ws);
    assert_true(rt_upstream_becomes(f, false));
    while (server_realtime(f->serve.server).n_relays > 0) {
        ws_stub_wait(f->stub, 1);
    }
    assert_true(rt_upstream_join(f, &f->second, "room", "2"));
}

static void a_socket_that_its_upstream_knows_needs_no_user(void **state)
{
    struct rt_upstream *f = *state;
    f->serve.config.socket_token_ms = 300;
    assert_int_equal(serve_start(&f->serve), BQ_OK);
    assert_true(ws_open(&f->ws, f->serve.port, RT_TARGET_V2, NULL));
    assert_true(ws_open(&f->second, f->serve.port, RT_TARGET_V2, NULL));
    rt_app_join(&f->ws, "room", RT_QUESTIONS, NULL);
    assert_int_equal(rt_upstream_take(f), 1);
    assert_int_equal(ws_ends(&f->second), 1008); /* as old, and without an upstream */
    assert_int_equal(rt_app_heard(&f->ws, ""), 0);
}

static void what_came_through_a_server_of_our_kind_goes_no_further(void **state)
{
    struct rt_upstream *f = *state;
    ws_release(&f->ws);
    assert_true(ws_open(&f->ws, f->serve.port, RT_TARGET_V2, "Via: 1.1 bqsync\r\n"));
    stays_here(f, RT_QUESTIONS);
}

static void a_key_cannot_add_a_header(void **state)
{
    struct rt_upstream *f = *state;
    ws_release(&f->ws);
    assert_true(ws_open(&f->ws, f->serve.port,
                        "/realtime/v1/websocket?apikey=a%C3%A4b&vsn=2.0.0&x=1", NULL));
    rt_app_join(&f->ws, "room", RT_QUESTIONS, f->token);
    assert_int_equal(rt_upstream_take(f), 1);
    contains(ws_stub_request(f->stub), "GET /realtime/v1/websocket?vsn=2.0.0 HTTP/1.1\r\n");
    assert_null(strcasestr(ws_stub_request(f->stub), "apikey"));
    assert_null(strstr(ws_stub_request(f->stub), f->token));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, rt_upstream_setup, rt_upstream_teardown)
#define TEST_PREPARED(name) cmocka_unit_test_setup_teardown(name, prepare, rt_upstream_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_is_said_to_and_by_the_upstream_keeps_its_bytes),
        TEST(binary_frames_go_both_ways),
        TEST(the_older_form_goes_as_it_is),
        TEST(what_is_said_before_it_is_open_waits_in_order),
        TEST(ours_go_on_when_the_upstream_goes_and_comes_back),
        TEST(what_it_says_of_other_topics_is_dropped),
        TEST(in_the_older_form_a_doubled_name_is_dropped),
        TEST(names_of_ours_stay_here_in_every_spelling),
        TEST(names_of_theirs_go_there),
        TEST(two_topics_share_a_socket_and_the_last_one_closes_it),
        TEST(a_topic_that_is_joined_again_outlives_the_end_of_the_first_join),
        TEST(what_the_upstream_ends_is_over),
        TEST(who_meets_no_upstream_is_told_so_that_it_joins_again),
        TEST_PREPARED(more_sockets_than_may_be_are_refused),
        TEST_PREPARED(a_socket_that_its_upstream_knows_needs_no_user),
        TEST(what_came_through_a_server_of_our_kind_goes_no_further),
        TEST(a_key_cannot_add_a_header),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
