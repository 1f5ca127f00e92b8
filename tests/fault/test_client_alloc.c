/* test_client_alloc.c - every bq_ call with the n-th allocation failing, for every n.
 *
 * A *case* is prepared with all the memory it wants, then its call runs with the n-th allocation
 * failing, of SQLite's and curl's as well, which are sent through base/mem.h. The call may
 * succeed (a failure that was made up for) or answer BQ_NOMEM. It must not crash, nothing may leak,
 * and what the case's look-up shows is all of the change or none of it: also after the file was
 * opened again. n goes up until the call came through without a failure.
 *
 * Once with a single failure, once with all allocations failing from the n-th on. */
#include "client_fixture.h"

#include "base/mem.h"
#include "lite_memory.h"
#include "ws_stub.h"

#include <curl/curl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define N_MAX 20000u
#define ALL_FIRST 64u
#define STRIDE 5u
#define SAMPLE_FIRST 4u /* where the suite runs a sample */
#define SAMPLE_STRIDE 40u

/* ---- curl on base/mem.h ---------------------------------------------------------------------- */

static char *curl_dup(const char *text)
{
    return mem_dup(text, strlen(text));
}

static void *curl_zalloc(size_t count, size_t size)
{
    return mem_zalloc(count, size);
}

/* ---- Failing the client's allocations and sparing the server's ------------------------------- */

static struct {
    uint64_t n;
    uint64_t repeat;
    uint64_t counted; /* before the counter was set anew */
    uint64_t failed;  /* of mem_failed(), when this was armed */
} fault;

static void arm(uint64_t n, uint64_t repeat)
{
    fault.n = n;
    fault.repeat = repeat;
    fault.counted = 0;
    fault.failed = mem_failed();
    mem_fail_at(n, repeat);
}

static void disarm(void)
{
    fault.counted += mem_count();
    mem_fail_at(0, 0);
}

static void spare_server(void)
{
    disarm();
}

static void strike_again(void)
{
    if (fault.n == 0) {
        return;
    }
    if (fault.counted < fault.n) {
        mem_fail_at(fault.n - fault.counted, fault.repeat);
    } else if (fault.repeat == UINT64_MAX) {
        mem_fail_at(1, UINT64_MAX);
    }
}

/* Whether the n-th allocation came. Where the server is spared just then, what other threads
 * allocate meanwhile is not counted, but a failure that was given is. */
static bool struck(void)
{
    return fault.counted >= fault.n || mem_failed() != fault.failed;
}

/* ---- Cases ----------------------------------------------------------------------------------- */

struct stage {
    struct client_fixture *f;
    int64_t dead_id;
};

struct alloc_case {
    const char *name;
    void (*prepare)(struct stage *stage);
    int (*call)(struct stage *stage);
    /* What it changes: a number that is `before` or `after`. NULL: nothing. */
    int64_t (*look)(struct stage *stage);
    int64_t before;
    int64_t after;
};

static int64_t number_in(struct bq *bq, const char *key, const char *field)
{
    struct bq_document document = {.size = sizeof document};
    struct arena arena;
    struct json_value value;
    int64_t number = -1;
    int status = bq_get(bq, key, &document);
    if (status == BQ_NOT_FOUND) {
        return -2;
    }
    assert_int_equal(status, BQ_OK);
    arena_init(&arena);
    assert_int_equal(json_parse(&arena, slice_of(document.json), 64, &value, NULL), BQ_OK);
    const struct json_value *member = json_get(&value, field);
    if (member != NULL) {
        assert_true(json_to_int(member, &number));
    }
    arena_release(&arena);
    bq_document_release(&document);
    return number;
}

static int64_t look_n(struct stage *stage)
{
    return number_in(stage->f->bq, "k", "n");
}

static int64_t look_incorrect(struct stage *stage)
{
    return number_in(stage->f->bq, "game_stats", "incorrectAnswers");
}

static int64_t look_user(struct stage *stage)
{
    char user[37];
    bq_user(stage->f->bq, user);
    return user[0] == '\0' ? 0 : 1;
}

/* The guest's document goes along. */
static int64_t look_user_and_n(struct stage *stage)
{
    return 10 * look_user(stage) + look_n(stage);
}

