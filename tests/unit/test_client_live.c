/* test_client_live.c - libbqsync with realtime, before the server core in memory and sockets in
 * memory. Stepped by hand under a clock of the test's, so that what happens at once and what waits
 * for a poll cannot be confused; the last tests with the library's own thread. */
#include "client_fixture.h"
#include "fake_live.h"
#include "token.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define SPREAD_S (LIVE_SPREAD_MS / 1000 + 1) /* by then a dropped socket is tried again */
#define STEPS 20

static int64_t clock_ms;

static int64_t now_ms(void)
{
    return clock_ms;
}

struct world {
    struct client_fixture *f;
    struct fake_live *live;
    struct bq *a;
    struct bq *b;
};

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    void *fixture;
    assert_non_null(w);
    assert_int_equal(client_setup(&fixture), 0);
    w->f = fixture;
    w->live = fake_live_new(w->f->server);
    w->f->live = w->live;
    w->f->hooks.now_ms = now_ms;
    clock_ms = INT64_C(1770000000000);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    void *fixture = w->f;
    bq_close(w->a);
    bq_close(w->b);
    assert_int_equal(client_teardown(&fixture), 0);
    free(w);
    return 0;
}

static struct bq *open_device(struct world *w, const char *name)
{
    struct client_fixture *f = w->f;
    struct bq_config config = f->config;
    struct handle_hooks hooks = f->hooks;
    struct bq *bq;
    char path[256];
    config.path = scratch_path(&f->scratch, name, path, sizeof path);
    hooks.transport = fake_live_connect(w->live, fake_server_connect(f->server));
    assert_int_equal(handle_open(&config, &hooks, &bq), BQ_OK);
    assert_int_equal(bq_sign_in(bq, f->token_a, BQ_GUEST_MERGE, NULL), BQ_OK);
    return bq;
}

static void run(struct bq *bq)
{
    for (unsigned i = 0; i < STEPS; i++) {
        assert_int_equal(bq_step(bq, 0), BQ_OK);
    }
}

static struct bq_stats stats_of(struct bq *bq)
{
    struct bq_stats stats = {.size = sizeof stats};
    assert_int_equal(bq_stats(bq, &stats), BQ_OK);
    return stats;
}

static unsigned n_exchanges(struct world *w)
{
    return fake_server_n_requests(w->f->server, "sync_exchange");
}

/* Two devices, both up, nothing to do. */
static void open_two(struct world *w)
{
    w->a = open_device(w, "a.bqsync");
    w->b = open_device(w, "b.bqsync");
    run(w->a);
    run(w->b);
    run(w->a);
    assert_int_equal(stats_of(w->a).live, 1);
    assert_int_equal(stats_of(w->b).live, 1);
}

static void put(struct bq *bq, const char *json)
{
    assert_int_equal(bq_put(bq, "notes", json, SIZE_MAX, BQ_IMMEDIATE), BQ_OK);
    run(bq);
}

/* Time passes in steps of a second. */
static void pass(struct bq *bq, int64_t seconds)
{
    for (int64_t i = 0; i < seconds; i++) {
        clock_ms += 1000;
        run(bq);
    }
}

static unsigned count_events(struct bq *bq, enum bq_event_type type)
{
    struct bq_event event;
    unsigned n = 0;
    while (client_next_of(bq, type, &event)) {
        n++;
    }
    return n;
}

/* ---- Hearing --------------------------------------------------------------------------------- */

static void another_devices_edit_is_there_without_any_time_passing(void **state)
{
    struct world *w = *state;
    struct bq_event event;
    open_two(w);
    client_drop_events(w->b);
    put(w->a, "{\"n\":1}");
    run(w->b);
    client_expect_document(w->b, "notes", "{\"n\":1}");
    assert_true(client_next_of(w->b, BQ_EVENT_CHANGED, &event));
    assert_string_equal(event.key, "notes");
    assert_int_equal(stats_of(w->b).live_wakes, 1);
}

