/* test_client_sync.c - libbqsync by its public calls, stepped by hand against the server core in
 * memory: flushing and pulling, tokens, events, dead letters. */
#include "client_fixture.h"
#include "fault_vfs.h"
#include "token.h"

#include "base/buf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* ---- Syncing --------------------------------------------------------------------------------- */

static void flushing_says_what_stands_in_its_way(void **state)
{
    struct client_fixture *f = *state;
    client_open_handle(f);
    assert_int_equal(bq_flush(f->bq, 0), BQ_SIGNED_OUT);
    assert_int_equal(bq_pull(f->bq, 0), BQ_SIGNED_OUT);
    client_close_handle(f);
    f->config.url = NULL;
    client_open_signed_in(f);
    assert_int_equal(bq_flush(f->bq, 0), BQ_NETWORK);
    assert_int_equal(bq_pull(f->bq, 0), BQ_NETWORK);
    client_expect_error(f->bq, "url");
    client_close_handle(f);
    f->config.url = "http://fake";
    client_open_handle(f);
    assert_int_equal(bq_flush(f->bq, 0), BQ_AUTH);
    assert_int_equal(bq_set_token(f->bq, f->token_a), BQ_OK);
    assert_int_equal(client_put(f->bq, "notes", "{}"), BQ_OK);
    assert_int_equal(bq_set_online(f->bq, 0), BQ_OK);
    assert_int_equal(bq_flush(f->bq, 5), BQ_TIMEOUT);
    assert_int_equal(bq_set_online(f->bq, 1), BQ_OK);
    assert_int_equal(bq_pause(f->bq), BQ_OK);
    assert_int_equal(bq_flush(f->bq, 5), BQ_TIMEOUT);
    assert_int_equal(fake_server_n_requests(f->server, NULL), 0);
    assert_int_equal(bq_resume(f->bq), BQ_OK);
    assert_int_equal(bq_flush(f->bq, PATIENCE_MS), BQ_OK);
}

static void pulling_tells_of_a_failure_at_once(void **state)
{
    struct client_fixture *f = *state;
    client_open_signed_in(f);
    assert_int_equal(bq_pull(f->bq, PATIENCE_MS), BQ_OK);
    fake_server_next(f->server, FAKE_LOSE, 0, -1, NULL);
    assert_int_equal(bq_pull(f->bq, PATIENCE_MS), BQ_NETWORK);
    fake_server_next(f->server, FAKE_ANSWER, 500, -1, "{}");
    assert_int_equal(bq_pull(f->bq, PATIENCE_MS), BQ_SERVER);
    fake_server_next(f->server, FAKE_ANSWER, 503, 1000, "{}");
    assert_int_equal(bq_pull(f->bq, PATIENCE_MS), BQ_BUSY);
    fake_server_next(f->server, FAKE_ANSWER, 200, -1, "<html>");
    assert_int_equal(bq_pull(f->bq, PATIENCE_MS), BQ_SERVER);
    assert_int_equal(bq_pull(f->bq, PATIENCE_MS), BQ_OK);
}

static void a_lost_answer_counts_once(void **state)
{
    struct client_fixture *f = *state;
    client_open_signed_in(f);
    assert_int_equal(bq_pull(f->bq, PATIENCE_MS), BQ_OK);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(bq_increment(f->bq, "game_stats", "incorrectAnswers", "1", 0), BQ_OK);
        fake_server_next(f->server, FAKE_LOSE_ACK, 0, -1, NULL);
        assert_int_equal(bq_flush(f->bq, PATIENCE_MS), BQ_OK);
    }
    client_expect_document(f->bq, "game_stats", "{\"incorrectAnswers\":2}");
    struct bq_stats stats = {.size = sizeof stats};
    assert_int_equal(bq_stats(f->bq, &stats), BQ_OK);
    assert_int_equal(stats.pending, 0);
    assert_int_equal(stats.frozen, 0);
    assert_int_equal(stats.sent, 2);
    assert_int_equal(stats.online, 1);
    assert_int_equal(stats.signed_in, 1);
    assert_int_equal(stats.documents, 1);
}

static int64_t clock_ms;

static int64_t now_ms(void)
{
    return clock_ms;
}

