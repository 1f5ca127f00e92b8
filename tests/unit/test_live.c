/* test_live.c - when a socket is held, what is said on it and what is made of what is heard: the
 * pure part of the client's realtime, with a clock that is an argument. */
#include "core/live.h"

#include "bqsync.h"
#include "core/backoff.h"
#include "json/json.h"
#include "proto/live.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define USER "aaaaaaaa-0000-4000-8000-000000000001"
#define OTHER "bbbbbbbb-0000-4000-8000-000000000002"
#define TOPIC "\"realtime:bqsync_" USER "\""

struct bench {
    struct live live;
    struct live_out out;
    int64_t now_ms;
    bool wanted;
    const char *user;
    const char *token;
    uint64_t token_number;
};

static void step(struct bench *b, struct live_event event)
{
    event.wanted = b->wanted;
    event.user = b->user;
    event.token = b->token;
    event.token_number = b->token_number;
    assert_int_equal(live_step(&b->live, b->now_ms, &event, &b->out), BQ_OK);
}

static void tick(struct bench *b, int64_t pass_ms)
{
    b->now_ms += pass_ms;
    step(b, (struct live_event){.type = LIVE_TICK});
}

/* To the next thing that is due. */
static void tick_next(struct bench *b)
{
    assert_true(live_next_at_ms(&b->live) < INT64_MAX);
    int64_t pass_ms = live_next_at_ms(&b->live) - b->now_ms;
    tick(b, pass_ms > 0 ? pass_ms : 0);
}

static void hear(struct bench *b, const char *text)
{
    step(b, (struct live_event){.type = LIVE_TEXT, .text = slice_of(text)});
}

static void lose(struct bench *b, enum live_loss loss)
{
    step(b, (struct live_event){.type = LIVE_LOST, .loss = loss, .retry_after_ms = -1});
}

static const char *frame(struct bench *b)
{
    return b->out.frame.len == 0 ? "" : b->out.frame.ptr;
}

static int set_up(void **state)
{
    struct bench *b = calloc(1, sizeof *b);
    assert_non_null(b);
    live_init(&b->live, 7);
    live_out_init(&b->out);
    b->now_ms = 1000000;
    b->wanted = true;
    b->user = USER;
    b->token = "head.claims.sign";
    b->token_number = 1;
    *state = b;
    return 0;
}

static int tear_down(void **state)
{
    struct bench *b = *state;
    buf_release(&b->out.frame);
    free(b);
    return 0;
}

#define JOINED                                                                                     \
    "[\"1\",\"1\"," TOPIC ",\"phx_reply\",{\"status\":\"ok\",\"response\":{\"postgres_changes\":[" \
    "{\"id\":7,\"event\":\"*\",\"schema\":\"public\",\"table\":\"user_sync_feed\"}]}}]"
#define SUBSCRIBED                                                                                 \
    "[\"1\",null," TOPIC ",\"system\",{\"message\":\"Subscribed to PostgreSQL\",\"status\":"       \
    "\"ok\",\"extension\":\"postgres_changes\",\"channel\":\"bqsync_" USER "\"}]"
#define MOVED(seq)                                                                                 \
    "[null,null," TOPIC ",\"postgres_changes\",{\"ids\":[7],\"data\":{\"schema\":\"public\","      \
    "\"table\":\"user_sync_feed\",\"type\":\"UPDATE\",\"record\":{\"user_id\":\"" USER             \
    "\",\"seq\":" seq "},\"old_record\":{\"user_id\":\"" USER "\"},\"errors\":null}}]"
#define EXPIRED                                                                                    \
    "[\"1\",null," TOPIC ",\"system\",{\"message\":\"Token has expired 3 seconds ago\","           \
    "\"status\":\"error\",\"extension\":\"system\",\"channel\":\"bqsync_" USER "\"}]"

static void open_socket(struct bench *b)
{
    tick_next(b);
    assert_true(b->out.open);
    step(b, (struct live_event){.type = LIVE_OPENED});
    assert_int_equal(b->live.phase, LIVE_JOINING);
}