static void an_own_edit_costs_one_request(void **state)
{
    struct world *w = *state;
    open_two(w);
    for (unsigned i = 1; i <= 5; i++) {
        char json[32];
        unsigned before = n_exchanges(w);
        snprintf(json, sizeof json, "{\"n\":%u}", i);
        put(w->a, json);
        assert_int_equal(n_exchanges(w), before + 1);
        /* It was heard, and known already. */
        assert_int_equal(stats_of(w->a).live_wakes, i);
        run(w->b);
        assert_int_equal(n_exchanges(w), before + 2);
    }
}

static void twenty_edits_elsewhere_are_one_pull(void **state)
{
    struct world *w = *state;
    open_two(w);
    for (unsigned i = 0; i < 20; i++) {
        char json[32];
        snprintf(json, sizeof json, "{\"n\":%u}", i);
        put(w->a, json);
    }
    unsigned before = n_exchanges(w);
    run(w->b);
    run(w->b);
    client_expect_document(w->b, "notes", "{\"n\":19}");
    assert_in_range(n_exchanges(w) - before, 1, 2);
}

static void another_users_edit_wakes_nobody(void **state)
{
    struct world *w = *state;
    open_two(w);
    assert_int_equal(bq_sign_out(w->a, BQ_PARK, 0, NULL), BQ_OK);
    assert_int_equal(bq_sign_in(w->a, w->f->token_b, BQ_GUEST_MERGE, NULL), BQ_OK);
    run(w->a);
    assert_int_equal(stats_of(w->a).live, 1);
    put(w->a, "{\"n\":1}");
    run(w->b);
    assert_int_equal(stats_of(w->b).live_wakes, 0);
    client_expect_document(w->b, "notes", NULL);
}

/* ---- Polling --------------------------------------------------------------------------------- */

static void while_it_is_up_a_poll_comes_every_five_minutes(void **state)
{
    struct world *w = *state;
    w->a = open_device(w, "a.bqsync");
    run(w->a);
    unsigned before = n_exchanges(w);
    pass(w->a, 250);
    assert_int_equal(n_exchanges(w), before);
    assert_int_equal(fake_live_counts(w->live).n_heartbeats, 10);
    assert_int_equal(fake_live_counts(w->live).n_opened, 1);
    pass(w->a, 50);
    assert_int_equal(n_exchanges(w), before + 1);
}

static void an_event_that_is_lost_is_made_up_for_by_the_safety_net(void **state)
{
    struct world *w = *state;
    open_two(w);
    fake_live_lose_events(w->live, true);
    put(w->a, "{\"n\":1}");
    pass(w->b, 250);
    client_expect_document(w->b, "notes", NULL);
    pass(w->b, 50);
    client_expect_document(w->b, "notes", "{\"n\":1}");
}

static void what_happened_while_it_was_away_is_pulled_when_it_is_back(void **state)
{
    struct world *w = *state;
    open_two(w);
    client_drop_events(w->b);
    fake_live_drop(w->live);
    run(w->b);
    assert_int_equal(stats_of(w->b).live, 0);
    assert_int_equal(count_events(w->b, BQ_EVENT_NOT_LIVE), 1);
    put(w->a, "{\"n\":1}");
    client_expect_document(w->b, "notes", NULL);
    pass(w->b, SPREAD_S);
    assert_int_equal(stats_of(w->b).live, 1);
    client_expect_document(w->b, "notes", "{\"n\":1}");
    assert_int_equal(count_events(w->b, BQ_EVENT_LIVE), 1);
}

