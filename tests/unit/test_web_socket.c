/* test_web_socket.c - the transport's realtime socket against a far end that the test moves by
 * hand: handshakes, frames and ends, right and wrong. */
#include "client/transport.h"

#include "bqsync.h"
#include "proto/live.h"
#include "tls_server.h"
#include "ws_stub.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#define TOKEN "head.claims.sign"

/* Rounds of at most ROUND_MS; only a failing test uses them up. */
#define ROUNDS 4000
#define ROUND_MS 5

struct fixture {
    struct ws_stub *stub;
    struct transport *transport;
    struct transport_config config;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    f->stub = ws_stub_new();
    f->config = (struct transport_config){.url = ws_stub_url(f->stub), .timeout_ms = 20000};
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    if (f->transport != NULL) {
        f->transport->free(f->transport);
    }
    ws_stub_free(f->stub);
    free(f);
    return 0;
}

static void begin(struct fixture *f)
{
    if (f->transport == NULL) {
        assert_int_equal(transport_curl_new(&f->config, &f->transport), BQ_OK);
    }
    assert_int_equal(f->transport->live_open(f->transport, TOKEN), BQ_OK);
}

/* The next news. */
static struct transport_answer hear(struct fixture *f)
{
    struct transport_answer news;
    for (unsigned i = 0; i < ROUNDS; i++) {
        ws_stub_pump(f->stub);
        if (f->transport->wait(f->transport, ROUND_MS, &news)) {
            return news;
        }
    }
    fail_msg("nothing was heard");
    return news;
}

static void expect_silence(struct fixture *f)
{
    struct transport_answer news;
    for (unsigned i = 0; i < 10; i++) {
        ws_stub_pump(f->stub);
        assert_false(f->transport->wait(f->transport, ROUND_MS, &news));
    }
}

static void open_socket(struct fixture *f)
{
    begin(f);
    assert_int_equal(hear(f).news, TRANSPORT_LIVE_OPEN);
}

static void expect_text(struct fixture *f, const char *text)
{
    struct transport_answer news = hear(f);
    assert_int_equal(news.news, TRANSPORT_LIVE_TEXT);
    assert_true(slice_is(news.body, text));
}

static void expect_lost(struct fixture *f, enum live_loss loss)
{
    struct transport_answer news = hear(f);
    assert_int_equal(news.news, TRANSPORT_LIVE_LOST);
    assert_int_equal(news.loss, loss);
    assert_non_null(news.error);
    assert_null(strstr(news.error, TOKEN));
    expect_silence(f);
}

/* What the client sends next. */
static uint8_t take_frame(struct fixture *f, struct buf *out)
{
    struct transport_answer news;
    uint8_t opcode;
    for (unsigned i = 0; i < ROUNDS; i++) {
        ws_stub_pump(f->stub);
        if (ws_stub_take(f->stub, &opcode, out)) {
            return opcode;
        }
        (void)f->transport->wait(f->transport, ROUND_MS, &news);
    }
    fail_msg("nothing was sent");
    return 0;
}

static void send_frame(struct fixture *f, uint8_t first, struct slice payload)
{
    struct buf bytes = BUF_INIT;
    ws_stub_frame(&bytes, first, payload, false);
    ws_stub_send(f->stub, buf_slice(&bytes));
    buf_release(&bytes);
}

/* ---- Opening --------------------------------------------------------------------------------- */

static void it_opens_and_texts_go_both_ways(void **state)
{
    struct fixture *f = *state;
    struct buf text = BUF_INIT;
    f->config.api_key = "sb_publishable_x";
    open_socket(f);
    assert_non_null(
        strstr(ws_stub_request(f->stub),
               "GET /realtime/v1/websocket?vsn=2.0.0&apikey=sb_publishable_x HTTP/1.1"));
    assert_null(strstr(ws_stub_request(f->stub), TOKEN));
    assert_int_equal(f->transport->live_send(f->transport, SLICE("[1]")), BQ_OK);
    assert_int_equal(f->transport->live_send(f->transport, SLICE("[2]")), BQ_OK);
    assert_int_equal(take_frame(f, &text), 1);
    assert_string_equal(text.ptr, "[1]");
    assert_int_equal(take_frame(f, &text), 1);
    assert_string_equal(text.ptr, "[2]");
    ws_stub_send_text(f->stub, "[3]");
    ws_stub_send_text(f->stub, "[\"\xc3\xa4\"]");
    expect_text(f, "[3]");
    expect_text(f, "[\"\xc3\xa4\"]");
    expect_silence(f);
    buf_release(&text);
}

