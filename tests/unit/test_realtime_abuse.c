/* test_realtime_abuse.c - what a peer can do to the realtime server with bytes: breaches of
 * RFC 6455, floods, slow reading, too many of everything (docs/security.md, W4, W5). */
#include "http_client.h"
#include "rt_app.h"
#include "serve.h"
#include "token.h"

#include "base/status.h"

#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <cmocka.h>

struct fixture {
    struct serve serve;
    char *token;
    struct ws_client ws;
};

static int prepare(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    serve_init(&f->serve);
    f->serve.config.join_refusal_ms = 0;
    f->serve.config.socket_refusal_ms = 0;
    f->token = token_user(RT_USER_A);
    f->ws.fd = -1;
    *state = f;
    return 0;
}

static int setup(void **state)
{
    prepare(state);
    struct fixture *f = *state;
    return serve_start(&f->serve) == BQ_OK && ws_open(&f->ws, f->serve.port, RT_TARGET_V2, NULL)
               ? 0
               : -1;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    ws_release(&f->ws);
    serve_release(&f->serve);
    free(f->token);
    free(f);
    return 0;
}

/* ---- RFC 6455 -------------------------------------------------------------------------------- */

struct breach {
    const char *what;
    const char *bytes;
    size_t len;
    unsigned code;
};

#define BYTES(text) text, sizeof(text) - 1

static const struct breach breaches[] = {
    {"an unmasked frame", BYTES("\x81\x02{}"), 1002},
    {"an unmasked, empty one", BYTES("\x81\x00"), 1002},
    {"a reserved bit (compression)", BYTES("\xc1\x80\0\0\0\0"), 1002},
    {"the second reserved bit", BYTES("\xa1\x80\0\0\0\0"), 1002},
    {"the third", BYTES("\x91\x80\0\0\0\0"), 1002},
    {"an unknown data opcode", BYTES("\x83\x80\0\0\0\0"), 1002},
    {"an unknown control opcode", BYTES("\x8b\x80\0\0\0\0"), 1002},
    {"a length of 2^63", BYTES("\x81\xff\x80\0\0\0\0\0\0\0\0\0\0\0x"), 1002},
    {"a length of 2^63 - 1", BYTES("\x81\xff\x7f\xff\xff\xff\xff\xff\xff\xff\0\0\0\0x"), 1009},
    {"a length of 16 bits in 64", BYTES("\x81\xff\0\0\0\0\0\0\x80\x01\0\0\0\0x"), 1002},
    {"a length over the limit", BYTES("\x81\xff\0\0\0\0\0\x01\0\0\0\0\0\0x"), 1009},
    {"a length that is not in its shortest form", BYTES("\x81\xfe\0\x01\0\0\0\0x"), 1002},
    {"a fragmented ping", BYTES("\x09\x80\0\0\0\0"), 1002},
    {"a ping of 126 bytes", BYTES("\x89\xfe\0\x7e\0\0\0\0x"), 1002},
    {"a continuation of nothing", BYTES("\x80\x80\0\0\0\0"), 1002},
    {"a new message inside of one", BYTES("\x01\x81\0\0\0\0x\x81\x81\0\0\0\0x"), 1002},
    {"bad UTF-8", BYTES("\x81\x82\0\0\0\0\xc3\x28"), 1007},
    {"a lone surrogate", BYTES("\x81\x83\0\0\0\0\xed\xa0\x80"), 1007},
    {"text that ends inside a character", BYTES("\x81\x81\0\0\0\0\xc3"), 1007},
    {"a close frame of one byte", BYTES("\x88\x81\0\0\0\0\x03"), 1002},
    {"a close code that may not be sent", BYTES("\x88\x82\0\0\0\0\x03\xed"), 1002},
    {"a close code below 1000", BYTES("\x88\x82\0\0\0\0\0\x01"), 1002},
    {"a close reason that is no UTF-8", BYTES("\x88\x83\0\0\0\0\x03\xe8\xff"), 1007},
};