static int64_t look_dead(struct stage *stage)
{
    struct bq_dead_letters letters = {.size = sizeof letters};
    assert_int_equal(bq_dead_letters(stage->f->bq, &letters), BQ_OK);
    int64_t n = (int64_t)letters.n;
    bq_dead_letters_release(&letters);
    return n;
}

static void prepare_guest(struct stage *stage)
{
    client_open_handle(stage->f);
    assert_int_equal(client_put(stage->f->bq, "k", "{\"n\":1}"), BQ_OK);
}

static void prepare_closed(struct stage *stage)
{
    prepare_guest(stage);
    client_close_handle(stage->f);
}

static void prepare_crashed(struct stage *stage)
{
    prepare_guest(stage);
    client_crash_handle(stage->f);
}

static void prepare_user(struct stage *stage)
{
    client_open_signed_in(stage->f);
    assert_int_equal(client_put(stage->f->bq, "k", "{\"n\":1}"), BQ_OK);
    assert_int_equal(client_put(stage->f->bq, "game_stats", "{\"incorrectAnswers\":1}"), BQ_OK);
    assert_int_equal(client_put(stage->f->bq, "settings",
                                "{\"unlockedThemes\":[\"a\"],\"aiThemes\":{\"t\":{}}}"),
                     BQ_OK);
    assert_int_equal(bq_flush(stage->f->bq, PATIENCE_MS), BQ_OK);
}

/* Something waits, and another device has written. */
static void prepare_conflict(struct stage *stage)
{
    prepare_user(stage);
    struct bq *other = client_open_other(stage->f, "other.bqsync");
    assert_int_equal(bq_pull(other, PATIENCE_MS), BQ_OK);
    assert_int_equal(bq_increment(other, "game_stats", "incorrectAnswers", "10", 0), BQ_OK);
    assert_int_equal(bq_flush(other, PATIENCE_MS), BQ_OK);
    bq_close(other);
    assert_int_equal(bq_increment(stage->f->bq, "game_stats", "incorrectAnswers", "100", 0), BQ_OK);
}

/* An edit over the digits of a sum is a dead letter. */
static void prepare_dead(struct stage *stage)
{
    struct bq_dead_letters letters = {.size = sizeof letters};
    prepare_user(stage);
    struct bq *other = client_open_other(stage->f, "other.bqsync");
    assert_int_equal(bq_pull(other, PATIENCE_MS), BQ_OK);
    const char *huge = "600000000000000000";
    assert_int_equal(bq_increment(other, "game_stats", "incorrectAnswers", huge, 0), BQ_OK);
    assert_int_equal(bq_increment(stage->f->bq, "game_stats", "incorrectAnswers", huge, 0), BQ_OK);
    assert_int_equal(bq_flush(other, PATIENCE_MS), BQ_OK);
    assert_int_equal(bq_flush(stage->f->bq, PATIENCE_MS), BQ_OK);
    assert_int_equal(
        bq_increment(other, "game_stats", "incorrectAnswers", "-600000000000000000", 0), BQ_OK);
    assert_int_equal(bq_flush(other, PATIENCE_MS), BQ_OK);
    assert_int_equal(bq_pull(stage->f->bq, PATIENCE_MS), BQ_OK);
    bq_close(other);
    assert_int_equal(bq_dead_letters(stage->f->bq, &letters), BQ_OK);
    assert_int_equal(letters.n, 1);
    stage->dead_id = letters.items[0].id;
    bq_dead_letters_release(&letters);
}

/* With the transport over curl, which is never sent through. */
static int call_open(struct stage *stage)
{
    return bq_open(&stage->f->config, &stage->f->bq);
}

static int call_put(struct stage *stage)
{
    return client_put(stage->f->bq, "k", "{\"n\":2}");
}

static int call_put_immediate(struct stage *stage)
{
    return bq_put(stage->f->bq, "k", "{\"n\":2}", 7, BQ_IMMEDIATE | BQ_PRIORITY_CRITICAL);
}

static int call_patch(struct stage *stage)
{
    return bq_patch(stage->f->bq, "k", "{\"n\":2}", 7, 0);
}