static void what_comes_in_one_piece_with_the_handshake_is_not_lost(void **state)
{
    struct fixture *f = *state;
    struct buf bytes = BUF_INIT;
    ws_stub_frame(&bytes, 0x81, SLICE("[1]"), false);
    ws_stub_frame(&bytes, 0x81, SLICE("[2]"), false);
    ws_stub_behind_handshake(f->stub, buf_slice(&bytes));
    open_socket(f);
    expect_text(f, "[1]");
    expect_text(f, "[2]");
    buf_release(&bytes);
}

static void a_proxy_makes_a_tunnel(void **state)
{
    struct fixture *f = *state;
    ws_stub_be_proxy(f->stub);
    f->config.proxy = ws_stub_url(f->stub);
    f->config.url = "http://sync.invalid/base";
    open_socket(f);
    assert_non_null(strstr(ws_stub_connect(f->stub), "CONNECT sync.invalid:80 HTTP/1.1\r\n"));
    assert_null(strstr(ws_stub_connect(f->stub), TOKEN));
    assert_non_null(strstr(ws_stub_request(f->stub), "GET /base/realtime/v1/websocket?"));
    assert_non_null(strstr(ws_stub_request(f->stub), "\r\nHost: sync.invalid\r\n"));
}

static void each_handshake_has_another_key(void **state)
{
    struct fixture *f = *state;
    char first[64];
    open_socket(f);
    const char *key = strstr(ws_stub_request(f->stub), "Sec-WebSocket-Key: ");
    assert_non_null(key);
    snprintf(first, sizeof first, "%.43s", key);
    open_socket(f);
    assert_null(strstr(ws_stub_request(f->stub), first));
    assert_int_equal(ws_stub_n_connections(f->stub), 2);
}

static void refusals_are_told_apart(void **state)
{
    static const struct {
        const char *answer;
        enum live_loss loss;
    } cases[] = {
        {"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", LIVE_REFUSED},
        {"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n", LIVE_REFUSED},
        {"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", LIVE_REFUSED},
        {"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\n\r\n", LIVE_REFUSED},
        {"HTTP/1.1 101 Ok\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
         "Sec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n\r\n",
         LIVE_REFUSED},
        {"SSH-2.0-OpenSSH\r\n\r\n", LIVE_REFUSED},
        {"", LIVE_REFUSED},
        {"HTTP/1.1 429 Slowly\r\n\r\n", LIVE_BUSY},
        {"HTTP/1.1 500 Oh\r\n\r\n", LIVE_BUSY},
    };
    struct fixture *f = *state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        ws_stub_answer(f->stub, cases[i].answer);
        begin(f);
        expect_lost(f, cases[i].loss);
    }
    ws_stub_answer(f->stub, NULL);
    open_socket(f);
}

static void a_busy_server_says_when_to_come_again(void **state)
{
    struct fixture *f = *state;
    ws_stub_answer(f->stub, "HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n");
    begin(f);
    struct transport_answer news = hear(f);
    assert_int_equal(news.loss, LIVE_BUSY);
    assert_int_equal(news.retry_after_ms, 7000);
}

static void a_head_that_never_ends_is_cut(void **state)
{
    struct fixture *f = *state;
    char *head = malloc(40001);
    assert_non_null(head);
    memset(head, 'x', 40000);
    head[40000] = '\0';
    memcpy(head, "HTTP/1.1 101 ", 13);
    ws_stub_answer(f->stub, head);
    begin(f);
    expect_lost(f, LIVE_REFUSED);
    free(head);
}

static void nobody_at_home_is_unreachable(void **state)
{
    struct fixture *f = *state;
    char url[80];
    snprintf(url, sizeof url, "%s", ws_stub_url(f->stub));
    ws_stub_free(f->stub);
    f->config.url = url;
    assert_int_equal(transport_curl_new(&f->config, &f->transport), BQ_OK);
    assert_int_equal(f->transport->live_open(f->transport, TOKEN), BQ_OK);
    struct transport_answer news;
    bool heard = false;
    for (unsigned i = 0; i < ROUNDS && !heard; i++) {
        heard = f->transport->wait(f->transport, ROUND_MS, &news);
    }
    f->stub = ws_stub_new();
    assert_true(heard);
    assert_int_equal(news.news, TRANSPORT_LIVE_LOST);
    assert_int_equal(news.loss, LIVE_UNREACHABLE);
}

static void closing_tells_nothing_and_opening_again_works(void **state)
{
    struct fixture *f = *state;
    begin(f);
    f->transport->live_close(f->transport);
    expect_silence(f);
    open_socket(f);
    ws_stub_send_text(f->stub, "[1]");
    ws_stub_pump(f->stub);
    f->transport->live_close(f->transport);
    f->transport->live_close(f->transport);
    expect_silence(f);
    assert_false(ws_stub_is_open(f->stub));
    open_socket(f);
    expect_silence(f);
}