static void where_sockets_are_blocked_polling_converges(void **state)
{
    static const enum fake_live_mood moods[] = {FAKE_LIVE_REFUSES, FAKE_LIVE_SILENT};
    struct world *w = *state;
    for (unsigned i = 0; i < 2; i++) {
        char name[20];
        fake_live_set_mood(w->live, moods[i]);
        snprintf(name, sizeof name, "a%u.bqsync", i);
        w->a = open_device(w, name);
        run(w->a);
        snprintf(name, sizeof name, "b%u.bqsync", i);
        w->b = open_device(w, name);
        pass(w->b, 180);
        unsigned tries = fake_live_counts(w->live).n_opened;
        snprintf(name, sizeof name, "{\"n\":%u}", i + 1);
        put(w->a, name);
        pass(w->b, 31);
        client_expect_document(w->b, "notes", name);
        assert_int_equal(stats_of(w->b).live, 0);
        assert_int_equal(count_events(w->b, BQ_EVENT_LIVE), 0);
        /* Of the rare tries one gets through when the way is free again. */
        pass(w->b, 600);
        /* One may be device a's. */
        assert_in_range(fake_live_counts(w->live).n_opened, tries, tries + 1);
        fake_live_set_mood(w->live, FAKE_LIVE_FINE);
        pass(w->b, 2000);
        assert_int_equal(stats_of(w->b).live, 1);
        bq_close(w->a);
        bq_close(w->b);
        w->a = NULL;
        w->b = NULL;
    }
}

static void a_server_that_comes_back_is_tried_as_soon_as_an_exchange_shows_it(void **state)
{
    struct world *w = *state;
    w->a = open_device(w, "a.bqsync");
    run(w->a);
    fake_server_always(w->f->server, FAKE_LOSE);
    fake_live_set_mood(w->live, FAKE_LIVE_AWAY);
    fake_live_drop(w->live);
    pass(w->a, 3600);
    assert_int_equal(stats_of(w->a).live, 0);
    assert_int_equal(stats_of(w->a).online, 0);
    fake_server_always(w->f->server, FAKE_SERVE);
    fake_live_set_mood(w->live, FAKE_LIVE_FINE);
    int status = bq_pull(w->a, PATIENCE_MS);
    assert_int_equal(status, BQ_OK);
    run(w->a);
    assert_int_equal(stats_of(w->a).live, 1);
}

/* ---- The app's life -------------------------------------------------------------------------- */

static void pause_offline_and_sign_out_close_the_socket(void **state)
{
    struct world *w = *state;
    w->a = open_device(w, "a.bqsync");
    run(w->a);
    assert_int_equal(fake_live_counts(w->live).n_open, 1);
    assert_int_equal(bq_pause(w->a), BQ_OK);
    run(w->a);
    assert_int_equal(fake_live_counts(w->live).n_open, 0);
    assert_int_equal(stats_of(w->a).live, -1);
    assert_int_equal(bq_next_step_ms(w->a), -1);
    clock_ms += 2000;
    assert_int_equal(bq_resume(w->a), BQ_OK);
    run(w->a);
    assert_int_equal(stats_of(w->a).live, 1);
    assert_int_equal(bq_set_online(w->a, 0), BQ_OK);
    run(w->a);
    assert_int_equal(fake_live_counts(w->live).n_open, 0);
    clock_ms += 2000;
    assert_int_equal(bq_set_online(w->a, 1), BQ_OK);
    run(w->a);
    assert_int_equal(stats_of(w->a).live, 1);
    assert_int_equal(bq_sign_out(w->a, BQ_DISCARD, 0, NULL), BQ_OK);
    run(w->a);
    assert_int_equal(fake_live_counts(w->live).n_open, 0);
    assert_int_equal(stats_of(w->a).live, -1);
}

static void an_app_may_do_without(void **state)
{
    struct world *w = *state;
    w->f->config.flags |= BQ_NO_LIVE;
    w->a = open_device(w, "a.bqsync");
    pass(w->a, 120);
    assert_int_equal(fake_live_counts(w->live).n_opened, 0);
    assert_int_equal(stats_of(w->a).live, -1);
    assert_true(n_exchanges(w) >= 4);
}