static int call_increment(struct stage *stage)
{
    return bq_increment(stage->f->bq, "k", "n", "1", 0);
}

static int call_remove(struct stage *stage)
{
    return bq_remove(stage->f->bq, "k", 0);
}

static int call_seed(struct stage *stage)
{
    return bq_seed(stage->f->bq, "game_stats", "{\"incorrectAnswers\":5}", SIZE_MAX);
}

static int call_get(struct stage *stage)
{
    struct bq_document document = {.size = sizeof document};
    int status = bq_get(stage->f->bq, "k", &document);
    if (status == BQ_OK) {
        bq_document_release(&document);
    }
    return status;
}

static int call_list(struct stage *stage)
{
    struct bq_documents documents = {.size = sizeof documents};
    int status = bq_list(stage->f->bq, &documents);
    if (status == BQ_OK) {
        assert_int_equal(documents.n, 3);
        bq_documents_release(&documents);
    }
    return status;
}

static int call_sign_in(struct stage *stage)
{
    return bq_sign_in(stage->f->bq, stage->f->token_a, BQ_GUEST_MERGE, NULL);
}

static int call_set_token(struct stage *stage)
{
    return bq_set_token(stage->f->bq, stage->f->token_a);
}

static int call_sign_out(struct stage *stage)
{
    return bq_sign_out(stage->f->bq, BQ_DISCARD, 0, NULL);
}

/* Calls one that waits. A request that found no memory goes again after its pause, which is longer
 * than 30 ms; where nothing failed a time-out is a slow machine's, and the call has more time. */
static int wait_for(struct stage *stage, int (*call)(struct bq *bq, unsigned timeout_ms))
{
    int status = call(stage->f->bq, 30);
    bool failed = fault.counted + mem_count() >= fault.n || mem_failed() != fault.failed;
    if (status == BQ_TIMEOUT && !failed) {
        status = call(stage->f->bq, PATIENCE_MS);
    }
    return status == BQ_TIMEOUT ? BQ_NOMEM : status;
}

static int drain(struct bq *bq, unsigned timeout_ms)
{
    return bq_sign_out(bq, BQ_DRAIN, timeout_ms, NULL);
}

static int call_drain(struct stage *stage)
{
    return wait_for(stage, drain);
}

static int call_flush(struct stage *stage)
{
    return wait_for(stage, bq_flush);
}

static int call_pull(struct stage *stage)
{
    int status = wait_for(stage, bq_pull);
    return status == BQ_NETWORK ? BQ_NOMEM : status;
}

static int call_step(struct stage *stage)
{
    return bq_step(stage->f->bq, 0);
}

/* Another device has written, and realtime tells of more. */
static void prepare_live(struct stage *stage)
{
    stage->f->live = fake_live_new(stage->f->server);
    prepare_conflict(stage);
}

/* The socket comes up, gets another token, breaks, and comes up again. */
static int call_live(struct stage *stage)
{
    int status = BQ_OK;
    for (unsigned i = 0; i < 24 && status == BQ_OK; i++) {
        if (i == 8) {
            status = bq_set_token(stage->f->bq, stage->f->token_a);
        }
        if (i == 12) {
            fake_live_drop(stage->f->live);
        }
        if (i == 16) {
            status = bq_pause(stage->f->bq);
            status = status == BQ_OK ? bq_resume(stage->f->bq) : status;
        }
        status = status == BQ_OK ? bq_step(stage->f->bq, 0) : status;
    }
    return status;
}

static int call_stats(struct stage *stage)
{
    struct bq_stats stats = {.size = sizeof stats};
    char text[40];
    bq_device_id(stage->f->bq, text);
    (void)bq_next_step_ms(stage->f->bq);
    (void)bq_key_state(stage->f->bq, "k");
    return bq_stats(stage->f->bq, &stats);
}

static int call_network(struct stage *stage)
{
    int status = bq_set_online(stage->f->bq, 0);
    status = status == BQ_OK ? bq_set_online(stage->f->bq, 1) : status;
    status = status == BQ_OK ? bq_pause(stage->f->bq) : status;
    return status == BQ_OK ? bq_resume(stage->f->bq) : status;
}

