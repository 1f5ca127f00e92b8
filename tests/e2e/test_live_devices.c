/* test_live_devices.c - realtime between devices, with the published library over real sockets
 * against the real server: what one writes the other hears, without a poll; restarts, limits and
 * tokens that expire lose nothing. */
#include "serve.h"
#include "server_process.h"
#include "token.h"

#include "bqsync.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#define USER "aaaaaaaa-0000-4000-8000-000000000001"
#define PATIENCE_MS 30000
#define NEVER_MS 3600000u
#define ROUNDS 100

static int64_t now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/* Polls hardly ever, so that what comes soon came by realtime. */
static struct bq_config config_of(const char *path, const char *url)
{
    struct bq_config config = BQ_CONFIG_INIT;
    config.path = path;
    config.url = url;
    config.poll_ms = NEVER_MS;
    config.live_poll_ms = NEVER_MS;
    return config;
}

static struct bq *open_with(const struct bq_config *config, const char *token)
{
    struct bq *bq;
    assert_int_equal(bq_open(config, &bq), BQ_OK);
    assert_int_equal(bq_sign_in(bq, token, BQ_GUEST_MERGE, NULL), BQ_OK);
    return bq;
}

static struct bq *open_device(const struct scratch *scratch, const char *name, const char *url,
                              const char *token)
{
    char path[256];
    struct bq_config config = config_of(scratch_path(scratch, name, path, sizeof path), url);
    return open_with(&config, token);
}

static void expect_event(struct bq *bq, enum bq_event_type type)
{
    struct bq_event event = {.size = sizeof event};
    do {
        int status = bq_next_event(bq, PATIENCE_MS, &event);
        if (status != BQ_OK) {
            fail_msg("event %d did not come", (int)type);
        }
    } while (event.type != type);
}

static int64_t n_of(struct bq *bq)
{
    struct bq_document document = {.size = sizeof document};
    long long n = -1;
    if (bq_get(bq, "notes", &document) == BQ_OK) {
        assert_int_equal(sscanf(document.json, "{\"n\":%lld}", &n), 1);
        bq_document_release(&document);
    }
    return n;
}

static void put(struct bq *bq, int64_t n)
{
    char json[40];
    snprintf(json, sizeof json, "{\"n\":%lld}", (long long)n);
    assert_int_equal(bq_put(bq, "notes", json, SIZE_MAX, BQ_IMMEDIATE), BQ_OK);
}

/* Until it has this; other events come and go. */
static void expect_n(struct bq *bq, int64_t n)
{
    while (n_of(bq) != n) {
        expect_event(bq, BQ_EVENT_CHANGED);
    }
}

static struct bq_stats stats_of(struct bq *bq)
{
    struct bq_stats stats = {.size = sizeof stats};
    assert_int_equal(bq_stats(bq, &stats), BQ_OK);
    return stats;
}

