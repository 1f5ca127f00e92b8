/* test_relay_pressure.c - relayed topics where one side is slow, loud, silent or gone: what waits
 * is bounded, nobody else waits, and nothing that was taken is lost (docs/security.md, W5, W6). */
#include "rt_upstream.h"
#include "tls_server.h"

#include "base/status.h"
#include "server/relay.h"

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#define TEXT_BYTES 30000u
#define FLOOD 20000u
#define MUCH_BYTES (64u << 20) /* more than all buffers on the way */

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static bool is_told(const struct ws_client *ws)
{
    struct pollfd fd = {.fd = ws->fd, .events = POLLIN};
    return ws->len > 0 || poll(&fd, 1, 0) > 0;
}

/* ---- Slow and loud --------------------------------------------------------------------------- */

static void an_upstream_that_does_not_read_ends_its_topics_alone(void **state)
{
    struct rt_upstream *f = *state;
    char *text = malloc(TEXT_BYTES + 1);
    size_t n_bytes = 0;
    assert_non_null(text);
    memset(text, 'a', TEXT_BYTES);
    text[TEXT_BYTES] = '\0';
    rt_app_join(&f->ws, "ours", rt_app_binding(RT_USER_A), f->token);
    assert_true(ws_hear(&f->ws, "\"Subscribed to PostgreSQL\""));
    assert_true(rt_upstream_join(f, &f->ws, "theirs", "5"));
    while (!is_told(&f->ws) && n_bytes < MUCH_BYTES) {
        ws_say(&f->ws, "[\"5\",\"6\",\"realtime:theirs\",\"e\",\"%s\"]", text);
        n_bytes += TEXT_BYTES;
    }
    free(text);
    assert_true(n_bytes > RELAY_WAITING_BYTES);
    assert_true(ws_hear(&f->ws, "[\"5\",\"5\",\"realtime:theirs\",\"phx_error\",{}]"));
    assert_true(rt_app_write(f->serve.port, RT_USER_A, f->token, "one", "{}"));
    assert_true(ws_hear(&f->ws, "user_sync_data_v2"));
    assert_true(rt_upstream_becomes(f, false));
}

static void a_client_that_does_not_read_is_cut_and_so_is_its_link(void **state)
{
    struct rt_upstream *f = *state;
    struct buf frame = BUF_INIT;
    char *text = malloc(1u << 20);
    size_t n_bytes = 0;
    assert_non_null(text);
    assert_true(rt_upstream_join(f, &f->ws, "theirs", "5"));
    snprintf(text, 1u << 20, "[null,null,\"realtime:theirs\",\"e\",\"%0*d\"]", 1000000, 0);
    ws_stub_frame(&frame, 0x81, slice_of(text), false);
    while (ws_stub_is_open(f->stub) && n_bytes < MUCH_BYTES) {
        ws_stub_send(f->stub, buf_slice(&frame));
        n_bytes += frame.len;
        ws_stub_wait(f->stub, 20);
    }
    assert_true(rt_upstream_becomes(f, false));
    while (server_realtime(f->serve.server).n_sockets > 0) {
        ws_stub_wait(f->stub, 1);
    }
    assert_int_equal(server_realtime(f->serve.server).n_slow, 1);
    free(text);
    buf_release(&frame);
}

static void a_flood_that_is_read_arrives_whole_and_in_order(void **state)
{
    struct rt_upstream *f = *state;
    struct buf frames = BUF_INIT;
    char text[80];
    assert_true(rt_upstream_join(f, &f->ws, "theirs", "5"));
    for (unsigned i = 0; i < FLOOD; i++) {
        snprintf(text, sizeof text, "[null,null,\"realtime:theirs\",\"e\",%u]", i);
        ws_stub_frame(&frames, 0x81, slice_of(text), false);
    }
    ws_stub_send(f->stub, buf_slice(&frames));
    for (unsigned i = 0; i < FLOOD; i++) {
        while (!is_told(&f->ws)) {
            ws_stub_wait(f->stub, 1);
        }
        snprintf(text, sizeof text, "[null,null,\"realtime:theirs\",\"e\",%u]", i);
        assert_true(ws_next(&f->ws));
        assert_string_equal(f->ws.text, text);
    }
    buf_release(&frames);
}

static void a_frame_that_is_too_long_ends_the_link(void **state)
{
    struct rt_upstream *f = *state;
    assert_true(rt_upstream_join(f, &f->ws, "theirs", "5"));
    ws_stub_send(f->stub, SLICE("\x81\x7f\x00\x00\x00\x00\x00\x20\x00\x01x"));
    ws_stub_pump(f->stub);
    assert_true(ws_hear(&f->ws, "phx_error"));
    assert_true(rt_upstream_becomes(f, false));
}

/* ---- The end --------------------------------------------------------------------------------- */

/* The connection stands in the queue of a listener that takes nobody. */
static void a_stop_does_not_wait_for_an_upstream_that_is_being_opened(void **state)
{
    struct rt_upstream *f = *state;
    rt_app_join(&f->ws, "theirs", RT_QUESTIONS, f->token);
    assert_int_equal(rt_app_heard(&f->ws, ""), 0);
    assert_int_equal(server_realtime(f->serve.server).n_relays, 1);
    int64_t before_ms = now_ms();
    ws_release(&f->ws);
    assert_true(serve_stop(&f->serve));
    assert_true(now_ms() - before_ms < 5000);
}