static int call_device_info(struct stage *stage)
{
    return bq_set_device_info(stage->f->bq, "{\"name\":\"phone\"}");
}

static int call_events(struct stage *stage)
{
    struct bq_event event = {.size = sizeof event};
    int status = bq_next_event(stage->f->bq, 0, &event);
    return status == BQ_TIMEOUT ? BQ_OK : status;
}

static int call_dead_letters(struct stage *stage)
{
    struct bq_dead_letters letters = {.size = sizeof letters};
    int status = bq_dead_letters(stage->f->bq, &letters);
    if (status == BQ_OK) {
        bq_dead_letters_release(&letters);
    }
    return status;
}

static int call_dead_export(struct stage *stage)
{
    char *json;
    int status = bq_dead_export(stage->f->bq, &json);
    if (status == BQ_OK) {
        bq_free(json);
    }
    return status;
}

static int call_dead_retry(struct stage *stage)
{
    return bq_dead_retry(stage->f->bq, stage->dead_id);
}

static int call_dead_discard(struct stage *stage)
{
    return bq_dead_discard(stage->f->bq, 0);
}

static int call_stats_read(struct stage *stage)
{
    struct bq_game_stats stats = {.size = sizeof stats};
    return bq_game_stats_read(stage->f->bq, &stats);
}

static int call_stats_score(struct stage *stage)
{
    return bq_game_stats_add_score(stage->f->bq, 5);
}

static int call_answer_right(struct stage *stage)
{
    return bq_game_stats_answer(stage->f->bq, 1);
}

static int call_answer_wrong(struct stage *stage)
{
    return bq_game_stats_answer(stage->f->bq, 0);
}

static int call_stats_reset(struct stage *stage)
{
    return bq_game_stats_reset(stage->f->bq);
}

static int call_settings(struct stage *stage)
{
    struct bq_settings settings = {.size = sizeof settings};
    int status = bq_settings_read(stage->f->bq, &settings);
    status = status == BQ_OK ? bq_settings_set_text(stage->f->bq, "themeMode", "dark") : status;
    status = status == BQ_OK ? bq_settings_set_bool(stage->f->bq, "mute", 1) : status;
    status = status == BQ_OK ? bq_settings_unlock_theme(stage->f->bq, "oled") : status;
    status = status == BQ_OK ? bq_settings_put_ai_theme(stage->f->bq, "x", "{\"a\":1}") : status;
    return status == BQ_OK ? bq_settings_remove_ai_theme(stage->f->bq, "x") : status;
}

static int call_lessons(struct stage *stage)
{
    int64_t number;
    int status = bq_lesson_progress_set_stars(stage->f->bq, "l", 2);
    status = status == BQ_OK ? bq_lesson_progress_stars(stage->f->bq, "l", &number) : status;
    status = status == BQ_OK ? bq_lesson_progress_unlock(stage->f->bq, 3) : status;
    return status == BQ_OK ? bq_lesson_progress_read(stage->f->bq, &number) : status;
}