static void a_clock_that_is_set_back_an_hour_holds_nothing_up(void **state)
{
    struct client_fixture *f = *state;
    struct bq_stats stats = {.size = sizeof stats};
    clock_ms = INT64_C(1770000000000);
    f->hooks.now_ms = now_ms;
    f->config.debounce_ms = 2000;
    client_open_signed_in(f);
    assert_int_equal(bq_pull(f->bq, PATIENCE_MS), BQ_OK);
    assert_int_equal(client_put(f->bq, "notes", "{\"a\":1}"), BQ_OK);
    clock_ms -= 3600000;
    assert_int_equal(bq_step(f->bq, 0), BQ_OK);
    clock_ms += 2000;
    for (int i = 0; i < 10; i++) {
        assert_int_equal(bq_step(f->bq, 0), BQ_OK);
    }
    assert_int_equal(bq_stats(f->bq, &stats), BQ_OK);
    assert_int_equal(stats.pending, 0);
}

static void two_devices_meet(void **state)
{
    struct client_fixture *f = *state;
    struct bq_event event;
    client_open_signed_in(f);
    struct bq *tablet = client_open_other(f, "tablet.bqsync");
    assert_int_equal(bq_increment(f->bq, "game_stats", "incorrectAnswers", "2", 0), BQ_OK);
    assert_int_equal(bq_increment(tablet, "game_stats", "incorrectAnswers", "3", 0), BQ_OK);
    assert_int_equal(bq_flush(f->bq, PATIENCE_MS), BQ_OK);
    client_drop_events(tablet);
    assert_int_equal(bq_flush(tablet, PATIENCE_MS), BQ_OK);
    assert_true(client_next_of(tablet, BQ_EVENT_CHANGED, &event));
    assert_string_equal(event.key, "game_stats");
    client_drop_events(f->bq);
    assert_int_equal(bq_pull(f->bq, PATIENCE_MS), BQ_OK);
    assert_true(client_next_of(f->bq, BQ_EVENT_CHANGED, &event));
    client_expect_document(f->bq, "game_stats", "{\"incorrectAnswers\":5}");
    client_expect_document(tablet, "game_stats", "{\"incorrectAnswers\":5}");
    bq_close(tablet);
}

/* ---- Tokens ---------------------------------------------------------------------------------- */

struct asked {
    unsigned n;
    const char *token;
};

static void give_token(void *context, struct bq *bq)
{
    struct asked *asked = context;
    asked->n++;
    if (asked->token != NULL) {
        assert_int_equal(bq_set_token(bq, asked->token), BQ_OK);
    }
}

static void a_refused_token_is_asked_for_and_the_edit_is_kept(void **state)
{
    struct client_fixture *f = *state;
    struct asked asked = {0, f->token_a};
    f->config.token_fn = give_token;
    f->config.token_context = &asked;
    client_open_signed_in(f);
    assert_int_equal(bq_pull(f->bq, PATIENCE_MS), BQ_OK);
    assert_int_equal(client_put(f->bq, "notes", "{\"n\":1}"), BQ_OK);
    fake_server_next(f->server, FAKE_ANSWER, 401, -1, "{\"message\":\"JWT expired\"}");
    assert_int_equal(bq_flush(f->bq, PATIENCE_MS), BQ_OK);
    assert_int_equal(asked.n, 1);
    struct bq_event event;
    assert_true(client_next_of(f->bq, BQ_EVENT_TOKEN_NEEDED, &event));
}

static void an_app_that_cannot_be_asked_is_told(void **state)
{
    struct client_fixture *f = *state;
    client_open_signed_in(f);
    assert_int_equal(bq_pull(f->bq, PATIENCE_MS), BQ_OK);
    assert_int_equal(client_put(f->bq, "notes", "{\"n\":1}"), BQ_OK);
    fake_server_next(f->server, FAKE_ANSWER, 401, -1, "{}");
    assert_int_equal(bq_flush(f->bq, PATIENCE_MS), BQ_AUTH);
    unsigned n = fake_server_n_requests(f->server, NULL);
    assert_int_equal(bq_step(f->bq, 0), BQ_OK);
    assert_int_equal(fake_server_n_requests(f->server, NULL), n);
    assert_int_equal(bq_set_token(f->bq, f->token_a), BQ_OK);
    assert_int_equal(bq_flush(f->bq, PATIENCE_MS), BQ_OK);
}

/* A token that is refused again and again: the app is asked with pauses, the server is not
 * flooded. */