static void a_stop_closes_an_open_one(void **state)
{
    struct rt_upstream *f = *state;
    assert_true(rt_upstream_join(f, &f->ws, "theirs", "5"));
    serve_stop(&f->serve);
    assert_true(rt_upstream_becomes(f, false));
}

/* ---- Silence --------------------------------------------------------------------------------- */

struct lone {
    struct ws_stub *stub;
    struct relay *relay;
    struct relay_link *link;
    int event;
};

static void wake(void *cls)
{
    const uint64_t one = 1;
    ssize_t n = write(((struct lone *)cls)->event, &one, sizeof one);
    (void)n;
}

static void open_lone(struct lone *lone, const char *url, const char *ca_file)
{
    const struct relay_config config = {.size = sizeof config,
                                        .url = url,
                                        .ca_file = ca_file,
                                        .links = 1,
                                        .open_ms = 5000,
                                        .beat_ms = 100,
                                        .wake = wake,
                                        .cls = lone};
    const struct relay_request request = {.vsn = PHX_V2, .address = "?", .owner = lone};
    lone->event = eventfd(0, EFD_NONBLOCK);
    assert_true(lone->event >= 0);
    assert_int_equal(relay_start(&config, &lone->relay), BQ_OK);
    assert_int_equal(relay_open(lone->relay, &request, &lone->link), BQ_OK);
}

static void close_lone(struct lone *lone)
{
    relay_close(lone->link);
    relay_free(lone->relay);
    close(lone->event);
}

/* The next thing that the relay tells, the upstream working meanwhile. */
static struct relay_news next_news(struct lone *lone)
{
    struct relay_news news;
    struct pollfd fd = {.fd = lone->event, .events = POLLIN};
    for (unsigned i = 0; i < 2000; i++) {
        uint64_t count;
        if (relay_next(lone->relay, &news)) {
            return news;
        }
        (void)poll(&fd, 1, 10);
        if (lone->stub != NULL) {
            ws_stub_pump(lone->stub);
        }
        ssize_t n = read(lone->event, &count, sizeof count);
        (void)n;
    }
    fail_msg("the relay tells nothing");
    return news;
}

static void heartbeats_are_sent_and_who_answers_none_is_lost(void **state)
{
    struct lone lone = {.stub = ws_stub_new()};
    struct buf text = BUF_INIT;
    unsigned n_beats = 0;
    uint8_t opcode;
    (void)state;
    open_lone(&lone, ws_stub_url(lone.stub), NULL);
    assert_int_equal(next_news(&lone).kind, RELAY_OPEN);
    while (n_beats < 4) {
        ws_stub_wait(lone.stub, 1000);
        if (ws_stub_take(lone.stub, &opcode, &text)) {
            assert_string_equal(text.ptr, "[null,\"heartbeat\",\"phoenix\",\"heartbeat\",{}]");
            n_beats++;
            ws_stub_send_text(lone.stub, "[null,\"heartbeat\",\"phoenix\",\"phx_reply\",{}]");
            ws_stub_pump(lone.stub);
            assert_int_equal(next_news(&lone).kind, RELAY_TEXT);
        }
    }
    struct relay_news news = next_news(&lone); /* without an answer */
    assert_int_equal(news.kind, RELAY_LOST);
    assert_ptr_equal(news.owner, &lone);
    assert_string_equal(news.why, "the upstream does not answer heartbeats");
    close_lone(&lone);
    ws_stub_free(lone.stub);
    buf_release(&text);
}

/* A link to this URL is lost, for a reason with this in it. */
static void is_lost_for(const char *url, const char *ca_file, const char *why)
{
    struct lone lone = {.stub = NULL};
    open_lone(&lone, url, ca_file);
    struct relay_news news = next_news(&lone);
    assert_int_equal(news.kind, RELAY_LOST);
    if (strstr(news.why, why) == NULL) {
        fail_msg("%s", news.why);
    }
    close_lone(&lone);
}

static void a_certificate_has_to_be_trusted_and_for_its_host(void **state)
{
    struct tls_server server;
    char elsewhere[64];
    (void)state;
    tls_server_start(&server, "-tls1_2");
    is_lost_for(server.url, NULL, "certificate");
    /* Trusted, it shows that it knows no WebSockets. */
    is_lost_for(server.url, server.certificate, "opens no socket");
    snprintf(elsewhere, sizeof elsewhere, "https://localhost%s", strrchr(server.url, ':'));
    is_lost_for(elsewhere, server.certificate, "subject name");
    is_lost_for(server.url, "/nowhere/there.pem", "certificate");
    tls_server_stop(&server);
    tls_server_start(&server, "-tls1_1");
    is_lost_for(server.url, server.certificate, "reached");
    tls_server_stop(&server);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, rt_upstream_setup, rt_upstream_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_upstream_that_does_not_read_ends_its_topics_alone),
        TEST(a_client_that_does_not_read_is_cut_and_so_is_its_link),
        TEST(a_flood_that_is_read_arrives_whole_and_in_order),
        TEST(a_frame_that_is_too_long_ends_the_link),
        TEST(a_stop_does_not_wait_for_an_upstream_that_is_being_opened),
        TEST(a_stop_closes_an_open_one),
        cmocka_unit_test(heartbeats_are_sent_and_who_answers_none_is_lost),
        cmocka_unit_test(a_certificate_has_to_be_trusted_and_for_its_host),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