static const struct alloc_case cases[] = {
    {"bq_open", prepare_closed, call_open, look_n, 1, 1},
    {"bq_open after a crash", prepare_crashed, call_open, look_n, 1, 1},
    {"bq_put", prepare_user, call_put, look_n, 1, 2},
    {"bq_put of a guest", prepare_guest, call_put, look_n, 1, 2},
    {"bq_put at once", prepare_user, call_put_immediate, look_n, 1, 2},
    {"bq_patch", prepare_user, call_patch, look_n, 1, 2},
    {"bq_increment", prepare_user, call_increment, look_n, 1, 2},
    {"bq_remove", prepare_user, call_remove, look_n, 1, -2},
    {"bq_seed", prepare_user, call_seed, look_incorrect, 1, 5},
    {"bq_get", prepare_user, call_get, look_n, 1, 1},
    {"bq_list", prepare_user, call_list, look_n, 1, 1},
    {"bq_sign_in", prepare_guest, call_sign_in, look_user_and_n, 1, 11},
    {"bq_set_token", prepare_user, call_set_token, look_n, 1, 1},
    {"bq_sign_out", prepare_user, call_sign_out, look_user, 1, 0},
    {"bq_sign_out after draining", prepare_conflict, call_drain, look_user, 1, 0},
    {"bq_flush", prepare_conflict, call_flush, look_incorrect, 101, 111},
    {"bq_pull", prepare_conflict, call_pull, look_incorrect, 101, 111},
    {"bq_step", prepare_conflict, call_step, look_incorrect, 101, 111},
    {"bq_step with realtime", prepare_live, call_live, look_incorrect, 101, 111},
    {"bq_stats and its kin", prepare_user, call_stats, look_n, 1, 1},
    {"bq_set_online, bq_pause, bq_resume", prepare_conflict, call_network, look_incorrect, 101,
     111},
    {"bq_set_device_info", prepare_user, call_device_info, look_n, 1, 1},
    {"bq_next_event", prepare_user, call_events, look_n, 1, 1},
    {"bq_dead_letters", prepare_dead, call_dead_letters, look_dead, 1, 1},
    {"bq_dead_export", prepare_dead, call_dead_export, look_dead, 1, 1},
    {"bq_dead_retry", prepare_dead, call_dead_retry, look_dead, 1, 0},
    {"bq_dead_discard", prepare_dead, call_dead_discard, look_dead, 1, 0},
    {"bq_game_stats_read", prepare_user, call_stats_read, look_incorrect, 1, 1},
    {"bq_game_stats_add_score", prepare_user, call_stats_score, look_incorrect, 1, 1},
    {"bq_game_stats_answer, right", prepare_user, call_answer_right, look_incorrect, 1, 1},
    {"bq_game_stats_answer, wrong", prepare_user, call_answer_wrong, look_incorrect, 1, 2},
    {"bq_game_stats_reset", prepare_user, call_stats_reset, look_incorrect, 1, 0},
    {"bq_settings_...", prepare_user, call_settings, look_n, 1, 1},
    {"bq_lesson_progress_...", prepare_user, call_lessons, look_n, 1, 1},
};

/* ---- Running them ---------------------------------------------------------------------------- */

static void expect_whole(const struct alloc_case *test, struct stage *stage, uint64_t n, int status)
{
    int64_t got = test->look(stage);
    bool whole = got == test->after || (status != BQ_OK && got == test->before);
    if (!whole) {
        fail_msg("%s, allocation %llu, answers %s: the look-up shows %lld, not %lld or %lld",
                 test->name, (unsigned long long)n, bq_status_code(status), (long long)got,
                 (long long)test->before, (long long)test->after);
    }
}

/* One run with the n-th allocation failing; false when there was no n-th any more. */
static bool run_one(const struct alloc_case *test, uint64_t n, uint64_t repeat)
{
    void *state;
    struct stage stage = {NULL, 0};
    (void)client_setup(&state);
    stage.f = state;
    fake_server_guard(stage.f->server, spare_server, strike_again);
    fault.n = 0;
    test->prepare(&stage);
    arm(n, repeat);
    int status = test->call(&stage);
    disarm();
    bool came = struck();
    fault.n = 0;
    if (status != BQ_OK && status != BQ_NOMEM) {
        fail_msg("%s, allocation %llu: %s", test->name, (unsigned long long)n,
                 bq_status_code(status));
    }
    assert_true(status == BQ_OK || came);
    if (stage.f->bq == NULL) {
        client_open_handle(stage.f);
    }
    /* A step of the runner may do its part a little later: that is no failure of the call. */
    bool exact = test->call != call_step && test->call != call_network && test->call != call_live;
    expect_whole(test, &stage, n, exact ? status : BQ_NOMEM);
    client_close_handle(stage.f);
    client_open_handle(stage.f);
    expect_whole(test, &stage, n, exact ? status : BQ_NOMEM);
    (void)client_teardown(&state);
    return came;
}

/* All of the first sites; of those behind them, unless BQ_LONG is set, each STRIDE-th from a random
 * one on: calls that open files have over a thousand, nearly all of them SQLite's. With BQ_SAMPLE,
 * as the suite `faults` sets it, far fewer. */