/* The socket is being opened. */
static void come_up(struct bench *b)
{
    step(b, (struct live_event){.type = LIVE_OPENED});
    hear(b, JOINED);
    hear(b, SUBSCRIBED);
    assert_true(b->out.up);
    assert_int_equal(b->live.phase, LIVE_UP);
}

/* ---- Frames ---------------------------------------------------------------------------------- */

static void a_join_names_the_feed_of_its_user_and_carries_the_token(void **state)
{
    struct bench *b = *state;
    struct arena arena;
    struct json_value frame_value;
    tick(b, 0);
    step(b, (struct live_event){.type = LIVE_OPENED});
    arena_init(&arena);
    assert_int_equal(json_parse(&arena, buf_slice(&b->out.frame), 32, &frame_value, NULL), BQ_OK);
    arena_release(&arena);
    assert_string_equal(
        frame(b),
        "[\"1\",\"1\"," TOPIC ",\"phx_join\",{\"config\":{\"broadcast\":{\"ack\":false,\"self\":"
        "false},\"presence\":{\"key\":\"\",\"enabled\":false},\"postgres_changes\":[{\"event\":"
        "\"*\",\"schema\":\"public\",\"table\":\"user_sync_feed\",\"filter\":\"user_id=eq." USER
        "\"}],\"private\":false},\"access_token\":\"head.claims.sign\"}]");
}

static struct proto_live_frame read_text(const char *text)
{
    struct arena arena;
    struct proto_live_frame out;
    arena_init(&arena);
    assert_int_equal(proto_live_read(&arena, slice_of(text), USER, 1, &out), BQ_OK);
    arena_release(&arena);
    return out;
}

static void frames_that_are_not_ours_say_nothing(void **state)
{
    static const char *const texts[] = {
        "",
        "{}",
        "[]",
        "nonsense",
        "[1,2,3,4,5]",
        "[null,null,null,null,null]",
        "[null,null," TOPIC ",\"postgres_changes\"]",
        "[null,null," TOPIC ",\"postgres_changes\",null]",
        "[null,null," TOPIC ",\"postgres_changes\",{\"data\":null}]",
        "[null,null," TOPIC ",\"postgres_changes\",{\"data\":{\"table\":\"user_sync_data_v2\"}}]",
        "[null,null," TOPIC ",\"broadcast\",{\"event\":\"system\",\"payload\":{}}]",
        "[null,null,\"realtime:bqsync_" OTHER "\",\"phx_close\",{}]",
        "[null,null,\"realtime:bqsync_\",\"phx_close\",{}]",
        "[\"2\",\"2\"," TOPIC ",\"phx_close\",{}]",
        "[null,null,\"phoenix\",\"phx_close\",{}]",
        "[\"1\",\"9\"," TOPIC ",\"phx_reply\",{\"status\":\"error\",\"response\":{}}]",
        "[\"1\",null," TOPIC ",\"system\",{\"status\":\"ok\",\"extension\":\"system\","
        "\"message\":\"Server requested disconnect\"}]",
        "[null,null," TOPIC ",\"postgres_changes\",{\"data\":{\"table\":\"user_sync_feed\","
        "\"record\":{\"user_id\":\"" OTHER "\",\"seq\":5}}}]",
        "[null,null," TOPIC ",\"postgres_changes\",{\"data\":{\"table\":\"user_sync_feed\"}},0]",
    };
    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        if (read_text(texts[i]).type != PROTO_LIVE_OTHER) {
            fail_msg("taken: %s", texts[i]);
        }
    }
}

static void a_change_tells_its_seq_or_that_it_is_unknown(void **state)
{
    (void)state;
    assert_int_equal(read_text(MOVED("184")).seq, 184);
    assert_int_equal(read_text(MOVED("\"184\"")).seq, 184);
    static const char *const unknown[] = {
        MOVED("null"),
        MOVED("-4"),
        MOVED("1.5"),
        MOVED("99999999999999999999"),
        MOVED("\"x\""),
        "[null,null," TOPIC ",\"postgres_changes\",{\"data\":{\"table\":\"user_sync_feed\","
        "\"type\":\"DELETE\",\"old_record\":{\"user_id\":\"" USER "\"}}}]"};
    for (size_t i = 0; i < sizeof unknown / sizeof unknown[0]; i++) {
        struct proto_live_frame got = read_text(unknown[i]);
        assert_int_equal(got.type, PROTO_LIVE_MOVED);
        assert_int_equal(got.seq, 0);
    }
}