static void a_breach_of_the_protocol_is_closed_with_its_code(void **state)
{
    struct fixture *f = *state;
    for (size_t i = 0; i < sizeof breaches / sizeof breaches[0]; i++) {
        ws_release(&f->ws);
        assert_true(ws_open(&f->ws, f->serve.port, RT_TARGET_V2, NULL));
        ws_write(&f->ws, breaches[i].bytes, breaches[i].len);
        unsigned code = ws_ends(&f->ws);
        if (code != breaches[i].code) {
            print_error("%s: %u, not %u\n", breaches[i].what, code, breaches[i].code);
        }
        assert_int_equal(code, breaches[i].code);
    }
    assert_int_equal(server_realtime(f->serve.server).n_abused,
                     sizeof breaches / sizeof breaches[0]);
}

static void what_the_standard_allows_is_taken(void **state)
{
    struct fixture *f = *state;
    static const char beat[] = "[null,\"\xc3\xa9\",\"phoenix\",\"heartbeat\",{}]";
    /* Fragments, one of them empty, cut inside a character, with a ping between. */
    ws_send(&f->ws, 0x01, beat, 8);
    ws_send(&f->ws, 0x89, "hello", 5);
    ws_send(&f->ws, 0x00, "", 0);
    ws_send(&f->ws, 0x80, beat + 8, sizeof beat - 9);
    assert_true(ws_next(&f->ws));
    assert_int_equal(f->ws.first, 0x8a);
    assert_string_equal(f->ws.text, "hello");
    assert_true(ws_hear(&f->ws, "\xc3\xa9"));
    /* A pong that nobody asked for. */
    ws_send(&f->ws, 0x8a, "x", 1);
    assert_int_equal(rt_app_heard(&f->ws, ""), 0);
}

static void a_frame_that_comes_byte_by_byte_is_read(void **state)
{
    struct fixture *f = *state;
    static const char text[] = "[null,\"1\",\"phoenix\",\"heartbeat\",{}]";
    char frame[128] = {(char)0x81, (char)(0x80 | (sizeof text - 1)), 0, 0, 0, 0};
    memcpy(frame + 6, text, sizeof text - 1);
    for (size_t i = 0; i < 6 + sizeof text - 1; i++) {
        assert_true(ws_write(&f->ws, frame + i, 1));
        /* Another socket's turn: this one's reader stays its own. */
        if (i % 10 == 0) {
            struct ws_client other;
            assert_true(ws_open(&other, f->serve.port, RT_TARGET_V2, NULL));
            assert_int_equal(rt_app_heard(&other, ""), 0);
            ws_release(&other);
        }
    }
    assert_true(ws_hear(&f->ws, "phx_reply"));
}

static void a_close_is_answered_with_its_code(void **state)
{
    struct fixture *f = *state;
    ws_send(&f->ws, 0x88, "\x0b\xb9 bye", 6); /* 3001 */
    assert_int_equal(ws_ends(&f->ws), 3001);
    ws_release(&f->ws);
    assert_true(ws_open(&f->ws, f->serve.port, RT_TARGET_V2, NULL));
    ws_send(&f->ws, 0x88, "", 0);
    assert_int_equal(ws_ends(&f->ws), 1005);
}

static void bytes_behind_the_handshake_are_the_first_frame(void **state)
{
    struct fixture *f = *state;
    ws_release(&f->ws);
    assert_true(ws_open_raw(
        &f->ws, f->serve.port,
        "GET /realtime/v1/websocket HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n"
        "Upgrade: websocket\r\nSec-WebSocket-Key: " WS_KEY "\r\nSec-WebSocket-Version: 13\r\n\r\n"
        "\x89\x85\x01\x01\x01\x01idmmn"));
    assert_true(ws_next(&f->ws));
    assert_int_equal(f->ws.first, 0x8a);
    assert_string_equal(f->ws.text, "hello");
}

/* ---- Floods ---------------------------------------------------------------------------------- */

static void a_flood_of_pings_is_closed(void **state)
{
    struct fixture *f = *state;
    for (unsigned i = 0; i < 1500; i++) {
        if (!ws_send(&f->ws, 0x89, "", 0)) {
            break;
        }
    }
    assert_int_equal(ws_ends(&f->ws), 1008);
}

static void a_flood_of_fragments_is_closed(void **state)
{
    struct fixture *f = *state;
    ws_send(&f->ws, 0x01, "[", 1);
    for (unsigned i = 0; i < 1500; i++) {
        if (!ws_send(&f->ws, 0x00, " ", 1)) {
            break;
        }
    }
    assert_int_equal(ws_ends(&f->ws), 1008);
}