static void a_useless_token_is_not_asked_for_in_a_loop(void **state)
{
    struct client_fixture *f = *state;
    struct asked asked = {0, f->token_a};
    f->config.token_fn = give_token;
    f->config.token_context = &asked;
    client_open_signed_in(f);
    for (int i = 0; i < 20; i++) {
        fake_server_next(f->server, FAKE_ANSWER, 401, -1, "{}");
    }
    assert_int_equal(client_put(f->bq, "notes", "{\"n\":1}"), BQ_OK);
    assert_int_equal(bq_flush(f->bq, 50), BQ_AUTH);
    assert_true(asked.n <= 2);
    assert_true(fake_server_n_requests(f->server, NULL) <= 4);
}

static void an_erased_user_is_wiped(void **state)
{
    struct client_fixture *f = *state;
    struct bq_event event;
    client_open_signed_in(f);
    assert_int_equal(client_put(f->bq, "notes", "{\"n\":1}"), BQ_OK);
    assert_int_equal(bq_flush(f->bq, PATIENCE_MS), BQ_OK);
    fake_server_erase(f->server, USER_A);
    assert_int_equal(client_put(f->bq, "notes", "{\"n\":2}"), BQ_OK);
    assert_int_equal(bq_flush(f->bq, PATIENCE_MS), BQ_USER_ERASED);
    assert_true(client_next_of(f->bq, BQ_EVENT_WIPED, &event));
    client_expect_document(f->bq, "notes", NULL);
    client_close_handle(f);
    client_open_handle(f);
    client_expect_document(f->bq, "notes", NULL);
}

/* ---- Events ---------------------------------------------------------------------------------- */

static void count_wakeup(void *context)
{
    (*(unsigned *)context)++;
}

static void events_that_nobody_takes_are_told_as_lost(void **state)
{
    struct client_fixture *f = *state;
    struct bq_event event = {.size = sizeof event};
    unsigned n = 0;
    unsigned n_wakeups = 0;
    f->config.wakeup_fn = count_wakeup;
    f->config.wakeup_context = &n_wakeups;
    client_open_signed_in(f);
    assert_int_equal(bq_next_event(f->bq, 0, &event), BQ_TIMEOUT);
    assert_int_equal(n_wakeups, 0);
    /* Each edit and its acknowledgement tell some states. */
    for (int i = 0; i < 600; i++) {
        assert_int_equal(bq_increment(f->bq, "counter", "n", "1", BQ_IMMEDIATE), BQ_OK);
        assert_int_equal(bq_flush(f->bq, PATIENCE_MS), BQ_OK);
    }
    assert_true(n_wakeups >= 600);
    assert_int_equal(bq_next_event(f->bq, 0, &event), BQ_OK);
    assert_int_equal(event.type, BQ_EVENT_LOST);
    while (bq_next_event(f->bq, 0, &event) == BQ_OK) {
        assert_int_not_equal(event.type, BQ_EVENT_LOST);
        n++;
    }
    assert_int_equal(n, 1000);
    assert_int_equal(event.size, sizeof event);
}

static void the_states_of_an_edit_are_told_in_order(void **state)
{
    struct client_fixture *f = *state;
    struct bq_event event;
    enum bq_state seen[8];
    unsigned n = 0;
    client_open_signed_in(f);
    assert_int_equal(bq_pull(f->bq, PATIENCE_MS), BQ_OK);
    client_drop_events(f->bq);
    assert_int_equal(client_put(f->bq, "notes", "{}"), BQ_OK);
    assert_int_equal(bq_key_state(f->bq, "notes"), BQ_PREPARING);
    assert_int_equal(bq_flush(f->bq, PATIENCE_MS), BQ_OK);
    assert_int_equal(bq_key_state(f->bq, "notes"), BQ_COMPLETED);
    assert_int_equal(bq_key_state(f->bq, "unknown"), BQ_IDLE);
    while (n < 8 && client_next_of(f->bq, BQ_EVENT_STATE, &event)) {
        assert_string_equal(event.key, "notes");
        seen[n++] = event.state;
    }
    assert_int_equal(n, 3);
    assert_int_equal(seen[0], BQ_PREPARING);
    assert_int_equal(seen[1], BQ_SYNCING);
    assert_int_equal(seen[2], BQ_COMPLETED);
    assert_string_equal(bq_state_word(BQ_FAILED_RETRYABLE), "failedRetryable");
}

/* ---- Dead letters ---------------------------------------------------------------------------- */