static int by_value(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a;
    int64_t y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

/* ---- One server in this process -------------------------------------------------------------- */

struct fixture {
    struct serve serve;
    char url[64];
    char *token;
    struct bq *a;
    struct bq *b;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    serve_init(&f->serve);
    f->token = token_user(USER);
    *state = f;
    return 0;
}

static void start(struct fixture *f)
{
    assert_int_equal(serve_start(&f->serve), BQ_OK);
    snprintf(f->url, sizeof f->url, "http://127.0.0.1:%u", f->serve.port);
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    bq_close(f->a);
    bq_close(f->b);
    serve_release(&f->serve);
    free(f->token);
    free(f);
    return 0;
}

static void open_two(struct fixture *f)
{
    start(f);
    f->a = open_device(&f->serve.scratch, "a.bqsync", f->url, f->token);
    f->b = open_device(&f->serve.scratch, "b.bqsync", f->url, f->token);
    expect_event(f->a, BQ_EVENT_LIVE);
    expect_event(f->b, BQ_EVENT_LIVE);
    /* The pull of coming up is done. */
    assert_int_equal(bq_pull(f->a, PATIENCE_MS), BQ_OK);
    assert_int_equal(bq_pull(f->b, PATIENCE_MS), BQ_OK);
}

static void what_one_device_writes_the_other_hears_in_milliseconds(void **state)
{
    struct fixture *f = *state;
    int64_t took_us[ROUNDS];
    open_two(f);
    for (int64_t i = 0; i < ROUNDS; i++) {
        int64_t begun_us = now_us();
        put(i % 2 == 0 ? f->a : f->b, i);
        expect_n(i % 2 == 0 ? f->b : f->a, i);
        took_us[i] = now_us() - begun_us;
    }
    qsort(took_us, ROUNDS, sizeof took_us[0], by_value);
    printf("live: from bq_put on one device to the event on another: p50 %.1f ms, p99 %.1f ms\n",
           (double)took_us[ROUNDS / 2] / 1000, (double)took_us[ROUNDS * 99 / 100] / 1000);
    assert_true(took_us[ROUNDS / 2] < 1000000);
}

/* Its event may come before the answer or after it. */
static void an_own_edit_costs_one_exchange(void **state)
{
    struct fixture *f = *state;
    open_two(f);
    uint64_t before = stats_of(f->a).exchanges;
    uint64_t wakes = stats_of(f->a).live_wakes;
    for (int64_t i = 0; i < ROUNDS; i++) {
        put(f->a, i);
        /* Not bq_flush(): it pulls as well. */
        while (stats_of(f->a).pending > 0 || stats_of(f->a).live_wakes < wakes + (uint64_t)i + 1) {
            server_process_breathe(1);
        }
    }
    assert_int_equal(stats_of(f->a).exchanges, before + ROUNDS);
    expect_n(f->b, ROUNDS - 1);
}

static void a_server_without_room_for_a_socket_is_polled(void **state)
{
    struct fixture *f = *state;
    char path[256];
    f->serve.config.address_sockets = 1;
    f->serve.config.socket_refusal_ms = 0;
    start(f);
    f->a = open_device(&f->serve.scratch, "a.bqsync", f->url, f->token);
    expect_event(f->a, BQ_EVENT_LIVE);
    struct bq_config config =
        config_of(scratch_path(&f->serve.scratch, "b.bqsync", path, sizeof path), f->url);
    config.poll_ms = 50;
    f->b = open_with(&config, f->token);
    for (int64_t i = 0; i < 10; i++) {
        put(f->a, 2 * i);
        expect_n(f->b, 2 * i);
        put(f->b, 2 * i + 1);
        expect_n(f->a, 2 * i + 1);
    }
    assert_int_equal(stats_of(f->a).live, 1);
    assert_int_equal(stats_of(f->b).live, 0);
}

/* Realtime knows no leeway, exchanges do: the app is asked, and its fresh token brings it back. */
static void a_token_that_expires_on_an_open_socket_is_asked_for(void **state)
{
    struct fixture *f = *state;
    struct timespec now;
    start(f);
    clock_gettime(CLOCK_REALTIME, &now);
    char *brief = token_make("authenticated", USER, now.tv_sec + 3);
    f->a = open_device(&f->serve.scratch, "a.bqsync", f->url, f->token);
    f->b = open_device(&f->serve.scratch, "b.bqsync", f->url, brief);
    free(brief);
    expect_event(f->a, BQ_EVENT_LIVE);
    expect_event(f->b, BQ_EVENT_LIVE);
    expect_event(f->b, BQ_EVENT_NOT_LIVE);
    expect_event(f->b, BQ_EVENT_TOKEN_NEEDED);
    put(f->a, 1);
    assert_int_equal(bq_set_token(f->b, f->token), BQ_OK);
    expect_event(f->b, BQ_EVENT_LIVE);
    expect_n(f->b, 1);
    put(f->a, 2);
    expect_n(f->b, 2);
}

/* A token that is renewed in time is told on the socket, which lives on beyond the old one. */
static void a_token_that_is_renewed_in_time_costs_no_connection(void **state)
{
    struct fixture *f = *state;
    struct timespec now;
    struct bq_event event = {.size = sizeof event};
    start(f);
    clock_gettime(CLOCK_REALTIME, &now);
    char *brief = token_make("authenticated", USER, now.tv_sec + 2);
    f->a = open_device(&f->serve.scratch, "a.bqsync", f->url, f->token);
    f->b = open_device(&f->serve.scratch, "b.bqsync", f->url, brief);
    free(brief);
    expect_event(f->b, BQ_EVENT_LIVE);
    assert_int_equal(bq_set_token(f->b, f->token), BQ_OK);
    int64_t until_us = now_us() + 4000000;
    for (int64_t i = 0; now_us() < until_us; i++) {
        put(f->a, i);
        expect_n(f->b, i);
        server_process_breathe(50);
    }
    while (bq_next_event(f->b, 0, &event) == BQ_OK) {
        assert_int_not_equal(event.type, BQ_EVENT_NOT_LIVE);
    }
    assert_int_equal(stats_of(f->b).live, 1);
}

/* ---- A server that is killed ----------------------------------------------------------------- */

static void a_server_that_is_killed_loses_nothing_and_all_come_back(void **state)
{
    struct server_process server;
    char *token = token_user(USER);
    (void)state;
    server_process_init(&server);
    struct bq *a = open_device(&server.scratch, "a.bqsync", server.url, token);
    struct bq *b = open_device(&server.scratch, "b.bqsync", server.url, token);
    expect_event(a, BQ_EVENT_LIVE);
    expect_event(b, BQ_EVENT_LIVE);
    for (int64_t i = 0; i < 3; i++) {
        put(a, 10 * i);
        expect_n(b, 10 * i);
        if (i == 1) {
            server_process_stop(&server);
        } else {
            server_process_kill(&server);
        }
        expect_event(a, BQ_EVENT_NOT_LIVE);
        expect_event(b, BQ_EVENT_NOT_LIVE);
        put(a, 10 * i + 1);
        server_process_start(&server);
        int64_t begun_us = now_us();
        expect_event(a, BQ_EVENT_LIVE);
        expect_event(b, BQ_EVENT_LIVE);
        printf("live: both back %.0f ms after the server\n", (double)(now_us() - begun_us) / 1000);
        expect_n(b, 10 * i + 1);
    }
    bq_close(a);
    bq_close(b);
    server_process_release(&server);
    free(token);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_one_device_writes_the_other_hears_in_milliseconds),
        TEST(an_own_edit_costs_one_exchange),
        TEST(a_server_without_room_for_a_socket_is_polled),
        TEST(a_token_that_expires_on_an_open_socket_is_asked_for),
        TEST(a_token_that_is_renewed_in_time_costs_no_connection),
        cmocka_unit_test(a_server_that_is_killed_loses_nothing_and_all_come_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