static void a_refusal_says_whether_it_is_the_token(void **state)
{
    static const struct {
        const char *reason;
        bool about_token;
    } reasons[] = {
        {"InvalidJWTToken: Token has expired 123 seconds ago", true},
        {"MalformedJWT: The token provided is not a valid JWT", true},
        {"JwtSignatureError: Failed to validate JWT signature", true},
        {"Unauthorized: You do not have permissions to read from this Channel topic: x", false},
        {"ClientJoinRateLimitReached: Too many joins per second", false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof reasons / sizeof reasons[0]; i++) {
        char text[512];
        snprintf(text, sizeof text,
                 "[\"1\",\"1\"," TOPIC ",\"phx_reply\",{\"status\":\"error\",\"response\":"
                 "{\"reason\":\"%s\"}}]",
                 reasons[i].reason);
        assert_int_equal(read_text(text).type, PROTO_LIVE_REFUSED);
        assert_int_equal(read_text(text).about_token, reasons[i].about_token);
    }
    assert_int_equal(read_text(EXPIRED).type, PROTO_LIVE_FAILED);
    assert_true(read_text(EXPIRED).about_token);
}

/* ---- Coming up ------------------------------------------------------------------------------- */

static void nothing_happens_where_no_socket_is_wanted(void **state)
{
    struct bench *b = *state;
    b->wanted = false;
    tick(b, 0);
    assert_false(b->out.open);
    assert_true(live_next_at_ms(&b->live) == INT64_MAX);
    step(b, (struct live_event){.type = LIVE_KICK});
    hear(b, SUBSCRIBED);
    assert_false(b->out.open || b->out.up || b->out.close);
}

static void it_is_up_only_when_the_server_says_that_changes_are_told(void **state)
{
    struct bench *b = *state;
    tick(b, 0);
    assert_int_equal(b->live.phase, LIVE_CONNECTING);
    step(b, (struct live_event){.type = LIVE_OPENED});
    hear(b, SUBSCRIBED);
    assert_false(b->out.up);
    hear(b, JOINED);
    assert_false(b->out.up);
    hear(b, SUBSCRIBED);
    assert_true(b->out.up);
    /* A server that begins anew may have left something out. */
    hear(b, SUBSCRIBED);
    assert_false(b->out.up);
    assert_true(b->out.pull);
}

static void each_phase_has_a_deadline(void **state)
{
    struct bench *b = *state;
    tick(b, 0);
    tick(b, LIVE_CONNECT_MS - 1);
    assert_false(b->out.close);
    tick(b, 1);
    assert_true(b->out.close);
    open_socket(b);
    tick(b, LIVE_ANSWER_MS);
    assert_true(b->out.close);
    open_socket(b);
    hear(b, JOINED);
    for (int64_t ms = 0; ms < LIVE_SUBSCRIBE_MS; ms += 1000) {
        assert_false(b->out.close);
        if (b->live.beat_ref != 0) {
            hear(b, "[null,\"2\",\"phoenix\",\"phx_reply\",{\"status\":\"ok\",\"response\":{}}]");
        }
        tick(b, 1000);
    }
    assert_true(b->out.close);
    assert_false(b->out.down);
}

static void a_change_that_is_told_wakes(void **state)
{
    struct bench *b = *state;
    tick(b, 0);
    assert_int_equal(b->live.phase, LIVE_CONNECTING);
    step(b, (struct live_event){.type = LIVE_OPENED});
    hear(b, MOVED("5"));
    assert_false(b->out.moved);
    hear(b, JOINED);
    hear(b, SUBSCRIBED);
    hear(b, MOVED("6"));
    assert_true(b->out.moved);
    assert_int_equal(b->out.seq, 6);
}

/* ---- Heartbeats ------------------------------------------------------------------------------ */

static void a_heartbeat_goes_every_25_seconds_and_nothing_else_wakes_it(void **state)
{
    struct bench *b = *state;
    tick(b, 0);
    come_up(b);
    for (unsigned i = 0; i < 100; i++) {
        char text[100];
        assert_int_equal(live_next_at_ms(&b->live), b->now_ms + LIVE_HEARTBEAT_MS);
        tick_next(b);
        snprintf(text, sizeof text, "[null,\"%u\",\"phoenix\",\"heartbeat\",{}]", i + 2);
        assert_string_equal(frame(b), text);
        snprintf(text, sizeof text,
                 "[null,\"%u\",\"phoenix\",\"phx_reply\",{\"status\":\"ok\",\"response\":{}}]",
                 i + 2);
        hear(b, text);
    }
}

static void a_heartbeat_that_is_not_answered_ends_the_connection(void **state)
{
    struct bench *b = *state;
    tick(b, 0);
    come_up(b);
    tick_next(b);
    assert_true(b->out.frame.len > 0);
    /* The answer to another one is none, nor is a change. */
    hear(b, "[null,\"1\",\"phoenix\",\"phx_reply\",{\"status\":\"ok\",\"response\":{}}]");
    hear(b, MOVED("9"));
    tick(b, LIVE_ANSWER_MS - 1);
    assert_false(b->out.close);
    tick(b, 1);
    assert_true(b->out.close && b->out.down);
    assert_non_null(b->out.why);
    tick_next(b);
    assert_true(b->out.open);
}

/* ---- Trying again ---------------------------------------------------------------------------- */

static void pauses_grow_and_are_spread(void **state)
{
    struct bench *b = *state;
    int64_t ceiling = BACKOFF_FIRST_MS;
    tick(b, 0);
    for (unsigned i = 0; i < 12; i++) {
        lose(b, LIVE_UNREACHABLE);
        int64_t pause = live_next_at_ms(&b->live) - b->now_ms;
        assert_in_range(pause, ceiling / 8, ceiling);
        ceiling = i + 2 < LIVE_LONGEST_FAILURES ? ceiling * 2 : BACKOFF_FIRST_MS * 64;
        tick(b, pause);
        assert_true(b->out.open);
    }
}

static void five_thousand_that_lost_the_same_server_do_not_come_back_at_once(void **state)
{
    unsigned by_tenth[10] = {0};
    (void)state;
    for (uint64_t seed = 1; seed <= 5000; seed++) {
        struct bench b = {.now_ms = 5000000, .wanted = true, .user = USER, .token = "t"};
        live_init(&b.live, seed);
        live_out_init(&b.out);
        tick(&b, 0);
        come_up(&b);
        lose(&b, LIVE_DROPPED);
        int64_t pause = live_next_at_ms(&b.live) - b.now_ms;
        assert_in_range(pause, LIVE_SPREAD_MS / 8, LIVE_SPREAD_MS);
        by_tenth[pause * 10 / (LIVE_SPREAD_MS + 1)]++;
        buf_release(&b.out.frame);
    }
    for (unsigned i = 2; i < 10; i++) {
        assert_in_range(by_tenth[i], 400, 800);
    }
}

static void a_reason_to_try_ends_the_pause_but_not_the_floor(void **state)
{
    struct bench *b = *state;
    tick(b, 0);
    for (unsigned i = 0; i < 10; i++) {
        lose(b, LIVE_UNREACHABLE);
        tick_next(b);
    }
    lose(b, LIVE_UNREACHABLE);
    b->now_ms += 5000;
    step(b, (struct live_event){.type = LIVE_KICK});
    assert_true(b->out.open);
    lose(b, LIVE_UNREACHABLE);
    step(b, (struct live_event){.type = LIVE_KICK});
    assert_false(b->out.open);
    assert_true(live_next_at_ms(&b->live) <= b->now_ms + 1000);
    for (unsigned i = 0; i < 8; i++) {
        tick_next(b);
        lose(b, LIVE_UNREACHABLE);
    }
    b->now_ms += 5000;
    step(b, (struct live_event){.type = LIVE_REACHED});
    assert_true(b->out.open);
}

/* An app that is paused and resumed again and again. */
static void a_wish_that_comes_and_goes_does_not_break_the_floor(void **state)
{
    struct bench *b = *state;
    unsigned n_opened = 0;
    for (unsigned i = 0; i < 100; i++) {
        b->wanted = i % 2 == 0;
        tick(b, 50);
        n_opened += b->out.open;
    }
    assert_in_range(n_opened, 4, 5); /* in five seconds */
}

static void what_a_server_asks_for_is_waited_for_whoever_kicks(void **state)
{
    struct bench *b = *state;
    tick(b, 0);
    step(b, (struct live_event){.type = LIVE_LOST, .loss = LIVE_BUSY, .retry_after_ms = 60000});
    step(b, (struct live_event){.type = LIVE_KICK});
    assert_in_range(live_next_at_ms(&b->live) - b->now_ms, 60000, 75000);
    tick(b, 59999);
    assert_false(b->out.open);
    tick(b, 15001);
    assert_true(b->out.open);
}

static void where_sockets_are_blocked_it_tries_rarely(void **state)
{
    struct bench *b = *state;
    tick(b, 0);
    for (unsigned i = 1; i < LIVE_REFUSALS; i++) {
        lose(b, LIVE_REFUSED);
        assert_true(live_next_at_ms(&b->live) - b->now_ms <= 4000);
        tick_next(b);
        assert_true(b->out.open);
    }
    for (unsigned i = 0; i < 5; i++) {
        lose(b, LIVE_REFUSED);
        assert_in_range(live_next_at_ms(&b->live) - b->now_ms, LIVE_BLOCKED_MS / 2,
                        LIVE_BLOCKED_MS);
        /* An exchange that came through changes nothing; another network may. */
        step(b, (struct live_event){.type = LIVE_REACHED});
        assert_false(b->out.open);
        tick_next(b);
        assert_true(b->out.open);
    }
    lose(b, LIVE_REFUSED);
    b->now_ms += 5000;
    step(b, (struct live_event){.type = LIVE_KICK});
    assert_true(b->out.open);
    come_up(b);
    lose(b, LIVE_DROPPED);
    assert_true(live_next_at_ms(&b->live) - b->now_ms <= LIVE_SPREAD_MS);
}

/* A middle box may let the handshake pass and swallow the frames. */
static void silence_behind_the_handshake_counts_as_blocked_too(void **state)
{
    struct bench *b = *state;
    tick(b, 0);
    for (unsigned i = 0; i < LIVE_REFUSALS; i++) {
        assert_int_equal(b->live.phase, LIVE_CONNECTING);
        step(b, (struct live_event){.type = LIVE_OPENED});
        tick(b, LIVE_ANSWER_MS);
        assert_true(b->out.close);
        if (i + 1 < LIVE_REFUSALS) {
            tick_next(b);
        }
    }
    assert_true(live_next_at_ms(&b->live) - b->now_ms >= LIVE_BLOCKED_MS / 2);
}

static void a_connection_that_held_long_begins_with_the_first_pause(void **state)
{
    struct bench *b = *state;
    tick(b, 0);
    for (unsigned i = 0; i < 9; i++) {
        lose(b, LIVE_UNREACHABLE);
        tick_next(b);
    }
    come_up(b);
    tick_next(b);
    hear(b, "[null,\"2\",\"phoenix\",\"phx_reply\",{\"status\":\"ok\",\"response\":{}}]");
    b->now_ms += LIVE_STABLE_MS;
    lose(b, LIVE_DROPPED);
    assert_true(live_next_at_ms(&b->live) - b->now_ms <= LIVE_SPREAD_MS);
}

/* ---- Tokens and users ------------------------------------------------------------------------ */

static void a_new_token_is_told_once(void **state)
{
    struct bench *b = *state;
    tick(b, 0);
    step(b, (struct live_event){.type = LIVE_OPENED});
    b->token = "other.claims.sign";
    b->token_number++;
    tick(b, 0);
    assert_string_equal(frame(b), "");
    hear(b, JOINED);
    assert_string_equal(frame(b), "[\"1\",\"2\"," TOPIC
                                  ",\"access_token\",{\"access_token\":\"other.claims.sign\"}]");
    hear(b, SUBSCRIBED);
    tick(b, 0);
    assert_string_equal(frame(b), "");
    b->token_number++;
    tick(b, 0);
    assert_true(b->out.frame.len > 0);
    tick(b, 0);
    assert_string_equal(frame(b), "");
}

static void a_refused_token_has_an_exchange_find_out(void **state)
{
    struct bench *b = *state;
    tick(b, 0);
    come_up(b);
    hear(b, EXPIRED);
    assert_true(b->out.close && b->out.down && b->out.pull);
    hear(b, "[\"1\",\"1\"," TOPIC ",\"phx_close\",{}]");
    assert_false(b->out.close || b->out.pull);
    /* Refused here alone, it is not tried all the time. */
    assert_true(live_next_at_ms(&b->live) - b->now_ms >= LIVE_TOKEN_MS / 2);
    b->now_ms += 5000;
    b->token_number++;
    step(b, (struct live_event){.type = LIVE_KICK});
    assert_true(b->out.open);
}

static void another_user_gets_a_connection_of_their_own(void **state)
{
    struct bench *b = *state;
    tick(b, 0);
    come_up(b);
    b->user = OTHER;
    tick(b, 0);
    assert_true(b->out.close && b->out.down && !b->out.open);
    assert_null(b->out.why);
    hear(b, MOVED("77"));
    assert_false(b->out.moved);
    assert_true(b->out.open);
    step(b, (struct live_event){.type = LIVE_OPENED});
    assert_non_null(strstr(frame(b), "realtime:bqsync_" OTHER));
    assert_null(strstr(frame(b), USER));
}

static void what_is_not_wanted_any_more_is_closed_and_comes_back_at_once(void **state)
{
    struct bench *b = *state;
    tick(b, 0);
    come_up(b);
    b->wanted = false;
    tick(b, 0);
    assert_true(b->out.close && b->out.down);
    assert_true(live_next_at_ms(&b->live) == INT64_MAX);
    b->wanted = true;
    tick(b, 3600000);
    assert_true(b->out.open);
}

static void a_clock_that_is_set_back_delays_nothing(void **state)
{
    struct bench *b = *state;
    tick(b, 0);
    lose(b, LIVE_UNREACHABLE);
    int64_t pause = live_next_at_ms(&b->live) - b->now_ms;
    b->now_ms -= 100000000;
    step(b, (struct live_event){.type = LIVE_TICK});
    assert_int_equal(live_next_at_ms(&b->live) - b->now_ms, pause);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_join_names_the_feed_of_its_user_and_carries_the_token),
        cmocka_unit_test(frames_that_are_not_ours_say_nothing),
        cmocka_unit_test(a_change_tells_its_seq_or_that_it_is_unknown),
        cmocka_unit_test(a_refusal_says_whether_it_is_the_token),
        TEST(nothing_happens_where_no_socket_is_wanted),
        TEST(it_is_up_only_when_the_server_says_that_changes_are_told),
        TEST(each_phase_has_a_deadline),
        TEST(a_change_that_is_told_wakes),
        TEST(a_heartbeat_goes_every_25_seconds_and_nothing_else_wakes_it),
        TEST(a_heartbeat_that_is_not_answered_ends_the_connection),
        TEST(pauses_grow_and_are_spread),
        cmocka_unit_test(five_thousand_that_lost_the_same_server_do_not_come_back_at_once),
        TEST(a_reason_to_try_ends_the_pause_but_not_the_floor),
        TEST(a_wish_that_comes_and_goes_does_not_break_the_floor),
        TEST(what_a_server_asks_for_is_waited_for_whoever_kicks),
        TEST(where_sockets_are_blocked_it_tries_rarely),
        TEST(silence_behind_the_handshake_counts_as_blocked_too),
        TEST(a_connection_that_held_long_begins_with_the_first_pause),
        TEST(a_new_token_is_told_once),
        TEST(a_refused_token_has_an_exchange_find_out),
        TEST(another_user_gets_a_connection_of_their_own),
        TEST(what_is_not_wanted_any_more_is_closed_and_comes_back_at_once),
        TEST(a_clock_that_is_set_back_delays_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