static void a_message_is_bounded_also_over_its_fragments(void **state)
{
    struct fixture *f = *state;
    static char half[20000];
    memset(half, ' ', sizeof half);
    ws_send(&f->ws, 0x01, half, sizeof half);
    ws_send(&f->ws, 0x00, half, sizeof half); /* 32 KiB before the first token */
    assert_int_equal(ws_ends(&f->ws), 1009);
}

static void with_a_token_messages_may_be_longer(void **state)
{
    struct fixture *f = *state;
    static char long_text[300000];
    memset(long_text, ' ', sizeof long_text);
    rt_app_join(&f->ws, "x", "", f->token);
    assert_true(ws_hear(&f->ws, "phx_reply"));
    ws_send(&f->ws, 0x81, long_text, 200000);
    assert_int_equal(rt_app_heard(&f->ws, ""), 0);
    ws_send(&f->ws, 0x81, long_text, sizeof long_text);
    assert_int_equal(ws_ends(&f->ws), 1009);
}

/* ---- Slow readers ---------------------------------------------------------------------------- */

static void who_does_not_read_is_dropped_and_the_others_hear_all(void **state)
{
    struct fixture *f = *state;
    struct ws_client slow;
    struct http_answer answer;
    char *body = malloc(120000);
    int n = snprintf(body, 300,
                     "{\"p_user_id\":\"" RT_USER_A "\",\"p_data_key\":\"k\","
                     "\"p_expected_version\":null,\"p_data\":{\"x\":\"");
    unsigned n_writes = 0;
    assert_true(rt_app_open(&slow, f->serve.port, RT_USER_A, f->token));
    ws_release(&f->ws);
    assert_true(rt_app_open(&f->ws, f->serve.port, RT_USER_A, f->token));
    for (; server_realtime(f->serve.server).n_slow == 0 && n_writes < 2000; n_writes++) {
        memset(body + n, 'a' + (int)(n_writes % 26), 100000);
        memcpy(body + n + 100000, "\"}}", sizeof "\"}}");
        http_rpc(f->serve.port, "atomic_sync_upsert", f->token, body, &answer);
        assert_int_equal(answer.status, 200);
        http_release(&answer);
        assert_true(ws_hear(&f->ws, "postgres_changes"));
    }
    free(body);
    assert_true(n_writes < 2000);
    assert_int_equal(server_realtime(f->serve.server).n_slow, 1);
    assert_int_equal(ws_ends(&slow), 1006);
    assert_int_equal(rt_app_heard(&f->ws, ""), 0);
    ws_release(&slow);
}

/* ---- Time and number ------------------------------------------------------------------------- */

static int setup_idle(void **state)
{
    prepare(state);
    struct fixture *f = *state;
    f->serve.config.socket_idle_ms = 400;
    return serve_start(&f->serve) == BQ_OK ? 0 : -1;
}

static void who_sends_nothing_is_disconnected_and_a_ping_is_something(void **state)
{
    struct fixture *f = *state;
    struct ws_client lively;
    assert_true(rt_app_open(&f->ws, f->serve.port, RT_USER_A, f->token));
    assert_true(rt_app_open(&lively, f->serve.port, RT_USER_A, f->token));
    unsigned code = 0;
    for (unsigned i = 0; i < 8 && code == 0; i++) {
        const struct timespec pause = {0, 100000000}; /* the rule is about time itself */
        nanosleep(&pause, NULL);
        assert_true(ws_send(&lively, 0x89, "", 0));
    }
    assert_int_equal(ws_ends(&f->ws), 1001);
    assert_int_equal(rt_app_heard(&lively, "\x03"), 0);
    ws_release(&lively);
}

static int setup_few(void **state)
{
    prepare(state);
    struct fixture *f = *state;
    f->serve.config.sockets = 2;
    return serve_start(&f->serve) == BQ_OK ? 0 : -1;
}