static void closing_says_goodbye(void **state)
{
    struct fixture *f = *state;
    struct buf text = BUF_INIT;
    open_socket(f);
    f->transport->live_close(f->transport);
    assert_int_equal(take_frame(f, &text), 8);
    assert_int_equal((uint8_t)text.ptr[0] << 8 | (uint8_t)text.ptr[1], 1000);
    buf_release(&text);
}

/* ---- Frames ---------------------------------------------------------------------------------- */

static void fragments_are_put_together_and_pings_between_them_answered(void **state)
{
    struct fixture *f = *state;
    struct buf text = BUF_INIT;
    open_socket(f);
    send_frame(f, 0x01, SLICE("[1,"));
    send_frame(f, 0x89, SLICE("are you there"));
    send_frame(f, 0x00, SLICE("2,"));
    send_frame(f, 0x80, SLICE("3]"));
    expect_text(f, "[1,2,3]");
    assert_int_equal(take_frame(f, &text), 10);
    assert_string_equal(text.ptr, "are you there");
    buf_release(&text);
}

static void binary_frames_are_thrown_away(void **state)
{
    struct fixture *f = *state;
    open_socket(f);
    send_frame(f, 0x82, SLICE("\x04\x01\x01"));
    ws_stub_send_text(f->stub, "[1]");
    expect_text(f, "[1]");
}

static void a_frame_of_the_largest_size_is_taken_and_a_larger_one_is_not(void **state)
{
    struct fixture *f = *state;
    char *text = malloc(PROTO_LIVE_FRAME_BYTES + 2);
    assert_non_null(text);
    memset(text, 'a', PROTO_LIVE_FRAME_BYTES + 1);
    open_socket(f);
    send_frame(f, 0x81, (struct slice){text, PROTO_LIVE_FRAME_BYTES});
    assert_int_equal(hear(f).body.len, PROTO_LIVE_FRAME_BYTES);
    send_frame(f, 0x81, (struct slice){text, PROTO_LIVE_FRAME_BYTES + 1});
    expect_lost(f, LIVE_DROPPED);
    /* Also in pieces, and also where the head says so. */
    open_socket(f);
    for (unsigned i = 0; i < 5; i++) {
        send_frame(f, i == 0 ? 0x01 : 0x00, (struct slice){text, PROTO_LIVE_FRAME_BYTES / 4});
    }
    expect_lost(f, LIVE_DROPPED);
    open_socket(f);
    ws_stub_send(f->stub, SLICE("\x81\x7f\x7f\xff\xff\xff\xff\xff\xff\xff"
                                "a"));
    expect_lost(f, LIVE_DROPPED);
    free(text);
}

static void breaches_of_the_protocol_end_the_connection(void **state)
{
    static const struct slice breaches[] = {
        SLICE("\x81\x83\0\0\0\0[1]"), /* masked */
        SLICE("\x81\x02\xc3\x28"),    /* no UTF-8 */
        SLICE("\x83\x03[1]"),         /* an opcode that means nothing */
        SLICE("\xc1\x03[1]"),         /* compressed, which nobody asked for */
        SLICE("\x80\x03[1]"),         /* the end of what never began */
        SLICE("\x09\x03[1]"),         /* a ping in pieces */
        SLICE("\x89\x7e\x00\x7e"),    /* a long ping */
        SLICE("\x01\x01[\x81\x01]"),  /* a new text within another */
    };
    struct fixture *f = *state;
    for (size_t i = 0; i < sizeof breaches / sizeof breaches[0]; i++) {
        open_socket(f);
        ws_stub_send(f->stub, breaches[i]);
        struct transport_answer news = hear(f);
        if (news.news != TRANSPORT_LIVE_LOST) {
            fail_msg("breach %zu was taken", i);
        }
        assert_int_equal(news.loss, LIVE_DROPPED);
    }
}

static void texts_before_the_end_are_told_before_it(void **state)
{
    struct fixture *f = *state;
    open_socket(f);
    ws_stub_send_text(f->stub, "[1]");
    ws_stub_send_text(f->stub, "[2]");
    send_frame(f, 0x88, SLICE("\x03\xf4")); /* 1012: restarting */
    expect_text(f, "[1]");
    expect_text(f, "[2]");
    expect_lost(f, LIVE_DROPPED);
    open_socket(f);
    ws_stub_send_text(f->stub, "[3]");
    ws_stub_pump(f->stub);
    ws_stub_drop(f->stub);
    expect_text(f, "[3]");
    expect_lost(f, LIVE_DROPPED);
}