static void an_app_of_the_older_header_gets_what_it_has_room_for(void **state)
{
    struct world *w = *state;
    struct bq_stats stats = {.size = offsetof(struct bq_stats, live), .live = 77};
    w->f->config.size = offsetof(struct bq_config, live_poll_ms);
    w->f->config.live_poll_ms = 1;
    w->a = open_device(w, "a.bqsync");
    run(w->a);
    unsigned before = n_exchanges(w);
    pass(w->a, 60);
    assert_int_equal(n_exchanges(w), before);
    assert_int_equal(bq_stats(w->a, &stats), BQ_OK);
    assert_int_equal(stats.live, 77);
    assert_int_equal(stats.size, offsetof(struct bq_stats, live));
    assert_int_equal(stats.online, 1);
}

/* ---- Tokens ---------------------------------------------------------------------------------- */

static void a_fresh_token_is_told_on_the_open_socket(void **state)
{
    struct world *w = *state;
    w->a = open_device(w, "a.bqsync");
    run(w->a);
    assert_int_equal(bq_set_token(w->a, w->f->token_a), BQ_OK);
    run(w->a);
    struct fake_live_counts counts = fake_live_counts(w->live);
    assert_int_equal(counts.n_tokens, 1);
    assert_int_equal(counts.n_opened, 1);
    assert_int_equal(stats_of(w->a).live, 1);
}

static void an_expired_token_asks_the_app_and_goes_on_with_another(void **state)
{
    struct world *w = *state;
    w->a = open_device(w, "a.bqsync");
    run(w->a);
    client_drop_events(w->a);
    fake_server_next(w->f->server, FAKE_ANSWER, 401, -1, "{\"code\":\"PGRST303\"}");
    fake_live_set_mood(w->live, FAKE_LIVE_STRICT);
    run(w->a);
    assert_int_equal(count_events(w->a, BQ_EVENT_TOKEN_NEEDED), 1);
    assert_int_equal(stats_of(w->a).live, -1);
    unsigned tries = fake_live_counts(w->live).n_opened;
    pass(w->a, 120);
    assert_int_equal(fake_live_counts(w->live).n_opened, tries);
    fake_live_set_mood(w->live, FAKE_LIVE_FINE);
    assert_int_equal(bq_set_token(w->a, w->f->token_a), BQ_OK);
    run(w->a);
    assert_int_equal(stats_of(w->a).live, 1);
}

/* Exchanges have a leeway, realtime has none. */
static void a_token_that_only_realtime_refuses_is_asked_for_once(void **state)
{
    struct world *w = *state;
    w->a = open_device(w, "a.bqsync");
    run(w->a);
    client_drop_events(w->a);
    fake_live_set_mood(w->live, FAKE_LIVE_STRICT);
    unsigned before = n_exchanges(w);
    pass(w->a, 300);
    assert_int_equal(count_events(w->a, BQ_EVENT_TOKEN_NEEDED), 1);
    assert_in_range(fake_live_counts(w->live).n_opened, 2, 22);
    assert_in_range(n_exchanges(w) - before, 10, 35);
    /* Another one is tried at once, and not asked for again where it does not help. */
    unsigned tries = fake_live_counts(w->live).n_opened;
    assert_int_equal(bq_set_token(w->a, w->f->token_a), BQ_OK);
    run(w->a);
    pass(w->a, 2);
    assert_int_equal(fake_live_counts(w->live).n_opened, tries + 1);
    assert_int_equal(count_events(w->a, BQ_EVENT_TOKEN_NEEDED), 0);
    fake_live_set_mood(w->live, FAKE_LIVE_FINE);
    pass(w->a, 300);
    assert_int_equal(stats_of(w->a).live, 1);
}

static void an_erased_user_is_wiped_at_once(void **state)
{
    struct world *w = *state;
    struct bq_event event;
    w->a = open_device(w, "a.bqsync");
    run(w->a);
    put(w->a, "{\"n\":1}");
    fake_server_erase(w->f->server, USER_A);
    fake_live_drop(w->live);
    pass(w->a, SPREAD_S);
    assert_true(client_next_of(w->a, BQ_EVENT_WIPED, &event));
    assert_int_equal(stats_of(w->a).live, -1);
}