static void sockets_are_counted_and_their_places_given_again(void **state)
{
    struct fixture *f = *state;
    struct ws_client first;
    struct ws_client second;
    assert_true(ws_open(&first, f->serve.port, RT_TARGET_V2, NULL));
    assert_true(ws_open(&second, f->serve.port, RT_TARGET_V2, NULL));
    assert_int_equal(rt_app_heard(&first, ""), 0);
    assert_int_equal(rt_app_heard(&second, ""), 0);
    assert_false(ws_open(&f->ws, f->serve.port, RT_TARGET_V2, NULL));
    assert_int_equal(f->ws.status, 429);
    assert_string_equal(f->ws.body, "{\"error\":\"Too many connected users\"}");
    ws_release(&f->ws);
    ws_send(&first, 0x88, "\x03\xe8", 2);
    assert_int_equal(ws_ends(&first), 1000);
    ws_release(&first);
    while (server_realtime(f->serve.server).n_sockets > 1) {
        assert_int_equal(rt_app_heard(&second, ""), 0);
    }
    assert_true(ws_open(&f->ws, f->serve.port, RT_TARGET_V2, NULL));
    ws_release(&second);
}

static int setup_address(void **state)
{
    prepare(state);
    struct fixture *f = *state;
    f->serve.config.address_sockets = 1;
    return serve_start(&f->serve) == BQ_OK ? 0 : -1;
}

static void sockets_of_one_address_are_counted(void **state)
{
    struct fixture *f = *state;
    struct ws_client second;
    assert_true(ws_open(&f->ws, f->serve.port, RT_TARGET_V2, NULL));
    assert_int_equal(rt_app_heard(&f->ws, ""), 0);
    ws_open(&second, f->serve.port, RT_TARGET_V2, NULL);
    assert_int_equal(ws_ends(&second), 1006);
    assert_int_equal(rt_app_heard(&f->ws, ""), 0);
    ws_release(&second);
}

static void channels_of_a_socket_are_bounded(void **state)
{
    struct fixture *f = *state;
    for (unsigned i = 0; i < 101; i++) {
        char topic[16];
        snprintf(topic, sizeof topic, "t%u", i);
        rt_app_join(&f->ws, topic, "", f->token);
        assert_true(ws_hear(&f->ws, i < 100 ? "\"status\":\"ok\""
                                            : "ChannelRateLimitReached: Too many channels"));
    }
    assert_int_equal(server_realtime(f->serve.server).n_channels, 100);
}

static void what_a_socket_keeps_is_bounded(void **state)
{
    struct fixture *f = *state;
    char filter[4000];
    char binding[4200];
    memset(filter, 'x', sizeof filter - 1);
    filter[sizeof filter - 1] = '\0';
    snprintf(binding, sizeof binding,
             "{\"event\":\"*\",\"schema\":\"public\",\"table\":\"user_sync_data_v2\","
             "\"filter\":\"data_key=eq.%s\"}",
             filter);
    unsigned i = 0;
    do {
        char topic[16];
        snprintf(topic, sizeof topic, "t%u", i++);
        rt_app_join(&f->ws, topic, binding, f->token);
        assert_true(ws_hear(&f->ws, "phx_reply"));
    } while (i < 100 && strstr(f->ws.text, "Too many channels") == NULL);
    assert_in_range(i, 10, 20); /* 64 KiB */
}

/* Patterns are the dear ones: a channel has few, and a change is not held against more than so many
 * of its user's, whose sockets are ended then. Others hear nothing of it. */
static void filters_of_one_user_do_not_keep_the_others_waiting(void **state)
{
    static const char one[] = "{\"event\":\"*\",\"schema\":\"public\",\"table\":"
                              "\"user_sync_data_v2\",\"filter\":\"data_key=match.x,data_key="
                              "match.y,data_key=match.z\"}";
    struct fixture *f = *state;
    struct ws_client other;
    char bindings[2 * sizeof one];
    char *token_b = token_user(RT_USER_B);
    snprintf(bindings, sizeof bindings, "%s,%s", one, one);
    rt_app_join(&f->ws, "many", bindings, f->token);
    assert_true(ws_hear(&f->ws, "have too many patterns"));
    for (unsigned i = 0; i < 30; i++) {
        char topic[16];
        snprintf(topic, sizeof topic, "t%u", i);
        rt_app_join(&f->ws, topic, one, f->token);
        assert_true(ws_hear(&f->ws, "Subscribed to PostgreSQL"));
    }
    assert_true(rt_app_open(&other, f->serve.port, RT_USER_B, token_b));
    assert_true(rt_app_write(f->serve.port, RT_USER_A, f->token, "xyz", "{}"));
    assert_int_equal(ws_ends(&f->ws), 1006);
    assert_int_equal(server_realtime(f->serve.server).n_abused, 1);
    assert_int_equal(rt_app_heard(&other, "postgres_changes"), 0);
    ws_release(&other);
    free(token_b);
}