static void run_all(uint64_t repeat)
{
    uint64_t n_sites = 0;
    const char *given = getenv("BQ_SEED");
    uint64_t seed = given != NULL ? strtoull(given, NULL, 10) : (uint64_t)time(NULL);
    bool every = getenv("BQ_LONG") != NULL;
    bool sample = !every && getenv("BQ_SAMPLE") != NULL;
    uint64_t first = sample ? SAMPLE_FIRST : ALL_FIRST;
    uint64_t stride = sample ? SAMPLE_STRIDE : STRIDE;
    printf("faults: seed %llu (BQ_SEED)\n", (unsigned long long)seed);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint64_t n = 1;
        while (run_one(&cases[i], n, repeat)) {
            n_sites++;
            n += every || n < first ? 1 : n == first ? 1 + seed % stride : stride;
            assert_true(n < N_MAX);
        }
    }
    printf("faults: %llu sites over %zu calls, failing %s: crashes 0, leaks 0, half states 0\n",
           (unsigned long long)n_sites, sizeof cases / sizeof cases[0],
           repeat == 1 ? "once" : "from then on");
    printf("sites client malloc: %llu\n", (unsigned long long)n_sites);
    assert_true(n_sites > (sample ? 100 : 700));
}

/* ---- The socket over curl -------------------------------------------------------------------- */

/* The far end has the memory that it wants. */
static void pump(struct ws_stub *stub)
{
    disarm();
    ws_stub_pump(stub);
    strike_again();
}

/* Opens a socket, says and hears something, as far as it goes. */
static void use_socket(struct transport *transport, struct ws_stub *stub, bool *out_heard)
{
    struct transport_answer news;
    bool done = transport->live_open(transport, "head.claims.sign") != BQ_OK;
    for (unsigned i = 0; i < 4000 && !done; i++) {
        pump(stub);
        if (!transport->wait(transport, 5, &news)) {
            continue;
        }
        if (news.news == TRANSPORT_LIVE_OPEN) {
            done = transport->live_send(transport, SLICE("[1]")) != BQ_OK;
            disarm();
            ws_stub_send_text(stub, "[2]");
            strike_again();
        } else {
            *out_heard = news.news == TRANSPORT_LIVE_TEXT && slice_is(news.body, "[2]");
            assert_true(*out_heard || news.news == TRANSPORT_LIVE_LOST);
            done = true;
        }
    }
    assert_true(done);
    transport->live_close(transport);
}

static void a_socket_comes_through_each_failed_allocation(void **state)
{
    struct ws_stub *stub = ws_stub_new();
    struct transport_config config = {.url = ws_stub_url(stub), .timeout_ms = 20000};
    bool came = true;
    bool heard = false;
    uint64_t n = 0;
    (void)state;
    while (came) {
        struct transport *transport = NULL;
        heard = false;
        arm(++n, 1);
        int status = transport_curl_new(&config, &transport);
        if (status == BQ_OK) {
            use_socket(transport, stub, &heard);
            transport->free(transport);
        }
        disarm();
        came = struck();
        fault.n = 0;
        assert_true(status == BQ_OK || (status == BQ_NOMEM && came));
        assert_true(heard || came);
        ws_stub_drop(stub);
    }
    assert_true(heard);
    printf("faults: %llu sites of a socket over curl\n", (unsigned long long)n - 1);
    assert_true(n > 50);
    ws_stub_free(stub);
}

static void each_allocation_fails_once(void **state)
{
    (void)state;
    run_all(1);
}

static void all_allocations_fail_from_the_nth_on(void **state)
{
    (void)state;
    run_all(UINT64_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_socket_comes_through_each_failed_allocation),
        cmocka_unit_test(each_allocation_fails_once),
        cmocka_unit_test(all_allocations_fail_from_the_nth_on),
    };
    /* Thousands of files are made and synced: in memory, where there is such a place. */
    if (getenv("TMPDIR") == NULL && access("/dev/shm", W_OK) == 0) {
        (void)setenv("TMPDIR", "/dev/shm", 1);
    }
    lite_memory_install();
    if (curl_global_init_mem(CURL_GLOBAL_DEFAULT, mem_alloc, mem_free, mem_realloc, curl_dup,
                             curl_zalloc) != CURLE_OK) {
        fprintf(stderr, "curl keeps its own allocator\n");
        return 1;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