/* ---- With the library's thread --------------------------------------------------------------- */

static void expect_event(struct bq *bq, enum bq_event_type type)
{
    struct bq_event event = {.size = sizeof event};
    do {
        assert_int_equal(bq_next_event(bq, PATIENCE_MS, &event), BQ_OK);
    } while (event.type != type);
}

static void its_thread_wakes_for_an_event_alone(void **state)
{
    struct world *w = *state;
    w->f->hooks.now_ms = NULL;
    w->f->config.flags = 0;
    w->f->config.poll_ms = 3600000;
    w->a = open_device(w, "a.bqsync");
    w->b = open_device(w, "b.bqsync");
    expect_event(w->a, BQ_EVENT_LIVE);
    expect_event(w->b, BQ_EVENT_LIVE);
    for (unsigned i = 0; i < 50; i++) {
        char json[32];
        snprintf(json, sizeof json, "{\"n\":%u}", i);
        struct bq *writer = i % 2 == 0 ? w->a : w->b;
        assert_int_equal(bq_put(writer, "notes", json, SIZE_MAX, BQ_IMMEDIATE), BQ_OK);
        expect_event(writer == w->a ? w->b : w->a, BQ_EVENT_CHANGED);
        client_expect_document(writer == w->a ? w->b : w->a, "notes", json);
    }
    fake_live_drop(w->live);
    expect_event(w->a, BQ_EVENT_NOT_LIVE);
    expect_event(w->a, BQ_EVENT_LIVE);
}

/* Bit by bit, so that each call meets the socket in another phase. */
static void the_apps_calls_may_come_at_any_time(void **state)
{
    struct world *w = *state;
    w->f->hooks.now_ms = NULL;
    w->f->config.flags = 0;
    for (unsigned i = 0; i < 30; i++) {
        w->a = open_device(w, "a.bqsync");
        if (i % 3 == 0) {
            expect_event(w->a, BQ_EVENT_LIVE);
        }
        assert_int_equal(bq_set_token(w->a, w->f->token_a), BQ_OK);
        assert_int_equal(bq_pause(w->a), BQ_OK);
        assert_int_equal(bq_resume(w->a), BQ_OK);
        fake_live_drop(w->live);
        assert_int_equal(bq_set_online(w->a, 0), BQ_OK);
        assert_int_equal(bq_set_online(w->a, 1), BQ_OK);
        assert_true(stats_of(w->a).live <= 1);
        if (i % 4 == 0) {
            assert_int_equal(bq_sign_out(w->a, BQ_PARK, 0, NULL), BQ_OK);
        }
        bq_close(w->a);
        w->a = NULL;
        assert_int_equal(fake_live_counts(w->live).n_open, 0);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(another_devices_edit_is_there_without_any_time_passing),
        TEST(an_own_edit_costs_one_request),
        TEST(twenty_edits_elsewhere_are_one_pull),
        TEST(another_users_edit_wakes_nobody),
        TEST(while_it_is_up_a_poll_comes_every_five_minutes),
        TEST(an_event_that_is_lost_is_made_up_for_by_the_safety_net),
        TEST(what_happened_while_it_was_away_is_pulled_when_it_is_back),
        TEST(where_sockets_are_blocked_polling_converges),
        TEST(a_server_that_comes_back_is_tried_as_soon_as_an_exchange_shows_it),
        TEST(pause_offline_and_sign_out_close_the_socket),
        TEST(an_app_may_do_without),
        TEST(an_app_of_the_older_header_gets_what_it_has_room_for),
        TEST(a_fresh_token_is_told_on_the_open_socket),
        TEST(an_expired_token_asks_the_app_and_goes_on_with_another),
        TEST(a_token_that_only_realtime_refuses_is_asked_for_once),
        TEST(an_erased_user_is_wiped_at_once),
        TEST(its_thread_wakes_for_an_event_alone),
        TEST(the_apps_calls_may_come_at_any_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