/* The last ones have only just been opened: the HTTP library, which shuts what it holds, may not
 * yet have let go of them. */
static void at_its_end_the_server_tells_clients_to_come_again(void **state)
{
    struct fixture *f = *state;
    struct ws_client sockets[20];
    rt_app_join(&f->ws, "x", "", f->token);
    assert_true(ws_hear(&f->ws, "phx_reply"));
    for (size_t i = 0; i < 20; i++) {
        assert_true(ws_open(&sockets[i], f->serve.port, RT_TARGET_V2, NULL));
    }
    assert_true(serve_stop(&f->serve));
    assert_int_equal(ws_ends(&f->ws), 1012);
    for (size_t i = 0; i < 20; i++) {
        assert_int_equal(ws_ends(&sockets[i]), 1012);
        ws_release(&sockets[i]);
    }
}

/* Opens sockets until the server takes none, or this many. */
struct comer {
    pthread_t thread;
    unsigned port;
    unsigned n;
    _Atomic unsigned *n_opened;
    struct ws_client sockets[100];
};

static void *come(void *cls)
{
    struct comer *comer = cls;
    bool opened = true;
    while (opened && comer->n < 100) {
        opened = ws_open(&comer->sockets[comer->n], comer->port, RT_TARGET_V2, NULL);
        comer->n++;
        atomic_fetch_add(comer->n_opened, 1);
    }
    return NULL;
}

/* A connection without a request has its reading side shut down then, what has arrived being
 * answered still: with a socket that ends at once, were it opened. */
static void who_opens_a_socket_while_the_server_stops_is_told_so(void **state)
{
    (void)state;
    for (unsigned run = 0; run < 20; run++) {
        static struct comer comers[4];
        _Atomic unsigned n_opened = 0;
        struct serve serve;
        serve_init(&serve);
        assert_int_equal(serve_start(&serve), BQ_OK);
        for (size_t i = 0; i < 4; i++) {
            comers[i] = (struct comer){.port = serve.port, .n_opened = &n_opened};
            assert_int_equal(pthread_create(&comers[i].thread, NULL, come, &comers[i]), 0);
        }
        while (atomic_load(&n_opened) < 8) {
            sched_yield();
        }
        assert_true(serve_stop(&serve));
        for (size_t i = 0; i < 4; i++) {
            assert_int_equal(pthread_join(comers[i].thread, NULL), 0);
        }
        for (size_t i = 0; i < 4; i++) {
            for (unsigned k = 0; k < comers[i].n; k++) {
                struct ws_client *ws = &comers[i].sockets[k];
                if (ws->status == 101) {
                    assert_int_equal(ws_ends(ws), 1012);
                } else {
                    assert_true(ws->status == 503 || ws->status == 0);
                }
                ws_release(ws);
            }
        }
        serve_release(&serve);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_breach_of_the_protocol_is_closed_with_its_code),
        TEST(what_the_standard_allows_is_taken),
        TEST(a_frame_that_comes_byte_by_byte_is_read),
        TEST(a_close_is_answered_with_its_code),
        TEST(bytes_behind_the_handshake_are_the_first_frame),
        TEST(a_flood_of_pings_is_closed),
        TEST(a_flood_of_fragments_is_closed),
        TEST(a_message_is_bounded_also_over_its_fragments),
        TEST(with_a_token_messages_may_be_longer),
        TEST(who_does_not_read_is_dropped_and_the_others_hear_all),
        TEST(channels_of_a_socket_are_bounded),
        TEST(what_a_socket_keeps_is_bounded),
        TEST(filters_of_one_user_do_not_keep_the_others_waiting),
        TEST(at_its_end_the_server_tells_clients_to_come_again),
        cmocka_unit_test(who_opens_a_socket_while_the_server_stops_is_told_so),
        cmocka_unit_test_setup_teardown(who_sends_nothing_is_disconnected_and_a_ping_is_something,
                                        setup_idle, teardown),
        cmocka_unit_test_setup_teardown(sockets_are_counted_and_their_places_given_again, setup_few,
                                        teardown),
        cmocka_unit_test_setup_teardown(sockets_of_one_address_are_counted, setup_address,
                                        teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