static void refuse_one(struct client_fixture *f)
{
    /* A sum over 18 digits is the one thing that only the merge can refuse. */
    fake_server_set_policy(f->server, "purse", "{\"fields\":{\"coins\":\"sum\"}}");
    client_open_signed_in(f);
    assert_int_equal(bq_pull(f->bq, PATIENCE_MS), BQ_OK);
    assert_int_equal(client_put(f->bq, "purse", "{\"coins\":600000000000000000}"), BQ_OK);
    assert_int_equal(bq_flush(f->bq, PATIENCE_MS), BQ_OK);
    struct bq *other = client_open_other(f, "other.bqsync");
    assert_int_equal(bq_pull(other, PATIENCE_MS), BQ_OK);
    assert_int_equal(bq_increment(other, "purse", "coins", "300000000000000000", 0), BQ_OK);
    assert_int_equal(bq_increment(f->bq, "purse", "coins", "300000000000000000", 0), BQ_OK);
    assert_int_equal(bq_flush(other, PATIENCE_MS), BQ_OK);
    assert_int_equal(bq_flush(f->bq, PATIENCE_MS), BQ_OK);
    bq_close(other);
}

static void a_refused_edit_is_kept_and_shown(void **state)
{
    struct client_fixture *f = *state;
    struct bq_dead_letters letters = {.size = sizeof letters};
    struct bq_event event;
    char *json;
    refuse_one(f);
    client_expect_document(f->bq, "purse", "{\"coins\":900000000000000000}");
    assert_int_equal(bq_key_state(f->bq, "purse"), BQ_FAILED_PERMANENT);
    assert_true(client_next_of(f->bq, BQ_EVENT_DEAD_LETTER, &event));
    assert_string_equal(event.key, "purse");
    assert_int_equal(event.status, BQ_OUT_OF_RANGE);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(bq_dead_letters(f->bq, &letters), BQ_OK);
        assert_int_equal(letters.n, 1);
        assert_string_equal(letters.items[0].key, "purse");
        assert_int_equal(letters.items[0].status, BQ_OUT_OF_RANGE);
        assert_non_null(strstr(letters.items[0].edit, "900000000000000000"));
        bq_dead_letters_release(&letters);
        client_close_handle(f);
        client_open_handle(f);
    }
    assert_int_equal(bq_dead_export(f->bq, &json), BQ_OK);
    assert_non_null(strstr(json, "\"code\":\"out_of_range\""));
    assert_int_equal(json[0], '[');
    bq_free(json);
    assert_int_equal(bq_dead_discard(f->bq, 99), BQ_NOT_FOUND);
    assert_int_equal(bq_dead_discard(f->bq, 0), BQ_OK);
    assert_int_equal(bq_dead_letters(f->bq, &letters), BQ_OK);
    assert_int_equal(letters.n, 0);
    bq_dead_letters_release(&letters);
}

static void a_dead_letter_is_applied_once_more(void **state)
{
    struct client_fixture *f = *state;
    struct bq_dead_letters letters = {.size = sizeof letters};
    refuse_one(f);
    assert_int_equal(bq_dead_retry(f->bq, 99), BQ_NOT_FOUND);
    assert_int_equal(bq_dead_retry(f->bq, 0), BQ_OUT_OF_RANGE);
    assert_int_equal(bq_dead_letters(f->bq, &letters), BQ_OK);
    assert_int_equal(letters.n, 1);
    int64_t id = letters.items[0].id;
    bq_dead_letters_release(&letters);
    assert_int_equal(bq_increment(f->bq, "purse", "coins", "-500000000000000000", 0), BQ_OK);
    assert_int_equal(bq_dead_retry(f->bq, id), BQ_OK);
    assert_int_equal(bq_flush(f->bq, PATIENCE_MS), BQ_OK);
    client_expect_document(f->bq, "purse", "{\"coins\":700000000000000000}");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, client_setup, client_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(flushing_says_what_stands_in_its_way),
        TEST(pulling_tells_of_a_failure_at_once),
        TEST(a_lost_answer_counts_once),
        TEST(a_clock_that_is_set_back_an_hour_holds_nothing_up),
        TEST(two_devices_meet),
        TEST(a_refused_token_is_asked_for_and_the_edit_is_kept),
        TEST(an_app_that_cannot_be_asked_is_told),
        TEST(a_useless_token_is_not_asked_for_in_a_loop),
        TEST(an_erased_user_is_wiped),
        TEST(events_that_nobody_takes_are_told_as_lost),
        TEST(the_states_of_an_edit_are_told_in_order),
        TEST(a_refused_edit_is_kept_and_shown),
        TEST(a_dead_letter_is_applied_once_more),
    };
    fault_vfs_register();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