static void twenty_thousand_texts_arrive_in_order(void **state)
{
    struct fixture *f = *state;
    struct buf bytes = BUF_INIT;
    char text[32];
    open_socket(f);
    for (unsigned i = 0; i < 20000; i++) {
        snprintf(text, sizeof text, "[%u]", i);
        ws_stub_frame(&bytes, 0x81, slice_of(text), false);
    }
    ws_stub_send(f->stub, buf_slice(&bytes));
    for (unsigned i = 0; i < 20000; i++) {
        snprintf(text, sizeof text, "[%u]", i);
        expect_text(f, text);
    }
    buf_release(&bytes);
}

/* The answers are bounded: where they do not go out, no more pings are read. */
static void ten_thousand_pings_are_answered_or_wait(void **state)
{
    struct fixture *f = *state;
    struct buf bytes = BUF_INIT;
    struct buf text = BUF_INIT;
    open_socket(f);
    for (unsigned i = 0; i < 10000; i++) {
        ws_stub_frame(&bytes, 0x89, SLICE("p"), false);
    }
    ws_stub_send(f->stub, buf_slice(&bytes));
    for (unsigned i = 0; i < 10000; i++) {
        assert_int_equal(take_frame(f, &text), 10);
    }
    buf_release(&bytes);
    buf_release(&text);
}

static int64_t cpu_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static void an_idle_socket_costs_nothing(void **state)
{
    struct fixture *f = *state;
    struct transport_answer news;
    open_socket(f);
    expect_silence(f);
    int64_t before_us = cpu_us();
    assert_false(f->transport->wait(f->transport, 500, &news));
    assert_true(cpu_us() - before_us < 50000);
    /* Nor does a server that does not answer the handshake. */
    ws_stub_answer(f->stub, "HTTP/1.1 101 x\r\n");
    begin(f);
    expect_silence(f);
    before_us = cpu_us();
    assert_false(f->transport->wait(f->transport, 500, &news));
    assert_true(cpu_us() - before_us < 50000);
}

/* ---- TLS ------------------------------------------------------------------------------------- */

/* What becomes of a socket to this server, which knows no WebSockets. */
static struct transport_answer try_tls(struct fixture *f, const struct tls_server *server,
                                       const char *ca_file)
{
    struct transport_answer news;
    f->config.url = server->url;
    f->config.ca_file = ca_file;
    if (f->transport != NULL) {
        f->transport->free(f->transport);
        f->transport = NULL;
    }
    begin(f);
    for (unsigned i = 0; i < ROUNDS; i++) {
        if (f->transport->wait(f->transport, ROUND_MS, &news)) {
            return news;
        }
    }
    fail_msg("nothing was heard");
    return news;
}

static void a_certificate_has_to_be_trusted(void **state)
{
    struct fixture *f = *state;
    struct tls_server server;
    tls_server_start(&server, "-tls1_2");
    struct transport_answer news = try_tls(f, &server, NULL);
    assert_int_equal(news.loss, LIVE_UNREACHABLE);
    assert_non_null(strstr(news.error, "certificate"));
    /* Trusted: the handshake of TLS is through, and that of the socket gets a page. */
    assert_int_equal(try_tls(f, &server, server.certificate).loss, LIVE_REFUSED);
    tls_server_stop(&server);
    tls_server_start(&server, "-tls1_1");
    assert_int_equal(try_tls(f, &server, server.certificate).loss, LIVE_UNREACHABLE);
    tls_server_stop(&server);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(it_opens_and_texts_go_both_ways),
        TEST(what_comes_in_one_piece_with_the_handshake_is_not_lost),
        TEST(a_proxy_makes_a_tunnel),
        TEST(each_handshake_has_another_key),
        TEST(refusals_are_told_apart),
        TEST(a_busy_server_says_when_to_come_again),
        TEST(a_head_that_never_ends_is_cut),
        TEST(nobody_at_home_is_unreachable),
        TEST(closing_tells_nothing_and_opening_again_works),
        TEST(closing_says_goodbye),
        TEST(fragments_are_put_together_and_pings_between_them_answered),
        TEST(binary_frames_are_thrown_away),
        TEST(a_frame_of_the_largest_size_is_taken_and_a_larger_one_is_not),
        TEST(breaches_of_the_protocol_end_the_connection),
        TEST(texts_before_the_end_are_told_before_it),
        TEST(twenty_thousand_texts_arrive_in_order),
        TEST(ten_thousand_pings_are_answered_or_wait),
        TEST(an_idle_socket_costs_nothing),
        TEST(a_certificate_has_to_be_trusted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
